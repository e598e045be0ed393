/* What a worker was told: defaults, then the environment, then the parent's and its own command
   line. The names are those of `stoker worker` and of Stoker's settings. */
#ifndef STOKER_OPTIONS_H
#define STOKER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"
#include "log.h"

typedef struct queue_limit {
    char *name;
    long most; /* 0: no limit of its own */
} queue_limit;

typedef struct options {
    char *store;
    char *token;
    char *name;
    queue_limit *queues; /* none: all there are */
    size_t queue_count;
    long concurrency;
    long processes; /* 0: as many as concurrency */
    uint64_t memory; /* 0: no limit */
    uint64_t result; /* the most bytes of a result */
    double lease;
    double beat; /* less than 0: a third of the lease */
    double drain;
    double poll;
    log_format log_format;
    log_level log_level;
    uint32_t given; /* a bit for each option that was set by more than its default */
} options;

void options_begin(options *o);
void options_free(options *o);
/* Set one by its name on the command line, without dashes. False with a reason. */
bool options_set(options *o, const char *name, const char *value, char wrong[WRONG_SIZE]);
/* Add what the environment and a parent's command line say of what was not set so far. */
bool options_inherit(options *o, char wrong[WRONG_SIZE]);
/* Forget the store and the token, bytes included. */
void options_wipe(options *o);

#endif
