#include "exchange.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"

#define HORIZON 0.01 /* seconds of work that the buffer holds at least, when jobs end fast */
#define AGED 8       /* one lease in so many goes by age alone, so that none starves */
#define BACKOFF 0.05
#define BACKOFF_MOST 5.0
#define LEARN 2.0         /* seconds between two looks for new queues */
#define CONFIRM_SHARE 0.4 /* of the lease: leases that took longer to arrive are given back */
#define BREATH 0.01       /* seconds that the bell rests after rings for nothing */
#define BREATH_MOST 0.1
enum {
    MOST_AHEAD = 2000, /* two rounds: what comes in is asked for before what went before has run */
    MOST_BATCH = 2000,
    IDLE_RINGS = 3,
    MOST_DOUBLINGS = 16,
    FLIGHTS = 8 /* requests that may be under way, or the bell is not used */
};

void exchange_begin(exchange *e)
{
    e->look = true;
    e->noted_at = now_monotonic();
}

static void clear_away(exchange *e)
{
    batch_clear(&e->away);
    e->was_sent = false;
    e->failures = 0;
    e->retry_at = 0;
}

void exchange_free(exchange *e)
{
    batch_free(&e->away);
    settling_free(&e->aside);
    batch_free(&e->next);
}

bool exchange_is_over(const exchange *e)
{
    return e->away.attempts.count == 0 && settling_is_over(&e->aside) &&
           e->next.attempts.count == 0 && e->suspects.count == 0 &&
           !(batch_is_begun(&e->away) && e->was_sent);
}

void exchange_drop(exchange *e)
{
    clear_away(e);
    batch_clear(&e->next);
    settling_drop(&e->aside, &e->away.attempts);
    queue_append(&e->away.attempts, &e->next.attempts);
    queue_append(&e->away.attempts, &e->suspects);
    dispatcher_abandon(e->dispatcher, &e->away.attempts);
    e->look = true;
}

static long wanted(const exchange *e)
{
    const dispatcher *d = e->dispatcher;
    if (d->closing || d->fenced || e->suspects.count > 0)
        return 0;
    long want = dispatcher_free(d) + e->ahead - (long)d->buffer.count - e->arriving;
    return want > 0 ? want : 0;
}

static int64_t by_age(exchange *e, long want)
{
    e->aged = fmin(e->aged + (double)want / AGED, (double)want);
    double whole = floor(e->aged);
    e->aged -= whole;
    return (int64_t)whole;
}

/* Write what has ended while an exchange is away: when its answer comes, only what stands around
   the settlements is missing in the next one. */
static void draft(exchange *e)
{
    attempt_queue *outbox = &e->dispatcher->outbox;
    if (outbox->count == 0 || e->suspects.count > 0)
        return;
    if (!batch_is_begun(&e->next))
        batch_begin(&e->next, e->heartbeat->id);
    batch_add(&e->next, outbox, MOST_BATCH, connection_room(e->connection));
}

/* Take the draft, or instead of it those that are looked at one by one. */
static void begin_away(exchange *e)
{
    if (e->suspects.count > 0) {
        batch_clear(&e->next);
        queue_append(&e->next.attempts, &e->dispatcher->outbox);
        e->dispatcher->outbox = e->next.attempts;
        e->next.attempts = (attempt_queue){0};
        batch_begin(&e->away, e->heartbeat->id);
        batch_add(&e->away, &e->suspects, e->part, connection_room(e->connection));
        return;
    }
    draft(e);
    if (batch_is_begun(&e->next))
        batch_swap(&e->away, &e->next);
    else
        batch_begin(&e->away, e->heartbeat->id);
}

