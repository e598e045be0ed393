/* Writing JSON, compact, one value after the other. Errors stick; look at `wrong` at the end. */
#ifndef STOKER_JSON_WRITE_H
#define STOKER_JSON_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

enum { JSON_MOST_OPEN = 60 }; /* fewer than the 100 levels that a store takes */

typedef struct json_writer {
    buffer *out;      /* not owned */
    const char *wrong; /* the first error, or NULL */
    unsigned depth;
    bool is_array[JSON_MOST_OPEN];
    bool has_items[JSON_MOST_OPEN];
} json_writer;

void json_begin(json_writer *w, buffer *out);
/* `key` is NULL inside an array and for the outermost value. */
void json_open(json_writer *w, const char *key, bool is_array);
void json_close(json_writer *w);
void json_put_text(json_writer *w, const char *key, const char *text, size_t length);
void json_put_string(json_writer *w, const char *key, const char *text);
void json_put_integer(json_writer *w, const char *key, int64_t value);
void json_put_number(json_writer *w, const char *key, double value);
void json_put_boolean(json_writer *w, const char *key, bool value);
/* Bytes that are JSON already. */
void json_put_raw(json_writer *w, const char *key, const char *json, size_t length);

/* The parts of the above that stand alone. */
void json_quote(buffer *out, const char *text, size_t length);
enum { NUMBER_SIZE = 40 };
void json_format(char out[NUMBER_SIZE], double value);

#endif
