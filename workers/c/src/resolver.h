/* Names to addresses, on a thread of its own: a name server that is away must not keep the worker
   from fencing itself, beating or keeping limits. */
#ifndef STOKER_RESOLVER_H
#define STOKER_RESOLVER_H

#include <netdb.h>
#include <stdbool.h>

typedef struct resolver resolver;

/* Begin to look a name up; NULL if that cannot be. */
resolver *resolver_start(const char *host, const char *port);
/* Readable when there is an answer. */
int resolver_fd(const resolver *r);
/* Take the answer, to be freed by freeaddrinfo; NULL with a reason in `why`. */
struct addrinfo *resolver_answer(resolver *r, const char **why);
/* Let go of it; a look-up under way ends by itself. */
void resolver_drop(resolver *r);

#endif
