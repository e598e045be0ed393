#include "blur.h"

#include <stdlib.h>

struct box {
    uint32_t radius, weight, far;
};

static struct box box_of(uint32_t radius) {
    uint32_t side = 2 * radius + 1, one = UINT32_C(1) << 24;
    uint32_t weight = one / side;
    return (struct box){radius, weight, (one - side * weight) / 2};
}

static inline uint8_t mean(const struct box *box, uint32_t sum, uint32_t ends) {
    return (uint8_t)((box->weight * sum + box->far * ends + (UINT32_C(1) << 23)) >> 24);
}

static inline size_t clamped(int64_t at, size_t count) {
    return at < 0 ? 0 : (size_t)at >= count ? count - 1 : (size_t)at;
}

/* What the window of the pixel before the first one sums up to. */
static void row_begin(uint32_t sums[4], const uint8_t *row, size_t width, unsigned channels,
                      uint32_t radius) {
    size_t inside = radius < width ? radius : width;
    for (unsigned c = 0; c < channels; c++) {
        sums[c] = (radius + 1) * row[c] + (uint32_t)(radius - inside) * row[(width - 1) * channels + c];
    }
    for (size_t i = 0; i < inside * channels; i++) {
        sums[i % channels] += row[i];
    }
}

/* The sums of the channels run side by side: each depends on its own last value only. Inlined once
 * for each number of channels, with and without a look at the edges. */
static inline __attribute__((always_inline)) void row_run(uint8_t *out, const uint8_t *row,
                                                          size_t from, size_t to, size_t width,
                                                          uint32_t sums[4], struct box box,
                                                          unsigned channels, bool is_at_edge) {
    int64_t radius = box.radius;
    for (size_t x = from; x < to; x++) {
        int64_t at = (int64_t)x;
        size_t left = is_at_edge ? clamped(at - radius - 1, width) : x - box.radius - 1;
        size_t right = is_at_edge ? clamped(at + radius, width) : x + box.radius;
        size_t after = is_at_edge ? clamped(at + radius + 1, width) : x + box.radius + 1;
        for (unsigned c = 0; c < channels; c++) {
            uint32_t gone = row[left * channels + c];
            sums[c] += row[right * channels + c] - gone;
            out[x * channels + c] = mean(&box, sums[c], gone + row[after * channels + c]);
        }
    }
}

static inline __attribute__((always_inline)) void row_all(uint8_t *out, const uint8_t *row,
                                                          size_t width, struct box box,
                                                          unsigned channels) {
    uint32_t sums[4];
    size_t margin = (size_t)box.radius + 1;
    size_t first = margin < width ? margin : width;
    size_t last = width > 2 * margin ? width - margin : first;
    row_begin(sums, row, width, channels, box.radius);
    row_run(out, row, 0, first, width, sums, box, channels, true);
    row_run(out, row, first, last, width, sums, box, channels, false);
    row_run(out, row, last, width, width, sums, box, channels, true);
}

static void row_blur(uint8_t *out, const uint8_t *row, size_t width, struct box box,
                     unsigned channels) {
    switch (channels) {
    case 1: row_all(out, row, width, box, 1); break;
    case 2: row_all(out, row, width, box, 2); break;
    case 3: row_all(out, row, width, box, 3); break;
    default: row_all(out, row, width, box, 4); break;
    }
}

static void columns_begin(uint32_t *restrict sums, const uint8_t *restrict pixels, size_t row,
                          size_t height, uint32_t radius) {
    size_t inside = radius < height ? radius : height;
    const uint8_t *last = pixels + (height - 1) * row;
    for (size_t i = 0; i < row; i++) {
        sums[i] = (radius + 1) * pixels[i] + (uint32_t)(radius - inside) * last[i];
    }
    for (size_t y = 0; y < inside; y++) {
        for (size_t i = 0; i < row; i++) {
            sums[i] += pixels[y * row + i];
        }
    }
}

/* One row of output: the columns stand side by side, which is what vector units are for. */
static void columns_step(uint8_t *restrict out, uint32_t *restrict sums, struct box box,
                         const uint8_t *left, const uint8_t *right, const uint8_t *after,
                         size_t row) {
    for (size_t i = 0; i < row; i++) {
        uint32_t sum = sums[i] + right[i] - left[i];
        sums[i] = sum;
        out[i] = mean(&box, sum, (uint32_t)left[i] + after[i]);
    }
}

static bool is_time_to_tell(size_t y) { return y % 64 == 0; }

static bool blur_rows(const struct picture *picture, uint8_t *out, struct box box,
                      const struct watch *watch, struct fault *fault) {
    size_t row = picture_row(picture);
    for (size_t y = 0; y < picture->height; y++) {
        if (is_time_to_tell(y) &&
            !watch_tell(watch, 0.3 + 0.2 * (double)y / picture->height, fault)) {
            return false;
        }
        row_blur(out + y * row, picture->pixels + y * row, picture->width, box, picture->channels);
    }
    return true;
}

static bool blur_columns(struct picture *picture, const uint8_t *in, uint32_t *sums,
                         struct box box, const struct watch *watch, struct fault *fault) {
    size_t row = picture_row(picture), height = picture->height;
    int64_t radius = box.radius;
    columns_begin(sums, in, row, height, box.radius);
    for (size_t y = 0; y < height; y++) {
        int64_t at = (int64_t)y;
        if (is_time_to_tell(y) && !watch_tell(watch, 0.5 + 0.2 * (double)y / (double)height, fault)) {
            return false;
        }
        columns_step(picture->pixels + y * row, sums, box,
                     in + clamped(at - radius - 1, height) * row,
                     in + clamped(at + radius, height) * row,
                     in + clamped(at + radius + 1, height) * row, row);
    }
    return true;
}

static bool blur_both(struct picture *picture, struct box box, const struct watch *watch,
                      struct fault *fault) {
    size_t bytes = picture_bytes(picture), sums_bytes = picture_row(picture) * sizeof(uint32_t);
    uint8_t *between = malloc(bytes);
    uint32_t *sums = malloc(sums_bytes);
    bool is_done = between != NULL && sums != NULL;
    if (!is_done) {
        (void)fault_memory(fault, bytes + sums_bytes);
    }
    is_done = is_done && blur_rows(picture, between, box, watch, fault) &&
              blur_columns(picture, between, sums, box, watch, fault);
    free(sums);
    free(between);
    return is_done;
}

bool picture_blur(struct picture *picture, unsigned radius, const struct watch *watch,
                  struct fault *fault) {
    if (radius == 0) {
        return true;
    }
    if (picture_has_alpha(picture)) {
        picture_premultiply(picture);
    }
    if (!blur_both(picture, box_of(radius), watch, fault)) {
        return false;
    }
    if (picture_has_alpha(picture)) {
        picture_unmultiply(picture);
    }
    return true;
}
