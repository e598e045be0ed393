/* The functions of part 6 of the header: a worker of one's own. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exits.h"
#include "library.h"
#include "version.h"

stoker_worker *stoker_worker_new(void)
{
    stoker_worker *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    options_begin(&w->options);
    w->tasks = registry_new();
    return w;
}

void stoker_worker_free(stoker_worker *w)
{
    if (w == NULL)
        return;
    while (w->dispatcher.all != NULL && w->dispatcher.stuck == 0) {
        attempt *a = w->dispatcher.all;
        w->dispatcher.all = a->next;
        attempt_free(a);
    }
    connection_free(w->connection);
    stream_keys_free(w->keys);
    address_free(&w->address);
    queues_free(&w->queues);
    exchange_free(&w->exchange);
    /* A thread that was given up may be inside a plugin, and reads its task there. */
    if (w->dispatcher.stuck == 0) {
        registry_close(w->tasks);
        registry_free(w->tasks);
    }
    free(w->looks);
    options_free(&w->options);
    free(w);
}

int stoker_worker_set(stoker_worker *w, const char *option, const char *value)
{
    return options_set(&w->options, option, value, w->error) ? 0 : -1;
}

int stoker_worker_load(stoker_worker *w, const char *path)
{
    return registry_load(w->tasks, path, w->error) ? 0 : -1;
}

int stoker_worker_add(stoker_worker *w, const stoker_plugin *plugin)
{
    return registry_add(w->tasks, plugin, "the plugin of this program", w->error) ? 0 : -1;
}

int library_run(stoker_worker *w)
{
    if (registry_count(w->tasks) == 0) {
        snprintf(w->error, sizeof w->error,
                 "the worker has no tasks; load some with --plugin ./NAME.so [usage]");
        return EXIT_USAGE;
    }
    return worker_prepare(w) ? worker_run(w) : EXIT_USAGE;
}

int stoker_worker_run(stoker_worker *w)
{
    int code = library_run(w);
    if (code != RECYCLE)
        return code;
    snprintf(w->error, sizeof w->error,
             "a job goes on that was given up; this process has to be replaced [internal]");
    return EXIT_BUG;
}

const char *stoker_worker_error(const stoker_worker *w)
{
    return w->error;
}

const char *stoker_worker_version(void)
{
    return STOKER_VERSION;
}
