/* Base64 (RFC 4648), as strict as Python's: the standard alphabet, padded, nothing else. */
#ifndef STOKER_PLUGINS_BASE64_H
#define STOKER_PLUGINS_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#define BASE64_ENCODED(size) (((size) + 2) / 3 * 4)

/* `text` has room for BASE64_ENCODED(size) + 1 bytes. */
void base64_encode(const unsigned char *data, size_t size, char *text);
/* `data` has room for length / 4 * 3 bytes. */
bool base64_decode(const char *text, size_t length, unsigned char *data, size_t *size);

#endif
