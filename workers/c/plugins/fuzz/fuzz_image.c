/* Any bytes as a picture: read, filtered, written, and read again. What was written must come back
 * as it was.
 *
 * Checksums would keep a fuzzer at the door, so the input is no file but what a file is made of: the
 * first byte chooses, the rest follows as chunks whose checksums are right, pixels packed for it. */
#include "image/blur.h"
#include "image/files.h"
#include "image/png.h"
#include "image/resize.h"

#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>

/* Small pictures only: what is large is slow, and no different. */
enum { MAX_SIDE = 64, MAX_INPUT = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool is_right) {
    if (!is_right) {
        abort();
    }
}

static void check_round_trip(const struct picture *picture) {
    struct fault fault = {.kind = FAULT_NONE};
    struct picture again = {0};
    uint8_t *file = NULL;
    size_t size = 0;
    check(png_write(picture, &file, &size, &fault));
    check(png_read(file, size, &again, &fault));
    check(again.width == picture->width && again.height == picture->height);
    check(again.channels == picture->channels);
    check(memcmp(again.pixels, picture->pixels, picture_bytes(picture)) == 0);
    picture_free(&again);
    free(file);
}

static void use(const uint8_t *file, size_t size, uint8_t how) {
    struct fault fault = {.kind = FAULT_NONE};
    struct picture picture = {0};
    enum picture_format format;
    if (!picture_decode(file, size, &picture, &format, &fault)) {
        check(fault.kind != FAULT_NONE && fault.message[0] != '\0');
        return;
    }
    if (picture.width <= MAX_SIDE && picture.height <= MAX_SIDE) {
        check_round_trip(&picture);
        check(picture_blur(&picture, how % 80, NULL, &fault));
        check(picture_resize(&picture, 1 + how % 90, 1 + how % 70,
                             how % 2 ? RESIZE_BOX : RESIZE_BILINEAR, NULL, &fault));
        check_round_trip(&picture);
    }
    picture_free(&picture);
}

static size_t put_chunk(uint8_t *at, const char *type, const uint8_t *body, size_t length) {
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(length >> (24 - 8 * i));
    }
    memcpy(at + 4, type, 4);
    if (length > 0) {
        memmove(at + 8, body, length);
    }
    uint32_t crc = libdeflate_crc32(0, at + 4, length + 4);
    for (int i = 0; i < 4; i++) {
        at[8 + length + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
    }
    return length + 12;
}

/* width, height, depth, colour, interlacing; a palette's length, its bytes; alpha likewise; rows. */
static size_t build(const uint8_t *data, size_t size, uint8_t *file) {
    static uint8_t packed[2 * MAX_INPUT];
    uint8_t header[13] = {0, 0, 0, data[1], 0, 0, 0, data[2], data[3], data[4], 0, 0, data[5]};
    size_t palette = data[6] * 3u, alpha = data[7], at = 8;
    palette = palette > size - at ? size - at : palette;
    alpha = alpha > size - at - palette ? size - at - palette : alpha;
    memcpy(file, "\x89PNG\r\n\x1a\n", 8);
    size_t end = 8 + put_chunk(file + 8, "IHDR", header, 13);
    if (palette > 0) {
        end += put_chunk(file + end, "PLTE", data + at, palette);
    }
    if (alpha > 0) {
        end += put_chunk(file + end, "tRNS", data + at + palette, alpha);
    }
    at += palette + alpha;
    struct libdeflate_compressor *machine = libdeflate_alloc_compressor(0);
    size_t length =
        libdeflate_zlib_compress(machine, data + at, size - at, packed, sizeof packed);
    libdeflate_free_compressor(machine);
    end += put_chunk(file + end, "IDAT", packed, length);
    return end + put_chunk(file + end, "IEND", NULL, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t file[4 * MAX_INPUT];
    if (size < 9 || size > MAX_INPUT) {
        return 0;
    }
    if (data[0] % 2 == 0) {
        use(data + 1, size - 1, data[0]);
    } else {
        use(file, build(data, size, file), data[0]);
    }
    return 0;
}
