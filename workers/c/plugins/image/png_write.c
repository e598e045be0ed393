#include "png.h"

#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>

enum { LEVEL = 6, AROUND = 8 + 25 + 12 + 12 }; /* signature, IHDR, around IDAT, IEND */

static void put_big(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

/* Length, type and checksum around a body that stands at `at + 8` already; returns its end. */
static uint8_t *close_chunk(uint8_t *at, const char *type, uint32_t length) {
    put_big(at, length);
    memcpy(at + 4, type, 4);
    put_big(at + 8 + length, libdeflate_crc32(0, at + 4, (size_t)length + 4));
    return at + 12 + length;
}

static uint8_t *put_header(uint8_t *at, const struct picture *picture) {
    static const uint8_t COLOURS[] = {0, 0, 4, 2, 6};
    memcpy(at, "\x89PNG\r\n\x1a\n", 8);
    put_big(at + 16, picture->width);
    put_big(at + 20, picture->height);
    memcpy(at + 24, (uint8_t[]){8, COLOURS[picture->channels], 0, 0, 0}, 5);
    return close_chunk(at + 8, "IHDR", 13);
}

/* All rows, each with the filter that suits it. */
static uint8_t *filtered(const struct picture *picture, size_t *size, struct fault *fault) {
    size_t stride = picture_row(picture);
    *size = (stride + 1) * picture->height;
    uint8_t *out = malloc(*size), *trial = malloc(stride + 1), *zeros = calloc(1, stride);
    if (out == NULL || trial == NULL || zeros == NULL) {
        (void)fault_memory(fault, *size);
        free(out);
        out = NULL;
    }
    for (size_t y = 0; out != NULL && y < picture->height; y++) {
        const uint8_t *row = picture->pixels + y * stride;
        png_filter(out + y * (stride + 1), trial, row, y == 0 ? zeros : row - stride, stride,
                   picture->channels);
    }
    free(trial);
    free(zeros);
    return out;
}

static bool pack(const struct picture *picture, struct libdeflate_compressor *machine,
                 const uint8_t *raw, size_t raw_size, uint8_t **data, size_t *size,
                 struct fault *fault) {
    size_t room = libdeflate_zlib_compress_bound(machine, raw_size);
    if (room > INT32_MAX) {
        return fault_set(fault, FAULT_INPUT, "the picture is too large for a PNG file");
    }
    *data = malloc(room + AROUND);
    if (*data == NULL) {
        return fault_memory(fault, room);
    }
    uint8_t *at = put_header(*data, picture);
    size_t packed = libdeflate_zlib_compress(machine, raw, raw_size, at + 8, room);
    at = close_chunk(at, "IDAT", (uint32_t)packed);
    at = close_chunk(at, "IEND", 0);
    *size = (size_t)(at - *data);
    return true;
}

bool png_write(const struct picture *picture, uint8_t **data, size_t *size, struct fault *fault) {
    size_t raw_size = 0;
    *data = NULL;
    uint8_t *raw = filtered(picture, &raw_size, fault);
    if (raw == NULL) {
        return false;
    }
    struct libdeflate_compressor *machine = libdeflate_alloc_compressor(LEVEL);
    bool is_done = machine != NULL
                       ? pack(picture, machine, raw, raw_size, data, size, fault)
                       : fault_memory(fault, 1 << 20);
    libdeflate_free_compressor(machine);
    free(raw);
    return is_done;
}
