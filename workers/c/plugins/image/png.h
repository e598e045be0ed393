/* PNG, read strictly and written plainly.
 *
 * Read: every colour type with 1, 2, 4 or 8 bits a channel, plain or interlaced. Palettes and
 * transparent colours become RGB(A) or grey with alpha. 16 bits a channel are refused: half of them
 * would be lost without a word. Every length, checksum and order is checked before it is believed,
 * and the pixels are unpacked into a buffer of exactly the size that the header promises, so no
 * file expands into more. Chunks that are no part of the picture (text, colour profiles, times) are
 * left behind.
 *
 * Written: 8 bits a channel, one IDAT, the filter of each row chosen by the least sum. */
#ifndef STOKER_PLUGINS_PNG_H
#define STOKER_PLUGINS_PNG_H

#include "picture.h"

bool png_is_one(const uint8_t *data, size_t size);
bool png_read(const uint8_t *data, size_t size, struct picture *picture, struct fault *fault);
/* Encode; free *data afterwards. */
bool png_write(const struct picture *picture, uint8_t **data, size_t *size, struct fault *fault);

/* ---- shared by the files of the reader ---- */

struct png {
    uint32_t width, height;
    unsigned depth, colour; /* bits a channel; 0 grey, 2 RGB, 3 palette, 4 grey+alpha, 6 RGBA */
    bool is_interlaced;
    unsigned palette_size; /* 0: none */
    uint8_t palette[256][3];
    bool has_transparency;
    unsigned transparency_size;
    uint8_t transparency[256];
    uint8_t *packed; /* all IDAT one after the other */
    size_t packed_size;
};

/* Check the chunks and gather what the picture needs of them. Frees nothing: png_drop does. */
bool png_parse(const uint8_t *data, size_t size, struct png *png, struct fault *fault);
void png_drop(struct png *png);

/* Channels in the file, and in the picture that comes of it. */
unsigned png_samples(const struct png *png);
unsigned png_channels(const struct png *png);
/* Bytes of a row of `width` pixels, without its filter byte. */
size_t png_stride(const struct png *png, size_t width);

/* Undo the filter of one row; `above` may be null. False for a filter that does not exist. */
bool png_unfilter(uint8_t filter, uint8_t *row, const uint8_t *above, size_t stride, size_t step);
/* Write the filter byte and the row of the filter with the least sum to `out` (stride + 1 bytes),
 * using `trial` (of the same size). */
void png_filter(uint8_t *out, uint8_t *trial, const uint8_t *row, const uint8_t *above,
                size_t stride, size_t step);

/* Unpack one row of samples into pixels, `apart` pixels from each other. */
bool png_expand(const struct png *png, const uint8_t *row, size_t width, uint8_t *pixels,
                size_t apart, struct fault *fault);

#endif
