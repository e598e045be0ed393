#include "wire.h"

#include <string.h>

size_t wire_begin(buffer *out, wire_kind kind)
{
    const uint32_t later = 0;
    size_t begun = out->length;
    buffer_byte(out, (char)kind);
    buffer_add(out, &later, sizeof later);
    return begun;
}

bool wire_end(buffer *out, size_t begun)
{
    if (out->failed || out->length - begun - WIRE_HEAD > WIRE_MOST)
        return false;
    uint32_t length = (uint32_t)(out->length - begun - WIRE_HEAD);
    memcpy(out->data + begun + 1, &length, sizeof length);
    return true;
}

void wire_put_number(buffer *out, double value)
{
    buffer_add(out, &value, sizeof value);
}

void wire_put_integer(buffer *out, int64_t value)
{
    buffer_add(out, &value, sizeof value);
}

void wire_put_text(buffer *out, const char *text, size_t length)
{
    if (text == NULL) {
        wire_put_integer(out, -1);
        return;
    }
    wire_put_integer(out, (int64_t)length);
    buffer_add(out, text, length);
    buffer_byte(out, '\0');
}

static bool take(wire_reader *r, void *value, size_t size)
{
    if ((size_t)(r->end - r->at) < size) {
        r->fine = false;
        r->at = r->end;
        return false;
    }
    memcpy(value, r->at, size);
    r->at += size;
    return true;
}

double wire_number(wire_reader *r)
{
    double value = 0;
    take(r, &value, sizeof value);
    return value;
}

int64_t wire_integer(wire_reader *r)
{
    int64_t value = 0;
    take(r, &value, sizeof value);
    return value;
}

const char *wire_text(wire_reader *r, size_t *length)
{
    int64_t size = wire_integer(r);
    size_t ignored = 0;
    if (length == NULL)
        length = &ignored;
    *length = 0;
    if (size == -1 || !r->fine)
        return NULL;
    if (size < 0 || size >= r->end - r->at || r->at[size] != '\0') {
        r->fine = false;
        return NULL;
    }
    const char *text = r->at;
    *length = (size_t)size;
    r->at += size + 1;
    return text;
}

long wire_next(const char *bytes, size_t length, wire_kind *kind, wire_reader *body)
{
    uint32_t size = 0;
    if (length < WIRE_HEAD)
        return 0;
    *kind = (wire_kind)bytes[0];
    memcpy(&size, bytes + 1, sizeof size);
    if (size == WIRE_REST && *kind == WIRE_CRASH) {
        *body = (wire_reader){.at = bytes + WIRE_HEAD, .end = bytes + length, .fine = true};
        return (long)length;
    }
    if (size > WIRE_MOST)
        return -1;
    if (length - WIRE_HEAD < size)
        return 0;
    *body = (wire_reader){.at = bytes + WIRE_HEAD, .end = bytes + WIRE_HEAD + size, .fine = true};
    return (long)(WIRE_HEAD + (size_t)size);
}

static void put_string(buffer *out, const char *text)
{
    wire_put_text(out, text, text == NULL ? 0 : strlen(text));
}

void wire_put_job(buffer *out, const attempt *a)
{
    const lease *l = &a->lease;
    put_string(out, l->id);
    put_string(out, l->task);
    put_string(out, l->queue);
    wire_put_text(out, l->payload, l->payload_length);
    put_string(out, l->parents);
    put_string(out, l->parent_names);
    put_string(out, l->headers);
    put_string(out, l->tenant);
    put_string(out, l->workflow_id);
    wire_put_integer(out, l->attempt);
    wire_put_number(out, a->job.hard_at);
    wire_put_integer(out, (int64_t)a->job.result_limit);
}

bool wire_get_job(wire_reader *r, wire_job *found)
{
    lease *l = &found->lease;
    *found = (wire_job){0};
    l->id = wire_text(r, NULL);
    l->task = wire_text(r, NULL);
    l->queue = wire_text(r, NULL);
    l->payload = wire_text(r, &l->payload_length);
    l->parents = wire_text(r, NULL);
    l->parent_names = wire_text(r, NULL);
    l->headers = wire_text(r, NULL);
    l->tenant = wire_text(r, NULL);
    l->workflow_id = wire_text(r, NULL);
    l->attempt = wire_integer(r);
    found->hard_at = wire_number(r);
    found->result_limit = (size_t)wire_integer(r);
    return r->fine && l->id != NULL && l->task != NULL && l->queue != NULL && l->payload != NULL;
}

void wire_put_ending(buffer *out, const ending *e)
{
    wire_put_integer(out, e->kind);
    wire_put_number(out, e->seconds);
    put_string(out, e->code);
    put_string(out, e->type);
    put_string(out, e->message);
    wire_put_text(out, e->result.data, e->result.length);
}

static char *copy_of(const char *text)
{
    return text == NULL ? NULL : must_copy(text, strlen(text));
}

bool wire_get_ending(wire_reader *r, ending *found)
{
    size_t length = 0;
    int64_t kind = wire_integer(r);
    double seconds = wire_number(r);
    const char *code = wire_text(r, NULL);
    const char *type = wire_text(r, NULL);
    const char *message = wire_text(r, NULL);
    const char *result = wire_text(r, &length);
    if (!r->fine || kind < END_COMPLETED || kind > END_CANCELLED ||
        (kind == END_COMPLETED && result == NULL))
        return false;
    *found = (ending){.kind = (ending_kind)kind,
                      .seconds = seconds,
                      .code = copy_of(code),
                      .type = copy_of(type),
                      .message = copy_of(message)};
    if (result != NULL && !buffer_add(&found->result, result, length)) {
        ending_free(found);
        return false;
    }
    return true;
}
