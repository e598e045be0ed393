#ifndef STOKER_LIBRARY_H
#define STOKER_LIBRARY_H

#include "worker.h"

/* As `stoker_worker_run`, and RECYCLE if the program has to be executed anew. */
int library_run(stoker_worker *w);
/* Run one task on a payload from stdin and print its result: `--try`. Returns the exit code. */
int library_try(stoker_worker *w, const char *task);

#endif
