#include "batch.h"

enum {
    MOST_BYTES = 4 * 1024 * 1024, /* of settlements, after which no more are taken */
    MARGIN = 65536                /* bytes for what stands around the settlements */
};

void batch_begin(batch *b, const char *session_id)
{
    buffer_clear(&b->text);
    say_exchange_begin(&b->writer, &b->text, session_id);
}

bool batch_is_begun(const batch *b)
{
    return b->text.length > 0;
}

void batch_clear(batch *b)
{
    buffer_clear(&b->text);
    buffer_shrink(&b->text, MARGIN);
}

void batch_free(batch *b)
{
    buffer_free(&b->text);
}

void batch_swap(batch *a, batch *b)
{
    batch spare = *a;
    *a = *b;
    *b = spare;
    a->writer.out = &a->text;
    b->writer.out = &b->text;
}

/* Add a settlement, unless it makes the request too long; then nothing is added. */
static bool add_settlement(json_writer *w, attempt *a, size_t most)
{
    const json_writer before = *w;
    size_t length = w->out->length;
    const settlement s = attempt_settlement(a);
    say_settlement(w, &s);
    if (w->wrong == NULL && w->out->length <= most)
        return true;
    *w = before;
    w->out->length = length;
    w->out->failed = false;
    return false;
}

void batch_add(batch *b, attempt_queue *from, size_t most, size_t room)
{
    size_t most_bytes = room > 2 * MARGIN ? room - MARGIN : room / 2;
    while (from->count > 0 && b->attempts.count < most && b->text.length < MOST_BYTES) {
        attempt *a = queue_pop(from);
        bool fits = add_settlement(&b->writer, a, most_bytes);
        if (!fits && b->attempts.count > 0) {
            queue_push_front(from, a);
            return;
        }
        if (!fits) {
            attempt_make_small(a, "result_too_large",
                               "the outcome of the job is longer than the server takes; store it "
                               "elsewhere and return its address");
            fits = add_settlement(&b->writer, a, most_bytes);
        }
        queue_push(&b->attempts, a);
        if (!fits)
            b->writer.wrong = "one settlement alone does not fit";
    }
}

const char *batch_end(batch *b, const exchange_ask *ask)
{
    say_exchange_end(&b->writer, ask);
    return b->writer.wrong;
}
