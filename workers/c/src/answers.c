#include "answers.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ok . leased . [i] . {fields}: what is below that is handed on as it is. */
static const json_limits frame_limits = {.depth = 200, .indexed = 4, .max_nodes = 2000000};

void trouble_set(trouble *t, const char *code, bool retryable, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(t->message, sizeof t->message, format, values);
    va_end(values);
    snprintf(t->code, sizeof t->code, "%s", code);
    t->retryable = retryable;
}

bool trouble_is(const trouble *t, const char *code)
{
    return strcmp(t->code, code) == 0;
}

/* Copy a text into a small array, cut if it is longer; false if it is none. */
static bool copy_text(const json_doc *doc, int64_t node, char *out, size_t size)
{
    buffer text = {0};
    bool fine = json_decode(doc, node, &text);
    if (fine)
        snprintf(out, size, "%.*s", (int)(text.length < size ? text.length : size - 1),
                 text.data == NULL ? "" : text.data);
    buffer_free(&text);
    return fine;
}

static bool read_error(const json_doc *doc, int64_t node, trouble *found)
{
    *found = (trouble){0};
    if (!json_is(doc, node, JSON_OBJECT) ||
        !copy_text(doc, json_member(doc, node, "code"), found->code, sizeof found->code) ||
        found->code[0] == '\0')
        return false;
    copy_text(doc, json_member(doc, node, "message"), found->message, sizeof found->message);
    found->retryable = json_is(doc, json_member(doc, node, "retryable"), JSON_TRUE);
    return true;
}

const char *read_response(json_doc *doc, const char *body, size_t length, response *found)
{
    int64_t id = -1;
    *found = (response){.ok = JSON_NONE};
    const char *wrong = json_parse(doc, body, length, &frame_limits);
    if (wrong != NULL)
        return wrong;
    if (!json_is(doc, 0, JSON_OBJECT))
        return "it is not an object";
    if (!json_integer(doc, json_member(doc, 0, "id"), &id) || id < 0 || id > 9007199254740991)
        return "it has no id";
    found->id = (uint64_t)id;
    found->ok = json_member(doc, 0, "ok");
    int64_t error = json_member(doc, 0, "error");
    if ((found->ok >= 0) == (error >= 0))
        return "it has not one of ok and error";
    if (error >= 0 && !read_error(doc, error, &found->error))
        return "its error has no code";
    return id == 0 && error < 0 ? "it is about the connection and no error" : NULL;
}

bool read_welcome(const json_doc *doc, int64_t node, welcome *found)
{
    int64_t protocol = 0;
    *found = (welcome){0};
    int64_t info = json_member(doc, node, "info");
    copy_text(doc, json_member(doc, node, "identity"), found->identity, sizeof found->identity);
    copy_text(doc, json_member(doc, node, "version"), found->version, sizeof found->version);
    copy_text(doc, json_member(doc, info, "engine"), found->engine, sizeof found->engine);
    return json_integer(doc, json_member(doc, node, "protocol"), &protocol) && protocol == 1 &&
           json_integer(doc, json_member(doc, node, "max_frame"), &found->max_frame) &&
           json_integer(doc, json_member(doc, node, "max_in_flight"), &found->max_in_flight) &&
           json_number(doc, json_member(doc, node, "ping_every"), &found->ping_every) &&
           found->max_frame >= 1024 && found->max_in_flight >= 1 && found->ping_every > 0;
}

bool read_beat_reply(const json_doc *doc, int64_t node, beat_reply *found)
{
    int64_t alive = json_member(doc, node, "alive");
    int64_t asked = json_member(doc, node, "command");
    found->alive = json_is(doc, alive, JSON_TRUE);
    found->cancel = json_member(doc, node, "cancel");
    found->lost = json_member(doc, node, "lost");
    found->command = json_equals(doc, asked, "drain", 5)  ? COMMAND_DRAIN
                     : json_equals(doc, asked, "stop", 4) ? COMMAND_STOP
                                                          : COMMAND_NONE;
    return found->alive || json_is(doc, alive, JSON_FALSE);
}

