/* The worker: wires its parts, runs their loop, and decides how it starts and ends. */
#ifndef STOKER_WORKER_LOOP_H
#define STOKER_WORKER_LOOP_H

#include <poll.h>

#include "connection.h"
#include "dispatcher.h"
#include "exchange.h"
#include "heartbeat.h"
#include "options.h"
#include "queues.h"

typedef enum ending_state {
    WORKER_RUNS,
    WORKER_RETIRES, /* drains without a limit */
    WORKER_DRAINS,
    WORKER_STOPS
} ending_state;

enum { ERROR_SIZE = 700 };

struct stoker_worker {
    options options;
    registry *tasks;
    zygote zygote;
    address address;
    stream_keys *keys;
    connection *connection;
    dispatcher dispatcher;
    heartbeat heartbeat;
    exchange exchange;
    queues queues;
    char name[256];
    char client[300];
    char error[ERROR_SIZE];
    int signals; /* a signalfd */
    struct pollfd *looks;
    ending_state state;
    bool recycles;    /* it drains because the process has to be replaced */
    bool goodbye;     /* the last beat was sent */
    bool was_open;    /* the server has been there */
    bool is_away;     /* it was told that the server is not */
    double hurry_at;  /* when what still runs is given back; HUGE_VAL: never */
    double give_up_at; /* when what is not handed in stays so */
    double ticked_at;
    double notify_at;
    double notify_every;
    trouble fatal;
};

enum { RECYCLE = -1 }; /* besides exit codes: the caller should execute the program anew */
int worker_run(stoker_worker *w);
/* Add what the environment says; false with `error`. */
bool worker_prepare(stoker_worker *w);

#endif
