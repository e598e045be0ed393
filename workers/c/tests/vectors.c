/* Read one file of golden vectors, and hold this library to each of them. One line of output a
   vector: "ok NAME" or "not ok NAME: WHY". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answers.h"
#include "frames.h"
#include "requests.h"

static const json_limits limits = {.depth = 200, .indexed = 200, .max_nodes = 1000000};
enum { ROOM = 1000000, MOST = 64 };

/* A text of the document being read, kept until the program ends: vectors are few and small. */
static const char *text_of(const json_doc *doc, int64_t object, const char *key)
{
    buffer out = {0};
    int64_t node = json_member(doc, object, key);
    if (!json_is(doc, node, JSON_TEXT) || !json_decode(doc, node, &out))
        return NULL;
    return buffer_string(&out);
}

static int64_t integer_of(const json_doc *doc, int64_t object, const char *key, int64_t fallback)
{
    int64_t value = fallback;
    json_integer(doc, json_member(doc, object, key), &value);
    return value;
}

static bool number_of(const json_doc *doc, int64_t object, const char *key, double *value)
{
    return json_number(doc, json_member(doc, object, key), value);
}

static names names_of(const json_doc *doc, int64_t object, const char *key)
{
    int64_t list = json_member(doc, object, key);
    size_t count = json_count(doc, list);
    const char **items = calloc(count + 1, sizeof *items);
    for (size_t i = 0; i < count; i++) {
        buffer out = {0};
        json_decode(doc, json_item(doc, list, i), &out);
        items[i] = buffer_string(&out);
    }
    return (names){.items = items, .count = count};
}

static fence fence_of(const json_doc *doc, int64_t node)
{
    return (fence){.id = text_of(doc, node, "id"),
                   .epoch = integer_of(doc, node, "epoch", 0),
                   .nonce = text_of(doc, node, "nonce")};
}

static report report_of(const json_doc *doc, int64_t node)
{
    report found = {.note = text_of(doc, node, "note")};
    found.has_ran_for = number_of(doc, node, "ran_for", &found.ran_for);
    found.has_progress = number_of(doc, node, "progress", &found.progress);
    found.logs = json_slice(doc, json_member(doc, node, "logs"), &found.logs_length);
    return found;
}

static void write_hello(const json_doc *doc, int64_t p, buffer *out)
{
    const hello said = {.protocol = (int)integer_of(doc, p, "protocol", 0),
                        .token = text_of(doc, p, "token"),
                        .client = text_of(doc, p, "client"),
                        .version = text_of(doc, p, "version"),
                        .max_frame = integer_of(doc, p, "max_frame", 0)};
    say_hello(out, &said);
}

static void write_beat(const json_doc *doc, int64_t p, buffer *out)
{
    json_writer w;
    double ttl = 0;
    int64_t s = json_member(doc, p, "session");
    size_t details_length = 0;
    const char *details = json_slice(doc, json_member(doc, s, "details"), &details_length);
    const session who = {.id = text_of(doc, s, "id"),
                         .name = text_of(doc, s, "name"),
                         .host = text_of(doc, s, "host"),
                         .pid = integer_of(doc, s, "pid", 0),
                         .kind = text_of(doc, s, "kind"),
                         .version = text_of(doc, s, "version"),
                         .queues = names_of(doc, s, "queues"),
                         .tasks = names_of(doc, s, "tasks"),
                         .concurrency = integer_of(doc, s, "concurrency", 1),
                         .state = text_of(doc, s, "state"),
                         .details = details,
                         .details_length = details_length};
    int64_t held = json_member(doc, p, "held");
    number_of(doc, p, "ttl", &ttl);
    say_beat_begin(&w, out, &who);
    for (int64_t at = json_first(doc, held); at >= 0; at = json_after(doc, held, at)) {
        const fence f = fence_of(doc, at);
        const report r = report_of(doc, at);
        say_held(&w, &f, &r);
    }
    say_beat_end(&w, ttl);
}

static settlement settlement_of(const json_doc *doc, int64_t node)
{
    int64_t error = json_member(doc, node, "error");
    settlement found = {.fence = fence_of(doc, node),
                        .outcome = text_of(doc, node, "outcome"),
                        .error = {.code = text_of(doc, error, "code"),
                                  .message = text_of(doc, error, "message"),
                                  .type = text_of(doc, error, "type"),
                                  .traceback = text_of(doc, error, "traceback")},
                        .report = report_of(doc, node)};
    found.result = json_slice(doc, json_member(doc, node, "result"), &found.result_length);
    found.has_retry_in = number_of(doc, node, "retry_in", &found.retry_in);
    return found;
}

