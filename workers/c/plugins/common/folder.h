/* The one folder in which a plugin reads and writes; the rules are those of the Python tasks. */
#ifndef STOKER_PLUGINS_FOLDER_H
#define STOKER_PLUGINS_FOLDER_H

#include "fault.h"

#include <limits.h>

struct folder {
    bool is_bounded;
    char root[PATH_MAX];
};

/* `root` null or empty: the whole machine; names are then relative to where the worker started. */
bool folder_open(struct folder *folder, const char *root, struct fault *fault);

/* The real path of a regular file to read, with every symbolic link followed. */
bool folder_source(const struct folder *folder, const char *name, char path[PATH_MAX],
                   struct fault *fault);

/* The real path of a file to write, which must not be `source` (may be null). Its folder is made. */
bool folder_target(const struct folder *folder, const char *name, const char *source,
                   char path[PATH_MAX], struct fault *fault);

/* `name` beside `source`: what an output is called that nobody named. */
bool folder_beside(const char *source, const char *name, char path[PATH_MAX], struct fault *fault);

/* The name at the end of a path. */
const char *folder_base(const char *path);

#endif
