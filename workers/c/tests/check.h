/* A unit test in C: `CHECK(condition)` counts, says what failed and where, and goes on. */
#ifndef STOKER_CHECK_H
#define STOKER_CHECK_H

#include <stdio.h>
#include <string.h>

static int checks_made;
static int checks_failed;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        checks_made++;                                                                             \
        if (!(condition)) {                                                                        \
            checks_failed++;                                                                       \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);              \
        }                                                                                          \
    } while (0)

#define CHECK_TEXT(found, expected)                                                                \
    do {                                                                                           \
        const char *found_text = (found);                                                          \
        const char *expected_text = (expected);                                                    \
        checks_made++;                                                                             \
        if (found_text == NULL || strcmp(found_text, expected_text) != 0) {                        \
            checks_failed++;                                                                       \
            fprintf(stderr, "%s:%d: %s is '%s'; expected '%s'\n", __FILE__, __LINE__, #found,      \
                    found_text == NULL ? "(null)" : found_text, expected_text);                    \
        }                                                                                          \
    } while (0)

/* Print the sum and return the exit code. */
static inline int checks_done(const char *name)
{
    printf("%s: %d checks, %d failed\n", name, checks_made, checks_failed);
    return checks_failed == 0 ? 0 : 1;
}

#endif
