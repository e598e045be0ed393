#include "attempt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "text.h"

#define DEADLINE_SLACK 2.5 /* seconds: half of what a store adds before it takes a job back */

void queue_push(attempt_queue *q, attempt *a)
{
    a->link = NULL;
    if (q->first == NULL)
        q->first = a;
    else
        q->last->link = a;
    q->last = a;
    q->count++;
}

void queue_push_front(attempt_queue *q, attempt *a)
{
    a->link = q->first;
    q->first = a;
    if (q->last == NULL)
        q->last = a;
    q->count++;
}

attempt *queue_pop(attempt_queue *q)
{
    attempt *a = q->first;
    if (a == NULL)
        return NULL;
    q->first = a->link;
    if (q->first == NULL)
        q->last = NULL;
    a->link = NULL;
    q->count--;
    return a;
}

void queue_append(attempt_queue *q, attempt_queue *more)
{
    if (more->count == 0)
        return;
    if (q->first == NULL)
        q->first = more->first;
    else
        q->last->link = more->first;
    q->last = more->last;
    q->count += more->count;
    *more = (attempt_queue){0};
}

static void sink_progress(void *owner, double done, const char *note)
{
    attempt_progress(owner, done, note);
}

static void sink_log(void *owner, const char *message, size_t length)
{
    attempt_log(owner, message, length);
}

attempt *attempt_new(lease *taken, double leased_at)
{
    attempt *a = must_allocate(sizeof *a);
    a->lease = *taken;
    *taken = (lease){0};
    a->leased_at = leased_at;
    a->started = -1;
    a->slot = -1;
    a->soft_at = a->kill_at = HUGE_VAL;
    /* Until it begins, and however late it does, the store's deadline counts from the lease. */
    a->hard_at = a->lease.timeout < 0 ? HUGE_VAL : leased_at + a->lease.timeout + DEADLINE_SLACK;
    pthread_mutex_init(&a->news.lock, NULL);
    a->job.lease = &a->lease;
    a->job.stop = &a->stop;
    a->job.sink = (job_sink){.owner = a, .progress = sink_progress, .log = sink_log};
    return a;
}

static void free_lines(news *n)
{
    if (n->lines != NULL)
        for (unsigned i = 0; i < LINES_MOST; i++)
            buffer_free(&n->lines[i]);
    free(n->lines);
    n->lines = NULL;
    n->count = n->first = 0;
}

void attempt_free(attempt *a)
{
    job_release(&a->job);
    ending_free(&a->ending);
    free_lines(&a->news);
    free(a->news.note);
    pthread_mutex_destroy(&a->news.lock);
    lease_free(&a->lease);
    free(a->logs);
    free(a->last_note);
    if (a->told != NULL)
        told_free(a->told);
    free(a->told);
    free(a);
}

/* Copy a text into memory that was measured for it; NULL stays NULL. */
static const char *place_text(char **at, const char *text)
{
    if (text == NULL)
        return NULL;
    char *copy = *at;
    size_t size = strlen(text) + 1;
    memcpy(copy, text, size);
    *at += size;
    return copy;
}

attempt *attempt_stand_in(const attempt *a)
{
    const lease *of = &a->lease;
    const char *texts[] = {of->id, of->nonce, of->task, of->queue, of->retry};
    size_t size = 0;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        size += texts[i] == NULL ? 0 : strlen(texts[i]) + 1;
    lease copy = {.memory = must_allocate(size),
                  .attempt = of->attempt,
                  .epoch = of->epoch,
                  .failed = of->failed,
                  .timeout = of->timeout,
                  .soft_timeout = of->soft_timeout};
    char *at = copy.memory;
    copy.id = place_text(&at, of->id);
    copy.nonce = place_text(&at, of->nonce);
    copy.task = place_text(&at, of->task);
    copy.queue = place_text(&at, of->queue);
    copy.retry = place_text(&at, of->retry);
    attempt *other = attempt_new(&copy, a->leased_at);
    other->started = a->started;
    other->reason = a->reason;
    other->lost = a->lost;
    return other;
}

void attempt_begin(attempt *a, double now)
{
    a->started = now;
    a->state = ATTEMPT_RUNNING;
    if (a->lease.timeout >= 0)
        a->hard_at = fmin(now + a->lease.timeout, a->hard_at);
    if (a->lease.soft_timeout >= 0)
        a->soft_at = now + a->lease.soft_timeout;
    a->job.hard_at = a->hard_at;
}

bool attempt_ask(attempt *a, stoker_stop reason)
{
    if (a->reason >= reason)
        return false;
    a->reason = reason;
    return true;
}

