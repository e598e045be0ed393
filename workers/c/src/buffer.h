/* Bytes that grow. One owner per buffer: whoever holds the struct frees it. */
#ifndef STOKER_BUFFER_H
#define STOKER_BUFFER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct buffer {
    char *data;      /* NULL while nothing was added */
    size_t length;   /* bytes in use */
    size_t capacity; /* bytes there are */
    bool failed;     /* an addition did not fit into memory; later ones do nothing */
} buffer;

void buffer_free(buffer *b);
/* Forget the contents, keep the memory, and begin anew even after a failure. */
void buffer_clear(buffer *b);
/* Make room for `extra` more bytes; false, and `failed`, if there is no memory. */
bool buffer_reserve(buffer *b, size_t extra);
bool buffer_add(buffer *b, const void *bytes, size_t length);
bool buffer_byte(buffer *b, char byte);
bool buffer_text(buffer *b, const char *text);
bool buffer_vprint(buffer *b, const char *format, va_list values)
    __attribute__((format(printf, 2, 0)));
bool buffer_print(buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Take the first `count` bytes away. */
void buffer_drop(buffer *b, size_t count);
/* End the contents with a zero byte that does not count, and return them; NULL without memory. */
char *buffer_string(buffer *b);
/* Give memory back if far more is held than `keep` bytes and nothing is inside. */
void buffer_shrink(buffer *b, size_t keep);

/* Memory for the worker's own small structures. Without it a worker can neither run nor settle
   anything, so these end the process with a word: its jobs come back one lease later. */
void *must_allocate(size_t size); /* filled with zeros */
char *must_copy(const char *text, size_t length);
void *must_grow(void *old, size_t count, size_t size);

#endif
