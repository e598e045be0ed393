#include "dispatcher.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "outputs.h"

#define SOON 0.075  /* seconds that a job runs before the store is told that it does */
#define STALE 1.0   /* seconds in the buffer after which another worker may be quicker */
#define POSTPONE_MOST 300.0
enum { LOGS_AT_THE_END = 4 * 1024 * 1024, MOST_DOUBLINGS = 16 };

static bool queue_remove(attempt_queue *q, attempt *a)
{
    attempt_queue rest = {0};
    bool found = false;
    for (attempt *one = queue_pop(q); one != NULL; one = queue_pop(q)) {
        if (one == a)
            found = true;
        else
            queue_push(&rest, one);
    }
    *q = rest;
    return found;
}

static void hold(dispatcher *d, attempt *a)
{
    a->next = d->all;
    if (d->all != NULL)
        d->all->previous = a;
    d->all = a;
}

static void let_go(dispatcher *d, attempt *a)
{
    if (a->previous != NULL)
        a->previous->next = a->next;
    else
        d->all = a->next;
    if (a->next != NULL)
        a->next->previous = a->previous;
    a->next = a->previous = NULL;
}

/* It has ended: what is known goes into the outbox. */
static void post(dispatcher *d, attempt *a)
{
    told last;
    a->state = ATTEMPT_ENDED;
    attempt_take_news(a, LOGS_AT_THE_END, &last);
    a->has_last_progress = last.has_progress;
    a->last_progress = last.progress;
    a->last_note = last.note;
    a->logs = last.logs;
    queue_push(&d->outbox, a);
    d->has_news = true;
}

static void end_unstarted(dispatcher *d, attempt *a, const char *outcome)
{
    a->outcome = outcome;
    post(d, a);
}

/* This worker cannot run it, another one may: later, and later each time. */
static void put_off(dispatcher *d, attempt *a, const char *code, const char *type,
                    const char *message)
{
    int doublings = a->lease.epoch < MOST_DOUBLINGS ? (int)a->lease.epoch - 1 : MOST_DOUBLINGS;
    double longest = fmin(POSTPONE_MOST, ldexp(1, doublings < 0 ? 0 : doublings));
    ending_set_error(&a->ending, END_SNOOZED, code, type, message);
    a->ending.seconds = longest * (1 + random_share()) / 2;
    log_line(LOG_WARNING, "job %s (%s) was put off for %.1f s: %s", a->lease.id, a->lease.task,
             a->ending.seconds, message);
    attempt_judge(a, 0);
    post(d, a);
}

static attempt *take(dispatcher *d, lease *taken, double leased_at)
{
    attempt *a = attempt_new(taken, leased_at);
    a->task = registry_find(d->tasks, a->lease.task);
    a->job.result_limit = (size_t)d->options->result;
    hold(d, a);
    return a;
}

void dispatcher_take(dispatcher *d, lease *taken, double leased_at)
{
    attempt *a = take(d, taken, leased_at);
    if (a->task == NULL) {
        char message[300];
        snprintf(message, sizeof message, "no plugin of this worker has a task named '%.200s'",
                 a->lease.task);
        put_off(d, a, "unknown_task", "UnknownTask", message);
    } else if (a->lease.cancel_requested) {
        end_unstarted(d, a, "cancelled");
    } else if (!fill_outputs(&a->lease)) {
        put_off(d, a, "memory_exceeded", "MemoryError",
                "there is no memory for the results of its parents");
    } else {
        a->is_child = a->task->task.mode == STOKER_PROCESS || a->lease.lost > 0;
        queue_push(&d->buffer, a);
    }
}

void dispatcher_give_back(dispatcher *d, lease *taken, double leased_at)
{
    end_unstarted(d, take(d, taken, leased_at), "released");
}

static void enter(dispatcher *d, attempt *a)
{
    a->place = d->running++;
    d->runs[a->place] = a;
}

/* The last one takes its place: whoever walks along them and may end some begins at the end. */
static void leave(dispatcher *d, const attempt *a)
{
    attempt *last = d->runs[--d->running];
    d->runs[a->place] = last;
    last->place = a->place;
    d->shown -= a->shown ? 1 : 0;
}

