/*
 * JSON as slices. A document is the text itself and an index over it: nothing is copied, numbers
 * keep their digits, and what is only handed on (payloads, results) keeps its bytes.
 *
 * yajl does the grammar. What it does not judge is judged here: texts that are not UTF-8 and
 * nesting without end. Halves of surrogate pairs are found when a text is decoded.
 */
#ifndef STOKER_JSON_READ_H
#define STOKER_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

typedef enum json_type {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_TEXT,
    JSON_ARRAY,
    JSON_OBJECT
} json_type;

/* One value. In an object, keys and values take turns. */
typedef struct json_node {
    json_type type;
    uint32_t start; /* offset of its first byte */
    uint32_t end;   /* offset behind its last one */
    uint32_t next;  /* index of the node behind it and all that it holds */
} json_node;

typedef struct json_limits {
    unsigned depth;     /* the deepest nesting that is taken */
    unsigned indexed;   /* nesting below which values are one slice, without nodes of their own */
    uint32_t max_nodes; /* the most nodes */
} json_limits;

typedef struct json_doc {
    const char *text; /* not owned */
    size_t length;
    json_node *nodes; /* owned; the root is node 0 */
    uint32_t count;
    uint32_t capacity;
} json_doc;

/* Index a text of one JSON value. Returns NULL, or what is wrong with it. The document has to be
   freed either way, and may be used for another text without. */
const char *json_parse(json_doc *doc, const char *text, size_t length, const json_limits *limits);
void json_free(json_doc *doc);
/* Whether every escape of a text of JSON stands for a character: no half of a surrogate pair. */
bool json_has_whole_pairs(const char *text, size_t length);

enum { JSON_NONE = -1 };
/* Index of the value of a key (the last one, if a key is there twice), or JSON_NONE. */
int64_t json_member(const json_doc *doc, int64_t object, const char *key);
int64_t json_item(const json_doc *doc, int64_t array, size_t place);
/* How many items or keys it has. */
size_t json_count(const json_doc *doc, int64_t node);
/* The first node inside an array or object, and the one behind a node; JSON_NONE at the end. */
int64_t json_first(const json_doc *doc, int64_t node);
int64_t json_after(const json_doc *doc, int64_t parent, int64_t node);

/* Whether there is such a node and it is of that type. */
bool json_is(const json_doc *doc, int64_t node, json_type type);
const char *json_slice(const json_doc *doc, int64_t node, size_t *length);
/* Add a text, decoded; false if it is none, or has half a surrogate pair. */
bool json_decode(const json_doc *doc, int64_t node, buffer *out);
/* Whether a text is exactly this one. */
bool json_equals(const json_doc *doc, int64_t node, const char *text, size_t length);
/* A whole number, also one such as 3.0, within 64 bits. */
bool json_integer(const json_doc *doc, int64_t node, int64_t *value);
bool json_number(const json_doc *doc, int64_t node, double *value);

#endif
