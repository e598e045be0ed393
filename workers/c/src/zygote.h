/*
 * The fork server. A process that has threads cannot fork safely: a child inherits locks that no
 * thread of it will ever release. So one process is forked at the very start, before there is a
 * thread, a connection or a token in memory, and it forks the children that run jobs, one for each.
 *
 * It holds nothing that a handler should not see: no variable of Stoker's in its environment, no
 * descriptor but its line to the worker.
 */
#ifndef STOKER_ZYGOTE_H
#define STOKER_ZYGOTE_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "plugin.h"

typedef enum zygote_word {
    ZYGOTE_RUN,    /* to it, with a descriptor: fork a child into this slot */
    ZYGOTE_KILL,   /* to it: end the child in this slot and all that it started */
    ZYGOTE_EXITED, /* from it: that child is gone; `status` is that of waitpid */
    ZYGOTE_FAILED  /* from it: no child could be made; `status` is an errno */
} zygote_word;

typedef struct zygote_message {
    zygote_word word;
    int slot;
    int status;
    uint64_t memory; /* ZYGOTE_RUN: bytes that the child may take; 0: any */
} zygote_message;

/* Memory that worker and children share: what each slot's handler is told by `stoker_should_stop`. */
typedef struct zygote_board {
    int slots;
    atomic_int stop[];
} zygote_board;

typedef struct zygote {
    pid_t pid;
    int line; /* SOCK_SEQPACKET */
    zygote_board *board;
} zygote;

/* Fork it. `wipe` is called in it, to forget what the worker knows. False with errno. */
bool zygote_start(zygote *z, const registry *tasks, int slots, void (*wipe)(void *), void *owner);
bool zygote_send(const zygote *z, const zygote_message *said, int descriptor);
/* Take one message; 1: here it is, 0: none now, -1: the zygote is gone. */
int zygote_receive(const zygote *z, zygote_message *heard);
/* End it, and with it every child. */
void zygote_stop(zygote *z);

/* The life of a child: read a job from `line`, run it, say how it ended. Does not return. */
_Noreturn void child_main(const registry *tasks, int line, const atomic_int *stop, uint64_t memory);

#endif
