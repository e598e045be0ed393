#include "frames.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void frame_begin(frame_reader *reader, size_t limit)
{
    buffer_clear(&reader->in);
    reader->taken = 0;
    reader->limit = limit;
    reader->length = 0;
}

void frame_end(frame_reader *reader)
{
    buffer_free(&reader->in);
    *reader = (frame_reader){0};
}

bool frame_feed(frame_reader *reader, const char *bytes, size_t length)
{
    if (reader->taken > 0) {
        buffer_drop(&reader->in, reader->taken);
        reader->taken = 0;
        buffer_shrink(&reader->in, FRAME_BEFORE_WELCOME);
    }
    return buffer_add(&reader->in, bytes, length);
}

static uint32_t read_length(const char *head)
{
    const unsigned char *at = (const unsigned char *)head;
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

frame_state frame_next(frame_reader *reader, const char **body, size_t *length)
{
    if (reader->in.failed)
        return FRAME_NO_MEMORY;
    size_t left = reader->in.length - reader->taken;
    if (left < FRAME_HEAD)
        return FRAME_MORE;
    const char *head = reader->in.data + reader->taken;
    reader->length = read_length(head);
    if (reader->length == 0)
        return FRAME_EMPTY;
    if (reader->length > reader->limit)
        return FRAME_TOO_LARGE;
    if (left - FRAME_HEAD < reader->length)
        return FRAME_MORE;
    *body = head + FRAME_HEAD;
    *length = reader->length;
    reader->taken += FRAME_HEAD + (size_t)reader->length;
    return FRAME_READY;
}

bool frame_is_inside(const frame_reader *reader)
{
    return reader->in.length > reader->taken;
}

bool frame_request(buffer *out, uint64_t id, const char *verb, const char *params, size_t length,
                   size_t limit)
{
    char lead[96];
    int written = snprintf(lead, sizeof lead, "{\"id\":%" PRIu64 ",\"verb\":\"%s\",\"params\":", id,
                           verb);
    if (written < 0 || (size_t)written >= sizeof lead || length > limit)
        return false;
    size_t size = (size_t)written + length + 1;
    if (size > limit || size > UINT32_MAX || !buffer_reserve(out, FRAME_HEAD + size))
        return false;
    const unsigned char head[FRAME_HEAD] = {(unsigned char)(size >> 24), (unsigned char)(size >> 16),
                                            (unsigned char)(size >> 8), (unsigned char)size};
    buffer_add(out, head, FRAME_HEAD);
    buffer_add(out, lead, (size_t)written);
    buffer_add(out, params, length);
    return buffer_byte(out, '}');
}
