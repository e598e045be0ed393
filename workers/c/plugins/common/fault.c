#include "fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *type, *code;
    bool is_retryable;
} KINDS[] = {
    [FAULT_NONE] = {"", "", false},
    [FAULT_ARGUMENTS] = {"InvalidArguments", "invalid_arguments", false},
    [FAULT_CONFIG] = {"InvalidConfig", "invalid_config", false},
    [FAULT_INPUT] = {"BadInput", "bad_input", false},
    [FAULT_MISSING] = {"FileNotFoundError", "error", false},
    [FAULT_DENIED] = {"PermissionError", "error", false},
    [FAULT_SYSTEM] = {"OSError", "error", true},
    [FAULT_MEMORY] = {"MemoryError", "error", true},
    [FAULT_CANCELLED] = {"Cancelled", "cancelled", false},
};

bool fault_set(struct fault *fault, enum fault_kind kind, const char *format, ...) {
    if (fault->kind == FAULT_NONE) {
        va_list values;
        va_start(values, format);
        (void)vsnprintf(fault->message, sizeof fault->message, format, values);
        va_end(values);
        fault->kind = kind;
    }
    return false;
}

bool fault_errno(struct fault *fault, const char *doing, const char *name) {
    int number = errno;
    char reason[128] = "";
    enum fault_kind kind = number == ENOENT    ? FAULT_MISSING
                           : number == EACCES || number == EPERM ? FAULT_DENIED
                                                                 : FAULT_SYSTEM;
    const char *said = strerror_r(number, reason, sizeof reason);
    return fault_set(fault, kind, "cannot %s %.300s: %s", doing, name, said);
}

bool fault_memory(struct fault *fault, size_t bytes) {
    return fault_set(fault, FAULT_MEMORY, "no memory for %zu bytes more; give the worker more of it",
                     bytes);
}

const char *fault_type(enum fault_kind kind) { return KINDS[kind].type; }
const char *fault_code(enum fault_kind kind) { return KINDS[kind].code; }
bool fault_is_retryable(enum fault_kind kind) { return KINDS[kind].is_retryable; }

bool watch_tell(const struct watch *watch, double share, struct fault *fault) {
    if (watch == NULL || watch->tell == NULL || watch->tell(watch->context, share, watch->note)) {
        return true;
    }
    return fault_set(fault, FAULT_CANCELLED, "the job was called off");
}
