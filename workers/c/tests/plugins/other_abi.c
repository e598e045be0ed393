/* A plugin of a later header, which this worker has to refuse. */
#include <stoker_worker.h>

static int nothing(stoker_job *job)
{
    (void)job;
    return STOKER_COMPLETED;
}

static const stoker_task tasks[] = {{.name = "trial.later", .run = nothing}};

const stoker_plugin *stoker_plugin_entry_point(void)
{
    static const stoker_plugin plugin = {.abi = STOKER_ABI_VERSION + 1,
                                         .task_size = sizeof(stoker_task),
                                         .name = "later",
                                         .version = "9",
                                         .tasks = tasks,
                                         .task_count = 1};
    return &plugin;
}
