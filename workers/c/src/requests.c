#include "requests.h"

#include <inttypes.h>
#include <string.h>

static void put_unless_empty(json_writer *w, const char *key, const char *text)
{
    if (text != NULL && text[0] != '\0')
        json_put_string(w, key, text);
}

static void put_names(json_writer *w, const char *key, names list)
{
    if (list.count == 0)
        return;
    json_open(w, key, true);
    for (size_t i = 0; i < list.count; i++)
        json_put_string(w, NULL, list.items[i]);
    json_close(w);
}

void say_hello(buffer *out, const hello *said)
{
    json_writer w;
    json_begin(&w, out);
    json_open(&w, NULL, false);
    json_put_integer(&w, "protocol", said->protocol);
    if (said->token != NULL)
        json_put_string(&w, "token", said->token);
    put_unless_empty(&w, "client", said->client);
    put_unless_empty(&w, "version", said->version);
    if (said->max_frame != 0)
        json_put_integer(&w, "max_frame", said->max_frame);
    json_close(&w);
}

static void put_session(json_writer *w, const session *who)
{
    json_open(w, "session", false);
    json_put_string(w, "id", who->id);
    json_put_string(w, "name", who->name);
    put_unless_empty(w, "host", who->host);
    if (who->pid != 0)
        json_put_integer(w, "pid", who->pid);
    put_unless_empty(w, "kind", who->kind);
    put_unless_empty(w, "version", who->version);
    put_names(w, "queues", who->queues);
    put_names(w, "tasks", who->tasks);
    if (who->concurrency != 1)
        json_put_integer(w, "concurrency", who->concurrency);
    if (who->state != NULL && strcmp(who->state, "alive") != 0)
        json_put_string(w, "state", who->state);
    if (who->details != NULL)
        json_put_raw(w, "details", who->details, who->details_length);
    json_close(w);
}

static void put_fence(json_writer *w, const fence *fence)
{
    json_put_string(w, "id", fence->id);
    json_put_integer(w, "epoch", fence->epoch);
    json_put_string(w, "nonce", fence->nonce);
}

static void put_report(json_writer *w, const report *report)
{
    if (report->has_ran_for)
        json_put_number(w, "ran_for", report->ran_for);
    if (report->has_progress)
        json_put_number(w, "progress", report->progress);
    if (report->note != NULL)
        json_put_string(w, "note", report->note);
    if (report->logs != NULL)
        json_put_raw(w, "logs", report->logs, report->logs_length);
}

void say_beat_begin(json_writer *w, buffer *out, const session *who)
{
    json_begin(w, out);
    json_open(w, NULL, false);
    put_session(w, who);
}

void say_held(json_writer *w, const fence *fence, const report *report)
{
    /* The list is opened by its first item: an empty one is left out. */
    if (w->depth == 1)
        json_open(w, "held", true);
    json_open(w, NULL, false);
    put_fence(w, fence);
    put_report(w, report);
    json_close(w);
}

void say_beat_end(json_writer *w, double ttl)
{
    if (w->depth == 2)
        json_close(w);
    json_put_number(w, "ttl", ttl);
    json_close(w);
}

void say_exchange_begin(json_writer *w, buffer *out, const char *session_id)
{
    json_begin(w, out);
    json_open(w, NULL, false);
    json_put_string(w, "session_id", session_id);
}

static void put_error(json_writer *w, const error_record *error)
{
    json_open(w, "error", false);
    json_put_string(w, "code", error->code);
    json_put_string(w, "message", error->message);
    put_unless_empty(w, "type", error->type);
    if (error->traceback != NULL)
        json_put_string(w, "traceback", error->traceback);
    json_close(w);
}

void say_settlement(json_writer *w, const settlement *settled)
{
    if (w->depth == 1)
        json_open(w, "settlements", true);
    json_open(w, NULL, false);
    put_fence(w, &settled->fence);
    json_put_string(w, "outcome", settled->outcome);
    if (settled->result != NULL)
        json_put_raw(w, "result", settled->result, settled->result_length);
    if (settled->error.code != NULL)
        put_error(w, &settled->error);
    if (settled->has_retry_in)
        json_put_number(w, "retry_in", settled->retry_in);
    put_report(w, &settled->report);
    json_close(w);
}

void say_exchange_end(json_writer *w, const exchange_ask *ask)
{
    if (w->depth == 2)
        json_close(w);
    json_open(w, "queues", false);
    for (size_t i = 0; i < ask->queue_count; i++)
        json_put_integer(w, ask->queues[i].name, ask->queues[i].room);
    json_close(w);
    json_put_integer(w, "want", ask->want);
    json_put_string(w, "nonce", ask->nonce);
    if (ask->aged != 0)
        json_put_integer(w, "aged", ask->aged);
    put_names(w, "ids", ask->ids);
    json_close(w);
}

void say_wait(buffer *out, names queues, names ids, double timeout)
{
    json_writer w;
    json_begin(&w, out);
    json_open(&w, NULL, false);
    put_names(&w, "queues", queues);
    put_names(&w, "ids", ids);
    json_put_number(&w, "timeout", timeout);
    json_close(&w);
}

void say_forget(buffer *out, uint64_t id)
{
    buffer_print(out, "{\"id\":%" PRIu64 "}", id);
}

void say_log_line(buffer *out, const char *at, const char *message, size_t length, int64_t attempt)
{
    json_writer w;
    json_begin(&w, out);
    json_open(&w, NULL, false);
    json_put_string(&w, "at", at);
    json_put_text(&w, "message", message, length);
    json_put_integer(&w, "attempt", attempt);
    json_close(&w);
}
