#include "clock.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "exits.h"

static double read_clock(clockid_t which)
{
    struct timespec t;
    clock_gettime(which, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double now_monotonic(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

double now_wall(void)
{
    return read_clock(CLOCK_REALTIME);
}

static void random_bytes(void *out, size_t size)
{
    unsigned char *at = out;
    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);
        if (got < 0 && errno != EINTR) {
            /* A guessable nonce would be worse than no worker. */
            fprintf(stderr, "stoker-worker-c: the system gives no random bytes; the worker ends\n");
            _Exit(EXIT_BUG);
        }
        at += got > 0 ? got : 0;
        size -= got > 0 ? (size_t)got : 0;
    }
}

double random_share(void)
{
    uint64_t bits = 0;
    random_bytes(&bits, sizeof bits);
    return (double)(bits >> 11) / 9007199254740992.0;
}

void new_id(char out[ID_SIZE])
{
    unsigned char b[16];
    random_bytes(b, sizeof b);
    uint64_t milliseconds = (uint64_t)(now_wall() * 1000);
    for (int i = 0; i < 6; i++)
        b[i] = (unsigned char)(milliseconds >> (40 - 8 * i));
    b[6] = (unsigned char)(0x70 | (b[6] & 0x0F));
    b[8] = (unsigned char)(0x80 | (b[8] & 0x3F));
    snprintf(out, ID_SIZE,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
}

void new_nonce(char out[NONCE_SIZE])
{
    unsigned char b[16];
    random_bytes(b, sizeof b);
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", b[i]);
}
