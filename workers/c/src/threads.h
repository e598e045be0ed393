/*
 * The threads that run handlers. A thread cannot be killed: one that does not obey is given up.
 *
 * To wake a thread costs more than a job that does nothing. While jobs end in microseconds, one
 * thread runs them one after the other, and further ones are woken only for jobs that have waited
 * for two milliseconds, twice as many each time; what ended is handed back many at a time, or after
 * those milliseconds. While jobs take longer, each wakes a thread at once, and its end the main thread.
 */
#ifndef STOKER_THREADS_H
#define STOKER_THREADS_H

#include "attempt.h"

typedef struct pool pool;

/* At most `most` threads, made when they are needed. NULL if the system gives no descriptor. */
pool *pool_new(unsigned most);
/* Readable when attempts have ended; of quick ones not before there are many. */
int pool_fd(const pool *p);
/* Run attempts and take them out of the list; false, and they stay in it, if no thread can be made.
   All that start together are given together: a thread that is woken for the first of many jobs that
   come one by one has run it before the next one is there, and sleeps again. */
bool pool_run(pool *p, attempt_queue *started);
/* Seconds, on the monotonic clock, when `pool_kick` and `pool_collect` have to be called; HUGE_VAL:
   not at all. */
double pool_due(pool *p);
/* Wake threads for jobs that have waited long enough. */
void pool_kick(pool *p, double now);
/* Take those that ended, linked by `link`. */
attempt *pool_collect(pool *p);
/* End the threads that run nothing, and wait for them. The others end with the process. */
void pool_close(pool *p);

#endif
