/* JSON from anywhere: indexed, walked, decoded, written again, asked by a handler, and as a policy,
   an option of a parent and a message of a child that went wild. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attempt.h"
#include "json_write.h"
#include "options.h"
#include "outputs.h"
#include "retry.h"
#include "text.h"
#include "wire.h"

static const json_limits limits = {.depth = 200, .indexed = 200, .max_nodes = 100000};
static const atomic_int go_on = STOKER_GO_ON;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was decoded and is written again has to be read as the same text. */
static void write_again(const buffer *text)
{
    buffer out = {0};
    buffer again = {0};
    json_doc doc = {0};
    json_quote(&out, text->data == NULL ? "" : text->data, text->length);
    if (json_parse(&doc, out.data, out.length, &limits) != NULL || !json_decode(&doc, 0, &again) ||
        again.length != text->length ||
        (text->length > 0 && memcmp(again.data, text->data, text->length) != 0))
        abort();
    buffer_free(&out);
    buffer_free(&again);
    json_free(&doc);
}

static void walk(const json_doc *doc)
{
    for (int64_t node = 0; node < (int64_t)doc->count; node++) {
        buffer text = {0};
        int64_t whole = 0;
        double real = 0;
        size_t length = 0;
        const json_node *at = &doc->nodes[node];
        if (at->end > doc->length || at->start >= at->end || at->next <= node ||
            at->next > doc->count)
            abort();
        json_slice(doc, node, &length);
        if (json_decode(doc, node, &text))
            write_again(&text);
        json_integer(doc, node, &whole);
        if (json_number(doc, node, &real) && !isfinite(real))
            abort();
        json_count(doc, node);
        json_member(doc, node, "a");
        buffer_free(&text);
    }
}

static void ask(const char *text, size_t length)
{
    static const char *const places[] = {"a", "/a/0", "/a~1b/~0", "@p", "@p/a", "", "/", "//"};
    lease l = {.id = "j", .task = "t", .queue = "q", .nonce = "n", .attempt = 1, .payload = text,
               .payload_length = length, .parents = text, .parent_names = text, .headers = text};
    stoker_job job = {.lease = &l, .stop = &go_on, .hard_at = HUGE_VAL, .result_limit = 1000};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const char *found = NULL;
        size_t size = 0;
        int64_t whole = 0;
        double real = 0;
        bool yes = false;
        stoker_read_text(&job, places[i], &found, &size);
        stoker_read_integer(&job, places[i], &whole);
        stoker_read_number(&job, places[i], &real);
        stoker_need_boolean(&job, places[i], &yes);
        stoker_read_count(&job, places[i], &size);
        stoker_read_json(&job, places[i], &found, &size);
    }
    stoker_job_header(&job, "a");
    stoker_put_json(&job, "a", text, length);
    stoker_result_json(&job, text, length);
    job_release(&job);
    fill_outputs(&l);
    free(l.filled);
}

static void hear_child(const char *bytes, size_t length)
{
    wire_kind kind = WIRE_JOB;
    wire_reader body;
    wire_job given;
    ending ended;
    if (wire_next(bytes, length, &kind, &body) <= 0)
        return;
    wire_reader again = body;
    if (wire_get_ending(&body, &ended))
        ending_free(&ended);
    wire_get_job(&again, &given);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_doc doc = {0};
    double seconds = 0;
    double wait = 0;
    char *text = malloc(size + 1);
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (json_parse(&doc, text, size, &limits) == NULL)
        walk(&doc);
    json_free(&doc);
    json_has_whole_pairs(text, size);
    if (retry_decide(text, 2, "Broken", 0.5, &wait) && !(wait >= 0))
        abort();
    read_duration(text, &seconds);
    if (memchr(text, '\0', size) == NULL)
        ask(text, size);
    hear_child((const char *)data, size);
    free(text);
    return 0;
}
