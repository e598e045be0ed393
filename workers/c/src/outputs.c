#include "outputs.h"

#include <string.h>

static const json_limits limits = {.depth = 200, .indexed = 200, .max_nodes = 8000000};

/* The node of the id that a value refers to; JSON_NONE if it refers to nothing. */
static int64_t reference(const json_doc *doc, int64_t node)
{
    if (!json_is(doc, node, JSON_OBJECT) || json_count(doc, node) != 1)
        return JSON_NONE;
    int64_t id = json_member(doc, node, "$output");
    return json_is(doc, id, JSON_TEXT) ? id : JSON_NONE;
}

/* The result of a parent, as JSON; null for one that did not complete. */
static void add_result(buffer *out, const json_doc *payload, int64_t id, const json_doc *parents)
{
    buffer key = {0};
    size_t length = 0;
    const char *result = NULL;
    if (json_decode(payload, id, &key) && buffer_string(&key) != NULL)
        result = json_slice(parents, json_member(parents, 0, key.data), &length);
    if (result == NULL)
        buffer_text(out, "null");
    else
        buffer_add(out, result, length);
    buffer_free(&key);
}

static void fill(buffer *out, const json_doc *payload, const json_doc *parents)
{
    size_t copied = 0;
    for (int64_t node = 0; node < (int64_t)payload->count;) {
        int64_t id = reference(payload, node);
        if (id < 0) {
            node++;
            continue;
        }
        const json_node *found = &payload->nodes[node];
        buffer_add(out, payload->text + copied, found->start - copied);
        add_result(out, payload, id, parents);
        copied = found->end;
        node = found->next;
    }
    buffer_add(out, payload->text + copied, payload->length - copied);
}

bool fill_outputs(lease *l)
{
    static const char mark[] = "$output";
    if (l->parents == NULL ||
        memmem(l->payload, l->payload_length, mark, sizeof mark - 1) == NULL)
        return true;
    json_doc payload = {0};
    json_doc parents = {0};
    buffer out = {0};
    bool fine = json_parse(&payload, l->payload, l->payload_length, &limits) == NULL &&
                json_parse(&parents, l->parents, strlen(l->parents), &limits) == NULL;
    if (fine)
        fill(&out, &payload, &parents);
    fine = fine && buffer_string(&out) != NULL;
    if (fine) {
        l->filled = out.data;
        l->payload = out.data;
        l->payload_length = out.length;
    } else {
        buffer_free(&out);
    }
    json_free(&payload);
    json_free(&parents);
    return fine;
}