static void start(dispatcher *d, attempt *a, attempt_queue *in_threads)
{
    enter(d, a);
    attempt_begin(a, now_monotonic());
    if (a->is_child) {
        uint64_t own = a->task->task.memory_limit;
        crew_run(d->crew, a, own > 0 ? own : d->options->memory);
    } else {
        queue_push(in_threads, a);
    }
}

static void run_in_threads(dispatcher *d, attempt_queue *started)
{
    if (started->count == 0 || pool_run(d->pool, started))
        return;
    for (attempt *a = queue_pop(started); a != NULL; a = queue_pop(started)) {
        leave(d, a);
        put_off(d, a, "no_executor", "", "the system gives this worker no thread");
    }
}

void dispatcher_fill(dispatcher *d)
{
    attempt_queue blocked = {0};
    attempt_queue in_threads = {0};
    if (d->closing || d->fenced || d->buffer.count == 0)
        return;
    while (d->buffer.count > 0 && dispatcher_free(d) > 0) {
        attempt *a = queue_pop(&d->buffer);
        if (a->is_child && !crew_has_room(d->crew))
            queue_push(&blocked, a);
        else
            start(d, a, &in_threads);
    }
    queue_append(&blocked, &d->buffer);
    d->buffer = blocked;
    run_in_threads(d, &in_threads);
}

void dispatcher_done(dispatcher *d, attempt *a)
{
    if (a->state == ATTEMPT_STUCK) {
        d->stuck--;
        attempt_free(a);
        return;
    }
    leave(d, a);
    d->finished++;
    a->ended_at = now_monotonic();
    d->has_news = true;
    if (a->lost) {
        let_go(d, a);
        attempt_free(a);
        return;
    }
    attempt_judge(a, random_share());
    post(d, a);
}

void dispatcher_answered(dispatcher *d, attempt *a, settled answer)
{
    if (answer == SETTLED_LEASE_LOST) {
        d->refused++;
        log_line(LOG_WARNING,
                 "job %s had been taken back when it was settled as %s; nothing was recorded",
                 a->lease.id, a->outcome);
    }
    let_go(d, a);
    attempt_free(a);
}

/* Seconds from being told to stop to the end of patience; less than 0: for ever. */
static double patience(const attempt *a)
{
    switch (a->reason) {
    case STOKER_STOP_TIMEOUT:
        return a->is_child ? 0.2 : 1;
    case STOKER_STOP_RELEASE:
        return 1;
    case STOKER_STOP_CANCEL:
        return a->is_child ? 5 : -1;
    case STOKER_STOP_LOST:
        return a->is_child ? 1 : -1;
    default:
        return -1;
    }
}

static void interrupt(dispatcher *d, attempt *a)
{
    double wait = patience(a);
    if (wait >= 0)
        a->kill_at = fmin(a->kill_at, now_monotonic() + wait);
    atomic_store(&a->stop, (int)a->reason);
    if (a->is_child)
        crew_tell(d->crew, a);
}

void dispatcher_shown(dispatcher *d, attempt *a)
{
    d->shown += a->shown ? 0 : 1;
    a->shown = true;
}

void dispatcher_tell(dispatcher *d, attempt *a, stoker_stop reason)
{
    if (a->state == ATTEMPT_RUNNING && attempt_ask(a, reason))
        interrupt(d, a);
}

void dispatcher_call_off(dispatcher *d, attempt *a)
{
    if (a->state == ATTEMPT_WAITING && queue_remove(&d->buffer, a))
        end_unstarted(d, a, "cancelled");
    else
        dispatcher_tell(d, a, STOKER_STOP_CANCEL);
}

void dispatcher_lose(dispatcher *d, attempt *a)
{
    if (a->state == ATTEMPT_ENDED)
        return; /* its settlement will be told */
    log_line(LOG_WARNING, "job %s was taken back while it was held here", a->lease.id);
    a->lost = true;
    if (a->state == ATTEMPT_WAITING && queue_remove(&d->buffer, a)) {
        let_go(d, a);
        attempt_free(a);
        return;
    }
    dispatcher_tell(d, a, STOKER_STOP_LOST);
}

static void drop_queue(dispatcher *d, attempt_queue *q)
{
    for (attempt *a = queue_pop(q); a != NULL; a = queue_pop(q)) {
        let_go(d, a);
        attempt_free(a);
    }
}

