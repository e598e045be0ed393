/* What travels between the worker and a child process that runs one job. Both are this program, but
   a child may have gone wild: every length is checked when its words are read. */
#ifndef STOKER_WIRE_H
#define STOKER_WIRE_H

#include "attempt.h"

typedef enum wire_kind {
    WIRE_JOB = 'J',      /* to the child: the job */
    WIRE_PROGRESS = 'P', /* from the child */
    WIRE_LOG = 'L',
    WIRE_ENDING = 'E',
    WIRE_CRASH = 'C' /* the last words of a signal handler, up to the end of the stream */
} wire_kind;

enum { WIRE_HEAD = 5, WIRE_MOST = 256 * 1024 * 1024 };
#define WIRE_REST UINT32_MAX /* a length: up to the end of the stream */

/* Begin a message at the end of `out`, and set its length when it is complete. */
size_t wire_begin(buffer *out, wire_kind kind);
bool wire_end(buffer *out, size_t begun);
void wire_put_number(buffer *out, double value);
void wire_put_integer(buffer *out, int64_t value);
void wire_put_text(buffer *out, const char *text, size_t length); /* NULL: none */

/* Reads a message; a field that is not there makes `fine` false. */
typedef struct wire_reader {
    const char *at;
    const char *end;
    bool fine;
} wire_reader;

double wire_number(wire_reader *r);
int64_t wire_integer(wire_reader *r);
/* A text with a zero byte behind it, inside the message; NULL for none. */
const char *wire_text(wire_reader *r, size_t *length);

/* Find the next message in what came; 0: it is not complete, -1: it is none. Else its whole size. */
long wire_next(const char *bytes, size_t length, wire_kind *kind, wire_reader *body);

void wire_put_job(buffer *out, const attempt *a);
typedef struct wire_job {
    lease lease; /* its texts are in the message */
    double hard_at;
    size_t result_limit;
} wire_job;
bool wire_get_job(wire_reader *r, wire_job *found);
void wire_put_ending(buffer *out, const ending *e);
bool wire_get_ending(wire_reader *r, ending *found);

#endif
