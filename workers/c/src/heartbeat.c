#include "heartbeat.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "version.h"

#define FENCE_SHARE 0.9  /* of the lease, after which a worker without an answer fences itself */
#define LISTEN_EVERY 2.0 /* seconds between beats while the store knows that jobs run */
#define SPACING 0.05     /* seconds between two beats at least */
#define BACKOFF 0.1
#define GOODBYE 5.0
enum { LOGS_A_BEAT = 1024 * 1024, LOGS_A_JOB = 256 * 1024, MOST_WATCHED = 100, MOST_DOUBLINGS = 16 };

void heartbeat_begin(heartbeat *h)
{
    if (gethostname(h->host, sizeof h->host - 1) != 0)
        strcpy(h->host, "worker");
    new_id(h->id);
    h->state = "alive";
    h->answered_at = -1;
}

static session describe(const heartbeat *h)
{
    return (session){.id = h->id,
                     .name = h->name,
                     .host = h->host,
                     .pid = getpid(),
                     .kind = "c",
                     .version = STOKER_VERSION,
                     .queues = queues_names(h->queues),
                     .tasks = registry_names(h->dispatcher->tasks),
                     .concurrency = h->options->concurrency,
                     .state = h->state};
}

/* Take what is new of a job; it is kept until the beat was answered. */
static void take_told(attempt *a, size_t room)
{
    if (a->told == NULL)
        a->told = must_allocate(sizeof *a->told);
    told_free(a->told);
    attempt_take_news(a, room, a->told);
}

static void say_attempt(json_writer *w, attempt *a, double now, size_t *room)
{
    const fence fence = {.id = a->lease.id, .epoch = a->lease.epoch, .nonce = a->lease.nonce};
    report said = {0};
    said.has_ran_for = a->started >= 0;
    said.ran_for = a->started >= 0 ? attempt_ran_for(a, now) : 0;
    /* What an ended attempt has left to say is in its settlement. */
    if (a->state == ATTEMPT_RUNNING && atomic_load(&a->news.fresh)) {
        take_told(a, *room < LOGS_A_JOB ? *room : LOGS_A_JOB);
        said.has_progress = a->told->has_progress;
        said.progress = a->told->progress;
        said.note = a->told->note;
        said.logs = a->told->logs;
        said.logs_length = said.logs == NULL ? 0 : strlen(said.logs);
        *room -= said.logs_length < *room ? said.logs_length : *room;
    }
    say_held(w, &fence, &said);
}

static void write_beat(heartbeat *h, buffer *out, bool with_jobs, double now)
{
    json_writer w;
    size_t room = LOGS_A_BEAT;
    const session who = describe(h);
    say_beat_begin(&w, out, &who);
    for (attempt *a = with_jobs ? h->dispatcher->all : NULL; a != NULL; a = a->next)
        if (!a->lost)
            say_attempt(&w, a, now, &room);
    say_beat_end(&w, h->options->lease);
}

static void beat(heartbeat *h, double now)
{
    buffer params = {0};
    write_beat(h, &params, true, now);
    h->news = false;
    h->sent_at = now;
    memcpy(h->beat_id, h->id, sizeof h->beat_id);
    if (params.failed ||
        !connection_ask(h->connection, ASK_BEAT, params.data, params.length, 0))
        heartbeat_unanswered(h);
    buffer_free(&params);
}

/* Let the store ring for a running job: a cancel would wait for the next regular beat. */
static void watch(heartbeat *h, double now)
{
    const char *ids[MOST_WATCHED];
    size_t count = 0;
    buffer params = {0};
    if (h->dispatcher->shown == 0 || now < h->watch_at ||
        connection_is_asking(h->connection, ASK_WATCH))
        return;
    for (long i = 0; i < h->dispatcher->running && count < MOST_WATCHED; i++) {
        const attempt *a = h->dispatcher->runs[i];
        if (a->shown && !a->lost)
            ids[count++] = a->lease.id;
    }
    if (count == 0)
        return;
    say_wait(&params, (names){0}, (names){.items = ids, .count = count}, LISTEN_EVERY / 4);
    if (!params.failed)
        connection_ask(h->connection, ASK_WATCH, params.data, params.length, 0);
    buffer_free(&params);
}

static void fence_if_late(heartbeat *h, double now)
{
    if (h->answered_at < 0 || h->dispatcher->fenced ||
        now - h->answered_at <= h->options->lease * FENCE_SHARE)
        return;
    log_line(LOG_ERROR,
             "the store has answered no beat for %.1f s of a lease of %.1f s: it may have given "
             "the jobs of this worker to others, so they are stopped here",
             now - h->answered_at, h->options->lease);
    h->dispatcher->fenced = true;
    dispatcher_stop_running(h->dispatcher, STOKER_STOP_RELEASE);
}

static double interval(const heartbeat *h)
{
    /* So seldom that it would lose the session would be a mistake, not a wish. */
    if (h->options->beat > 0)
        return fmin(h->options->beat, h->options->lease / 2);
    double usual = h->options->lease / 3;
    return h->dispatcher->shown > 0 ? fmin(usual, LISTEN_EVERY) : usual;
}

