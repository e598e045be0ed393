/* Texts: UTF-8, durations, sizes, moments. */
#ifndef STOKER_TEXT_H
#define STOKER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

/* Whether these bytes are UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool is_utf8(const char *bytes, size_t length);
/* The longest prefix of at most `limit` bytes that does not cut a character. */
size_t utf8_cut(const char *text, size_t length, size_t limit);
/* Add a code point as UTF-8. */
void add_code_point(buffer *out, uint32_t code);
/* Add bytes as UTF-8, with U+FFFD in place of what is none. */
void add_as_utf8(buffer *out, const char *bytes, size_t length);

/* "30", "1h30m", "500ms" as seconds; false if it is none, or above a hundred years. */
bool read_duration(const char *text, double *seconds);
/* "4096", "512MB", "2GiB" as bytes; false if it is none. */
bool read_size(const char *text, uint64_t *bytes);
/* A whole number from `least` to `most`. */
bool read_whole(const char *text, long least, long most, long *value);

/* Seconds since 1970 as "2030-01-01T12:00:00.123456Z". */
enum { MOMENT_SIZE = 40 };
void write_moment(char out[MOMENT_SIZE], double seconds);

#endif
