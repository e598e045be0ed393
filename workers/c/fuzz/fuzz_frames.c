/* What a hostile server may send: frames in pieces, and every answer that a worker reads. */
#include <stdlib.h>
#include <string.h>

#include "answers.h"
#include "frames.h"
#include "outputs.h"
#include "queues.h"

enum { LIMIT = 65536 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_leases(const json_doc *doc, int64_t list)
{
    for (int64_t at = json_first(doc, list); at >= 0; at = json_after(doc, list, at)) {
        lease taken;
        if (!read_lease(doc, at, &taken))
            continue;
        if (strlen(taken.payload) != taken.payload_length || taken.attempt < 1)
            abort();
        fill_outputs(&taken);
        lease_free(&taken);
    }
}

static void read_answers(const json_doc *doc, const response *found)
{
    welcome said;
    beat_reply beaten;
    exchange_reply exchanged;
    const options o = {0};
    queues q;
    read_welcome(doc, found->ok, &said);
    if (read_beat_reply(doc, found->ok, &beaten)) {
        json_count(doc, beaten.cancel);
        json_equals(doc, json_first(doc, beaten.lost), "x", 1);
    }
    if (read_exchange_reply(doc, found->ok, &exchanged)) {
        read_settled(doc, json_first(doc, exchanged.settled));
        read_leases(doc, exchanged.leased);
    }
    queues_begin(&q, &o);
    queues_learn(&q, doc, found->ok);
    queues_free(&q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_doc doc = {0};
    frame_reader reader = {0};
    const char *bytes = (const char *)data;
    const char *body = NULL;
    size_t length = 0;
    /* The first byte says in pieces of what size the rest comes. */
    size_t piece = size > 0 && data[0] > 0 ? data[0] : size;
    frame_begin(&reader, LIMIT);
    for (size_t at = 1; at < size; at += piece) {
        size_t left = size - at;
        frame_feed(&reader, bytes + at, left < piece ? left : piece);
        frame_state state = FRAME_MORE;
        while ((state = frame_next(&reader, &body, &length)) == FRAME_READY) {
            response found;
            if (read_response(&doc, body, length, &found) == NULL && found.ok >= 0)
                read_answers(&doc, &found);
        }
        if (state != FRAME_MORE)
            break;
    }
    json_free(&doc);
    frame_end(&reader);
    return 0;
}