void dispatcher_abandon(dispatcher *d, attempt_queue *batch)
{
    drop_queue(d, &d->buffer);
    drop_queue(d, &d->outbox);
    drop_queue(d, batch);
    for (attempt *a = d->all; a != NULL; a = a->next) {
        a->lost = true;
        dispatcher_tell(d, a, STOKER_STOP_LOST);
    }
}

static void release_buffer(dispatcher *d, double older_than)
{
    attempt_queue kept = {0};
    for (attempt *a = queue_pop(&d->buffer); a != NULL; a = queue_pop(&d->buffer)) {
        if (a->leased_at < older_than)
            end_unstarted(d, a, "released");
        else
            queue_push(&kept, a);
    }
    d->buffer = kept;
}

void dispatcher_close(dispatcher *d)
{
    d->closing = true;
    release_buffer(d, HUGE_VAL);
    d->has_news = true;
}

void dispatcher_stop_running(dispatcher *d, stoker_stop reason)
{
    for (attempt *a = d->all; a != NULL; a = a->next)
        dispatcher_tell(d, a, reason);
}

/* Its thread does not obey and cannot be killed: settle it all the same. */
static void give_up(dispatcher *d, attempt *a)
{
    attempt *other = attempt_stand_in(a);
    other->job.result_limit = a->job.result_limit;
    let_go(d, a);
    a->state = ATTEMPT_STUCK;
    d->stuck++;
    log_line(LOG_ERROR,
             "job %s (%s) was told to stop and goes on; its thread is given up, and this process "
             "is replaced when its other jobs have ended",
             a->lease.id, a->lease.task);
    hold(d, other);
    other->place = a->place;
    other->shown = a->shown;
    d->runs[other->place] = other;
    ending_set_error(&other->ending, END_GIVEN_UP, NULL, NULL, NULL);
    other->state = ATTEMPT_RUNNING;
    dispatcher_done(d, other);
}

static void kill_attempt(dispatcher *d, attempt *a)
{
    a->kill_at = HUGE_VAL;
    if (a->is_child)
        crew_kill(d->crew, a);
    else
        give_up(d, a);
}

static void limit(dispatcher *d, attempt *a, double now)
{
    if (now >= a->kill_at) {
        kill_attempt(d, a);
    } else if (now >= a->hard_at) {
        /* Even one that was told to stop for a better reason ends here at the latest. */
        a->hard_at = HUGE_VAL;
        bool better = !attempt_ask(a, STOKER_STOP_TIMEOUT);
        stoker_stop reason = a->reason;
        a->reason = STOKER_STOP_TIMEOUT;
        double wait = patience(a);
        a->reason = reason;
        a->kill_at = fmin(a->kill_at, now + wait);
        if (!better)
            interrupt(d, a);
    } else if (now >= a->soft_at) {
        a->soft_at = HUGE_VAL;
        dispatcher_tell(d, a, STOKER_STOP_SOFT);
    }
}

bool dispatcher_tick(dispatcher *d, double now)
{
    bool news = false;
    for (long i = d->running - 1; i >= 0; i--) {
        attempt *a = d->runs[i];
        news = news || atomic_load(&a->news.fresh) || (!a->shown && now - a->started > SOON);
        limit(d, a, now);
    }
    /* The first one in it is the oldest. */
    if (d->buffer.count > 0 && d->buffer.first->leased_at < now - STALE)
        release_buffer(d, now - STALE);
    return news;
}

long dispatcher_free(const dispatcher *d)
{
    return d->options->concurrency - d->running;
}

long dispatcher_load(const dispatcher *d, const char *queue)
{
    long load = 0;
    for (const attempt *a = d->all; a != NULL; a = a->next)
        load += a->state != ATTEMPT_ENDED && strcmp(a->lease.queue, queue) == 0;
    return load;
}

attempt *dispatcher_find(const dispatcher *d, const json_doc *doc, int64_t id)
{
    for (attempt *a = d->all; a != NULL; a = a->next)
        if (!a->lost && json_equals(doc, id, a->lease.id, strlen(a->lease.id)))
            return a;
    return NULL;
}

bool dispatcher_is_empty(const dispatcher *d)
{
    return d->running == 0 && d->buffer.count == 0 && d->outbox.count == 0;
}
