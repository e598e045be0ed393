#include "buffer.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exits.h"

enum { SMALLEST = 64 };

void buffer_free(buffer *b)
{
    free(b->data);
    *b = (buffer){0};
}

void buffer_clear(buffer *b)
{
    b->length = 0;
    b->failed = false;
}

bool buffer_reserve(buffer *b, size_t extra)
{
    if (b->failed || extra > SIZE_MAX / 2 - b->length) {
        b->failed = true;
        return false;
    }
    size_t needed = b->length + extra;
    if (needed <= b->capacity)
        return true;
    size_t capacity = b->capacity < SMALLEST ? SMALLEST : b->capacity;
    while (capacity < needed)
        capacity *= 2; /* needed is at most half of what a size_t holds */
    char *data = realloc(b->data, capacity);
    if (data == NULL) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->capacity = capacity;
    return true;
}

bool buffer_add(buffer *b, const void *bytes, size_t length)
{
    if (!buffer_reserve(b, length))
        return false;
    if (length > 0)
        memcpy(b->data + b->length, bytes, length);
    b->length += length;
    return true;
}

bool buffer_byte(buffer *b, char byte)
{
    return buffer_add(b, &byte, 1);
}

bool buffer_text(buffer *b, const char *text)
{
    return buffer_add(b, text, strlen(text));
}

bool buffer_vprint(buffer *b, const char *format, va_list values)
{
    va_list again;
    va_copy(again, values);
    int length = vsnprintf(NULL, 0, format, values);
    bool fits = length >= 0 && buffer_reserve(b, (size_t)length + 1);
    if (fits) {
        vsnprintf(b->data + b->length, (size_t)length + 1, format, again);
        b->length += (size_t)length;
    }
    b->failed = b->failed || !fits;
    va_end(again);
    return fits;
}

bool buffer_print(buffer *b, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    bool fits = buffer_vprint(b, format, values);
    va_end(values);
    return fits;
}

void buffer_drop(buffer *b, size_t count)
{
    if (count >= b->length) {
        b->length = 0;
        return;
    }
    b->length -= count;
    memmove(b->data, b->data + count, b->length);
}

char *buffer_string(buffer *b)
{
    if (!buffer_reserve(b, 1))
        return NULL;
    b->data[b->length] = '\0';
    return b->data;
}

void buffer_shrink(buffer *b, size_t keep)
{
    if (b->length == 0 && b->capacity > keep)
        buffer_free(b);
}

static void no_memory(size_t size)
{
    fprintf(stderr, "stoker-worker-c: no memory for %zu bytes; the worker ends\n", size);
    _Exit(EXIT_BUG);
}

void *must_allocate(size_t size)
{
    void *memory = calloc(1, size > 0 ? size : 1);
    if (memory == NULL)
        no_memory(size);
    return memory;
}

char *must_copy(const char *text, size_t length)
{
    char *copy = must_allocate(length + 1);
    if (length > 0)
        memcpy(copy, text, length);
    return copy;
}

void *must_grow(void *old, size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / 2 / size)
        no_memory(SIZE_MAX);
    void *memory = realloc(old, count * size > 0 ? count * size : 1);
    if (memory == NULL)
        no_memory(count * size);
    return memory;
}
