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
    MOST_AHEAD = 1000,
    MOST_BATCH = 2000,
    BATCH_BYTES = 4 * 1024 * 1024, /* of settlements, after which no more are taken */
    MARGIN = 65536,                /* bytes for what stands around the settlements */
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
    buffer_clear(&e->params);
    buffer_shrink(&e->params, MARGIN);
    e->was_sent = false;
    e->failures = 0;
    e->retry_at = 0;
}

static void free_queue(attempt_queue *q)
{
    for (attempt *a = queue_pop(q); a != NULL; a = queue_pop(q))
        attempt_free(a);
}

void exchange_free(exchange *e)
{
    free_queue(&e->batch);
    free_queue(&e->suspects);
    buffer_free(&e->params);
}

bool exchange_is_over(const exchange *e)
{
    return e->batch.count == 0 && e->suspects.count == 0 &&
           !(e->params.length > 0 && e->was_sent);
}

void exchange_drop(exchange *e)
{
    clear_away(e);
    for (attempt *a = queue_pop(&e->suspects); a != NULL; a = queue_pop(&e->suspects))
        queue_push(&e->batch, a);
    dispatcher_abandon(e->dispatcher, &e->batch);
    e->look = true;
}

static long wanted(const exchange *e)
{
    const dispatcher *d = e->dispatcher;
    if (d->closing || d->fenced || e->suspects.count > 0)
        return 0;
    long want = dispatcher_free(d) + e->ahead - (long)d->buffer.count;
    return want > 0 ? want : 0;
}

/* A small failure in place of an outcome that the store, or a frame, cannot take. */
static void make_small(attempt *a, const char *code, const char *message)
{
    ending_set_error(&a->ending, END_DISCARDED, code, "", message);
    a->outcome = "failed";
    a->has_retry_in = false;
    a->refused = true;
    free(a->logs);
    free(a->last_note);
    a->logs = a->last_note = NULL;
}

/* Add a settlement, unless it makes the request too long; then nothing is added. */
static bool add_settlement(json_writer *w, attempt *a, size_t most)
{
    const json_writer before = *w;
    size_t length = w->out->length;
    const settlement s = attempt_settlement(a);
    say_settlement(w, &s);
    if (w->wrong == NULL && w->out->length <= most)
        return true;
    *w = before;
    w->out->length = length;
    w->out->failed = false;
    return false;
}

static void add_batch(exchange *e, json_writer *w)
{
    attempt_queue *from = e->suspects.count > 0 ? &e->suspects : &e->dispatcher->outbox;
    size_t most_count = e->suspects.count > 0 ? e->part : MOST_BATCH;
    size_t room = connection_room(e->connection);
    size_t most = room > 2 * MARGIN ? room - MARGIN : room / 2;
    while (from->count > 0 && e->batch.count < most_count && w->out->length < BATCH_BYTES) {
        attempt *a = queue_pop(from);
        bool fits = add_settlement(w, a, most);
        if (!fits && e->batch.count > 0) {
            queue_push_front(from, a);
            return;
        }
        if (!fits) {
            make_small(a, "result_too_large",
                       "the outcome of the job is longer than the server takes; store it elsewhere "
                       "and return its address");
            fits = add_settlement(w, a, most);
        }
        queue_push(&e->batch, a);
        if (!fits)
            w->wrong = "one settlement alone does not fit";
    }
}

static int64_t by_age(exchange *e, long want)
{
    e->aged = fmin(e->aged + (double)want / AGED, (double)want);
    double whole = floor(e->aged);
    e->aged -= whole;
    return (int64_t)whole;
}

static void compose(exchange *e, long want, double now)
{
    json_writer w;
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
    buffer_clear(&e->params);
    say_exchange_begin(&w, &e->params, e->heartbeat->id);
    add_batch(e, &w);
    say_exchange_end(&w, &ask);
    e->begun_at = now;
    if (w.wrong != NULL)
        trouble_set(&e->fatal, "internal", false, "an exchange could not be written: %s", w.wrong);
}

static void halve(exchange *e, const trouble *why);