static void compose(exchange *e, long want, double now)
{
    char nonce[NONCE_SIZE];
    size_t count = want > 0 ? queues_share(e->queues, e->dispatcher, want) : 0;
    e->want = count > 0 ? want : 0;
    new_nonce(nonce);
    const exchange_ask ask = {.session_id = e->heartbeat->id,
                              .queues = e->queues->room,
                              .queue_count = count,
                              .want = e->want,
                              .nonce = nonce,
                              .aged = by_age(e, e->want)};
    begin_away(e);
    const char *wrong = batch_end(&e->away, &ask);
    e->begun_at = now;
    if (wrong != NULL)
        trouble_set(&e->fatal, "internal", false, "an exchange could not be written: %s", wrong);
}

static void halve(exchange *e, const trouble *why);

static void send_it(exchange *e, double now)
{
    if (e->away.text.length > connection_room(e->connection)) {
        /* A server that takes shorter frames than the one before it. */
        trouble why;
        trouble_set(&why, "result_too_large", false, "it is longer than the server takes");
        halve(e, &why);
        return;
    }
    e->listened = connection_is_asking(e->connection, ASK_BELL);
    if (connection_ask(e->connection, ASK_EXCHANGE, e->away.text.data, e->away.text.length, 0))
        e->was_sent = true;
    else
        e->retry_at = now + BACKOFF;
}

static void arm_bell(exchange *e, double now)
{
    buffer params = {0};
    if (now < e->bell_at || connection_is_asking(e->connection, ASK_BELL))
        return;
    say_wait(&params, queues_names(e->queues), (names){0}, e->options->poll);
    if (!params.failed)
        connection_ask(e->connection, ASK_BELL, params.data, params.length,
                       e->options->poll + 10);
    buffer_free(&params);
}

static void learn(exchange *e, double now)
{
    if (!queues_learns(e->queues) || now < e->learn_at)
        return;
    if (connection_ask(e->connection, ASK_QUEUES, "{}", 2, 0))
        e->learn_at = now + fmax(LEARN, e->options->poll);
}

/* Whether something has to be told or asked. */
static bool has_reason(const exchange *e)
{
    return e->suspects.count > 0 || e->next.attempts.count > 0 ||
           e->dispatcher->outbox.count > 0 || (e->look && wanted(e) > 0);
}

void exchange_turn(exchange *e, double now)
{
    if (!connection_is_open(e->connection) || !e->heartbeat->open)
        return;
    if (now >= e->poll_at) {
        e->poll_at = now + e->options->poll;
        e->look = true;
    }
    learn(e, now);
    if (connection_is_asking(e->connection, ASK_EXCHANGE)) {
        draft(e);
        settling_take(&e->aside, &e->next, e->heartbeat->id);
        return;
    }
    if (now < e->retry_at)
        return;
    if (!batch_is_begun(&e->away)) {
        if (!has_reason(e))
            return;
        long want = wanted(e);
        /* While jobs end fast and every exchange is full, it would ring at once, each time. */
        e->rests = e->full && e->ahead > 0;
        if (want > 0 && !e->rests)
            arm_bell(e, now);
        compose(e, want, now);
        /* Whatever rings from here on is not answered by this exchange. */
        if (want > 0)
            e->look = false;
        if (e->want == 0 && e->away.attempts.count == 0) {
            clear_away(e); /* every queue is at its limit */
            return;
        }
    }
    if (e->dispatcher->closing && e->away.attempts.count == 0 && !e->was_sent) {
        clear_away(e);
        return;
    }
    if (e->fatal.code[0] == '\0')
        send_it(e, now);
}

double exchange_due(const exchange *e)
{
    if (!connection_is_open(e->connection) || !e->heartbeat->open)
        return HUGE_VAL;
    double due = e->poll_at;
    if (queues_learns(e->queues) && !connection_is_asking(e->connection, ASK_QUEUES))
        due = fmin(due, e->learn_at);
    if (!connection_is_asking(e->connection, ASK_EXCHANGE) &&
        (batch_is_begun(&e->away) || has_reason(e)))
        due = fmin(due, e->retry_at);
    return due;
}

