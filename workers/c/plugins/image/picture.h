/* A picture in memory: 8 bits a channel, rows without padding.
 *
 * Sizes come from files of unknown origin, so nothing is allocated before picture_size has said
 * that width * height * channels is within the bounds. */
#ifndef STOKER_PLUGINS_PICTURE_H
#define STOKER_PLUGINS_PICTURE_H

#include "../common/fault.h"

#include <stdint.h>

/* Of a picture, read or written: a few kilobytes of file can promise gigabytes of them. */
#define PICTURE_MAX_PIXELS 50000000u
#define PICTURE_MAX_SIDE 1000000u

struct picture {
    uint32_t width, height;
    unsigned channels; /* 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA */
    uint8_t *pixels;
};

/* How many bytes such a picture takes; false if it is empty or too large, `what` saying which. */
bool picture_size(uint64_t width, uint64_t height, unsigned channels, const char *what,
                  size_t *bytes, struct fault *fault);
bool picture_make(struct picture *picture, uint32_t width, uint32_t height, unsigned channels,
                  struct fault *fault);
void picture_free(struct picture *picture);

static inline size_t picture_row(const struct picture *picture) {
    return (size_t)picture->width * picture->channels;
}
static inline size_t picture_bytes(const struct picture *picture) {
    return picture_row(picture) * picture->height;
}
static inline bool picture_has_alpha(const struct picture *picture) {
    return picture->channels == 2 || picture->channels == 4;
}
const char *picture_mode(const struct picture *picture);

/* Multiply colours by their alpha, and divide them again: what is averaged is what is seen. */
void picture_premultiply(struct picture *picture);
void picture_unmultiply(struct picture *picture);

#endif
