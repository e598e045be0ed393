#include "json_read.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "text.h"

#define LONGEST_TEXT ((size_t)1 << 30) /* offsets are of 32 bits */
enum { MOST_OPEN = 1024 };

typedef struct indexer {
    json_doc *doc;
    json_limits limits;
    yajl_handle parser;
    const char *wrong;          /* why a callback ended it */
    size_t seen;                /* offset behind the last token */
    bool ending;                /* the text is over: what comes now is a number at its end */
    unsigned depth;             /* how many arrays and objects are open */
    uint32_t open[MOST_OPEN];   /* their nodes, as far as they have some */
} indexer;

static size_t token_end(const indexer *in)
{
    return in->ending ? in->doc->length : yajl_get_bytes_consumed(in->parser);
}

static bool stands_between(char c)
{
    return c == ',' || c == ':' || c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t token_start(const indexer *in)
{
    const char *text = in->doc->text;
    size_t at = in->seen;
    while (at < in->doc->length && stands_between(text[at]))
        at++;
    return at;
}

static bool has_nodes(const indexer *in)
{
    return in->depth <= in->limits.indexed;
}

static json_node *add_node(indexer *in, json_type type)
{
    json_doc *doc = in->doc;
    if (doc->count >= in->limits.max_nodes) {
        in->wrong = "it holds too many values";
        return NULL;
    }
    if (doc->count == doc->capacity) {
        uint32_t capacity = doc->capacity == 0 ? 32 : doc->capacity * 2;
        json_node *nodes = realloc(doc->nodes, (size_t)capacity * sizeof *nodes);
        if (nodes == NULL) {
            in->wrong = "there is no memory for it";
            return NULL;
        }
        doc->nodes = nodes;
        doc->capacity = capacity;
    }
    json_node *node = &doc->nodes[doc->count++];
    *node = (json_node){.type = type,
                        .start = (uint32_t)token_start(in),
                        .end = (uint32_t)token_end(in),
                        .next = doc->count};
    return node;
}

static int take_scalar(indexer *in, json_type type)
{
    bool fine = !has_nodes(in) || add_node(in, type) != NULL;
    in->seen = token_end(in);
    return fine;
}

static int take_open(indexer *in, json_type type)
{
    if (in->depth >= in->limits.depth || in->depth >= MOST_OPEN) {
        in->wrong = "it nests too deep";
        return 0;
    }
    if (has_nodes(in)) {
        if (add_node(in, type) == NULL)
            return 0;
        in->open[in->depth] = in->doc->count - 1;
    }
    in->depth++;
    in->seen = token_end(in);
    return 1;
}

static int take_close(indexer *in)
{
    in->depth--;
    in->seen = token_end(in);
    if (has_nodes(in)) {
        json_node *node = &in->doc->nodes[in->open[in->depth]];
        node->end = (uint32_t)in->seen;
        node->next = in->doc->count;
    }
    return 1;
}

static int on_null(void *in)
{
    return take_scalar(in, JSON_NULL);
}

static int on_boolean(void *in, int value)
{
    return take_scalar(in, value ? JSON_TRUE : JSON_FALSE);
}

static int on_number(void *in, const char *digits, size_t length)
{
    (void)digits;
    (void)length;
    return take_scalar(in, JSON_NUMBER);
}

static int on_text(void *in, const unsigned char *text, size_t length)
{
    (void)text;
    (void)length;
    return take_scalar(in, JSON_TEXT);
}

static int on_open_object(void *in)
{
    return take_open(in, JSON_OBJECT);
}

static int on_open_array(void *in)
{
    return take_open(in, JSON_ARRAY);
}

static int on_close(void *in)
{
    return take_close(in);
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_text,
    .yajl_map_key = on_text,
    .yajl_start_map = on_open_object,
    .yajl_end_map = on_close,
    .yajl_start_array = on_open_array,
    .yajl_end_array = on_close,
};

static const char *run_parser(indexer *in)
{
    json_doc *doc = in->doc;
    const unsigned char *text = (const unsigned char *)doc->text;
    yajl_status status = yajl_parse(in->parser, text, doc->length);
    if (status == yajl_status_ok) {
        in->ending = true;
        status = yajl_complete_parse(in->parser);
    }
    if (in->wrong != NULL)
        return in->wrong;
    return status == yajl_status_ok && doc->count > 0 ? NULL : "it is not JSON";
}

const char *json_parse(json_doc *doc, const char *text, size_t length, const json_limits *limits)
{
    doc->text = text;
    doc->length = length;
    doc->count = 0;
    if (length == 0 || length > LONGEST_TEXT)
        return length == 0 ? "it is empty" : "it is too long";
    if (!is_utf8(text, length))
        return "it is not UTF-8";
    indexer in = {.doc = doc, .limits = *limits};
    in.parser = yajl_alloc(&callbacks, NULL, &in);
    if (in.parser == NULL)
        return "there is no memory for it";
    /* Done above, and more strictly: yajl takes overlong forms and surrogates. */
    yajl_config(in.parser, yajl_dont_validate_strings, 1);
    const char *wrong = run_parser(&in);
    yajl_free(in.parser);
    if (wrong != NULL)
        doc->count = 0;
    return wrong;
}

void json_free(json_doc *doc)
{
    free(doc->nodes);
    *doc = (json_doc){0};
}

static const json_node *node_at(const json_doc *doc, int64_t node)
{
    return node >= 0 && node < (int64_t)doc->count ? &doc->nodes[node] : NULL;
}

bool json_is(const json_doc *doc, int64_t node, json_type type)
{
    const json_node *found = node_at(doc, node);
    return found != NULL && found->type == type;
}

int64_t json_first(const json_doc *doc, int64_t node)
{
    const json_node *found = node_at(doc, node);
    bool holds = found != NULL && (found->type == JSON_ARRAY || found->type == JSON_OBJECT);
    return holds && found->next > node + 1 ? node + 1 : JSON_NONE;
}

int64_t json_after(const json_doc *doc, int64_t parent, int64_t node)
{
    const json_node *outer = node_at(doc, parent);
    const json_node *inner = node_at(doc, node);
    return outer != NULL && inner != NULL && inner->next < outer->next ? (int64_t)inner->next
                                                                      : JSON_NONE;
}

int64_t json_member(const json_doc *doc, int64_t object, const char *key)
{
    int64_t found = JSON_NONE;
    if (!json_is(doc, object, JSON_OBJECT))
        return found;
    size_t length = strlen(key);
    for (int64_t at = json_first(doc, object); at >= 0;) {
        int64_t value = json_after(doc, object, at);
        if (json_equals(doc, at, key, length))
            found = value;
        at = json_after(doc, object, value);
    }
    return found;
}

int64_t json_item(const json_doc *doc, int64_t array, size_t place)
{
    if (!json_is(doc, array, JSON_ARRAY))
        return JSON_NONE;
    int64_t at = json_first(doc, array);
    while (at >= 0 && place-- > 0)
        at = json_after(doc, array, at);
    return at;
}

size_t json_count(const json_doc *doc, int64_t node)
{
    size_t count = 0;
    for (int64_t at = json_first(doc, node); at >= 0; at = json_after(doc, node, at))
        count++;
    return json_is(doc, node, JSON_OBJECT) ? count / 2 : count;
}

const char *json_slice(const json_doc *doc, int64_t node, size_t *length)
{
    const json_node *found = node_at(doc, node);
    *length = found == NULL ? 0 : found->end - found->start;
    return found == NULL ? NULL : doc->text + found->start;
}

static bool four_digits(const char *at, const char *end, uint32_t *code)
{
    if (end - at < 4)
        return false;
    *code = 0;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit > 15)
            return false;
        *code = *code * 16 + digit;
    }
    return true;
}

