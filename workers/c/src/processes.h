/* Handlers in child processes, as the worker sees them. */
#ifndef STOKER_PROCESSES_H
#define STOKER_PROCESSES_H

#include <poll.h>

#include "attempt.h"
#include "zygote.h"

typedef struct crew crew;

/* `done` is called with an attempt whose process is gone and whose `ending` is set. */
crew *crew_new(zygote *z, void (*done)(void *owner, attempt *a), void *owner);
void crew_free(crew *c);
bool crew_has_room(const crew *c);
/* Run an attempt in a child. What goes wrong with that becomes its ending. */
void crew_run(crew *c, attempt *a, uint64_t memory);
/* Tell its handler why it should stop. */
void crew_tell(crew *c, attempt *a);
/* End its process; `done` follows. */
void crew_kill(crew *c, attempt *a);
/* Whether the zygote is gone: no more children can be made. */
bool crew_is_lost(const crew *c);

/* Descriptors to poll: at most `crew_most_looks`. Returns how many were written. */
size_t crew_most_looks(const crew *c);
size_t crew_prepare(const crew *c, struct pollfd *looks);
void crew_turn(crew *c);

#endif