static void back_off(exchange *e)
{
    int doublings = e->failures < MOST_DOUBLINGS ? (int)e->failures + 1 : MOST_DOUBLINGS;
    e->failures++;
    e->retry_at = now_monotonic() +
                  random_share() * fmin(BACKOFF_MOST, ldexp(BACKOFF, doublings));
}

/* Whether the worker ran out of work with all its slots used: it could have done more. */
static bool ran_out(const exchange *e, uint64_t ended)
{
    const dispatcher *d = e->dispatcher;
    return d->running == 0 && d->buffer.count == 0 && ended >= (uint64_t)e->options->concurrency;
}

/* Learn how fast jobs end. What a long cycle says holds, and what is less than it might have been;
   short ones are averaged. */
static void note_pace(exchange *e, double now)
{
    uint64_t ended = e->dispatcher->finished - e->noted;
    double cycle = fmax(now - e->noted_at, 1e-6);
    double rate = (double)ended / cycle;
    bool holds = rate > e->rate && ran_out(e, ended);
    e->rate += (rate - e->rate) * (holds ? 1 : fmin(1, 0.25 + cycle * 10));
    e->trip += (now - e->begun_at - e->trip) * 0.5;
    e->noted_at = now;
    e->noted += ended;
    e->ahead = (long)fmin(MOST_AHEAD, e->rate * fmax(HORIZON, 2 * e->trip));
}

static void take_leases(exchange *e, const json_doc *doc, int64_t list, double begun_at, double now)
{
    bool late = now - begun_at > e->options->lease * CONFIRM_SHARE;
    size_t count = 0;
    for (int64_t at = json_first(doc, list); at >= 0; at = json_after(doc, list, at)) {
        lease taken;
        count++;
        if (!read_lease(doc, at, &taken))
            log_line(LOG_ERROR, "a lease cannot be read; the store takes the job back");
        else if (late)
            dispatcher_give_back(e->dispatcher, &taken, begun_at);
        else
            dispatcher_take(e->dispatcher, &taken, begun_at);
    }
    if (late && count > 0)
        log_line(LOG_WARNING, "an exchange took too long; %zu leases go back", count);
    if (e->dispatcher->closing)
        dispatcher_close(e->dispatcher);
    dispatcher_fill(e->dispatcher);
}

/* Decide from how many leases came when the store is asked for more. */
static void note_supply(exchange *e, size_t count, double now)
{
    long want = e->want;
    if (count > 0) {
        e->fruitless = 0;
        queues_turn(e->queues);
    }
    e->full = want > 0 ? count >= (size_t)want : e->full;
    if (want > 0 && !e->full && e->listened)
        return; /* there was nothing more, and whatever comes will ring */
    bool may_listen = e->rests || connection_is_asking(e->connection, ASK_BELL);
    if (want > 0 && (count > 0 || may_listen))
        e->look = true;
    else if (want > 0)
        e->poll_at = fmin(e->poll_at, fmax(e->bell_at, now + BREATH));
}

/* Send the next exchange before the answer to this one is taken apart: the store works on it
   meanwhile. The leases in the answer are counted already; how many of them each queue has is not,
   so not where queues have limits of their own. */
static void send_ahead(exchange *e, size_t arriving, double now)
{
    if (queues_have_limits(e->queues))
        return;
    e->arriving = (long)arriving;
    exchange_turn(e, now);
    e->arriving = 0;
    connection_push(e->connection);
}

static void not_an_answer(exchange *e)
{
    trouble_set(&e->fatal, "protocol_error", false, "the answer to an exchange is not one");
}