bool read_exchange_reply(const json_doc *doc, int64_t node, exchange_reply *found)
{
    found->settled = json_member(doc, node, "settled");
    found->leased = json_member(doc, node, "leased");
    return json_is(doc, found->settled, JSON_ARRAY) && json_is(doc, found->leased, JSON_ARRAY);
}

settled read_settled(const json_doc *doc, int64_t node)
{
    return json_equals(doc, node, "ok", 2)            ? SETTLED_OK
           : json_equals(doc, node, "repeated", 8)    ? SETTLED_REPEATED
           : json_equals(doc, node, "lease_lost", 10) ? SETTLED_LEASE_LOST
                                                      : SETTLED_UNKNOWN;
}

/* The fields of a lease, in the order in which a server writes them. */
typedef enum lease_field {
    LEASE_ID,
    LEASE_TASK,
    LEASE_PAYLOAD,
    LEASE_QUEUE,
    LEASE_ATTEMPT,
    LEASE_EPOCH,
    LEASE_NONCE,
    LEASE_TIMEOUT,
    LEASE_SOFT_TIMEOUT,
    LEASE_FAILED,
    LEASE_LOST,
    LEASE_RETRY,
    LEASE_PARENTS,
    LEASE_PARENT_NAMES,
    LEASE_TENANT,
    LEASE_WORKFLOW_ID,
    LEASE_HEADERS,
    LEASE_CANCEL_REQUESTED,
    LEASE_FIELDS
} lease_field;

static const char *const lease_keys[LEASE_FIELDS] = {
    "id",      "task",         "payload", "queue",       "attempt", "epoch",
    "nonce",   "timeout",      "soft_timeout", "failed", "lost",    "retry",
    "parents", "parent_names", "tenant",  "workflow_id", "headers", "cancel_requested"};

/* Where the copies of one lease go. Each copy with its zero byte is no longer than the JSON that it
   was made of with the comma behind it, so the lease's own length is enough; it is checked. */
typedef struct copier {
    const json_doc *doc;
    int64_t nodes[LEASE_FIELDS]; /* of the values, or JSON_NONE */
    char *at;
    char *end;
    bool fine;
} copier;

/* Which field has that key, looking at `likely` first; LEASE_FIELDS: none that is known. */
static int find_field(const json_doc *doc, int64_t key, int likely)
{
    for (int i = 0; i < LEASE_FIELDS; i++) {
        int field = (likely + i) % LEASE_FIELDS;
        if (json_equals(doc, key, lease_keys[field], strlen(lease_keys[field])))
            return field;
    }
    return LEASE_FIELDS;
}

/* Find all fields in one go: a look for each would go through the object as often. */
static void find_fields(copier *c, int64_t object)
{
    int likely = 0;
    for (int field = 0; field < LEASE_FIELDS; field++)
        c->nodes[field] = JSON_NONE;
    for (int64_t key = json_first(c->doc, object); key >= 0;) {
        int64_t value = json_after(c->doc, object, key);
        int field = find_field(c->doc, key, likely);
        if (field < LEASE_FIELDS) {
            c->nodes[field] = value;
            likely = field + 1;
        }
        key = json_after(c->doc, object, value);
    }
}

static const char *keep(copier *c, const char *bytes, size_t length)
{
    if ((size_t)(c->end - c->at) <= length) {
        c->fine = false;
        return NULL;
    }
    char *copy = c->at;
    memcpy(copy, bytes, length);
    copy[length] = '\0';
    c->at += length + 1;
    return copy;
}