static void write_exchange(const json_doc *doc, int64_t p, buffer *out)
{
    json_writer w;
    queue_room room[MOST];
    size_t count = 0;
    int64_t list = json_member(doc, p, "settlements");
    int64_t queues = json_member(doc, p, "queues");
    say_exchange_begin(&w, out, text_of(doc, p, "session_id"));
    for (int64_t at = json_first(doc, list); at >= 0; at = json_after(doc, list, at)) {
        const settlement s = settlement_of(doc, at);
        say_settlement(&w, &s);
    }
    for (int64_t key = json_first(doc, queues); key >= 0 && count < MOST;) {
        int64_t value = json_after(doc, queues, key);
        buffer name = {0};
        json_decode(doc, key, &name);
        room[count] = (queue_room){.name = buffer_string(&name)};
        json_integer(doc, value, &room[count++].room);
        key = json_after(doc, queues, value);
    }
    const exchange_ask ask = {.queues = room,
                              .queue_count = count,
                              .want = integer_of(doc, p, "want", -1),
                              .nonce = text_of(doc, p, "nonce"),
                              .aged = integer_of(doc, p, "aged", 0),
                              .ids = names_of(doc, p, "ids")};
    say_exchange_end(&w, &ask);
}

static void write_wait(const json_doc *doc, int64_t p, buffer *out)
{
    double timeout = 0;
    number_of(doc, p, "timeout", &timeout);
    say_wait(out, names_of(doc, p, "queues"), names_of(doc, p, "ids"), timeout);
}

/* Write the parameters of a request again, out of this library's own structs. False if that verb
   is none of a worker. */
static bool write_params(const char *verb, const json_doc *doc, int64_t p, buffer *out)
{
    if (strcmp(verb, "hello") == 0)
        write_hello(doc, p, out);
    else if (strcmp(verb, "beat") == 0)
        write_beat(doc, p, out);
    else if (strcmp(verb, "exchange") == 0)
        write_exchange(doc, p, out);
    else if (strcmp(verb, "wait") == 0)
        write_wait(doc, p, out);
    else if (strcmp(verb, "forget") == 0)
        say_forget(out, (uint64_t)integer_of(doc, p, "id", 0));
    else if (strcmp(verb, "ping") == 0 || strcmp(verb, "queues") == 0)
        buffer_text(out, "{}");
    else
        return false;
    return true;
}

static const char *check_request(const char *body, size_t length, const buffer *frame, bool exact)
{
    json_doc doc = {0};
    buffer params = {0};
    buffer again = {0};
    const char *wrong = json_parse(&doc, body, length, &limits);
    if (wrong != NULL)
        return wrong;
    const char *verb = text_of(&doc, 0, "verb");
    if (verb == NULL)
        return "it has no verb";
    if (!write_params(verb, &doc, json_member(&doc, 0, "params"), &params) || !exact)
        return NULL; /* no verb of a worker: that it is framed and read is all there is to it */
    if (!frame_request(&again, (uint64_t)integer_of(&doc, 0, "id", 0), verb, params.data,
                       params.length, ROOM))
        return "it could not be framed";
    if (again.length == frame->length && memcmp(again.data, frame->data, frame->length) == 0)
        return NULL;
    fprintf(stderr, "written: %.*s\n", (int)again.length - FRAME_HEAD, again.data + FRAME_HEAD);
    return "it was written in other bytes";
}

static const char *check_lease(const json_doc *doc, int64_t node)
{
    lease found;
    if (!read_lease(doc, node, &found))
        return "a lease could not be read";
    size_t length = 0;
    const char *payload = json_slice(doc, json_member(doc, node, "payload"), &length);
    bool same = found.payload_length == length && memcmp(found.payload, payload, length) == 0 &&
                strcmp(found.id, text_of(doc, node, "id")) == 0 &&
                strcmp(found.nonce, text_of(doc, node, "nonce")) == 0 &&
                found.epoch == integer_of(doc, node, "epoch", -1) &&
                found.lost == integer_of(doc, node, "lost", 0) &&
                found.failed == integer_of(doc, node, "failed", 0) &&
                found.cancel_requested ==
                    json_is(doc, json_member(doc, node, "cancel_requested"), JSON_TRUE) &&
                (found.parents == NULL) == (json_member(doc, node, "parents") < 0) &&
                (found.retry == NULL) == (json_member(doc, node, "retry") < 0) &&
                (found.tenant == NULL) == (json_member(doc, node, "tenant") < 0);
    lease_free(&found);
    return same ? NULL : "a lease was read as something else";
}

static const char *check_exchange_reply(const json_doc *doc, int64_t ok)
{
    exchange_reply reply;
    const char *wrong = NULL;
    if (!read_exchange_reply(doc, ok, &reply))
        return "the answer to an exchange could not be read";
    int64_t at = json_first(doc, reply.settled);
    for (; at >= 0; at = json_after(doc, reply.settled, at))
        if (read_settled(doc, at) == SETTLED_UNKNOWN)
            return "a settlement's answer is unknown";
    at = json_first(doc, reply.leased);
    for (; at >= 0 && wrong == NULL; at = json_after(doc, reply.leased, at))
        wrong = check_lease(doc, at);
    return wrong;
}

