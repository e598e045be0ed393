/* Frames: four bytes of length, big-endian, and that many bytes of JSON. No I/O here. */
#ifndef STOKER_FRAMES_H
#define STOKER_FRAMES_H

#include <stdint.h>

#include "buffer.h"

enum {
    FRAME_HEAD = 4,
    FRAME_BEFORE_WELCOME = 65536, /* what may be announced before the welcome */
    FRAME_MOST = 64 * 1024 * 1024 /* the longest frame that this worker takes */
};

typedef enum frame_state {
    FRAME_MORE,      /* the next frame is not complete */
    FRAME_READY,     /* here it is */
    FRAME_EMPTY,     /* a frame without a body: protocol_error */
    FRAME_TOO_LARGE, /* an announced length over the limit: frame_too_large */
    FRAME_NO_MEMORY
} frame_state;

typedef struct frame_reader {
    buffer in;       /* what came in and was not taken */
    size_t taken;    /* how much of it was */
    size_t limit;    /* the longest body that is taken */
    uint32_t length; /* what was announced last, for the message */
} frame_reader;

void frame_begin(frame_reader *reader, size_t limit);
void frame_end(frame_reader *reader);
/* Add what came in. Judge it by `frame_next` before more is added: memory grows only with bytes
   that came, never with what was announced. */
bool frame_feed(frame_reader *reader, const char *bytes, size_t length);
/* Take the next frame; the body stays valid until the next call of `frame_feed`. */
frame_state frame_next(frame_reader *reader, const char **body, size_t *length);
/* Whether a frame has begun and is not complete. */
bool frame_is_inside(const frame_reader *reader);

/* Add a frame with a request: `params` is JSON. False without memory, or if it is too long. */
bool frame_request(buffer *out, uint64_t id, const char *verb, const char *params, size_t length,
                   size_t limit);

#endif
