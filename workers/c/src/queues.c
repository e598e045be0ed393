#include "queues.h"

#include <stdlib.h>
#include <string.h>

#include "buffer.h"

enum { MOST_QUEUES = 10000 };

static void add(queues *q, const char *name, size_t length)
{
    q->names = must_grow(q->names, q->count + 1, sizeof *q->names);
    q->room = must_grow(q->room, q->count + 1, sizeof *q->room);
    q->names[q->count++] = must_copy(name, length);
}

void queues_begin(queues *q, const options *o)
{
    *q = (queues){.options = o};
    for (size_t i = 0; i < o->queue_count; i++)
        add(q, o->queues[i].name, strlen(o->queues[i].name));
    if (queues_learns(q))
        add(q, "default", strlen("default"));
}

void queues_free(queues *q)
{
    for (size_t i = 0; i < q->count; i++)
        free(q->names[i]);
    free(q->names);
    free(q->room);
    *q = (queues){0};
}

bool queues_learns(const queues *q)
{
    return q->options->queue_count == 0;
}

bool queues_have_limits(const queues *q)
{
    for (size_t i = 0; i < q->options->queue_count; i++)
        if (q->options->queues[i].most > 0)
            return true;
    return false;
}

static bool is_known(const queues *q, const json_doc *doc, int64_t name)
{
    for (size_t i = 0; i < q->count; i++)
        if (json_equals(doc, name, q->names[i], strlen(q->names[i])))
            return true;
    return false;
}

bool queues_learn(queues *q, const json_doc *doc, int64_t list)
{
    bool learned = false;
    for (int64_t at = json_first(doc, list); at >= 0; at = json_after(doc, list, at)) {
        buffer text = {0};
        int64_t name = json_member(doc, at, "name");
        if (q->count < MOST_QUEUES && !is_known(q, doc, name) && json_decode(doc, name, &text) &&
            text.length > 0) {
            add(q, text.data, text.length);
            learned = true;
        }
        buffer_free(&text);
    }
    return learned;
}

void queues_turn(queues *q)
{
    if (q->count < 2)
        return;
    char *first = q->names[0];
    memmove(q->names, q->names + 1, (q->count - 1) * sizeof *q->names);
    q->names[q->count - 1] = first;
}

static long limit_of(const queues *q, const char *name)
{
    for (size_t i = 0; i < q->options->queue_count; i++)
        if (strcmp(q->options->queues[i].name, name) == 0)
            return q->options->queues[i].most;
    return 0;
}

size_t queues_share(queues *q, const dispatcher *d, long want)
{
    size_t count = 0;
    for (size_t i = 0; i < q->count; i++) {
        long most = limit_of(q, q->names[i]);
        long free_there = most > 0 ? most - dispatcher_load(d, q->names[i]) : want;
        long room = free_there < want ? free_there : want;
        if (room > 0)
            q->room[count++] = (queue_room){.name = q->names[i], .room = room};
    }
    return count;
}

names queues_names(const queues *q)
{
    return (names){.items = (const char *const *)q->names, .count = q->count};
}
