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

/* For pauses and shares of them, which nobody gains by guessing: xorshift64*, not the system's own
   generator, which costs a call of the kernel each time. Main thread only. */
double random_share(void)
{
    static uint64_t state;
    while (state == 0)
        random_bytes(&state, sizeof state);
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (double)((state * UINT64_C(0x2545F4914F6CDD1D)) >> 11) / 9007199254740992.0;
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
