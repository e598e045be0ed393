#include "plugin.h"

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"

enum { MOST_TASKS = 10000, LONGEST_NAME = 200 };

struct registry {
    known_task **tasks; /* sorted by name; each stays where it is */
    const char **names; /* the same order */
    size_t count;
    const stoker_plugin **plugins;
    size_t plugin_count;
};

registry *registry_new(void)
{
    return must_allocate(sizeof(registry));
}

void registry_close(registry *r)
{
    for (size_t i = 0; i < r->plugin_count; i++)
        if (r->plugins[i]->close != NULL)
            r->plugins[i]->close();
    r->plugin_count = 0;
}

void registry_free(registry *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->count; i++)
        free(r->tasks[i]);
    free(r->tasks);
    free(r->names);
    free(r->plugins);
    free(r);
}

static bool is_name(const char *name)
{
    size_t length = name == NULL ? 0 : strlen(name);
    if (length == 0 || length > LONGEST_NAME ||
        !(isalnum((unsigned char)name[0]) || name[0] == '_'))
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)name[i]) && strchr("_.:/-", name[i]) == NULL)
            return false;
    return true;
}

/* Where a name stands, or would stand. */
static size_t place_of(const registry *r, const char *name, bool *found)
{
    size_t low = 0;
    size_t high = r->count;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(r->names[middle], name);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void insert(registry *r, size_t place, const stoker_task *task, const char *plugin)
{
    r->tasks = must_grow(r->tasks, r->count + 1, sizeof *r->tasks);
    r->names = must_grow(r->names, r->count + 1, sizeof *r->names);
    size_t behind = r->count - place;
    memmove(r->tasks + place + 1, r->tasks + place, behind * sizeof *r->tasks);
    memmove(r->names + place + 1, r->names + place, behind * sizeof *r->names);
    known_task *known = must_allocate(sizeof *known);
    known->task = *task;
    known->plugin = plugin;
    r->tasks[place] = known;
    r->names[place] = task->name;
    r->count++;
}

static bool add_task(registry *r, const stoker_task *task, const stoker_plugin *plugin,
                     const char *where, char wrong[PLUGIN_WRONG_SIZE])
{
    bool found = false;
    if (!is_name(task->name) || task->run == NULL ||
        (task->mode != STOKER_THREAD && task->mode != STOKER_PROCESS)) {
        snprintf(wrong, PLUGIN_WRONG_SIZE,
                 "%s has a task %.200s without a proper name, a function to run, or a known mode; "
                 "a name has letters, digits and _.:/-",
                 where, task->name == NULL ? "(none)" : task->name);
        return false;
    }
    size_t place = place_of(r, task->name, &found);
    if (found) {
        snprintf(wrong, PLUGIN_WRONG_SIZE,
                 "%s brings the task %s, which %s brings already; load only one of them", where,
                 task->name, r->tasks[place]->plugin);
        return false;
    }
    insert(r, place, task, plugin->name);
    return true;
}

static bool add_tasks(registry *r, const stoker_plugin *plugin, const char *where,
                      char wrong[PLUGIN_WRONG_SIZE])
{
    const char *at = (const char *)plugin->tasks;
    for (uint32_t i = 0; i < plugin->task_count; i++) {
        /* An older header had fewer fields: the rest is 0. A newer one has more: not known here. */
        stoker_task task = {0};
        size_t size = plugin->task_size < sizeof task ? plugin->task_size : sizeof task;
        memcpy(&task, at + (size_t)i * plugin->task_size, size);
        if (!add_task(r, &task, plugin, where, wrong))
            return false;
    }
    return true;
}

bool registry_add(registry *r, const stoker_plugin *plugin, const char *where,
                  char wrong[PLUGIN_WRONG_SIZE])
{
    char reason[256] = "";
    if (plugin == NULL || plugin->abi != STOKER_ABI_VERSION) {
        snprintf(wrong, PLUGIN_WRONG_SIZE,
                 "%s was compiled for version %u of stoker_worker.h, and this worker has version "
                 "%u; compile it again with the header of this worker",
                 where, plugin == NULL ? 0 : plugin->abi, STOKER_ABI_VERSION);
        return false;
    }
    enum { LEAST = offsetof(stoker_task, memory_limit) };
    if (plugin->name == NULL || plugin->tasks == NULL || plugin->task_count == 0 ||
        plugin->task_count > MOST_TASKS || plugin->task_size < LEAST) {
        snprintf(wrong, PLUGIN_WRONG_SIZE, "%s has no name or no tasks; use STOKER_PLUGIN", where);
        return false;
    }
    if (!add_tasks(r, plugin, where, wrong))
        return false;
    if (plugin->open != NULL && plugin->open(reason, sizeof reason) != 0) {
        reason[sizeof reason - 1] = '\0';
        snprintf(wrong, PLUGIN_WRONG_SIZE, "%s could not be opened: %s", where,
                 reason[0] == '\0' ? "it gave no reason" : reason);
        return false;
    }
    r->plugins = must_grow(r->plugins, r->plugin_count + 1, sizeof *r->plugins);
    r->plugins[r->plugin_count++] = plugin;
    return true;
}

bool registry_load(registry *r, const char *path, char wrong[PLUGIN_WRONG_SIZE])
{
    stoker_plugin_entry entry = NULL;
    /* Every symbol now: a missing one must not end the worker in the middle of a job. */
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (object == NULL) {
        snprintf(wrong, PLUGIN_WRONG_SIZE, "the plugin cannot be loaded: %s%s", dlerror(),
                 strchr(path, '/') == NULL ? "; write ./NAME for one in this folder" : "");
        return false;
    }
    /* The standard's own way from an object pointer to a function pointer. */
    *(void **)&entry = dlsym(object, STOKER_PLUGIN_SYMBOL);
    if (entry == NULL) {
        snprintf(wrong, PLUGIN_WRONG_SIZE,
                 "%s is no plugin: it does not export " STOKER_PLUGIN_SYMBOL "; use STOKER_PLUGIN",
                 path);
        return false;
    }
    return registry_add(r, entry(), path, wrong);
}

const known_task *registry_find(const registry *r, const char *name)
{
    bool found = false;
    size_t place = place_of(r, name, &found);
    return found ? r->tasks[place] : NULL;
}

size_t registry_count(const registry *r)
{
    return r->count;
}

const known_task *registry_at(const registry *r, size_t place)
{
    return r->tasks[place];
}

names registry_names(const registry *r)
{
    return (names){.items = r->names, .count = r->count};
}

bool registry_has_mode(const registry *r, stoker_mode mode)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->tasks[i]->task.mode == mode)
            return true;
    return false;
}