/* Decode `\uXXXX`, or two of them that are a pair; returns the bytes behind the `u`, 0 if wrong. */
static size_t decode_unicode(const char *at, const char *end, buffer *out)
{
    uint32_t code = 0;
    uint32_t low = 0;
    if (!four_digits(at, end, &code) || (code >= 0xDC00 && code <= 0xDFFF))
        return 0;
    if (code < 0xD800 || code > 0xDBFF) {
        add_code_point(out, code);
        return 4;
    }
    if (end - at < 10 || at[4] != '\\' || at[5] != 'u' || !four_digits(at + 6, end, &low) ||
        low < 0xDC00 || low > 0xDFFF)
        return 0;
    add_code_point(out, 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00));
    return 10;
}

static bool decode_escape(const char **at, const char *end, buffer *out)
{
    static const char names[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    char name = **at;
    *at += 1;
    if (name == 'u') {
        size_t size = decode_unicode(*at, end, out);
        *at += size;
        return size > 0;
    }
    const char *found = name == '\0' ? NULL : strchr(names, name);
    return found != NULL && buffer_byte(out, values[found - names]);
}

bool json_decode(const json_doc *doc, int64_t node, buffer *out)
{
    size_t length = 0;
    const char *at = json_slice(doc, node, &length);
    if (!json_is(doc, node, JSON_TEXT) || length < 2)
        return false;
    const char *end = at + length - 1;
    at++;
    while (at < end) {
        const char *slash = memchr(at, '\\', (size_t)(end - at));
        const char *stop = slash == NULL ? end : slash;
        buffer_add(out, at, (size_t)(stop - at));
        at = stop;
        if (at < end) {
            at++;
            if (at >= end || !decode_escape(&at, end, out))
                return false;
        }
    }
    return !out->failed;
}

bool json_has_whole_pairs(const char *text, size_t length)
{
    const char *end = text + length;
    buffer ignored = {0};
    bool fine = true;
    for (const char *at = text; fine && (at = memchr(at, '\\', (size_t)(end - at))) != NULL;) {
        at++;
        fine = at < end;
        if (fine && *at == 'u') {
            size_t size = decode_unicode(at + 1, end, &ignored);
            buffer_clear(&ignored);
            fine = size > 0;
            at += size;
        }
        at += fine ? 1 : 0;
    }
    buffer_free(&ignored);
    return fine;
}

bool json_equals(const json_doc *doc, int64_t node, const char *text, size_t length)
{
    size_t size = 0;
    const char *slice = json_slice(doc, node, &size);
    if (!json_is(doc, node, JSON_TEXT) || size < 2)
        return false;
    /* An escape is longer than what it stands for. */
    if (size - 2 < length || (size - 2 == length && memchr(text, '\\', length) == NULL))
        return size - 2 == length && memcmp(slice + 1, text, length) == 0;
    if (memchr(slice, '\\', size) == NULL)
        return size - 2 == length && memcmp(slice + 1, text, length) == 0;
    buffer decoded = {0};
    bool same = json_decode(doc, node, &decoded) && decoded.length == length &&
                (length == 0 || memcmp(decoded.data, text, length) == 0);
    buffer_free(&decoded);
    return same;
}

bool json_number(const json_doc *doc, int64_t node, double *value)
{
    size_t length = 0;
    const char *slice = json_slice(doc, node, &length);
    char copy[400];
    if (!json_is(doc, node, JSON_NUMBER) || length >= sizeof copy)
        return false;
    memcpy(copy, slice, length);
    copy[length] = '\0';
    double found = strtod(copy, NULL);
    if (!isfinite(found))
        return false;
    *value = found;
    return true;
}

bool json_integer(const json_doc *doc, int64_t node, int64_t *value)
{
    size_t length = 0;
    const char *slice = json_slice(doc, node, &length);
    char copy[32];
    double real = 0;
    if (json_is(doc, node, JSON_NUMBER) && length < sizeof copy) {
        memcpy(copy, slice, length);
        copy[length] = '\0';
        char *end = NULL;
        errno = 0;
        int64_t found = strtoll(copy, &end, 10);
        if (errno == 0 && *end == '\0') {
            *value = found;
            return true;
        }
    }
    /* Not digits alone: whole all the same, if it is exact as a double. */
    if (!json_number(doc, node, &real) || real != floor(real) || fabs(real) > 9007199254740992.0)
        return false;
    *value = (int64_t)real;
    return true;
}
