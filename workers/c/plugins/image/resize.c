#include "resize.h"

#include <math.h>
#include <stdlib.h>

enum { PRECISION = 22 };

/* For each pixel of the output: where its inputs begin, how many they are, and their weights. */
struct weights {
    uint32_t *first, *count;
    int32_t *weight; /* `most` for each pixel */
    size_t most;
};

static double box_filter(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

static double bilinear_filter(double x) {
    double away = fabs(x);
    return away < 1.0 ? 1.0 - away : 0.0;
}

static void weights_free(struct weights *weights) {
    free(weights->first);
    free(weights->count);
    free(weights->weight);
}

static bool weights_make(struct weights *weights, uint32_t out, double support,
                         struct fault *fault) {
    weights->most = (size_t)ceil(support) * 2 + 1;
    size_t bytes = 0;
    if (__builtin_mul_overflow((size_t)out * sizeof(int32_t), weights->most, &bytes)) {
        return fault_memory(fault, SIZE_MAX);
    }
    weights->first = malloc((size_t)out * sizeof(uint32_t));
    weights->count = malloc((size_t)out * sizeof(uint32_t));
    weights->weight = malloc(bytes);
    if (weights->first == NULL || weights->count == NULL || weights->weight == NULL) {
        return fault_memory(fault, bytes);
    }
    return true;
}

static void weigh_one(struct weights *weights, size_t x, double centre, double support,
                      double step, uint32_t in, double (*filter)(double), double *raw) {
    int64_t from = (int64_t)(centre - support + 0.5), to = (int64_t)(centre + support + 0.5);
    from = from < 0 ? 0 : from;
    to = to > in ? in : to;
    double sum = 0;
    for (int64_t i = 0; i < to - from; i++) {
        raw[i] = filter(((double)(i + from) - centre + 0.5) * step);
        sum += raw[i];
    }
    for (int64_t i = 0; i < to - from; i++) {
        double share = sum != 0.0 ? raw[i] / sum : raw[i];
        weights->weight[x * weights->most + (size_t)i] =
            (int32_t)(0.5 + share * (double)(1 << PRECISION));
    }
    weights->first[x] = (uint32_t)from;
    weights->count[x] = (uint32_t)(to - from);
}

static bool weigh(struct weights *weights, uint32_t in, uint32_t out, enum resize_filter kind,
                  struct fault *fault) {
    double scale = (double)in / out, widened = scale < 1.0 ? 1.0 : scale;
    double support = (kind == RESIZE_BOX ? 0.5 : 1.0) * widened;
    double *raw = NULL;
    if (!weights_make(weights, out, support, fault)) {
        return false;
    }
    raw = malloc(weights->most * sizeof *raw);
    if (raw == NULL) {
        return fault_memory(fault, weights->most * sizeof *raw);
    }
    for (uint32_t x = 0; x < out; x++) {
        weigh_one(weights, x, (x + 0.5) * scale, support, 1.0 / widened, in,
                  kind == RESIZE_BOX ? box_filter : bilinear_filter, raw);
    }
    free(raw);
    return true;
}

static inline uint8_t rounded(int32_t sum) {
    int32_t value = sum >> PRECISION;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* Rows go two by two: a weight is fetched once for both, and twice as many sums run side by side. */
enum { ROWS = 2 };

struct rows {
    uint8_t *out[ROWS];
    const uint8_t *in[ROWS];
};

static inline __attribute__((always_inline)) void
pixel_of(const struct rows *rows, size_t x, const int32_t *weight, size_t first, uint32_t count,
         unsigned channels) {
    const int32_t half = 1 << (PRECISION - 1);
    int32_t sums[ROWS][4] = {{half, half, half, half}, {half, half, half, half}};
    size_t at = first * channels;
    for (uint32_t i = 0; i < count; i++, at += channels) {
        for (unsigned c = 0; c < channels; c++) {
            sums[0][c] += weight[i] * rows->in[0][at + c];
            sums[1][c] += weight[i] * rows->in[1][at + c];
        }
    }
    for (unsigned c = 0; c < channels; c++) {
        rows->out[0][x * channels + c] = rounded(sums[0][c]);
        rows->out[1][x * channels + c] = rounded(sums[1][c]);
    }
}

/* Two inputs for each output are the most common case by far: halves, and enlargements. */
static inline __attribute__((always_inline)) void rows_of(const struct rows *rows, uint32_t width,
                                                          const struct weights *weights,
                                                          unsigned channels) {
    for (size_t x = 0; x < width; x++) {
        const int32_t *weight = weights->weight + x * weights->most;
        if (weights->count[x] == 2) {
            pixel_of(rows, x, weight, weights->first[x], 2, channels);
        } else {
            pixel_of(rows, x, weight, weights->first[x], weights->count[x], channels);
        }
    }
}

static void rows_resize(struct rows rows, uint32_t width, const struct weights *weights,
                        unsigned channels) {
    switch (channels) {
    case 1: rows_of(&rows, width, weights, 1); break;
    case 2: rows_of(&rows, width, weights, 2); break;
    case 3: rows_of(&rows, width, weights, 3); break;
    default: rows_of(&rows, width, weights, 4); break;
    }
}

/* A last row without a second one is done twice. */
static struct rows two_rows(const struct picture *in, struct picture *out, size_t y) {
    size_t next = y + 1 < in->height ? y + 1 : y;
    return (struct rows){
        {out->pixels + y * picture_row(out), out->pixels + next * picture_row(out)},
        {in->pixels + y * picture_row(in), in->pixels + next * picture_row(in)},
    };
}

static bool resize_rows(const struct picture *in, struct picture *out,
                        const struct weights *weights, const struct watch *watch,
                        struct fault *fault) {
    for (size_t y = 0; y < in->height; y += ROWS) {
        if (y % 64 == 0 && !watch_tell(watch, 0.3 + 0.2 * (double)y / in->height, fault)) {
            return false;
        }
        rows_resize(two_rows(in, out, y), out->width, weights, in->channels);
    }
    return true;
}

/* A strip of columns at a time, so that the sums stay in registers and the nearest cache. */
enum { STRIP = 1024 };

static void add_row(int32_t *restrict sums, const uint8_t *restrict row, int32_t weight,
                    size_t count) {
    for (size_t i = 0; i < count; i++) {
        sums[i] += weight * row[i];
    }
}

static void strip_resize(uint8_t *restrict out, const uint8_t *restrict in, size_t stride,
                         size_t count, const int32_t *weight, uint32_t rows) {
    int32_t sums[STRIP];
    for (size_t i = 0; i < count; i++) {
        sums[i] = 1 << (PRECISION - 1);
    }
    for (uint32_t y = 0; y < rows; y++) {
        add_row(sums, in + y * stride, weight[y], count);
    }
    for (size_t i = 0; i < count; i++) {
        out[i] = rounded(sums[i]);
    }
}

static bool resize_columns(const struct picture *in, struct picture *out,
                           const struct weights *weights, const struct watch *watch,
                           struct fault *fault) {
    size_t row = picture_row(in);
    for (size_t y = 0; y < out->height; y++) {
        if (y % 64 == 0 && !watch_tell(watch, 0.5 + 0.2 * (double)y / out->height, fault)) {
            return false;
        }
        const uint8_t *from = in->pixels + (size_t)weights->first[y] * row;
        for (size_t at = 0; at < row; at += STRIP) {
            strip_resize(out->pixels + y * row + at, from + at, row,
                         row - at < STRIP ? row - at : STRIP, weights->weight + y * weights->most,
                         weights->count[y]);
        }
    }
    return true;
}

typedef bool (*pass)(const struct picture *, struct picture *, const struct weights *,
                     const struct watch *, struct fault *);

/* One direction; the picture is replaced by what comes out. */
static bool in_direction(struct picture *picture, uint32_t width, uint32_t height,
                         enum resize_filter filter, pass run, const struct watch *watch,
                         struct fault *fault) {
    struct picture out = {0};
    struct weights weights = {0};
    bool is_wide = width != picture->width;
    bool is_done = weigh(&weights, is_wide ? picture->width : picture->height,
                         is_wide ? width : height, filter, fault) &&
                   picture_make(&out, width, height, picture->channels, fault) &&
                   run(picture, &out, &weights, watch, fault);
    weights_free(&weights);
    picture_free(is_done ? picture : &out);
    if (is_done) {
        *picture = out;
    }
    return is_done;
}

static bool both_directions(struct picture *picture, uint32_t width, uint32_t height,
                            enum resize_filter filter, const struct watch *watch,
                            struct fault *fault) {
    return (width == picture->width || in_direction(picture, width, picture->height, filter,
                                                    resize_rows, watch, fault)) &&
           (height == picture->height ||
            in_direction(picture, width, height, filter, resize_columns, watch, fault));
}

bool picture_resize(struct picture *picture, uint32_t width, uint32_t height,
                    enum resize_filter filter, const struct watch *watch, struct fault *fault) {
    if (width == picture->width && height == picture->height) {
        return true;
    }
    bool has_alpha = picture_has_alpha(picture);
    if (has_alpha) {
        picture_premultiply(picture);
    }
    if (!both_directions(picture, width, height, filter, watch, fault)) {
        return false;
    }
    if (has_alpha) {
        picture_unmultiply(picture);
    }
    return true;
}

uint64_t resize_in_proportion(uint32_t own, uint32_t other, uint32_t given) {
    uint64_t side = (2 * (uint64_t)own * given + other) / (2 * (uint64_t)other);
    return side < 1 ? 1 : side;
}
