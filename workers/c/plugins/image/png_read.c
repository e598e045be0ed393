#include "png.h"

#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>

/* The seven passes of an interlaced picture, and the one of a plain one. */
struct pass {
    uint8_t x, y, dx, dy;
};
static const struct pass ADAM7[] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                    {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
static const struct pass PLAIN[] = {{0, 0, 1, 1}};

static size_t passes(const struct png *png, const struct pass **list) {
    *list = png->is_interlaced ? ADAM7 : PLAIN;
    return png->is_interlaced ? sizeof ADAM7 / sizeof *ADAM7 : 1;
}

static size_t share(uint32_t side, uint8_t from, uint8_t step) {
    return side <= from ? 0 : ((size_t)side - from + step - 1) / step;
}

/* Bytes of all rows with their filter bytes. At most 9 bytes a pixel, of bounded pixels. */
static size_t unpacked_size(const struct png *png) {
    const struct pass *list = NULL;
    size_t count = passes(png, &list), total = 0;
    for (size_t i = 0; i < count; i++) {
        size_t width = share(png->width, list[i].x, list[i].dx);
        size_t height = share(png->height, list[i].y, list[i].dy);
        total += width > 0 ? height * (png_stride(png, width) + 1) : 0;
    }
    return total;
}

static bool unpack(const struct png *png, uint8_t *raw, size_t size, struct fault *fault) {
    size_t got = 0;
    struct libdeflate_decompressor *machine = libdeflate_alloc_decompressor();
    if (machine == NULL) {
        return fault_memory(fault, 65536);
    }
    enum libdeflate_result result =
        libdeflate_zlib_decompress(machine, png->packed, png->packed_size, raw, size, &got);
    libdeflate_free_decompressor(machine);
    if (result == LIBDEFLATE_INSUFFICIENT_SPACE) {
        return fault_set(fault, FAULT_INPUT,
                         "the PNG file is damaged: it holds more pixels than its header says");
    }
    if (result != LIBDEFLATE_SUCCESS) {
        return fault_set(fault, FAULT_INPUT, "the PNG file is damaged: its pixels do not unpack");
    }
    if (got != size) {
        return fault_set(fault, FAULT_INPUT,
                         "the PNG file is damaged: it holds fewer pixels than its header says");
    }
    return true;
}

/* One sample of fewer than 8 bits. */
static inline unsigned sample(const uint8_t *row, size_t x, unsigned depth) {
    size_t bit = x * depth;
    return (unsigned)row[bit / 8] >> (8 - depth - bit % 8) & ((1u << depth) - 1);
}

static bool expand_palette(const struct png *png, const uint8_t *row, size_t width, uint8_t *pixels,
                           size_t apart, struct fault *fault) {
    for (size_t x = 0; x < width; x++, pixels += apart) {
        unsigned index = sample(row, x, png->depth);
        if (index >= png->palette_size) {
            return fault_set(fault, FAULT_INPUT,
                             "the PNG file is damaged: a pixel has colour %u of %u", index,
                             png->palette_size);
        }
        memcpy(pixels, png->palette[index], 3);
        if (png->has_transparency) {
            pixels[3] = index < png->transparency_size ? png->transparency[index] : 255;
        }
    }
    return true;
}

static void expand_grey(const struct png *png, const uint8_t *row, size_t width, uint8_t *pixels,
                        size_t apart) {
    unsigned factor = 255u / ((1u << png->depth) - 1);
    unsigned key = (unsigned)png->transparency[0] << 8 | png->transparency[1];
    for (size_t x = 0; x < width; x++, pixels += apart) {
        unsigned value = sample(row, x, png->depth);
        pixels[0] = (uint8_t)(value * factor);
        if (png->has_transparency) {
            pixels[1] = value == key ? 0 : 255;
        }
    }
}

static void expand_keyed(const struct png *png, const uint8_t *row, size_t width, uint8_t *pixels,
                         size_t apart) {
    const uint8_t *key = png->transparency;
    bool can_match = key[0] == 0 && key[2] == 0 && key[4] == 0;
    for (size_t x = 0; x < width; x++, pixels += apart, row += 3) {
        bool is_key = can_match && row[0] == key[1] && row[1] == key[3] && row[2] == key[5];
        memcpy(pixels, row, 3);
        pixels[3] = is_key ? 0 : 255;
    }
}

bool png_expand(const struct png *png, const uint8_t *row, size_t width, uint8_t *pixels,
                size_t apart, struct fault *fault) {
    size_t channels = png_samples(png);
    if (png->colour == 3) {
        return expand_palette(png, row, width, pixels, apart, fault);
    }
    if (png->colour == 0 && (png->depth < 8 || png->has_transparency)) {
        expand_grey(png, row, width, pixels, apart);
    } else if (png->has_transparency) {
        expand_keyed(png, row, width, pixels, apart);
    } else if (apart == channels) {
        memcpy(pixels, row, width * channels);
    } else {
        for (size_t x = 0; x < width; x++) {
            memcpy(pixels + x * apart, row + x * channels, channels);
        }
    }
    return true;
}

/* One pass; `*raw` moves on behind it. `zeros` is what stands above a first row. */
static bool read_pass(const struct png *png, struct pass pass, uint8_t **raw, const uint8_t *zeros,
                      struct picture *picture, struct fault *fault) {
    size_t width = share(png->width, pass.x, pass.dx), height = share(png->height, pass.y, pass.dy);
    size_t stride = png_stride(png, width), step = (png_samples(png) * png->depth + 7) / 8;
    const uint8_t *above = zeros;
    for (size_t y = 0; width > 0 && y < height; y++) {
        uint8_t *row = *raw + 1;
        if (!png_unfilter(**raw, row, above, stride, step)) {
            return fault_set(fault, FAULT_INPUT,
                             "the PNG file is damaged: a row has a filter that does not exist");
        }
        uint8_t *pixels = picture->pixels + (y * pass.dy + pass.y) * picture_row(picture) +
                          (size_t)pass.x * picture->channels;
        if (!png_expand(png, row, width, pixels, (size_t)pass.dx * picture->channels, fault)) {
            return false;
        }
        above = row;
        *raw += stride + 1;
    }
    return true;
}

static bool read_passes(const struct png *png, uint8_t *raw, struct picture *picture,
                        struct fault *fault) {
    const struct pass *list = NULL;
    size_t count = passes(png, &list);
    uint8_t *zeros = calloc(1, png_stride(png, png->width));
    if (zeros == NULL) {
        return fault_memory(fault, png_stride(png, png->width));
    }
    bool is_done = picture_make(picture, png->width, png->height, png_channels(png), fault);
    for (size_t i = 0; is_done && i < count; i++) {
        is_done = read_pass(png, list[i], &raw, zeros, picture, fault);
    }
    free(zeros);
    return is_done;
}

static bool read_pixels(const struct png *png, struct picture *picture, struct fault *fault) {
    size_t size = unpacked_size(png);
    uint8_t *raw = malloc(size);
    if (raw == NULL) {
        return fault_memory(fault, size);
    }
    bool is_done = unpack(png, raw, size, fault) && read_passes(png, raw, picture, fault);
    free(raw);
    return is_done;
}

bool png_read(const uint8_t *data, size_t size, struct picture *picture, struct fault *fault) {
    struct png png = {0};
    *picture = (struct picture){0};
    bool is_done = png_parse(data, size, &png, fault) && read_pixels(&png, picture, fault);
    png_drop(&png);
    if (!is_done) {
        picture_free(picture);
    }
    return is_done;
}
