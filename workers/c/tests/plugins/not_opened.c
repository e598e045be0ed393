/* A plugin that cannot be opened, and says why. */
#include <stdio.h>

#include <stoker_worker.h>

static int nothing(stoker_job *job)
{
    (void)job;
    return STOKER_COMPLETED;
}

static int open_it(char *error, size_t error_size)
{
    snprintf(error, error_size, "the model file is missing");
    return 1;
}

static const stoker_task tasks[] = {{.name = "trial.unopened", .run = nothing}};

STOKER_PLUGIN_WITH("not-opened", "1.0", tasks, open_it, NULL)
