/* One round of the filters on one picture, in processor time: `bench_filters FILE`. Prints a line
 * for each step, its name and its milliseconds. benchmarks/plugins.py runs it beside Pillow. */
#include "image/blur.h"
#include "image/files.h"
#include "image/png.h"
#include "image/resize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec at;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    return (double)at.tv_sec * 1e3 + (double)at.tv_nsec * 1e-6;
}

static void must(bool is_done, const struct fault *fault) {
    if (!is_done) {
        (void)fprintf(stderr, "%s\n", fault->message);
        exit(1);
    }
}

static struct picture copy_of(const struct picture *picture) {
    struct fault fault = {.kind = FAULT_NONE};
    struct picture copy;
    must(picture_make(&copy, picture->width, picture->height, picture->channels, &fault), &fault);
    memcpy(copy.pixels, picture->pixels, picture_bytes(picture));
    return copy;
}

static void blur(const struct picture *picture, unsigned radius) {
    struct fault fault = {.kind = FAULT_NONE};
    struct picture copy = copy_of(picture);
    double start = now();
    must(picture_blur(&copy, radius, NULL, &fault), &fault);
    (void)printf("blur, radius %u\t%.3f\n", radius, now() - start);
    picture_free(&copy);
}

/* The sides as hundredths of the picture's own. */
static void resize(const struct picture *picture, uint32_t share, enum resize_filter filter) {
    struct fault fault = {.kind = FAULT_NONE};
    struct picture copy = copy_of(picture);
    double start = now();
    must(picture_resize(&copy, picture->width * share / 100, picture->height * share / 100, filter,
                        NULL, &fault),
         &fault);
    (void)printf("resize to %u %%, %s\t%.3f\n", share, filter == RESIZE_BOX ? "box" : "bilinear",
                 now() - start);
    picture_free(&copy);
}

static void write_png(const struct picture *picture) {
    struct fault fault = {.kind = FAULT_NONE};
    uint8_t *data = NULL;
    size_t size = 0;
    double start = now();
    must(png_write(picture, &data, &size, &fault), &fault);
    (void)printf("write PNG\t%.3f\n", now() - start);
    (void)printf("size of the PNG\t%zu\n", size);
    free(data);
}

int main(int count, char **words) {
    struct fault fault = {.kind = FAULT_NONE};
    struct picture picture;
    enum picture_format format;
    if (count != 2) {
        (void)fprintf(stderr, "usage: %s FILE\n", words[0]);
        return 2;
    }
    double start = now();
    must(picture_load(words[1], &picture, &format, &fault), &fault);
    (void)printf("read %s\t%.3f\n", format == PICTURE_PNG ? "PNG" : "PPM", now() - start);
    blur(&picture, 2);
    blur(&picture, 20);
    for (int filter = RESIZE_BOX; filter <= RESIZE_BILINEAR; filter++) {
        resize(&picture, 50, (enum resize_filter)filter);
        resize(&picture, 10, (enum resize_filter)filter);
        resize(&picture, 150, (enum resize_filter)filter);
    }
    write_png(&picture);
    picture_free(&picture);
    return 0;
}
