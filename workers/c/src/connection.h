/*
 * The way to the server: connects, says hello, asks, hears the answers, pings, and begins anew when
 * it breaks. It knows the protocol's rules about connections and nothing about jobs.
 *
 * At most one request of a kind is under way. If the connection breaks, nobody knows whether it was
 * carried out: its asker is told by `lost` and repeats what may be repeated.
 */
#ifndef STOKER_CONNECTION_H
#define STOKER_CONNECTION_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "address.h"
#include "answers.h"
#include "stream.h"

typedef enum ask_kind {
    ASK_HELLO,
    ASK_BEAT,
    ASK_EXCHANGE,
    ASK_SETTLE, /* an exchange that leases nothing */
    ASK_BELL,  /* wait for queues */
    ASK_WATCH, /* wait for jobs that run here */
    ASK_QUEUES,
    ASK_PING,
    ASK_FORGET,
    ASK_KINDS
} ask_kind;

typedef struct connection_events {
    void *owner;
    void (*opened)(void *owner, const welcome *found);
    /* An answer, or an error about this request alone. */
    void (*answered)(void *owner, ask_kind kind, const json_doc *doc, const response *found);
    /* The connection broke with this request under way. */
    void (*lost)(void *owner, ask_kind kind);
    /* The connection could not be made or broke. It is tried again if the trouble is retryable. */
    void (*failed)(void *owner, const trouble *why);
} connection_events;

typedef struct connection connection;

connection *connection_new(const address *where, stream_keys *keys, const char *client,
                           const connection_events *events);
void connection_free(connection *c);
bool connection_is_open(const connection *c);
bool connection_is_asking(const connection *c, ask_kind kind);
/* The longest parameters that the server takes. */
size_t connection_room(const connection *c);
/*
 * Ask. `patience`: seconds until the connection is taken for broken without an answer; 0: the
 * address's timeout. False if it is not open, one of that kind is under way, or it is too long.
 */
bool connection_ask(connection *c, ask_kind kind, const char *params, size_t length,
                    double patience);
/* Tell the server that nobody waits for that one any more. */
void connection_forget(connection *c, ask_kind kind);

/* What to poll for (fd -1: nothing), and when to look without. */
void connection_prepare(connection *c, struct pollfd *look);
double connection_due(const connection *c);
/* Go on: connect, read, write, keep time. */
void connection_turn(connection *c, double now);
/* Send what was asked since, as far as it goes at once. */
void connection_flush(connection *c);
/* The same, without any event: also while an answer is being taken. */
void connection_push(connection *c);
/* Say goodbye to the server: send what is left to send as far as it goes at once, and close. */
void connection_close(connection *c);

#endif
