#include "job.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "text.h"

void ending_free(ending *e)
{
    buffer_free(&e->result);
    free(e->code);
    free(e->type);
    free(e->message);
    free(e->traceback);
    *e = (ending){0};
}

/* A copy that is UTF-8 and not longer than a record should be; NULL stays NULL. */
static char *clean_copy(const char *text, size_t most)
{
    if (text == NULL)
        return NULL;
    buffer clean = {0};
    size_t length = strlen(text);
    add_as_utf8(&clean, text, utf8_cut(text, length, most));
    return buffer_string(&clean);
}

void ending_set_error(ending *e, ending_kind kind, const char *code, const char *type,
                      const char *message)
{
    ending_free(e);
    e->kind = kind;
    e->code = clean_copy(code, ERROR_TEXT_MOST);
    e->type = clean_copy(type, ERROR_TEXT_MOST);
    e->message = clean_copy(message, ERROR_TEXT_MOST);
}

int job_error(stoker_job *job, ending_kind kind, const char *code, const char *type,
              const char *message)
{
    buffer result = job->ending.result;
    job->ending.result = (buffer){0};
    ending_set_error(&job->ending, kind, code, type, message);
    job->ending.result = result; /* a writer may still point to it */
    return STOKER_FAILED;
}

static int said(stoker_job *job, ending_kind kind, const char *code, const char *type,
                const char *format, va_list values)
{
    buffer message = {0};
    buffer_vprint(&message, format, values);
    const char *text = buffer_string(&message);
    job_error(job, kind, code, type == NULL ? "Error" : type, text == NULL ? format : text);
    buffer_free(&message);
    return STOKER_FAILED;
}

int stoker_fail(stoker_job *job, const char *type, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    int outcome = said(job, END_FAILED, "task_error", type, format, values);
    va_end(values);
    return outcome;
}

int stoker_discard(stoker_job *job, const char *type, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    int outcome = said(job, END_DISCARDED, "discarded", type, format, values);
    va_end(values);
    return outcome;
}

int stoker_retry(stoker_job *job, double seconds, const char *type, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    bool timed = isfinite(seconds) && seconds >= 0;
    int outcome = said(job, timed ? END_RETRY : END_FAILED, "retry", type, format, values);
    va_end(values);
    job->ending.seconds = timed ? seconds : 0;
    return outcome;
}

int stoker_snooze(stoker_job *job, double seconds)
{
    job_error(job, END_SNOOZED, NULL, NULL, NULL);
    job->ending.seconds = isfinite(seconds) && seconds > 0 ? seconds : 0;
    return STOKER_SNOOZED;
}

stoker_stop stoker_should_stop(const stoker_job *job)
{
    return (stoker_stop)atomic_load_explicit(job->stop, memory_order_relaxed);
}

double stoker_seconds_left(const stoker_job *job)
{
    return isinf(job->hard_at) ? HUGE_VAL : job->hard_at - now_monotonic();
}

void stoker_progress(stoker_job *job, double done, const char *note)
{
    double share = isnan(done) || done < 0 ? 0 : done > 1 ? 1 : done;
    char *clean = clean_copy(note, NOTE_MOST);
    job->sink.progress(job->sink.owner, share, clean);
    free(clean);
}

void stoker_log(stoker_job *job, const char *format, ...)
{
    buffer line = {0};
    buffer clean = {0};
    va_list values;
    va_start(values, format);
    bool fine = buffer_vprint(&line, format, values);
    va_end(values);
    if (fine && line.length > 0) {
        add_as_utf8(&clean, line.data, utf8_cut(line.data, line.length, LOG_LINE_MOST));
        if (!clean.failed)
            job->sink.log(job->sink.owner, clean.data, clean.length);
    }
    buffer_free(&line);
    buffer_free(&clean);
}

char *job_keep(stoker_job *job, const char *text, size_t length)
{
    keepsake *kept = malloc(sizeof *kept + length + 1);
    if (kept == NULL) {
        job_error(job, END_FAILED, "memory_exceeded", "MemoryError",
                  "there is no memory for a value of the payload");
        return NULL;
    }
    if (length > 0)
        memcpy(kept->text, text, length);
    kept->text[length] = '\0';
    kept->next = job->kept;
    job->kept = kept;
    return kept->text;
}

static void too_large(stoker_job *job)
{
    char message[200];
    snprintf(message, sizeof message,
             "the task returned JSON of %zu bytes, over %zu; store it elsewhere and return its "
             "address, or raise limits.result",
             job->ending.result.length, job->result_limit);
    job_error(job, END_DISCARDED, "result_too_large", "ResultTooLarge", message);
}

/* The handler did its work: what it left as its result has to be fit for a store. */
static void finish_result(stoker_job *job)
{
    buffer *result = &job->ending.result;
    if (job->form == RESULT_PUT) {
        while (job->writer.depth > 0 && job->writer.wrong == NULL)
            json_close(&job->writer);
        job->result_wrong = job->writer.wrong;
    }
    char message[200];
    if (job->result_wrong != NULL) {
        snprintf(message, sizeof message, "the result that the task made cannot be used: %s",
                 job->result_wrong);
        job_error(job, END_DISCARDED, "invalid_payload", "InvalidPayload", message);
        return;
    }
    if (job->form == RESULT_NONE)
        buffer_text(result, "null");
    if (result->length > job->result_limit)
        too_large(job);
    else
        job->ending.kind = END_COMPLETED;
}

static void finish_failure(stoker_job *job)
{
    ending_kind kind = job->ending.kind;
    if (kind != END_FAILED && kind != END_RETRY && kind != END_DISCARDED)
        job_error(job, END_FAILED, "task_error", "Error",
                  "the handler returned a failure and said nothing about it");
}

void job_run(stoker_job *job, stoker_run run, ending *ended)
{
    int outcome = run(job);
    if (outcome == STOKER_COMPLETED)
        finish_result(job);
    else if (outcome == STOKER_CANCELLED)
        job_error(job, END_CANCELLED, NULL, NULL, NULL);
    else if (outcome != STOKER_SNOOZED || job->ending.kind != END_SNOOZED)
        finish_failure(job);
    *ended = job->ending;
    job->ending = (ending){0};
    if (ended->kind != END_COMPLETED)
        buffer_free(&ended->result);
}

void job_release(stoker_job *job)
{
    json_doc *docs[] = {&job->payload, &job->parents, &job->parent_names, &job->headers};
    for (size_t i = 0; i < sizeof docs / sizeof docs[0]; i++)
        json_free(docs[i]);
    while (job->kept != NULL) {
        keepsake *next = job->kept->next;
        free(job->kept);
        job->kept = next;
    }
    ending_free(&job->ending);
}
