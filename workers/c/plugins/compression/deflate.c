#include "deflate.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* What zlib calls the wrapping: 15 bits of window, and 16 more for gzip's header. */
static int window_bits(enum deflate_kind kind) { return kind == DEFLATE_GZIP ? 31 : 15; }

static const char *name_of(enum deflate_kind kind) {
    return kind == DEFLATE_GZIP ? "gzip" : "zlib";
}

struct buffers {
    unsigned char in[FLOW_CHUNK], out[FLOW_CHUNK];
};

/* ---- there ---- */

static bool deflate_some(z_stream *stream, struct flow *flow, unsigned char *out, int flush) {
    do {
        stream->next_out = out;
        stream->avail_out = FLOW_CHUNK;
        if (deflate(stream, flush) == Z_STREAM_ERROR) {
            return fault_set(&flow->fault, FAULT_SYSTEM, "zlib cannot compress here");
        }
        if (!flow_write(flow, out, FLOW_CHUNK - stream->avail_out)) {
            return false;
        }
    } while (stream->avail_out == 0);
    return true;
}

static bool deflate_flow(z_stream *stream, struct flow *flow, struct buffers *buffers) {
    for (;;) {
        ssize_t got = flow_read(flow, buffers->in, sizeof buffers->in);
        if (got < 0) {
            return false;
        }
        stream->next_in = buffers->in;
        stream->avail_in = (uInt)got;
        if (!deflate_some(stream, flow, buffers->out, got == 0 ? Z_FINISH : Z_NO_FLUSH)) {
            return false;
        }
        if (got == 0) {
            return true;
        }
    }
}

bool deflate_all(void *deflating, struct flow *flow) {
    const struct deflating *how = deflating;
    z_stream stream = {0};
    struct buffers *buffers = malloc(sizeof *buffers);
    if (buffers == NULL || deflateInit2(&stream, how->level, Z_DEFLATED, window_bits(how->kind), 8,
                                        Z_DEFAULT_STRATEGY) != Z_OK) {
        free(buffers);
        return fault_memory(&flow->fault, sizeof *buffers);
    }
    bool is_done = deflate_flow(&stream, flow, buffers);
    (void)deflateEnd(&stream);
    free(buffers);
    return is_done;
}

/* ---- and back ---- */

enum deflate_kind deflate_recognised(const unsigned char *first, size_t size) {
    if (size >= 2 && first[0] == 0x1f && first[1] == 0x8b) {
        return DEFLATE_GZIP;
    }
    /* RFC 1950: the method in the low half of the first byte, and a check over two bytes. */
    if (size >= 2 && (first[0] & 0x0f) == 8 && (first[0] * 256 + first[1]) % 31 == 0) {
        return DEFLATE_ZLIB;
    }
    return DEFLATE_UNKNOWN;
}

static bool recognise(struct inflating *how, struct flow *flow, const unsigned char *first,
                      size_t size) {
    if (how->kind == DEFLATE_UNKNOWN) {
        how->kind = deflate_recognised(first, size);
    }
    if (how->kind != DEFLATE_UNKNOWN) {
        return true;
    }
    return fault_set(&flow->fault, FAULT_INPUT,
                     "the input begins like neither gzip nor zlib data, which are what this worker "
                     "expands; say algorithm if it is one of them");
}

static bool too_many(const struct inflating *how, struct flow *flow) {
    return fault_set(&flow->fault, FAULT_INPUT,
                     "the input expands to more than %llu bytes; raise max_bytes if that is no "
                     "surprise",
                     (unsigned long long)how->most);
}

/* The state between two pieces of input: whether a member is open, whether one ever ended. */
struct members {
    z_stream stream;
    bool is_open, is_ended;
    enum deflate_kind kind;
};

static bool open_member(struct members *members, struct flow *flow) {
    int result = members->is_open ? inflateReset(&members->stream)
                                  : inflateInit2(&members->stream, window_bits(members->kind));
    members->is_open = true;
    members->is_ended = false;
    return result == Z_OK || fault_memory(&flow->fault, 65536);
}

/* Zeros between two members are padding, as tapes had it. */
static bool next_member(struct members *members, struct flow *flow) {
    while (members->stream.avail_in > 0 && *members->stream.next_in == 0) {
        members->stream.next_in++;
        members->stream.avail_in--;
    }
    return members->stream.avail_in == 0 || open_member(members, flow);
}

static bool is_right(int result) {
    return result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR;
}

static bool inflate_once(struct members *members, struct inflating *how, struct flow *flow,
                         unsigned char *out) {
    z_stream *stream = &members->stream;
    stream->next_out = out;
    stream->avail_out = FLOW_CHUNK;
    int result = inflate(stream, Z_NO_FLUSH);
    size_t size = FLOW_CHUNK - stream->avail_out;
    if (result == Z_MEM_ERROR) {
        return fault_memory(&flow->fault, 65536);
    }
    if (!is_right(result)) {
        return fault_set(&flow->fault, FAULT_INPUT, "the input is not whole %s data: %s",
                         name_of(how->kind), stream->msg == NULL ? "damaged" : stream->msg);
    }
    members->is_ended = result == Z_STREAM_END;
    if (size > how->most - flow->out_done) {
        return too_many(how, flow);
    }
    return flow_write(flow, out, size);
}

static bool inflate_piece(struct members *members, struct inflating *how, struct flow *flow,
                          unsigned char *out) {
    do {
        if (members->is_ended && !next_member(members, flow)) {
            return false;
        }
        if (members->is_ended) {
            return true; /* nothing but padding is left */
        }
        if (!inflate_once(members, how, flow, out)) {
            return false;
        }
    } while (members->stream.avail_in > 0 ||
             (!members->is_ended && members->stream.avail_out == 0));
    return true;
}

static bool inflate_flow(struct members *members, struct inflating *how, struct flow *flow,
                         struct buffers *buffers) {
    ssize_t got = flow_read(flow, buffers->in, sizeof buffers->in);
    if (got < 0 || !recognise(how, flow, buffers->in, (size_t)got)) {
        return false;
    }
    members->kind = how->kind;
    if (!open_member(members, flow)) {
        return false;
    }
    for (; got > 0; got = flow_read(flow, buffers->in, sizeof buffers->in)) {
        members->stream.next_in = buffers->in;
        members->stream.avail_in = (uInt)got;
        if (!inflate_piece(members, how, flow, buffers->out)) {
            return false;
        }
    }
    if (got == 0 && !members->is_ended) {
        return fault_set(&flow->fault, FAULT_INPUT,
                         "the %s data end in the middle: the input was cut off",
                         name_of(how->kind));
    }
    return got == 0;
}

bool inflate_all(void *inflating, struct flow *flow) {
    struct members members = {.is_open = false};
    struct buffers *buffers = malloc(sizeof *buffers);
    bool is_done = buffers != NULL ? inflate_flow(&members, inflating, flow, buffers)
                                   : fault_memory(&flow->fault, sizeof *buffers);
    if (members.is_open) {
        (void)inflateEnd(&members.stream);
    }
    free(buffers);
    return is_done;
}
