/* What a server says: responses, and what is in the answer to each verb of a worker. Every reader
   ignores fields that it does not know, and refuses those it needs and does not find. */
#ifndef STOKER_ANSWERS_H
#define STOKER_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "json_read.h"

enum { CODE_SIZE = 48, MESSAGE_SIZE = 512 };

/* An error as a server or this worker's own connection tells it. */
typedef struct trouble {
    char code[CODE_SIZE]; /* "" is no trouble */
    char message[MESSAGE_SIZE];
    bool retryable;
} trouble;

void trouble_set(trouble *t, const char *code, bool retryable, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool trouble_is(const trouble *t, const char *code);

typedef struct response {
    uint64_t id; /* 0: about the whole connection */
    int64_t ok;  /* node of the answer, or JSON_NONE: then there is `error` */
    trouble error;
} response;

/* Index and read a response. Returns NULL, or why it is none. `doc` is used again and again. */
const char *read_response(json_doc *doc, const char *body, size_t length, response *found);

typedef struct welcome {
    int64_t max_frame;
    int64_t max_in_flight;
    double ping_every;
    char identity[128];
    char version[32];
    char engine[32];
} welcome;

bool read_welcome(const json_doc *doc, int64_t node, welcome *found);

typedef enum command { COMMAND_NONE, COMMAND_DRAIN, COMMAND_STOP } command;

typedef struct beat_reply {
    bool alive;
    command command;
    int64_t cancel; /* node of a list of ids, or JSON_NONE */
    int64_t lost;
} beat_reply;

bool read_beat_reply(const json_doc *doc, int64_t node, beat_reply *found);

typedef enum settled { SETTLED_OK, SETTLED_REPEATED, SETTLED_LEASE_LOST, SETTLED_UNKNOWN } settled;

typedef struct exchange_reply {
    int64_t settled; /* nodes of the two lists */
    int64_t leased;
} exchange_reply;

bool read_exchange_reply(const json_doc *doc, int64_t node, exchange_reply *found);
settled read_settled(const json_doc *doc, int64_t node);

/* A lease. Its texts end with a zero byte and live in `memory`. */
typedef struct lease {
    char *memory; /* owned */
    char *filled; /* owned: the payload with its parents' results in it, or NULL */
    const char *id;
    const char *task;
    const char *queue;
    const char *nonce;
    const char *payload; /* JSON */
    size_t payload_length;
    const char *retry;        /* JSON, or NULL */
    const char *parents;      /* JSON, or NULL */
    const char *parent_names; /* JSON, or NULL */
    const char *headers;      /* JSON, or NULL */
    const char *tenant;       /* or NULL */
    const char *workflow_id;  /* or NULL */
    int64_t attempt;
    int64_t epoch;
    int64_t failed;
    int64_t lost;
    double timeout; /* seconds; less than 0: none */
    double soft_timeout;
    bool cancel_requested;
} lease;

/* Copy a lease out of the frame. False if it is none; then nothing has to be freed. */
bool read_lease(const json_doc *doc, int64_t node, lease *found);
void lease_free(lease *l);

#endif
