/* How an attempt is settled: from how its handler ended, and from what it had been told. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attempt.h"
#include "retry.h"

static void settle_as(attempt *a, const char *outcome)
{
    a->outcome = outcome;
    a->has_retry_in = false;
}

/* It failed, and the job's policy says what follows. */
static void settle_by_policy(attempt *a, double random)
{
    settle_as(a, "failed");
    const char *type = a->ending.type == NULL ? "Error" : a->ending.type;
    a->has_retry_in =
        retry_decide(a->lease.retry, a->lease.failed + 1, type, random, &a->retry_in);
}

static void over_time(attempt *a, double random)
{
    char message[128];
    bool soft = a->reason == STOKER_STOP_SOFT;
    double limit = soft ? a->lease.soft_timeout : a->lease.timeout;
    snprintf(message, sizeof message, "the job ran past its %s of %g s and was stopped",
             soft ? "soft limit" : "limit", limit);
    ending_set_error(&a->ending, END_FAILED, "timeout", "TaskTimeout", message);
    settle_by_policy(a, random);
}

/* It ended because it was told to, or was ended for it. */
static void stopped(attempt *a, double random)
{
    if (a->reason == STOKER_STOP_RELEASE || a->reason == STOKER_STOP_CANCEL ||
        a->reason == STOKER_STOP_LOST || a->reason == STOKER_GO_ON) {
        ending_free(&a->ending);
        settle_as(a, a->reason == STOKER_STOP_RELEASE ? "released" : "cancelled");
        return;
    }
    over_time(a, random);
}

static bool was_stopped(const attempt *a)
{
    return a->reason == STOKER_STOP_RELEASE || a->reason == STOKER_STOP_TIMEOUT;
}

void attempt_judge(attempt *a, double random)
{
    switch (a->ending.kind) {
    case END_COMPLETED:
        settle_as(a, "completed");
        return;
    case END_CANCELLED:
    case END_GIVEN_UP:
        stopped(a, random);
        return;
    case END_SNOOZED:
        settle_as(a, "snoozed");
        a->has_retry_in = true;
        a->retry_in = a->ending.seconds;
        return;
    case END_DISCARDED:
        settle_as(a, "failed");
        return;
    case END_RETRY:
        settle_as(a, "failed");
        a->has_retry_in = true;
        a->retry_in = a->ending.seconds;
        return;
    case END_CRASHED:
        /* What breaks while it is being stopped is the stop's doing. */
        if (was_stopped(a))
            stopped(a, random);
        else
            settle_as(a, "crashed");
        return;
    case END_MEMORY:
    case END_FAILED:
        if (was_stopped(a))
            stopped(a, random);
        else
            settle_by_policy(a, random);
        return;
    }
    abort(); /* no other kind is ever made */
}

void attempt_make_small(attempt *a, const char *code, const char *message)
{
    ending_set_error(&a->ending, END_DISCARDED, code, "", message);
    a->outcome = "failed";
    a->has_retry_in = false;
    a->refused = true;
    free(a->logs);
    free(a->last_note);
    a->logs = a->last_note = NULL;
}

settlement attempt_settlement(const attempt *a)
{
    const ending *e = &a->ending;
    settlement s = {
        .fence = {.id = a->lease.id, .epoch = a->lease.epoch, .nonce = a->lease.nonce},
        .outcome = a->outcome,
        .has_retry_in = a->has_retry_in,
        .retry_in = a->retry_in,
        .report = {.has_ran_for = a->started >= 0,
                   .ran_for = a->started >= 0 ? attempt_ran_for(a, a->ended_at) : 0,
                   .has_progress = a->has_last_progress,
                   .progress = a->last_progress,
                   .note = a->last_note,
                   .logs = a->logs,
                   .logs_length = a->logs == NULL ? 0 : strlen(a->logs)},
    };
    if (strcmp(a->outcome, "completed") == 0) {
        s.result = e->result.data;
        s.result_length = e->result.length;
    } else if (e->message != NULL) {
        s.error = (error_record){.code = e->code == NULL ? "task_error" : e->code,
                                 .message = e->message,
                                 .type = e->type == NULL ? "" : e->type,
                                 .traceback = e->traceback};
    }
    return s;
}
