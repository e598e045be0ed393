/*
 * The settlements of one exchange: the attempts and, beside them, the parameters of the request as
 * far as they are written. They are written while another exchange is away and the main thread has
 * nothing else to do.
 */
#ifndef STOKER_BATCH_H
#define STOKER_BATCH_H

#include "dispatcher.h"
#include "requests.h"

typedef struct batch {
    buffer text;
    json_writer writer;
    attempt_queue attempts;
} batch;

void batch_begin(batch *b, const char *session_id);
bool batch_is_begun(const batch *b);
/* Move attempts from a queue into the batch, up to that many and as long as the whole has room. */
void batch_add(batch *b, attempt_queue *from, size_t most, size_t room);
/* Write the rest. Returns NULL, or what was wrong. */
const char *batch_end(batch *b, const exchange_ask *ask);
/* Forget the text. The attempts stay, and are the caller's business. */
void batch_clear(batch *b);
void batch_free(batch *b);
void batch_swap(batch *a, batch *b);

#endif
