#include "folder.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_LINKS = 40 };

/* A path as far as it is resolved, and what of the name is still to be walked. */
struct walk {
    char done[PATH_MAX];
    char rest[PATH_MAX];
    int links;
};

static bool too_long(struct fault *fault, const char *name) {
    return fault_set(fault, FAULT_ARGUMENTS, "'%.200s...' is no file name: it is too long", name);
}

static void pop(char *path) {
    char *slash = strrchr(path, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
}

/* Take the next part of the rest; an empty one at the end of it. */
static void take_part(struct walk *walk, char part[PATH_MAX]) {
    const char *start = walk->rest + strspn(walk->rest, "/");
    size_t length = strcspn(start, "/");
    memcpy(part, start, length);
    part[length] = '\0';
    memmove(walk->rest, start + length, strlen(start + length) + 1);
}

static bool push(struct walk *walk, const char *part, struct fault *fault) {
    size_t used = strlen(walk->done);
    int wrote = snprintf(walk->done + used, sizeof walk->done - used, "/%s", part);
    return (wrote > 0 && (size_t)wrote < sizeof walk->done - used) || too_long(fault, part);
}

static bool follow(struct walk *walk, const char *link, struct fault *fault) {
    char joined[PATH_MAX];
    if (++walk->links > MAX_LINKS) {
        return fault_set(fault, FAULT_ARGUMENTS, "'%.200s' leads through too many symbolic links",
                         walk->done);
    }
    int wrote = snprintf(joined, sizeof joined, "%s/%s", link, walk->rest);
    if (wrote < 0 || (size_t)wrote >= sizeof joined) {
        return too_long(fault, link);
    }
    memcpy(walk->rest, joined, (size_t)wrote + 1);
    if (link[0] == '/') {
        walk->done[0] = '\0';
    } else {
        pop(walk->done);
    }
    return true;
}

static bool step(struct walk *walk, const char *part, struct fault *fault) {
    if (strcmp(part, ".") == 0) {
        return true;
    }
    if (strcmp(part, "..") == 0) {
        pop(walk->done);
        return true;
    }
    if (!push(walk, part, fault)) {
        return false;
    }
    char link[PATH_MAX];
    ssize_t length = readlink(walk->done, link, sizeof link - 1);
    if (length < 0) {
        return true; /* no link, or not there yet */
    }
    link[length] = '\0';
    return follow(walk, link, fault);
}

static bool resolve(const char *base, const char *name, char path[PATH_MAX], struct fault *fault) {
    struct walk walk = {.links = 0};
    char part[PATH_MAX];
    int wrote = snprintf(walk.rest, sizeof walk.rest, "%s/%s", name[0] == '/' ? "" : base, name);
    if (wrote < 0 || (size_t)wrote >= sizeof walk.rest) {
        return too_long(fault, name);
    }
    for (take_part(&walk, part); part[0] != '\0'; take_part(&walk, part)) {
        if (!step(&walk, part, fault)) {
            return false;
        }
    }
    (void)snprintf(path, PATH_MAX, "%s", walk.done[0] == '\0' ? "/" : walk.done);
    return true;
}

static bool is_inside(const struct folder *folder, const char *path) {
    size_t length = strlen(folder->root);
    bool is_root = strcmp(folder->root, "/") == 0;
    return is_root || (strncmp(path, folder->root, length) == 0 &&
                       (path[length] == '/' || path[length] == '\0'));
}

static bool inside(const struct folder *folder, const char *name, char path[PATH_MAX],
                   struct fault *fault) {
    if (name[0] == '\0') {
        return fault_set(fault, FAULT_ARGUMENTS, "the file name is empty; give the name of a file");
    }
    if (!resolve(folder->root, name, path, fault)) {
        return false;
    }
    if (folder->is_bounded && !is_inside(folder, path)) {
        return fault_set(fault, FAULT_ARGUMENTS,
                         "'%.200s' lies outside %.200s, the one folder in which tasks may read and "
                         "write here; use a name inside it",
                         name, folder->root);
    }
    return true;
}

bool folder_open(struct folder *folder, const char *root, struct fault *fault) {
    char here[PATH_MAX];
    folder->is_bounded = root != NULL && root[0] != '\0';
    if (getcwd(here, sizeof here) == NULL) {
        return fault_errno(fault, "find", "the working folder");
    }
    return resolve(here, folder->is_bounded ? root : ".", folder->root, fault);
}

bool folder_source(const struct folder *folder, const char *name, char path[PATH_MAX],
                   struct fault *fault) {
    struct stat about;
    if (!inside(folder, name, path, fault)) {
        return false;
    }
    if (stat(path, &about) != 0) {
        if (errno == ENOENT || errno == ENOTDIR) {
            return fault_set(fault, FAULT_MISSING,
                             "the file '%.200s' does not exist on this worker (looked for %.200s); "
                             "give the name of an existing file, absolute or relative to %.100s",
                             name, path, folder->root);
        }
        return fault_errno(fault, "look at", path);
    }
    if (!S_ISREG(about.st_mode)) {
        return fault_set(fault, FAULT_ARGUMENTS, "'%.200s' is no regular file; expected one", name);
    }
    return true;
}

static bool make_parents(const char *path, struct fault *fault) {
    char made[PATH_MAX];
    (void)snprintf(made, sizeof made, "%s", path);
    for (char *slash = strchr(made + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(made, 0777) != 0 && errno != EEXIST) {
            return fault_errno(fault, "make the folder", made);
        }
        *slash = '/';
    }
    return true;
}

bool folder_target(const struct folder *folder, const char *name, const char *source,
                   char path[PATH_MAX], struct fault *fault) {
    struct stat about;
    if (!inside(folder, name, path, fault)) {
        return false;
    }
    if (stat(path, &about) == 0 && !S_ISREG(about.st_mode)) {
        return fault_set(fault, FAULT_ARGUMENTS, "'%.200s' is no regular file; expected a file name",
                         name);
    }
    if (source != NULL && strcmp(path, source) == 0) {
        return fault_set(
            fault, FAULT_ARGUMENTS,
            "'%.200s' is both the input and the output; give another name as output", name);
    }
    return make_parents(path, fault);
}

const char *folder_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

bool folder_beside(const char *source, const char *name, char path[PATH_MAX], struct fault *fault) {
    int length = (int)(folder_base(source) - source);
    int wrote = snprintf(path, PATH_MAX, "%.*s%s", length, source, name);
    return (wrote > 0 && wrote < PATH_MAX) || too_long(fault, name);
}