static const char *take_text(copier *c, lease_field field, bool needed)
{
    int64_t node = c->nodes[field];
    size_t length = 0;
    const char *slice = json_slice(c->doc, node, &length);
    if (slice == NULL || json_is(c->doc, node, JSON_NULL)) {
        c->fine = c->fine && !needed;
        return NULL;
    }
    if (json_is(c->doc, node, JSON_TEXT) && memchr(slice, '\\', length) == NULL)
        return keep(c, slice + 1, length - 2);
    buffer text = {0};
    /* A zero byte inside would make another text of it. */
    bool fine = json_decode(c->doc, node, &text) &&
                (text.length == 0 || memchr(text.data, '\0', text.length) == NULL);
    const char *copy = fine ? keep(c, text.data == NULL ? "" : text.data, text.length) : NULL;
    c->fine = c->fine && fine;
    buffer_free(&text);
    return copy;
}

static const char *take_json(copier *c, lease_field field, size_t *length)
{
    int64_t node = c->nodes[field];
    const char *slice = json_slice(c->doc, node, length);
    if (slice == NULL || json_is(c->doc, node, JSON_NULL))
        return NULL;
    c->fine = c->fine && json_is(c->doc, node, JSON_OBJECT);
    return keep(c, slice, *length);
}

static void take_integer(copier *c, lease_field field, bool needed, int64_t *value)
{
    int64_t node = c->nodes[field];
    if (!json_integer(c->doc, node, value) && (needed || node >= 0))
        c->fine = false;
}

static void take_limit(copier *c, lease_field field, double *value)
{
    int64_t node = c->nodes[field];
    *value = -1;
    if (node >= 0 && !json_is(c->doc, node, JSON_NULL) &&
        (!json_number(c->doc, node, value) || *value < 0))
        c->fine = false;
}

static void take_fields(copier *c, lease *found)
{
    size_t ignored = 0;
    found->id = take_text(c, LEASE_ID, true);
    found->task = take_text(c, LEASE_TASK, true);
    found->queue = take_text(c, LEASE_QUEUE, true);
    found->nonce = take_text(c, LEASE_NONCE, true);
    found->tenant = take_text(c, LEASE_TENANT, false);
    found->workflow_id = take_text(c, LEASE_WORKFLOW_ID, false);
    found->payload = take_json(c, LEASE_PAYLOAD, &found->payload_length);
    found->retry = take_json(c, LEASE_RETRY, &ignored);
    found->parents = take_json(c, LEASE_PARENTS, &ignored);
    found->parent_names = take_json(c, LEASE_PARENT_NAMES, &ignored);
    found->headers = take_json(c, LEASE_HEADERS, &ignored);
    take_integer(c, LEASE_ATTEMPT, true, &found->attempt);
    take_integer(c, LEASE_EPOCH, true, &found->epoch);
    take_integer(c, LEASE_FAILED, false, &found->failed);
    take_integer(c, LEASE_LOST, false, &found->lost);
    take_limit(c, LEASE_TIMEOUT, &found->timeout);
    take_limit(c, LEASE_SOFT_TIMEOUT, &found->soft_timeout);
    found->cancel_requested = json_is(c->doc, c->nodes[LEASE_CANCEL_REQUESTED], JSON_TRUE);
    c->fine = c->fine && found->payload != NULL && found->attempt >= 1;
}

bool read_lease(const json_doc *doc, int64_t node, lease *found)
{
    size_t length = 0;
    *found = (lease){0};
    if (json_slice(doc, node, &length) == NULL || !json_is(doc, node, JSON_OBJECT))
        return false;
    found->memory = malloc(length + 1);
    if (found->memory == NULL)
        return false;
    copier c = {.doc = doc,
                .at = found->memory,
                .end = found->memory + length + 1,
                .fine = true};
    find_fields(&c, node);
    take_fields(&c, found);
    if (!c.fine)
        lease_free(found);
    return c.fine;
}

void lease_free(lease *l)
{
    free(l->memory);
    free(l->filled);
    *l = (lease){0};
}
