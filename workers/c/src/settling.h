/*
 * Hands in what ended while an exchange is away, as an exchange that leases nothing, as soon as that
 * is much: server and worker work side by side, and the answer to one is written while the other is
 * carried out. It is never repeated as it was: what is not answered goes back into the outbox, and
 * with the next exchange, which knows what to do about refusals. The fence makes that safe.
 */
#ifndef STOKER_SETTLING_H
#define STOKER_SETTLING_H

#include "batch.h"
#include "connection.h"
#include "dispatcher.h"

typedef struct settling {
    connection *connection;
    dispatcher *dispatcher;
    batch away;
    bool resting; /* something was refused: wait for an exchange to go well */
} settling;

void settling_free(settling *s);
bool settling_is_over(const settling *s);
/* Send what is written of the next exchange, if it is worth it; if so, the batch is empty then. */
void settling_take(settling *s, batch *from, const char *session_id);
/* False: the answer is not one. */
bool settling_answered(settling *s, const json_doc *doc, const response *found);
void settling_unanswered(settling *s);
/* The session is gone: move what was away to the end of a queue. */
void settling_drop(settling *s, attempt_queue *to);

/* Tell attempts what the store said of each of them. */
void settle_all(dispatcher *d, attempt_queue *told, const json_doc *doc, int64_t list);

#endif
