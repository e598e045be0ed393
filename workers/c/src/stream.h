/* A connection of bytes that never blocks: a socket, with or without TLS around it. */
#ifndef STOKER_STREAM_H
#define STOKER_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "address.h"
#include "answers.h"

typedef struct stream stream;

typedef enum stream_state {
    STREAM_DONE,  /* it went on: bytes moved, the handshake is over */
    STREAM_AGAIN, /* nothing now; wait for `stream_events` */
    STREAM_ENDED, /* the peer closed its side, in order */
    STREAM_BROKEN /* it is over; `stream_why` says why */
} stream_state;

/* What TLS needs and every connection shares: files are read once. NULL with trouble. */
typedef struct stream_keys stream_keys;
stream_keys *stream_keys_load(const address *where, trouble *why);
void stream_keys_free(stream_keys *keys);

/* Begin to connect. `keys` is NULL without TLS. NULL with trouble. */
stream *stream_open(const address *where, stream_keys *keys, const struct sockaddr *peer,
                    socklen_t peer_size, trouble *why);
void stream_close(stream *s);
/* Go on connecting and shaking hands; DONE when bytes may travel. */
stream_state stream_connect(stream *s);
stream_state stream_read(stream *s, char *bytes, size_t size, size_t *got);
stream_state stream_write(stream *s, const char *bytes, size_t size, size_t *put);
int stream_fd(const stream *s);
/* What to poll for, given whether there is something to write. */
short stream_events(const stream *s, bool has_output);
const trouble *stream_why(const stream *s);

#endif