double attempt_ran_for(const attempt *a, double now)
{
    double seconds = fmax(0, (a->state == ATTEMPT_RUNNING ? now : a->ended_at) - a->started);
    return round(seconds * 1e6) / 1e6; /* nobody reads more */
}

void attempt_progress(attempt *a, double done, const char *note)
{
    char *copy = note == NULL ? NULL : strdup(note);
    pthread_mutex_lock(&a->news.lock);
    char *old = a->news.note;
    a->news.has_progress = true;
    a->news.progress = done;
    a->news.note = copy;
    pthread_mutex_unlock(&a->news.lock);
    atomic_store(&a->news.fresh, true);
    free(old);
}

/* The place for one more line; of too many the oldest goes. NULL without memory. */
static buffer *next_line(news *n)
{
    if (n->lines == NULL)
        n->lines = calloc(LINES_MOST, sizeof *n->lines);
    if (n->lines == NULL)
        return NULL;
    if (n->count == LINES_MOST)
        n->first = (n->first + 1) % LINES_MOST;
    else
        n->count++;
    buffer *line = &n->lines[(n->first + n->count - 1) % LINES_MOST];
    buffer_clear(line);
    return line;
}

void attempt_log(attempt *a, const char *message, size_t length)
{
    char at[MOMENT_SIZE];
    write_moment(at, now_wall());
    pthread_mutex_lock(&a->news.lock);
    buffer *line = next_line(&a->news);
    if (line != NULL)
        say_log_line(line, at, message, length, a->lease.attempt);
    if (line != NULL && line->failed)
        a->news.count--;
    pthread_mutex_unlock(&a->news.lock);
    atomic_store(&a->news.fresh, true);
}

/* Join lines into a JSON array and let go of them; what does not fit stays for later. */
static char *join_lines(news *n, size_t most)
{
    buffer out = {0};
    buffer_byte(&out, '[');
    while (n->count > 0 && out.length < most) {
        buffer *line = &n->lines[n->first];
        if (out.length > 1)
            buffer_byte(&out, ',');
        buffer_add(&out, line->data, line->length);
        n->first = (n->first + 1) % LINES_MOST;
        n->count--;
    }
    buffer_byte(&out, ']');
    if (n->count == 0)
        free_lines(n);
    char *text = out.length > 2 ? buffer_string(&out) : NULL;
    if (text == NULL)
        buffer_free(&out);
    return text;
}

void attempt_take_news(attempt *a, size_t most, told *found)
{
    *found = (told){0};
    if (!atomic_exchange(&a->news.fresh, false))
        return;
    pthread_mutex_lock(&a->news.lock);
    found->has_progress = a->news.has_progress;
    found->progress = a->news.progress;
    found->note = a->news.note;
    a->news.has_progress = false;
    a->news.note = NULL;
    if (a->news.count > 0 && most > 0)
        found->logs = join_lines(&a->news, most);
    bool more = a->news.count > 0;
    pthread_mutex_unlock(&a->news.lock);
    if (more)
        atomic_store(&a->news.fresh, true);
}

/* Put the lines of a report that did not arrive before those that came meanwhile. */
static void put_back_lines(attempt *a, const char *logs)
{
    static const json_limits limits = {.depth = 8, .indexed = 1, .max_nodes = LINES_MOST + 1};
    json_doc doc = {0};
    news *n = &a->news;
    size_t count = json_parse(&doc, logs, strlen(logs), &limits) == NULL ? json_count(&doc, 0) : 0;
    for (size_t i = count; i-- > 0 && n->count < LINES_MOST;) {
        size_t length = 0;
        const char *line = json_slice(&doc, json_item(&doc, 0, i), &length);
        if (n->lines == NULL)
            n->lines = calloc(LINES_MOST, sizeof *n->lines);
        if (n->lines == NULL)
            break;
        n->first = (n->first + LINES_MOST - 1) % LINES_MOST;
        n->count++;
        buffer_clear(&n->lines[n->first]);
        buffer_add(&n->lines[n->first], line, length);
    }
    json_free(&doc);
}

void attempt_keep_news(attempt *a, told *kept)
{
    if (!kept->has_progress && kept->logs == NULL)
        return;
    pthread_mutex_lock(&a->news.lock);
    if (kept->has_progress && !a->news.has_progress) {
        a->news.has_progress = true;
        a->news.progress = kept->progress;
        a->news.note = kept->note;
        kept->note = NULL;
    }
    if (kept->logs != NULL)
        put_back_lines(a, kept->logs);
    pthread_mutex_unlock(&a->news.lock);
    atomic_store(&a->news.fresh, true);
}

void told_free(told *t)
{
    free(t->note);
    free(t->logs);
    *t = (told){0};
}
