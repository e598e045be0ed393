/* The functions of part 2 of the header: what a job says. */
#include <stdio.h>
#include <string.h>

#include "job.h"

static const json_limits value_limits = {.depth = 1000, .indexed = 1000, .max_nodes = 8000000};

const char *stoker_job_id(const stoker_job *job)
{
    return job->lease->id;
}

const char *stoker_job_task(const stoker_job *job)
{
    return job->lease->task;
}

const char *stoker_job_queue(const stoker_job *job)
{
    return job->lease->queue;
}

int64_t stoker_job_attempt(const stoker_job *job)
{
    return job->lease->attempt;
}

const char *stoker_job_tenant(const stoker_job *job)
{
    return job->lease->tenant;
}

const char *stoker_job_workflow(const stoker_job *job)
{
    return job->lease->workflow_id;
}

const char *stoker_job_payload(const stoker_job *job, size_t *length)
{
    if (length != NULL)
        *length = job->lease->payload_length;
    return job->lease->payload;
}

/* Index one of the job's texts when it is first needed; false if there is none or it is broken. */
static bool is_ready(json_doc *doc, const char *text)
{
    if (doc->count > 0)
        return true;
    return text != NULL && json_parse(doc, text, strlen(text), &value_limits) == NULL;
}

/* Decode a text and keep it; NULL if it is none or there is no memory. */
static const char *keep_text(stoker_job *job, const json_doc *doc, int64_t node, size_t *length)
{
    buffer text = {0};
    const char *kept = NULL;
    if (json_decode(doc, node, &text)) {
        kept = job_keep(job, text.data, text.length);
        *length = text.length;
    }
    buffer_free(&text);
    return kept;
}

const char *stoker_job_header(stoker_job *job, const char *name)
{
    size_t length = 0;
    if (!is_ready(&job->headers, job->lease->headers))
        return NULL;
    return keep_text(job, &job->headers, json_member(&job->headers, 0, name), &length);
}

typedef struct place {
    const json_doc *doc;
    int64_t node; /* JSON_NONE: nothing is there */
} place;

static bool is_index(const char *token, size_t *number)
{
    size_t length = strlen(token);
    *number = 0;
    if (length == 0 || length > 9 || (token[0] == '0' && length > 1))
        return false;
    for (size_t i = 0; i < length; i++) {
        if (token[i] < '0' || token[i] > '9')
            return false;
        *number = *number * 10 + (size_t)(token[i] - '0');
    }
    return true;
}

/* One step of a JSON pointer: `token` is unescaped in place. */
static int64_t step(const json_doc *doc, int64_t node, char *token)
{
    char *out = token;
    for (const char *in = token; *in != '\0'; in++) {
        bool escaped = in[0] == '~' && (in[1] == '0' || in[1] == '1');
        *out++ = !escaped ? *in : in[1] == '0' ? '~' : '/';
        in += escaped ? 1 : 0;
    }
    *out = '\0';
    size_t number = 0;
    if (json_is(doc, node, JSON_ARRAY))
        return is_index(token, &number) ? json_item(doc, node, number) : JSON_NONE;
    return json_member(doc, node, token);
}

/* Follow a JSON pointer from a node; `pointer` is "" or begins with a slash. */
static int64_t follow(const json_doc *doc, int64_t node, const char *pointer)
{
    char token[256];
    while (*pointer == '/' && node >= 0) {
        pointer++;
        size_t length = strcspn(pointer, "/");
        if (length >= sizeof token)
            return JSON_NONE;
        memcpy(token, pointer, length);
        token[length] = '\0';
        node = step(doc, node, token);
        pointer += length;
    }
    return node;
}

/* The result of the parent of that name, or of that id. */
static int64_t find_parent(stoker_job *job, const char *name, size_t length)
{
    const json_doc *names = &job->parent_names;
    if (!is_ready(&job->parents, job->lease->parents))
        return JSON_NONE;
    bool named = is_ready(&job->parent_names, job->lease->parent_names);
    for (int64_t id = named ? json_first(names, 0) : JSON_NONE; id >= 0;) {
        int64_t value = json_after(names, 0, id);
        size_t ignored = 0;
        if (json_equals(names, value, name, length)) {
            const char *key = keep_text(job, names, id, &ignored);
            return key == NULL ? JSON_NONE : json_member(&job->parents, 0, key);
        }
        id = json_after(names, 0, value);
    }
    const char *id = job_keep(job, name, length);
    return id == NULL ? JSON_NONE : json_member(&job->parents, 0, id);
}

