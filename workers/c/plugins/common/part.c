#include "part.h"

#include "digest.h"
#include "folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PREFIX = 32 };

/* Hashed: a name of 255 bytes leaves no room for anything around it. */
static bool prefix_of(const char *target, char prefix[PREFIX], struct fault *fault) {
    char hex[DIGEST_HEX];
    const char *base = folder_base(target);
    if (!digest_of(base, strlen(base), hex, fault)) {
        return false;
    }
    (void)snprintf(prefix, PREFIX, ".stoker-%.16s-", hex);
    return true;
}

static void sweep_one(int folder, const char *name) {
    int fd = openat(folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        (void)unlinkat(folder, name, 0); /* its owner is dead: the living hold the lock */
    }
    (void)close(fd);
}

static bool is_part(const char *name, const char *prefix) {
    size_t length = strlen(name);
    return strncmp(name, prefix, strlen(prefix)) == 0 && length > 5 &&
           strcmp(name + length - 5, ".part") == 0;
}

static void sweep(const char *folder, const char *prefix) {
    DIR *all = opendir(folder);
    if (all == NULL) {
        return;
    }
    for (struct dirent *entry = readdir(all); entry != NULL; entry = readdir(all)) {
        if (is_part(entry->d_name, prefix)) {
            sweep_one(dirfd(all), entry->d_name);
        }
    }
    (void)closedir(all);
}

static void folder_of(const char *path, char folder[PATH_MAX]) {
    int length = (int)(folder_base(path) - path);
    (void)snprintf(folder, PATH_MAX, "%.*s", length > 1 ? length - 1 : 1, path);
}

static bool name_it(struct part *part, const char *folder, const char *prefix,
                    struct fault *fault) {
    unsigned char chance[6];
    if (getrandom(chance, sizeof chance, 0) != (ssize_t)sizeof chance) {
        return fault_errno(fault, "draw", "random bytes");
    }
    int wrote = snprintf(part->path, sizeof part->path, "%s/%s%02x%02x%02x%02x%02x%02x.part",
                         strcmp(folder, "/") == 0 ? "" : folder, prefix, chance[0], chance[1],
                         chance[2], chance[3], chance[4], chance[5]);
    if (wrote < 0 || (size_t)wrote >= sizeof part->path) {
        return fault_set(fault, FAULT_ARGUMENTS, "'%.200s' is no file name: it is too long",
                         part->target);
    }
    return true;
}

/* Between its making and its lock another writer may take it for a dead one's and unlink it. */
static bool is_there(const struct part *part) {
    struct stat about;
    return stat(part->path, &about) == 0;
}

static bool create(struct part *part, const char *folder, const char *prefix,
                   struct fault *fault) {
    for (;;) {
        if (!name_it(part, folder, prefix, fault)) {
            return false;
        }
        part->fd = open(part->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (part->fd < 0 && errno == EEXIST) {
            continue;
        }
        if (part->fd < 0) {
            return fault_errno(fault, "make a file beside", part->target);
        }
        (void)flock(part->fd, LOCK_EX); /* some network file systems have none: nobody sweeps there */
        if (is_there(part)) {
            return true;
        }
        (void)close(part->fd);
    }
}

bool part_begin(struct part *part, const char *target, struct fault *fault) {
    char folder[PATH_MAX], prefix[PREFIX];
    part->fd = -1;
    (void)snprintf(part->target, sizeof part->target, "%s", target);
    folder_of(target, folder);
    if (!prefix_of(target, prefix, fault)) {
        return false;
    }
    sweep(folder, prefix);
    return create(part, folder, prefix, fault);
}

bool part_write(struct part *part, const void *data, size_t size, struct fault *fault) {
    const char *next = data;
    while (size > 0) {
        ssize_t wrote = write(part->fd, next, size);
        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        if (wrote < 0) {
            return fault_errno(fault, "write", part->target);
        }
        next += wrote;
        size -= (size_t)wrote;
    }
    return true;
}

static bool sync_folder(const char *path, struct fault *fault) {
    char folder[PATH_MAX];
    folder_of(path, folder);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return fault_errno(fault, "open the folder of", path);
    }
    bool is_synced = fsync(fd) == 0;
    if (!is_synced) {
        (void)fault_errno(fault, "write to disk the folder of", path);
    }
    (void)close(fd);
    return is_synced;
}

bool part_publish(struct part *part, struct fault *fault) {
    if (fsync(part->fd) != 0) {
        return fault_errno(fault, "write to disk", part->target);
    }
    if (rename(part->path, part->target) != 0) {
        return fault_errno(fault, "put in its place", part->target);
    }
    part->path[0] = '\0';
    return sync_folder(part->target, fault);
}

void part_end(struct part *part) {
    if (part->fd < 0) {
        return;
    }
    if (part->path[0] != '\0') {
        (void)unlink(part->path);
    }
    (void)close(part->fd);
    part->fd = -1;
}
