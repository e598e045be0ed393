/*
 * One attempt as a handler sees it, and how it ended. The same code runs on a thread of the worker
 * and in a child process; where reports go is the sink's business. Nothing is decided here about
 * the job's state: an ending is what `judge.c` turns into a settlement.
 */
#ifndef STOKER_JOB_H
#define STOKER_JOB_H

#include <stdatomic.h>
#include <stdbool.h>

#include "../include/stoker_worker.h"
#include "answers.h"
#include "buffer.h"
#include "json_read.h"
#include "json_write.h"

typedef enum ending_kind {
    END_COMPLETED, /* `result` is JSON */
    END_FAILED,    /* tried again if the policy says so */
    END_RETRY,     /* the same, after `seconds` */
    END_DISCARDED, /* failed for good */
    END_SNOOZED,   /* run again in `seconds`, uncounted */
    END_CANCELLED, /* it obeyed its stop */
    END_CRASHED,   /* its process died; made by the worker */
    END_MEMORY,    /* the same, for want of memory */
    END_GIVEN_UP   /* it did not obey its stop in time; made by the worker */
} ending_kind;

typedef struct ending {
    ending_kind kind;
    double seconds;
    buffer result;
    char *code; /* owned, as are the next three; NULL: none */
    char *type;
    char *message;
    char *traceback;
} ending;

void ending_free(ending *e);
void ending_set_error(ending *e, ending_kind kind, const char *code, const char *type,
                      const char *message);

typedef struct job_sink {
    void *owner;
    void (*progress)(void *owner, double done, const char *note);
    void (*log)(void *owner, const char *message, size_t length);
} job_sink;

enum { LOG_LINE_MOST = 8000, ERROR_TEXT_MOST = 4000, NOTE_MOST = 1000 };

typedef struct keepsake {
    struct keepsake *next;
    char text[];
} keepsake;

typedef enum result_form { RESULT_NONE, RESULT_GIVEN, RESULT_PUT } result_form;

struct stoker_job {
    const lease *lease; /* not owned */
    const atomic_int *stop;
    double hard_at; /* on the monotonic clock; HUGE_VAL: no limit */
    size_t result_limit;
    job_sink sink;
    ending ending;
    result_form form;
    const char *result_wrong;
    json_writer writer;
    json_doc payload; /* indexed when first asked for, as are the others */
    json_doc parents;
    json_doc parent_names;
    json_doc headers;
    keepsake *kept; /* what was handed out */
};

/* Run a handler on this thread and take how it ended; `job` is ready for `job_release` after. */
void job_run(stoker_job *job, stoker_run run, ending *ended);
void job_release(stoker_job *job);

/* Keep a text until the job is released; NULL, and an error recorded, without memory. */
char *job_keep(stoker_job *job, const char *text, size_t length);
/* Record an error; returns STOKER_FAILED. */
int job_error(stoker_job *job, ending_kind kind, const char *code, const char *type,
              const char *message);

#endif