static double beat_at(const heartbeat *h)
{
    if (h->failures > 0)
        return h->retry_at;
    if (!h->open)
        return 0;
    return h->sent_at + (h->news ? SPACING : interval(h));
}

void heartbeat_turn(heartbeat *h, double now)
{
    fence_if_late(h, now);
    if (!connection_is_open(h->connection))
        return;
    if (!connection_is_asking(h->connection, ASK_BEAT) && now >= beat_at(h))
        beat(h, now);
    if (h->open)
        watch(h, now);
}

double heartbeat_due(const heartbeat *h)
{
    bool fencing = h->answered_at >= 0 && !h->dispatcher->fenced;
    double due = fencing ? h->answered_at + h->options->lease * FENCE_SHARE + 0.001 : HUGE_VAL;
    if (connection_is_open(h->connection) && !connection_is_asking(h->connection, ASK_BEAT))
        due = fmin(due, beat_at(h));
    return due;
}

static void trust(heartbeat *h)
{
    h->answered_at = h->sent_at;
    h->failures = 0;
    if (!h->open || h->dispatcher->fenced) {
        if (!h->open)
            log_line(LOG_INFO, "worker %s began session %s", h->name, h->id);
        h->open = true;
        h->fresh_session = true;
        h->dispatcher->fenced = false;
        dispatcher_fill(h->dispatcher);
    }
}

/* The store has heard the beat: forget what it said, and know what the store knows. */
static void settle_told(heartbeat *h)
{
    for (attempt *a = h->dispatcher->all; a != NULL; a = a->next) {
        /* Those that began after the beat was written are not shown by it. */
        if (a->state == ATTEMPT_RUNNING && a->started <= h->sent_at)
            dispatcher_shown(h->dispatcher, a);
        if (a->told != NULL)
            told_free(a->told);
    }
}

static void obey(heartbeat *h, const json_doc *doc, const beat_reply *reply)
{
    for (int64_t id = json_first(doc, reply->lost); id >= 0; id = json_after(doc, reply->lost, id)) {
        attempt *a = dispatcher_find(h->dispatcher, doc, id);
        if (a != NULL)
            dispatcher_lose(h->dispatcher, a);
    }
    int64_t id = json_first(doc, reply->cancel);
    for (; id >= 0; id = json_after(doc, reply->cancel, id)) {
        attempt *a = dispatcher_find(h->dispatcher, doc, id);
        if (a != NULL)
            dispatcher_call_off(h->dispatcher, a);
    }
    if (reply->command > h->asked)
        h->asked = reply->command;
}

static void refused(heartbeat *h, const trouble *why)
{
    if (trouble_is(why, "lease_lost")) {
        heartbeat_lose(h, why->message);
        return;
    }
    if (!why->retryable) {
        h->fatal = *why;
        return;
    }
    if (h->failures == 0)
        log_line(LOG_WARNING, "the store did not answer a beat; it is repeated: %s", why->message);
    heartbeat_unanswered(h);
}

void heartbeat_answered(heartbeat *h, const json_doc *doc, const response *found)
{
    beat_reply reply;
    if (strcmp(h->beat_id, h->id) != 0)
        return; /* that session was lost meanwhile: its answer says nothing about this one */
    if (found->ok < 0) {
        refused(h, &found->error);
        return;
    }
    if (!read_beat_reply(doc, found->ok, &reply)) {
        trouble_set(&h->fatal, "protocol_error", false, "the answer to a beat is not one");
        return;
    }
    if (!reply.alive) {
        heartbeat_lose(h, "it was declared dead");
        return;
    }
    trust(h);
    settle_told(h);
    obey(h, doc, &reply);
}

void heartbeat_watch_answered(heartbeat *h, const json_doc *doc, const response *found)
{
    if (found->ok >= 0 && json_is(doc, found->ok, JSON_TRUE))
        h->news = true;
    /* Reports of these very jobs ring, too; and an error is no reason to ask at once. */
    h->watch_at = now_monotonic() + LISTEN_EVERY / 8;
}

void heartbeat_unanswered(heartbeat *h)
{
    int doublings = h->failures < MOST_DOUBLINGS ? (int)h->failures + 1 : MOST_DOUBLINGS;
    double longest = fmin(h->options->lease / 6, ldexp(BACKOFF, doublings));
    h->failures++;
    h->retry_at = now_monotonic() + longest * random_share();
    for (attempt *a = h->dispatcher->all; a != NULL; a = a->next) {
        if (a->told == NULL)
            continue;
        if (a->state == ATTEMPT_RUNNING)
            attempt_keep_news(a, a->told);
        told_free(a->told);
    }
}

void heartbeat_lose(heartbeat *h, const char *why)
{
    log_line(LOG_ERROR, "session %s is lost (%s); a new one begins", h->id, why);
    new_id(h->id);
    h->open = false;
    h->answered_at = -1;
    h->failures = 0;
    h->dispatcher->fenced = false;
    h->lost = true;
}

bool heartbeat_leave(heartbeat *h)
{
    buffer params = {0};
    h->state = "left";
    write_beat(h, &params, false, now_monotonic());
    bool sent = !params.failed &&
                connection_ask(h->connection, ASK_BEAT, params.data, params.length, GOODBYE);
    buffer_free(&params);
    return sent;
}
