/*
 * Who holds what: leased jobs on their way through the slots of this worker. A job that is leased
 * is held until the store has answered its settlement; in between it waits in the buffer, runs, and
 * lies in the outbox. This module moves it, keeps its limits, and is the only one that tells
 * attempts to stop. It talks to no server.
 */
#ifndef STOKER_DISPATCHER_H
#define STOKER_DISPATCHER_H

#include "attempt.h"
#include "options.h"
#include "processes.h"
#include "threads.h"

typedef struct dispatcher {
    const options *options;
    const registry *tasks;
    pool *pool;
    crew *crew;
    attempt *all;   /* every attempt but those that are stuck */
    attempt **runs; /* those in a slot, `running` of them; owned, room for all slots */
    attempt_queue buffer;
    attempt_queue outbox;
    long running;
    long shown; /* of those that run: how many the store knows of */
    long stuck; /* threads that hang in a job that was given up */
    uint64_t finished;
    uint64_t refused; /* settlements that came too late */
    bool closing;
    bool fenced;
    bool has_news; /* something ended, or a slot became free */
} dispatcher;

/* Take a lease; what cannot run here is put off. */
void dispatcher_take(dispatcher *d, lease *taken, double leased_at);
/* Take a lease and give it back at once. */
void dispatcher_give_back(dispatcher *d, lease *taken, double leased_at);
/* Start what waits while there are slots. */
void dispatcher_fill(dispatcher *d);
/* An attempt's handler has returned, or its process is gone. */
void dispatcher_done(dispatcher *d, attempt *a);
/* The store has answered for its settlement: let go of it. */
void dispatcher_answered(dispatcher *d, attempt *a, settled answer);
/* The store knows that it runs. */
void dispatcher_shown(dispatcher *d, attempt *a);
void dispatcher_tell(dispatcher *d, attempt *a, stoker_stop reason);
void dispatcher_call_off(dispatcher *d, attempt *a);
void dispatcher_lose(dispatcher *d, attempt *a);
/* Drop everything: the session is dead. `batch` is what an exchange had taken along. */
void dispatcher_abandon(dispatcher *d, attempt_queue *batch);
/* Start nothing any more, and give back what has not started. */
void dispatcher_close(dispatcher *d);
void dispatcher_stop_running(dispatcher *d, stoker_stop reason);
/* Keep the limits; true if the store should hear something soon. */
bool dispatcher_tick(dispatcher *d, double now);
long dispatcher_free(const dispatcher *d);
/* Jobs of a queue that wait or run here. */
long dispatcher_load(const dispatcher *d, const char *queue);
attempt *dispatcher_find(const dispatcher *d, const json_doc *doc, int64_t id);
bool dispatcher_is_empty(const dispatcher *d);

#endif
