/* Pictures in files: the format is told by the first bytes, never by the name. */
#ifndef STOKER_PLUGINS_IMAGE_FILES_H
#define STOKER_PLUGINS_IMAGE_FILES_H

#include "../common/digest.h"
#include "picture.h"

enum picture_format { PICTURE_PNG, PICTURE_PPM };

bool picture_decode(const uint8_t *data, size_t size, struct picture *picture,
                    enum picture_format *format, struct fault *fault);
bool picture_load(const char *path, struct picture *picture, enum picture_format *format,
                  struct fault *fault);

/* What the suffix of a name says (.png, .ppm, .pgm); false: something else. */
bool picture_format_of(const char *name, enum picture_format *format);
const char *picture_format_name(enum picture_format format);
const char *picture_suffix(enum picture_format format);

/* Write the file, whole or not at all. */
bool picture_save(const struct picture *picture, enum picture_format format, const char *path,
                  struct fault *fault);

/* SHA-256 of the pixels, row by row, channel by channel: the same for the same picture, however a
 * file packs it. */
bool picture_digest(const struct picture *picture, char hex[DIGEST_HEX], struct fault *fault);

#endif
