#include "settling.h"

#include "clock.h"

enum {
    MANY = 600 /* outcomes that are worth a request of their own */
};

void settling_free(settling *s)
{
    batch_free(&s->away);
}

bool settling_is_over(const settling *s)
{
    return s->away.attempts.count == 0;
}

void settle_all(dispatcher *d, attempt_queue *told, const json_doc *doc, int64_t list)
{
    for (int64_t at = json_first(doc, list); at >= 0; at = json_after(doc, list, at))
        dispatcher_answered(d, queue_pop(told), read_settled(doc, at));
}

static void put_back(settling *s)
{
    attempt_queue *outbox = &s->dispatcher->outbox;
    batch_clear(&s->away);
    queue_append(&s->away.attempts, outbox);
    *outbox = s->away.attempts;
    s->away.attempts = (attempt_queue){0};
    s->resting = true;
}

void settling_take(settling *s, batch *from, const char *session_id)
{
    if (s->resting || from->attempts.count < MANY ||
        connection_is_asking(s->connection, ASK_SETTLE))
        return;
    char nonce[NONCE_SIZE];
    new_nonce(nonce);
    const exchange_ask ask = {.session_id = session_id, .nonce = nonce};
    batch_swap(&s->away, from);
    const char *wrong = batch_end(&s->away, &ask);
    if (wrong != NULL || !connection_ask(s->connection, ASK_SETTLE, s->away.text.data,
                                         s->away.text.length, 0))
        put_back(s);
}

bool settling_answered(settling *s, const json_doc *doc, const response *found)
{
    exchange_reply reply;
    if (!batch_is_begun(&s->away))
        return true; /* of a session that was dropped meanwhile */
    if (found->ok < 0) {
        put_back(s);
        return true;
    }
    if (!read_exchange_reply(doc, found->ok, &reply) ||
        json_count(doc, reply.settled) != s->away.attempts.count)
        return false;
    batch_clear(&s->away);
    settle_all(s->dispatcher, &s->away.attempts, doc, reply.settled);
    return true;
}

void settling_unanswered(settling *s)
{
    put_back(s);
}

void settling_drop(settling *s, attempt_queue *to)
{
    batch_clear(&s->away);
    queue_append(to, &s->away.attempts);
    s->resting = false;
}
