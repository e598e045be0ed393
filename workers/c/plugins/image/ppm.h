/* PPM and PGM: `P6` and `P5`, eight bits a channel; whatever follows the first picture is left. */
#ifndef STOKER_PLUGINS_PPM_H
#define STOKER_PLUGINS_PPM_H

#include "picture.h"

bool ppm_is_one(const uint8_t *data, size_t size);
bool ppm_read(const uint8_t *data, size_t size, struct picture *picture, struct fault *fault);
/* The header that stands before the pixels; returns its length. Grey or RGB only. */
size_t ppm_header(const struct picture *picture, char header[64]);

#endif
