#include "png.h"

#include <stdlib.h>
#include <string.h>

enum { NONE, SUB, UP, AVERAGE, PAETH, FILTERS };

static inline uint8_t paeth(uint8_t left, uint8_t above, uint8_t corner) {
    int to_left = abs(above - corner), to_above = abs(left - corner);
    int to_corner = abs(left + above - 2 * corner);
    if (to_left <= to_above && to_left <= to_corner) {
        return left;
    }
    return to_above <= to_corner ? above : corner;
}

static void undo_sub(uint8_t *row, size_t stride, size_t step) {
    for (size_t i = step; i < stride; i++) {
        row[i] = (uint8_t)(row[i] + row[i - step]);
    }
}

static void undo_up(uint8_t *restrict row, const uint8_t *restrict above, size_t stride) {
    for (size_t i = 0; i < stride; i++) {
        row[i] = (uint8_t)(row[i] + above[i]);
    }
}

static void undo_average(uint8_t *row, const uint8_t *above, size_t stride, size_t step) {
    for (size_t i = 0; i < step && i < stride; i++) {
        row[i] = (uint8_t)(row[i] + above[i] / 2);
    }
    for (size_t i = step; i < stride; i++) {
        row[i] = (uint8_t)(row[i] + (row[i - step] + above[i]) / 2);
    }
}

/* The last pixel and the one above it stay in registers; inlined once for each size of a pixel. */
static inline __attribute__((always_inline)) void undo_paeth_of(uint8_t *row, const uint8_t *above,
                                                                size_t stride, size_t step) {
    uint8_t left[4] = {0}, corner[4] = {0};
    for (size_t i = 0; i + step <= stride; i += step) {
        for (size_t c = 0; c < step; c++) {
            uint8_t up = above[i + c];
            left[c] = row[i + c] = (uint8_t)(row[i + c] + paeth(left[c], up, corner[c]));
            corner[c] = up;
        }
    }
}

static void undo_paeth(uint8_t *row, const uint8_t *above, size_t stride, size_t step) {
    switch (step) {
    case 1: undo_paeth_of(row, above, stride, 1); break;
    case 2: undo_paeth_of(row, above, stride, 2); break;
    case 3: undo_paeth_of(row, above, stride, 3); break;
    default: undo_paeth_of(row, above, stride, 4); break;
    }
}

bool png_unfilter(uint8_t filter, uint8_t *row, const uint8_t *above, size_t stride, size_t step) {
    switch (filter) {
    case NONE: return true;
    case SUB: undo_sub(row, stride, step); return true;
    case UP: undo_up(row, above, stride); return true;
    case AVERAGE: undo_average(row, above, stride, step); return true;
    case PAETH: undo_paeth(row, above, stride, step); return true;
    default: return false;
    }
}

static void do_sub(uint8_t *restrict out, const uint8_t *restrict row, size_t stride, size_t step) {
    memcpy(out, row, step);
    for (size_t i = step; i < stride; i++) {
        out[i] = (uint8_t)(row[i] - row[i - step]);
    }
}

static void do_up(uint8_t *restrict out, const uint8_t *restrict row, const uint8_t *restrict above,
                  size_t stride) {
    for (size_t i = 0; i < stride; i++) {
        out[i] = (uint8_t)(row[i] - above[i]);
    }
}

static void do_average(uint8_t *restrict out, const uint8_t *restrict row,
                       const uint8_t *restrict above, size_t stride, size_t step) {
    for (size_t i = 0; i < step; i++) {
        out[i] = (uint8_t)(row[i] - above[i] / 2);
    }
    for (size_t i = step; i < stride; i++) {
        out[i] = (uint8_t)(row[i] - (row[i - step] + above[i]) / 2);
    }
}

/* The same choice as `paeth` without a branch, in 16 bits: vector units do it then. */
static void do_paeth(uint8_t *restrict out, const uint8_t *restrict row,
                     const uint8_t *restrict above, size_t stride, size_t step) {
    for (size_t i = 0; i < step; i++) {
        out[i] = (uint8_t)(row[i] - above[i]);
    }
    for (size_t i = step; i < stride; i++) {
        int16_t left = row[i - step], up = above[i], corner = above[i - step];
        int16_t by_left = (int16_t)(up - corner), by_up = (int16_t)(left - corner);
        int16_t by_corner = (int16_t)(by_left + by_up);
        by_left = (int16_t)(by_left < 0 ? -by_left : by_left);
        by_up = (int16_t)(by_up < 0 ? -by_up : by_up);
        by_corner = (int16_t)(by_corner < 0 ? -by_corner : by_corner);
        int16_t second = by_up <= by_corner ? up : corner;
        bool is_left = (by_left <= by_up) & (by_left <= by_corner);
        int16_t best = is_left ? left : second;
        out[i] = (uint8_t)(row[i] - best);
    }
}

/* How far the bytes are from zero, taken as signed: what packs well has a small sum. */
static uint64_t distance(const uint8_t *row, size_t stride) {
    uint64_t sum = 0;
    for (size_t at = 0; at < stride; at += 65536) {
        size_t end = stride - at < 65536 ? stride : at + 65536;
        uint32_t part = 0; /* of 65,536 bytes: no overflow, and twice as many in a vector */
        for (size_t i = at; i < end; i++) {
            part += row[i] < 128 ? row[i] : 256u - row[i];
        }
        sum += part;
    }
    return sum;
}

static void apply(unsigned filter, uint8_t *out, const uint8_t *row, const uint8_t *above,
                  size_t stride, size_t step) {
    out[0] = (uint8_t)filter;
    switch (filter) {
    case SUB: do_sub(out + 1, row, stride, step); break;
    case UP: do_up(out + 1, row, above, stride); break;
    case AVERAGE: do_average(out + 1, row, above, stride, step); break;
    case PAETH: do_paeth(out + 1, row, above, stride, step); break;
    default: memcpy(out + 1, row, stride); break;
    }
}

void png_filter(uint8_t *out, uint8_t *trial, const uint8_t *row, const uint8_t *above,
                size_t stride, size_t step) {
    apply(NONE, out, row, above, stride, step);
    uint64_t least = distance(out + 1, stride);
    for (unsigned filter = SUB; filter < FILTERS && least > 0; filter++) {
        apply(filter, trial, row, above, stride, step);
        uint64_t sum = distance(trial + 1, stride);
        if (sum < least) {
            least = sum;
            memcpy(out, trial, stride + 1);
        }
    }
}
