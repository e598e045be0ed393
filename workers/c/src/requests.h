/* What a worker says: the parameters of each verb as JSON. See PROTOCOL.md, section 5.1. */
#ifndef STOKER_REQUESTS_H
#define STOKER_REQUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "json_write.h"

enum { PROTOCOL_VERSION = 1 };

/* A list of texts, none of them owned. */
typedef struct names {
    const char *const *items;
    size_t count;
} names;

typedef struct hello {
    int protocol;
    const char *token;  /* NULL: none */
    const char *client; /* "" is left out, and so on */
    const char *version;
    int64_t max_frame; /* 0: left out */
} hello;

typedef struct session {
    const char *id;
    const char *name;
    const char *host;
    int64_t pid;
    const char *kind;
    const char *version;
    names queues;
    names tasks;
    int64_t concurrency;
    const char *state;
    const char *details; /* a JSON object, or NULL */
    size_t details_length;
} session;

/* What was reported since the last answered beat. */
typedef struct report {
    bool has_ran_for;
    double ran_for;
    bool has_progress;
    double progress;
    const char *note; /* NULL: none */
    const char *logs; /* a JSON array, or NULL */
    size_t logs_length;
} report;

typedef struct fence {
    const char *id;
    int64_t epoch;
    const char *nonce;
} fence;

typedef struct error_record {
    const char *code; /* NULL: there is no error */
    const char *message;
    const char *type;      /* "" is left out */
    const char *traceback; /* NULL: none */
} error_record;

typedef struct settlement {
    fence fence;
    const char *outcome;
    const char *result; /* JSON; NULL: absent */
    size_t result_length;
    error_record error;
    bool has_retry_in;
    double retry_in;
    report report;
} settlement;

typedef struct queue_room {
    const char *name;
    int64_t room;
} queue_room;

typedef struct exchange_ask {
    const char *session_id;
    const queue_room *queues; /* in the order of precedence */
    size_t queue_count;
    int64_t want;
    const char *nonce;
    int64_t aged;
    names ids;
} exchange_ask;

void say_hello(buffer *out, const hello *said);
/* A beat is written in three steps, because what is held is a long list. */
void say_beat_begin(json_writer *w, buffer *out, const session *who);
void say_held(json_writer *w, const fence *fence, const report *report);
void say_beat_end(json_writer *w, double ttl);
/* So is an exchange. */
void say_exchange_begin(json_writer *w, buffer *out, const char *session_id);
void say_settlement(json_writer *w, const settlement *settled);
void say_exchange_end(json_writer *w, const exchange_ask *ask);
void say_wait(buffer *out, names queues, names ids, double timeout);
void say_forget(buffer *out, uint64_t id);
/* One line of a list of log lines. */
void say_log_line(buffer *out, const char *at, const char *message, size_t length, int64_t attempt);

#endif
