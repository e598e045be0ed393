/* Between the worker's header and the pure functions of a plugin: payload in, outcome out. */
#ifndef STOKER_PLUGINS_GLUE_H
#define STOKER_PLUGINS_GLUE_H

#include "fault.h"
#include "folder.h"

#include <stoker_worker.h>

/* End the attempt as the fault says: for good where no second attempt mends it. */
int glue_end(stoker_job *job, const struct fault *fault);

/* Progress goes to the job, and its stop comes back; `note` says what is done. */
struct watch glue_watch(stoker_job *job, const char *note);

/* Refuse a payload with a key that is not in `known`, which ends with NULL: a misspelt argument
 * must not be taken for one that was left out. */
bool glue_check_keys(stoker_job *job, const char *const *known);

/* The `open` of a plugin: reads the folder of the environment variable STOKER_TASKS__FILES, as for
 * the Python tasks. Now and not in a job: the processes that run jobs have no such variables. */
int glue_open(char *error, size_t error_size);
/* What glue_open read. */
const struct folder *glue_folder(void);

/* Put the text, or null where there is none. */
void glue_put_text(stoker_job *job, const char *key, const char *text);

#endif
