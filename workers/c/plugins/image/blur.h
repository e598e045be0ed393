/* A box blur: every pixel becomes the mean of the square of 2 * radius + 1 pixels around it.
 *
 * The arithmetic is in integers, and the same as Pillow's BoxBlur of a whole radius r, d = 2r + 1:
 *
 *     weight = floor(2^24 / d);  far = floor((2^24 - d * weight) / 2)
 *     out[x] = (weight * sum(in[x-r .. x+r]) + far * (in[x-r-1] + in[x+r+1]) + 2^23) >> 24
 *
 * first along the rows, then along the columns of what the rows gave, rounded to 8 bits in between.
 * Beyond an edge stands the pixel at the edge. With alpha, colours are multiplied by it before and
 * divided by it afterwards. */
#ifndef STOKER_PLUGINS_BLUR_H
#define STOKER_PLUGINS_BLUR_H

#include "picture.h"

#define BLUR_MAX_RADIUS 1000u

bool picture_blur(struct picture *picture, unsigned radius, const struct watch *watch,
                  struct fault *fault);

#endif
