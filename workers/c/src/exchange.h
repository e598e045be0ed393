/*
 * Hands in what is done and takes what comes next, in one request. Never two of them are under way:
 * one is repeated, with its nonce and the same bytes, until it is answered. Whatever ends meanwhile
 * gathers, so that batches build up by themselves: there are no timers; what gathers to much goes
 * in beside it (settling.h). The next one goes out before the answer to the last is taken apart:
 * store and worker work side by side.
 *
 * How much is wanted: free slots, plus a buffer as long as the jobs that end during one exchange.
 *
 * If the store refuses an exchange for one outcome in it, the batch is halved until that one stands
 * alone; a small failure is handed in instead of it.
 */
#ifndef STOKER_EXCHANGE_H
#define STOKER_EXCHANGE_H

#include "batch.h"
#include "connection.h"
#include "dispatcher.h"
#include "heartbeat.h"
#include "queues.h"
#include "settling.h"

typedef struct exchange {
    const options *options;
    dispatcher *dispatcher;
    connection *connection;
    heartbeat *heartbeat;
    queues *queues;
    batch away; /* the exchange that is not answered; not begun: there is none */
    settling aside; /* what was handed in beside it */
    batch next; /* what has ended since, written already */
    attempt_queue suspects; /* after a refusal: those that go again, in smaller parts */
    size_t part;            /* how many at once */
    long want;
    long arriving; /* leases that have come and are not taken yet */
    double begun_at; /* when it was sent first */
    double retry_at;
    unsigned failures;
    bool was_sent;  /* nobody knows whether it was carried out */
    bool listened;  /* the bell was listening when it was sent */
    bool full;      /* the last one that asked for leases gave as many */
    bool rests;     /* the bell was not armed for this one: there is more than enough to do */
    bool look;      /* ask for jobs, whatever was known before */
    double bell_at; /* not before that is the bell armed */
    double poll_at; /* when to look in any case */
    double learn_at;
    unsigned fruitless; /* rings for nothing in a row */
    double aged;
    /* How fast jobs end, and so how long the buffer should be. */
    double noted_at;
    uint64_t noted;
    double rate;
    double trip;
    long ahead;
    trouble fatal;
} exchange;

void exchange_begin(exchange *e);
/* The attempts are the dispatcher's to free. */
void exchange_free(exchange *e);
/* Send what is due. */
void exchange_turn(exchange *e, double now);
double exchange_due(const exchange *e);
void exchange_answered(exchange *e, ask_kind kind, const json_doc *doc, const response *found);
void exchange_unanswered(exchange *e, ask_kind kind);
/* The session is gone, and with it what was under way. */
void exchange_drop(exchange *e);
/* Whether everything is handed in and nothing is under way. */
bool exchange_is_over(const exchange *e);

#endif
