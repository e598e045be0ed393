/*
 * Keeps the session alive, reports on running jobs, and hears what is asked of them.
 *
 * A beat names every job that is held. It goes out at its interval, and soon after there is news. If
 * beats fail for nearly a whole lease, the store may have given the jobs to others: the worker then
 * fences itself, starts nothing and stops what runs. When the store answers again and the session
 * lives, work goes on; if it is dead, everything is dropped and a new session begins.
 */
#ifndef STOKER_HEARTBEAT_H
#define STOKER_HEARTBEAT_H

#include "clock.h"
#include "connection.h"
#include "dispatcher.h"
#include "queues.h"

typedef struct heartbeat {
    const options *options;
    dispatcher *dispatcher;
    connection *connection;
    const queues *queues;
    char id[ID_SIZE];
    char beat_id[ID_SIZE]; /* of the session that the last beat was about */
    const char *name;
    char host[256];
    const char *state;  /* alive, draining, left */
    bool open;          /* the store knows the session */
    bool fresh_session; /* it was opened or is trusted again since `heartbeat_opened` was asked */
    bool news;
    double answered_at; /* when the last answered beat was sent; less than 0: none was */
    double sent_at;
    double retry_at;
    double watch_at; /* not before that is the store asked to ring for running jobs */
    unsigned failures;
    command asked;   /* what an operator wants, not yet obeyed */
    bool lost;       /* the session was lost: the exchange has to drop what it had */
    trouble fatal;   /* the store refuses for a reason that time does not heal */
} heartbeat;

void heartbeat_begin(heartbeat *h);
/* Send what is due, and keep the fence. */
void heartbeat_turn(heartbeat *h, double now);
double heartbeat_due(const heartbeat *h);
void heartbeat_answered(heartbeat *h, const json_doc *doc, const response *found);
void heartbeat_watch_answered(heartbeat *h, const json_doc *doc, const response *found);
void heartbeat_unanswered(heartbeat *h);
/* The store declared the session dead: begin a new one. */
void heartbeat_lose(heartbeat *h, const char *why);
/* Say goodbye; true if it could be sent. */
bool heartbeat_leave(heartbeat *h);

#endif