static void send_it(exchange *e, double now)
{
    if (e->params.length > connection_room(e->connection)) {
        /* A server that takes shorter frames than the one before it. */
        trouble why;
        trouble_set(&why, "result_too_large", false, "it is longer than the server takes");
        halve(e, &why);
        return;
    }
    e->listened = connection_is_asking(e->connection, ASK_BELL);
    if (connection_ask(e->connection, ASK_EXCHANGE, e->params.data, e->params.length, 0))
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
    return e->suspects.count > 0 || e->dispatcher->outbox.count > 0 || (e->look && wanted(e) > 0);
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
    if (connection_is_asking(e->connection, ASK_EXCHANGE) || now < e->retry_at)
        return;
    if (e->params.length == 0) {
        if (!has_reason(e))
            return;
        long want = wanted(e);
        if (want > 0)
            arm_bell(e, now);
        compose(e, want, now);
        /* Whatever rings from here on is not answered by this exchange. */
        if (want > 0)
            e->look = false;
        if (e->want == 0 && e->batch.count == 0) {
            clear_away(e); /* every queue is at its limit */
            return;
        }
    }
    if (e->dispatcher->closing && e->batch.count == 0 && !e->was_sent) {
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
        (e->params.length > 0 || has_reason(e)))
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

/* Learn how fast jobs end. What a long cycle says holds; short ones are averaged. */
static void note_pace(exchange *e, double now)
{
    uint64_t finished = e->dispatcher->finished;
    double cycle = fmax(now - e->noted_at, 1e-6);
    double rate = (double)(finished - e->noted) / cycle;
    e->rate += (rate - e->rate) * fmin(1, 0.25 + cycle * 10);
    e->trip += (now - e->begun_at - e->trip) * 0.5;
    e->noted_at = now;
    e->noted = finished;
    e->ahead = (long)fmin(MOST_AHEAD, e->rate * fmax(HORIZON, 2 * e->trip));
}

static bool take_settled(exchange *e, const json_doc *doc, int64_t list)
{
    if (json_count(doc, list) != e->batch.count)
        return false;
    for (int64_t at = json_first(doc, list); at >= 0; at = json_after(doc, list, at))
        dispatcher_answered(e->dispatcher, queue_pop(&e->batch), read_settled(doc, at));
    return true;
}

static size_t take_leases(exchange *e, const json_doc *doc, int64_t list, double now)
{
    bool late = now - e->begun_at > e->options->lease * CONFIRM_SHARE;
    size_t count = 0;
    for (int64_t at = json_first(doc, list); at >= 0; at = json_after(doc, list, at)) {
        lease taken;
        count++;
        if (!read_lease(doc, at, &taken))
            log_line(LOG_ERROR, "a lease cannot be read; the store takes the job back");
        else if (late)
            dispatcher_give_back(e->dispatcher, &taken, e->begun_at);
        else
            dispatcher_take(e->dispatcher, &taken, e->begun_at);
    }
    if (late && count > 0)
        log_line(LOG_WARNING, "an exchange took too long; %zu leases go back", count);
    if (e->dispatcher->closing)
        dispatcher_close(e->dispatcher);
    dispatcher_fill(e->dispatcher);
    return count;
}

static void take_answer(exchange *e, const json_doc *doc, int64_t ok, double now)
{
    exchange_reply reply;
    if (!read_exchange_reply(doc, ok, &reply) || !take_settled(e, doc, reply.settled)) {
        trouble_set(&e->fatal, "protocol_error", false, "the answer to an exchange is not one");
        return;
    }
    bool listened = e->listened;
    long want = e->want;
    note_pace(e, now);
    clear_away(e);
    size_t count = take_leases(e, doc, reply.leased, now);
    if (count > 0) {
        e->fruitless = 0;
        queues_turn(e->queues);
    }
    if (want > 0 && count < (size_t)want && listened)
        return; /* there was nothing more, and whatever comes will ring */
    bool listens = connection_is_asking(e->connection, ASK_BELL);
    if (want > 0 && (count > 0 || listens))
        e->look = true;
    else if (want > 0)
        e->poll_at = fmin(e->poll_at, fmax(e->bell_at, now + BREATH));
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
    size_t count = e->batch.count;
    clear_away(e);
    if (count == 0)
        return;
    if (count == 1) {
        attempt *a = queue_pop(&e->batch);
        log_line(LOG_ERROR, "the store refused the outcome of job %s: %s", a->lease.id,
                 why->message);
        if (a->refused) {
            /* Even the small failure: let go, so that the store may take the job back. */
            dispatcher_answered(e->dispatcher, a, SETTLED_LEASE_LOST);
            return;
        }
        make_small(a, why->code, why->message);
        queue_push_front(&e->suspects, a);
        e->part = 1;
        return;
    }
    e->part = count / 2;
    attempt_queue again = {0};
    for (attempt *a = queue_pop(&e->batch); a != NULL; a = queue_pop(&e->batch))
        queue_push(&again, a);
    for (attempt *a = queue_pop(&e->suspects); a != NULL; a = queue_pop(&e->suspects))
        queue_push(&again, a);
    e->suspects = again;
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
    } else if (is_about_outcome(why) && e->batch.count > 0) {
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
    } else if (e->params.length > 0) {
        if (found->ok >= 0)
            take_answer(e, doc, found->ok, now);
        else
            refused(e, &found->error);
    }
}

void exchange_unanswered(exchange *e, ask_kind kind)
{
    if (kind == ASK_EXCHANGE && e->params.length > 0) {
        if (e->failures == 0)
            log_line(LOG_WARNING, "an exchange was not answered; it is repeated");
        back_off(e);
    } else if (kind == ASK_BELL) {
        e->look = true;
    }
}
