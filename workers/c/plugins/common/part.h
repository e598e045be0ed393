/* A file that is whole or absent: written under another name beside its place, renamed at the end.
 *
 * So a job that runs a second time, or is killed in the middle, leaves either the old file or the
 * new one, never half of one. Names, locks and sweeping are those of the Python tasks: either side
 * removes what a killed process of the other left behind. */
#ifndef STOKER_PLUGINS_PART_H
#define STOKER_PLUGINS_PART_H

#include "fault.h"

#include <limits.h>

struct part {
    int fd;
    char target[PATH_MAX];
    char path[PATH_MAX];
};

bool part_begin(struct part *part, const char *target, struct fault *fault);
bool part_write(struct part *part, const void *data, size_t size, struct fault *fault);
/* Put it in its place, durably: on disk first, then under its name, then the name on disk. */
bool part_publish(struct part *part, struct fault *fault);
/* Remove it if it was not published. Must follow every part_begin that succeeded. */
void part_end(struct part *part);

#endif
