/* Plugins and the tasks that they bring. */
#ifndef STOKER_PLUGIN_H
#define STOKER_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>

#include "../include/stoker_worker.h"
#include "requests.h"

typedef struct known_task {
    stoker_task task; /* a copy, with fields that the plugin does not know set to 0 */
    const char *plugin;
} known_task;

typedef struct registry registry;

registry *registry_new(void);
/* Close the plugins; the objects stay loaded, as a thread that was given up may be inside. */
void registry_close(registry *r);
void registry_free(registry *r);
/* Load a shared object, or take a plugin that is there. False with a reason in `wrong`. */
enum { PLUGIN_WRONG_SIZE = 512 };
bool registry_load(registry *r, const char *path, char wrong[PLUGIN_WRONG_SIZE]);
bool registry_add(registry *r, const stoker_plugin *plugin, const char *where,
                  char wrong[PLUGIN_WRONG_SIZE]);
const known_task *registry_find(const registry *r, const char *name);
size_t registry_count(const registry *r);
const known_task *registry_at(const registry *r, size_t place);
/* The names of all tasks, sorted. */
names registry_names(const registry *r);
bool registry_has_mode(const registry *r, stoker_mode mode);

#endif
