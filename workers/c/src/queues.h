/* Which queues a worker leases from, in which order, and how many jobs of each at once. */
#ifndef STOKER_QUEUES_H
#define STOKER_QUEUES_H

#include "dispatcher.h"
#include "requests.h"

typedef struct queues {
    const options *options;
    char **names; /* owned; the present order */
    size_t count;
    queue_room *room; /* as many places */
} queues;

void queues_begin(queues *q, const options *o);
void queues_free(queues *q);
/* Whether queues that appear in the store are added. */
bool queues_learns(const queues *q);
/* Whether any queue may have only so many jobs here at once. */
bool queues_have_limits(const queues *q);
/* Add those of an answer to `queues`; true if any was new. */
bool queues_learn(queues *q, const json_doc *doc, int64_t list);
/* Let the next queue be the first: the first one takes all it may before the second is asked. */
void queues_turn(queues *q);
/* How much to ask from each; returns how many queues there are to ask. */
size_t queues_share(queues *q, const dispatcher *d, long want);
names queues_names(const queues *q);

#endif
