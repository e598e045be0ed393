#include "picture.h"

#include <stdlib.h>

bool picture_size(uint64_t width, uint64_t height, unsigned channels, const char *what,
                  size_t *bytes, struct fault *fault) {
    if (width < 1 || height < 1) {
        return fault_set(fault, FAULT_INPUT, "%s %llu x %llu pixels; expected at least 1 x 1", what,
                         (unsigned long long)width, (unsigned long long)height);
    }
    if (width > PICTURE_MAX_SIDE || height > PICTURE_MAX_SIDE ||
        width * height > PICTURE_MAX_PIXELS) {
        return fault_set(fault, FAULT_INPUT,
                         "%s %llu x %llu pixels; the limit is %u in all, and %u a side", what,
                         (unsigned long long)width, (unsigned long long)height, PICTURE_MAX_PIXELS,
                         PICTURE_MAX_SIDE);
    }
    *bytes = (size_t)(width * height) * channels;
    return true;
}

bool picture_make(struct picture *picture, uint32_t width, uint32_t height, unsigned channels,
                  struct fault *fault) {
    size_t bytes = 0;
    *picture = (struct picture){width, height, channels, NULL};
    if (!picture_size(width, height, channels, "the picture has", &bytes, fault)) {
        return false;
    }
    picture->pixels = malloc(bytes);
    return picture->pixels != NULL || fault_memory(fault, bytes);
}

void picture_free(struct picture *picture) {
    free(picture->pixels);
    picture->pixels = NULL;
}

const char *picture_mode(const struct picture *picture) {
    static const char *const MODES[] = {"", "L", "LA", "RGB", "RGBA"};
    return MODES[picture->channels];
}

/* value * alpha / 255, rounded, without a division. */
static inline uint8_t multiplied(unsigned value, unsigned alpha) {
    unsigned product = value * alpha + 128;
    return (uint8_t)(((product >> 8) + product) >> 8);
}

static inline uint8_t divided(unsigned value, unsigned alpha) {
    unsigned quotient = 255 * value / alpha;
    return (uint8_t)(quotient > 255 ? 255 : quotient);
}

void picture_premultiply(struct picture *picture) {
    unsigned last = picture->channels - 1;
    uint8_t *end = picture->pixels + picture_bytes(picture);
    for (uint8_t *pixel = picture->pixels; pixel < end; pixel += picture->channels) {
        for (unsigned i = 0; i < last; i++) {
            pixel[i] = multiplied(pixel[i], pixel[last]);
        }
    }
}

void picture_unmultiply(struct picture *picture) {
    unsigned last = picture->channels - 1;
    uint8_t *end = picture->pixels + picture_bytes(picture);
    for (uint8_t *pixel = picture->pixels; pixel < end; pixel += picture->channels) {
        if (pixel[last] == 0 || pixel[last] == 255) {
            continue; /* nothing to divide by, or by one */
        }
        for (unsigned i = 0; i < last; i++) {
            pixel[i] = divided(pixel[i], pixel[last]);
        }
    }
}