static place find(stoker_job *job, const char *where)
{
    place found = {.doc = &job->payload, .node = JSON_NONE};
    if (where[0] == '@') {
        size_t length = strcspn(where, "/");
        found.doc = &job->parents;
        found.node = follow(&job->parents, find_parent(job, where + 1, length - 1), where + length);
        return found;
    }
    if (is_ready(&job->payload, job->lease->payload))
        found.node = where[0] == '/' ? follow(&job->payload, 0, where)
                                     : json_member(&job->payload, 0, where);
    if (json_is(found.doc, found.node, JSON_NULL))
        found.node = JSON_NONE;
    return found;
}

static stoker_found wrong(stoker_job *job, const char *where, const place *at, const char *expected)
{
    size_t length = 0;
    char message[400];
    const char *found = json_slice(at->doc, at->node, &length);
    const char *of = where[0] == '@' ? "the results of the parents" : "the payload";
    int shown = (int)(length < 100 ? length : 100);
    if (found == NULL)
        snprintf(message, sizeof message, "%s has no %.100s; expected %s", of, where, expected);
    else
        snprintf(message, sizeof message, "%.100s of %s is %.*s; expected %s", where, of, shown,
                 found, expected);
    job_error(job, END_DISCARDED, "invalid_arguments", "InvalidArguments", message);
    return STOKER_WRONG;
}

/* What a reader of one type does. */
typedef bool (*take)(stoker_job *job, const place *at, void *value, size_t *length);

static stoker_found get(stoker_job *job, const char *where, bool needed, const char *expected,
                        take taking, void *value, size_t *length)
{
    place at = find(job, where);
    if (at.node < 0 || json_is(at.doc, at.node, JSON_NULL)) {
        at.node = JSON_NONE;
        return needed ? wrong(job, where, &at, expected) : STOKER_ABSENT;
    }
    return taking(job, &at, value, length) ? STOKER_FOUND : wrong(job, where, &at, expected);
}

static bool take_text(stoker_job *job, const place *at, void *value, size_t *length)
{
    size_t size = 0;
    const char *text = keep_text(job, at->doc, at->node, &size);
    if (text == NULL || (length == NULL && strlen(text) != size))
        return false;
    *(const char **)value = text;
    if (length != NULL)
        *length = size;
    return true;
}

static bool take_integer(stoker_job *job, const place *at, void *value, size_t *length)
{
    (void)job;
    (void)length;
    return json_integer(at->doc, at->node, value);
}

static bool take_number(stoker_job *job, const place *at, void *value, size_t *length)
{
    (void)job;
    (void)length;
    return json_number(at->doc, at->node, value);
}

static bool take_boolean(stoker_job *job, const place *at, void *value, size_t *length)
{
    (void)job;
    (void)length;
    bool yes = json_is(at->doc, at->node, JSON_TRUE);
    if (!yes && !json_is(at->doc, at->node, JSON_FALSE))
        return false;
    *(bool *)value = yes;
    return true;
}

static bool take_count(stoker_job *job, const place *at, void *value, size_t *length)
{
    (void)job;
    (void)length;
    if (!json_is(at->doc, at->node, JSON_ARRAY) && !json_is(at->doc, at->node, JSON_OBJECT))
        return false;
    *(size_t *)value = json_count(at->doc, at->node);
    return true;
}

static bool take_json(stoker_job *job, const place *at, void *value, size_t *length)
{
    size_t size = 0;
    const char *slice = json_slice(at->doc, at->node, &size);
    const char *text = slice == NULL ? NULL : job_keep(job, slice, size);
    if (text == NULL)
        return false;
    *(const char **)value = text;
    if (length != NULL)
        *length = size;
    return true;
}

#define READER(name, type, expected)                                                               \
    stoker_found stoker_read_##name(stoker_job *job, const char *where, type *value)               \
    {                                                                                              \
        return get(job, where, false, expected, take_##name, value, NULL);                         \
    }                                                                                              \
    stoker_found stoker_need_##name(stoker_job *job, const char *where, type *value)               \
    {                                                                                              \
        return get(job, where, true, expected, take_##name, value, NULL);                          \
    }

#define LONG_READER(name, expected)                                                                \
    stoker_found stoker_read_##name(stoker_job *job, const char *where, const char **value,        \
                                    size_t *length)                                                \
    {                                                                                              \
        return get(job, where, false, expected, take_##name, value, length);                       \
    }                                                                                              \
    stoker_found stoker_need_##name(stoker_job *job, const char *where, const char **value,        \
                                    size_t *length)                                                \
    {                                                                                              \
        return get(job, where, true, expected, take_##name, value, length);                        \
    }

READER(integer, int64_t, "a whole number within 64 bits")
READER(number, double, "a number")
READER(boolean, bool, "true or false")
READER(count, size_t, "an array or an object")
LONG_READER(text, "a text")
LONG_READER(json, "a value")
