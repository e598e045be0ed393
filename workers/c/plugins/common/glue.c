#include "glue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int glue_end(stoker_job *job, const struct fault *fault) {
    const char *type = fault_type(fault->kind);
    if (fault->kind == FAULT_CANCELLED) {
        return STOKER_CANCELLED;
    }
    if (fault_is_retryable(fault->kind)) {
        return stoker_fail(job, type, "%s", fault->message);
    }
    return stoker_discard(job, type, "%s", fault->message);
}

static bool tell(void *context, double share, const char *note) {
    stoker_job *job = context;
    if (stoker_should_stop(job) > STOKER_STOP_SOFT) {
        return false;
    }
    stoker_progress(job, share, note);
    return true;
}

struct watch glue_watch(stoker_job *job, const char *note) {
    return (struct watch){tell, job, note};
}

/* The payload is whole JSON already: what is left is to step over strings and nested values. */
static const char *string_end(const char *at) {
    for (at++; *at != '"' && *at != '\0'; at++) {
        at += *at == '\\' && at[1] != '\0';
    }
    return at;
}

static bool is_known(const char *key, size_t length, const char *const *known) {
    for (; *known != NULL; known++) {
        if (strlen(*known) == length && memcmp(*known, key, length) == 0) {
            return true;
        }
    }
    return false;
}

/* The next key of the object, or NULL; `*at` moves behind it. */
static const char *next_key(const char **at, int *depth, size_t *length) {
    bool is_value = false;
    for (const char *next = *at; *next != '\0'; next++) {
        *depth += (*next == '{' || *next == '[') - (*next == '}' || *next == ']');
        if (*next == ':' && *depth == 1) {
            is_value = true;
        } else if (*next == ',' && *depth == 1) {
            is_value = false;
        } else if (*next == '"') {
            const char *end = string_end(next);
            if (*depth == 1 && !is_value) {
                *length = (size_t)(end - next) - 1;
                *at = end + 1;
                return next + 1;
            }
            next = end;
        }
    }
    return NULL;
}

bool glue_check_keys(stoker_job *job, const char *const *known) {
    const char *at = stoker_job_payload(job, NULL), *key = NULL;
    size_t length = 0;
    int depth = 0;
    while ((key = next_key(&at, &depth, &length)) != NULL) {
        if (!is_known(key, length, known)) {
            (void)stoker_discard(job, "InvalidArguments", "there is no argument '%.*s'",
                                 (int)(length < 100 ? length : 100), key);
            return false;
        }
    }
    return true;
}

static struct folder the_folder; /* written by `open`, before there is any other thread */

int glue_open(char *error, size_t error_size) {
    struct fault fault = {.kind = FAULT_NONE};
    if (folder_open(&the_folder, getenv("STOKER_TASKS__FILES"), &fault)) {
        return 0;
    }
    (void)snprintf(error, error_size, "%s", fault.message);
    return -1;
}

const struct folder *glue_folder(void) { return &the_folder; }

void glue_put_text(stoker_job *job, const char *key, const char *text) {
    if (text == NULL) {
        stoker_put_null(job, key);
    } else {
        stoker_put_text(job, key, text);
    }
}
