/* Resizing with a box or a bilinear (triangle) filter, by Pillow's arithmetic:
 *
 *     scale = in / out, at least 1 where it widens the filter;  support = reach * scale
 *     centre(x) = (x + 0.5) * in / out;  pixels from int(centre - support + 0.5), at least 0,
 *                                        to int(centre + support + 0.5), at most in
 *     weight = round(2^22 * filter / sum of the filter), filter in double precision
 *     out = (2^21 + sum(weight * pixel)) >> 22, within 0 to 255
 *
 * first along the rows, then along the columns, whatever the sizes (Pillow alone would pick the order
 * by them), rounded to 8 bits in between; a direction that keeps its size is left out. With alpha, colours are multiplied by it before and divided by it
 * afterwards. */
#ifndef STOKER_PLUGINS_RESIZE_H
#define STOKER_PLUGINS_RESIZE_H

#include "picture.h"

enum resize_filter { RESIZE_BOX, RESIZE_BILINEAR };

/* Replaces the picture by its resized self. */
bool picture_resize(struct picture *picture, uint32_t width, uint32_t height,
                    enum resize_filter filter, const struct watch *watch, struct fault *fault);

/* The side that nobody gave: `given` of the other side, in proportion, rounded, at least 1. */
uint64_t resize_in_proportion(uint32_t own, uint32_t other, uint32_t given);

#endif
