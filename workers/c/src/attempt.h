/*
 * One leased job in the hands of this worker, from the lease to the answer for its settlement.
 *
 * The main thread owns it. A thread that runs it touches `job`, `ending`, and `news` under its
 * lock; it hands the attempt back through the pool's list when the handler has returned.
 */
#ifndef STOKER_ATTEMPT_H
#define STOKER_ATTEMPT_H

#include <pthread.h>
#include <stdatomic.h>

#include "job.h"
#include "plugin.h"
#include "requests.h"

typedef enum attempt_state {
    ATTEMPT_WAITING, /* in the buffer: no slot is free */
    ATTEMPT_RUNNING, /* a handler has it */
    ATTEMPT_ENDED,   /* its settlement waits for an exchange, or is away with one */
    ATTEMPT_STUCK    /* given up and settled, and its thread still runs */
} attempt_state;

/* What the handler reported and no beat has taken yet. */
typedef struct news {
    pthread_mutex_t lock;
    atomic_bool fresh;
    double progress;
    char *note; /* owned */
    buffer *lines; /* a ring of `lines_room` lines, each a JSON object */
    unsigned first;
    unsigned count;
    bool has_progress;
} news;

typedef struct attempt {
    struct attempt *next; /* in the list of those that are held */
    struct attempt *previous;
    struct attempt *link; /* in the one queue where it stands: buffer, pool, outbox, batch */
    lease lease;
    const known_task *task; /* NULL: no plugin has it */
    stoker_job job;
    ending ending;
    news news;
    atomic_int stop; /* what the handler is told; a stoker_stop */
    attempt_state state;
    stoker_stop reason; /* why it was told to stop, on the worker's side */
    double leased_at;   /* when its lease was asked for, on the monotonic clock */
    double started;     /* when its handler began; less than 0: it did not */
    double ended_at;
    double soft_at; /* when its limits are over; HUGE_VAL: none */
    double hard_at;
    double kill_at;
    bool shown; /* the store knows that it runs */
    bool lost;  /* the store gave it to somebody else: nothing is settled */
    bool refused; /* the store refused its settlement once; this one is a small failure */
    bool is_child; /* it runs in a process */
    struct told *told; /* owned: what a beat that is under way said of it, or NULL */
    long place; /* among those that run */
    int slot;   /* of its child process; -1: none */
    /* How it is settled; `result` and the error are those of `ending`. */
    const char *outcome;
    bool has_retry_in;
    double retry_in;
    char *logs; /* last words, as JSON; owned */
    bool has_last_progress;
    double last_progress;
    char *last_note;
} attempt;

/* Attempts in a row, linked by `link`. */
typedef struct attempt_queue {
    attempt *first;
    attempt *last;
    size_t count;
} attempt_queue;

void queue_push(attempt_queue *q, attempt *a);
void queue_push_front(attempt_queue *q, attempt *a);
attempt *queue_pop(attempt_queue *q);
/* Move all of `more` to the end of `q`. */
void queue_append(attempt_queue *q, attempt_queue *more);

enum { LINES_MOST = 1000 };

/* What was taken of the news. */
typedef struct told {
    bool has_progress;
    double progress;
    char *note; /* owned, as are the logs: a JSON array, or NULL */
    char *logs;
} told;

attempt *attempt_new(lease *taken, double leased_at); /* takes the lease's memory */
void attempt_free(attempt *a);
/* What is settled in place of an attempt whose thread does not obey and still uses the other. */
attempt *attempt_stand_in(const attempt *a);
/* The handler begins now: start the clock of its limits. */
void attempt_begin(attempt *a, double now);
/* Note a reason to stop; false when there is one as good already. */
bool attempt_ask(attempt *a, stoker_stop reason);
double attempt_ran_for(const attempt *a, double now);

/* Reports; any thread. */
void attempt_progress(attempt *a, double done, const char *note);
void attempt_log(attempt *a, const char *message, size_t length);
/* Take what was reported, up to about `most` bytes of lines. */
void attempt_take_news(attempt *a, size_t most, told *found);
/* What was told did not arrive: keep it for the next time. */
void attempt_keep_news(attempt *a, told *kept);
void told_free(told *t);

/* Decide from the ending and the reason to stop how it is settled. */
void attempt_judge(attempt *a, double random);
/* Settle it as a small failure, in place of an outcome that the store, or a frame, cannot take. */
void attempt_make_small(attempt *a, const char *code, const char *message);
settlement attempt_settlement(const attempt *a);

#endif
