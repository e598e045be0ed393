/* Whether and when a failed attempt is repeated: the job's own policy. */
#ifndef STOKER_RETRY_H
#define STOKER_RETRY_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Decide. `policy` is the lease's `retry` as JSON, or NULL for the default; one that means nothing
 * counts as the default. `failures` counts this one. `type` is the error's name. `random`: at least
 * 0, less than 1. False: no more attempts; else `seconds` is the wait.
 */
bool retry_decide(const char *policy, int64_t failures, const char *type, double random,
                  double *seconds);
/* The wait alone, whatever the policy says of this error. */
double retry_delay(const char *policy, int64_t failures, double random);

#endif