static const char *check_answer(const char *body, size_t length, const char *verb)
{
    json_doc doc = {0};
    response found;
    const char *wrong = read_response(&doc, body, length, &found);
    if (wrong != NULL)
        return wrong;
    if (strcmp(verb, "hello") == 0) {
        welcome said;
        return read_welcome(&doc, found.ok, &said) ? NULL : "the welcome could not be read";
    }
    if (strcmp(verb, "beat") == 0) {
        beat_reply said;
        return read_beat_reply(&doc, found.ok, &said) ? NULL : "the reply could not be read";
    }
    return strcmp(verb, "exchange") == 0 ? check_exchange_reply(&doc, found.ok) : NULL;
}

static const char *check_error(const char *body, size_t length, const json_doc *file,
                               int64_t vector)
{
    json_doc doc = {0};
    response found;
    const char *wrong = read_response(&doc, body, length, &found);
    if (wrong != NULL)
        return wrong;
    int64_t meant = json_member(file, json_member(file, vector, "meaning"), "error");
    const char *code = text_of(file, meant, "code");
    const char *message = text_of(file, meant, "message");
    bool retryable = json_is(file, json_member(file, meant, "retryable"), JSON_TRUE);
    bool same = trouble_is(&found.error, code) && strcmp(found.error.message, message) == 0 &&
                found.error.retryable == retryable;
    return same ? NULL : "it was read as another error";
}

/* What a server judges of a request, done with this library's reader. */
static bool is_request(const char *body, size_t length)
{
    json_doc doc = {0};
    int64_t id = 0;
    if (json_parse(&doc, body, length, &limits) != NULL || !json_is(&doc, 0, JSON_OBJECT))
        return false;
    size_t known = (json_member(&doc, 0, "id") >= 0) + (json_member(&doc, 0, "verb") >= 0) +
                   (json_member(&doc, 0, "params") >= 0);
    return json_integer(&doc, json_member(&doc, 0, "id"), &id) && id >= 1 &&
           id <= 9007199254740991 && json_is(&doc, json_member(&doc, 0, "verb"), JSON_TEXT) &&
           known == json_count(&doc, 0);
}

static const char *check_refused(const buffer *frame, const json_doc *file, int64_t vector)
{
    frame_reader reader = {0};
    const char *body = NULL;
    size_t length = 0;
    const char *code = text_of(file, vector, "refused");
    frame_begin(&reader, (size_t)integer_of(file, vector, "limit", 0));
    frame_feed(&reader, frame->data, frame->length);
    frame_state state = frame_next(&reader, &body, &length);
    bool too_large = strcmp(code, "frame_too_large") == 0;
    if (too_large)
        return state == FRAME_TOO_LARGE ? NULL : "its length was not refused";
    if (state == FRAME_EMPTY)
        return NULL;
    if (state != FRAME_READY)
        return "it was refused for its length";
    return is_request(body, length) ? "it was taken" : NULL;
}

static void from_hex(const char *hex, buffer *out)
{
    for (size_t i = 0; hex[i] != '\0' && hex[i + 1] != '\0'; i += 2) {
        const char digits[] = {hex[i], hex[i + 1], '\0'};
        buffer_byte(out, (char)strtoul(digits, NULL, 16));
    }
}

static const char *check(const json_doc *file, int64_t vector)
{
    buffer frame = {0};
    frame_reader reader = {0};
    const char *body = NULL;
    size_t length = 0;
    from_hex(text_of(file, vector, "frame_hex"), &frame);
    if (json_member(file, vector, "refused") >= 0)
        return check_refused(&frame, file, vector);
    frame_begin(&reader, ROOM);
    frame_feed(&reader, frame.data, frame.length);
    if (frame_next(&reader, &body, &length) != FRAME_READY || frame_is_inside(&reader))
        return "it is not one frame";
    const char *text = text_of(file, vector, "text");
    if (strlen(text) != length || memcmp(text, body, length) != 0)
        return "the frame does not hold the text";
    if (json_member(file, vector, "error") >= 0)
        return check_error(body, length, file, vector);
    if (strcmp(text_of(file, vector, "from"), "server") == 0)
        return check_answer(body, length, text_of(file, vector, "verb"));
    return check_request(body, length, &frame,
                         !json_is(file, json_member(file, vector, "exact"), JSON_FALSE));
}

int main(int argc, char **argv)
{
    static char text[4 * ROOM];
    json_doc file = {0};
    FILE *in = argc == 2 ? fopen(argv[1], "rb") : NULL;
    size_t length = in == NULL ? 0 : fread(text, 1, sizeof text, in);
    const char *wrong = json_parse(&file, text, length, &limits);
    int64_t list = json_member(&file, 0, "vectors");
    if (wrong != NULL || list < 0) {
        fprintf(stderr, "%s: no file of vectors: %s\n", argc > 1 ? argv[1] : "?", wrong);
        return 2;
    }
    int failed = 0;
    for (int64_t at = json_first(&file, list); at >= 0; at = json_after(&file, list, at)) {
        const char *why = check(&file, at);
        failed += why != NULL;
        printf("%s %s%s%s\n", why == NULL ? "ok" : "not ok", text_of(&file, at, "name"),
               why == NULL ? "" : ": ", why == NULL ? "" : why);
    }
    return failed == 0 ? 0 : 1;
}