static void take_answer(exchange *e, const json_doc *doc, int64_t ok, double now)
{
    exchange_reply reply;
    if (!read_exchange_reply(doc, ok, &reply) ||
        json_count(doc, reply.settled) != e->away.attempts.count) {
        not_an_answer(e);
        return;
    }
    size_t count = json_count(doc, reply.leased);
    attempt_queue told = e->away.attempts;
    double begun_at = e->begun_at;
    e->away.attempts = (attempt_queue){0};
    note_pace(e, now);
    note_supply(e, count, now);
    clear_away(e);
    e->aside.resting = false;
    send_ahead(e, count, now);
    settle_all(e->dispatcher, &told, doc, reply.settled);
    take_leases(e, doc, reply.leased, begun_at, now);
}

/* Whether an error is about a settlement, and not about the store or this worker. */
static bool is_about_outcome(const trouble *why)
{
    static const char *const codes[] = {"invalid_arguments", "invalid_payload",
                                        "payload_too_large", "result_too_large"};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (trouble_is(why, codes[i]))
            return true;
    return false;
}

/* Find the outcome that the store cannot take. */
static void halve(exchange *e, const trouble *why)
{
    size_t count = e->away.attempts.count;
    clear_away(e);
    if (count == 0)
        return;
    if (count == 1) {
        attempt *a = queue_pop(&e->away.attempts);
        log_line(LOG_ERROR, "the store refused the outcome of job %s: %s", a->lease.id,
                 why->message);
        if (a->refused) {
            /* Even the small failure: let go, so that the store may take the job back. */
            dispatcher_answered(e->dispatcher, a, SETTLED_LEASE_LOST);
            return;
        }
        attempt_make_small(a, why->code, why->message);
        queue_push_front(&e->suspects, a);
        e->part = 1;
        return;
    }
    e->part = count / 2;
    queue_append(&e->away.attempts, &e->suspects);
    e->suspects = e->away.attempts;
    e->away.attempts = (attempt_queue){0};
}

static void refused(exchange *e, const trouble *why)
{
    if (trouble_is(why, "lease_lost")) {
        heartbeat_lose(e->heartbeat, why->message);
    } else if (why->retryable) {
        if (e->failures == 0)
            log_line(LOG_WARNING, "the store did not answer an exchange; it is repeated: %s",
                     why->message);
        back_off(e);
    } else if (is_about_outcome(why) && e->away.attempts.count > 0) {
        halve(e, why);
    } else {
        e->fatal = *why;
    }
}

static void rang(exchange *e, const response *found, const json_doc *doc, double now)
{
    bool ring = found->ok >= 0 && json_is(doc, found->ok, JSON_TRUE);
    if (found->ok < 0) {
        e->bell_at = now + e->options->poll;
        return;
    }
    e->look = true;
    e->fruitless = ring ? e->fruitless + 1 : 0;
    e->bell_at = 0;
    if (e->fruitless > IDLE_RINGS) {
        double breath = fmin(BREATH * (e->fruitless - IDLE_RINGS), BREATH_MOST);
        e->bell_at = now + breath;
    }
    e->poll_at = now + e->options->poll;
}

void exchange_answered(exchange *e, ask_kind kind, const json_doc *doc, const response *found)
{
    double now = now_monotonic();
    if (kind == ASK_BELL) {
        rang(e, found, doc, now);
    } else if (kind == ASK_QUEUES) {
        if (found->ok >= 0 && queues_learn(e->queues, doc, found->ok))
            e->look = true;
    } else if (kind == ASK_SETTLE) {
        if (!settling_answered(&e->aside, doc, found))
            not_an_answer(e);
    } else if (batch_is_begun(&e->away)) {
        if (found->ok >= 0)
            take_answer(e, doc, found->ok, now);
        else
            refused(e, &found->error);
    }
}

void exchange_unanswered(exchange *e, ask_kind kind)
{
    if (kind == ASK_EXCHANGE && batch_is_begun(&e->away)) {
        if (e->failures == 0)
            log_line(LOG_WARNING, "an exchange was not answered; it is repeated");
        back_off(e);
    } else if (kind == ASK_SETTLE) {
        settling_unanswered(&e->aside);
    } else if (kind == ASK_BELL) {
        e->look = true;
    }
}
