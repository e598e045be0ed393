/* How a plugin's functions say what went wrong: a kind for programs, a sentence for people. */
#ifndef STOKER_PLUGINS_FAULT_H
#define STOKER_PLUGINS_FAULT_H

#include <stdbool.h>
#include <stddef.h>

/* The kinds are those of the Python tasks of the same names, so that a job fails alike on either. */
enum fault_kind {
    FAULT_NONE = 0,
    FAULT_ARGUMENTS, /* InvalidArguments: the payload means nothing; no second try mends it */
    FAULT_CONFIG,    /* InvalidConfig: the worker's environment lacks something */
    FAULT_INPUT,     /* BadInput: damaged, hostile, or no such thing */
    FAULT_MISSING,   /* FileNotFoundError */
    FAULT_DENIED,    /* PermissionError */
    FAULT_SYSTEM,    /* OSError: the machine failed; a second try may do */
    FAULT_MEMORY,    /* MemoryError, likewise */
    FAULT_CANCELLED, /* somebody called the job off, or its time is over */
};

struct fault {
    enum fault_kind kind;
    char message[600];
};

/* Each of these sets the fault, unless one is set already, and returns false: `return fault_set(...)`. */
bool fault_set(struct fault *fault, enum fault_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool fault_errno(struct fault *fault, const char *doing, const char *name);
bool fault_memory(struct fault *fault, size_t bytes);

const char *fault_type(enum fault_kind kind);
const char *fault_code(enum fault_kind kind);
bool fault_is_retryable(enum fault_kind kind);

/* Told how far the work is, 0 to 1; answers whether to go on. A null function says always yes. */
struct watch {
    bool (*tell)(void *context, double share, const char *note);
    void *context;
    const char *note;
};

bool watch_tell(const struct watch *watch, double share, struct fault *fault);

#endif
