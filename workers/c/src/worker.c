#include "worker.h"

#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "clock.h"
#include "exits.h"
#include "log.h"

#define TICK 0.05       /* seconds between two looks at the limits while jobs run */
#define LAST_WORDS 10.0 /* seconds for handing in what is left, when the store does not answer */
#define GOODBYE 5.0
enum { FIXED_LOOKS = 3, STOP_NUMBERS = 3 };

static const int stop_numbers[STOP_NUMBERS] = {SIGTERM, SIGINT, SIGUSR1};

/* ---- What the connection says ---- */

static void on_opened(void *owner, const welcome *found)
{
    stoker_worker *w = owner;
    log_line(w->is_away ? LOG_WARNING : LOG_DEBUG, "connected to %s as %s (server %s, %s)",
             w->address.shown, found->identity, found->version, found->engine);
    w->was_open = true;
    w->is_away = false;
    w->heartbeat.retry_at = 0;
    w->exchange.retry_at = 0;
}

static void on_failed(void *owner, const trouble *why)
{
    stoker_worker *w = owner;
    if (!why->retryable || !w->was_open) {
        w->fatal = *why;
        return;
    }
    if (!w->is_away)
        log_line(LOG_WARNING, "%s; it is tried again", why->message);
    w->is_away = true;
}

static void on_answered(void *owner, ask_kind kind, const json_doc *doc, const response *found)
{
    stoker_worker *w = owner;
    if (kind == ASK_BEAT && w->goodbye)
        w->give_up_at = 0;
    else if (kind == ASK_BEAT)
        heartbeat_answered(&w->heartbeat, doc, found);
    else if (kind == ASK_WATCH)
        heartbeat_watch_answered(&w->heartbeat, doc, found);
    else
        exchange_answered(&w->exchange, kind, doc, found);
}

static void on_lost(void *owner, ask_kind kind)
{
    stoker_worker *w = owner;
    if (kind == ASK_BEAT)
        heartbeat_unanswered(&w->heartbeat);
    else
        exchange_unanswered(&w->exchange, kind);
}

static void on_child_done(void *owner, attempt *a)
{
    dispatcher_done(&((stoker_worker *)owner)->dispatcher, a);
}

/* ---- How it ends ---- */

static void retire(stoker_worker *w)
{
    if (w->dispatcher.closing)
        return;
    log_line(LOG_INFO, "worker %s drains; %ld jobs run", w->name, w->dispatcher.running);
    w->state = WORKER_RETIRES;
    w->heartbeat.state = "draining";
    w->heartbeat.news = true;
    dispatcher_close(&w->dispatcher);
}

static void drain(stoker_worker *w, double now)
{
    retire(w);
    if (w->state >= WORKER_DRAINS)
        return;
    w->state = WORKER_DRAINS;
    w->hurry_at = now + w->options.drain;
}

static void stop(stoker_worker *w, double now)
{
    drain(w, now);
    w->state = WORKER_STOPS;
    w->hurry_at = now;
}

static void keep_drain(stoker_worker *w, double now)
{
    if (w->hurry_at > now)
        return;
    w->hurry_at = HUGE_VAL;
    if (w->give_up_at < HUGE_VAL)
        return;
    if (w->dispatcher.running > 0)
        log_line(LOG_WARNING, "%ld jobs did not end in time; they are given back",
                 w->dispatcher.running);
    dispatcher_stop_running(&w->dispatcher, STOKER_STOP_RELEASE);
    w->give_up_at = now + fmin(LAST_WORDS, w->options.lease);
}

static void take_signals(stoker_worker *w, double now)
{
    struct signalfd_siginfo heard;
    while (read(w->signals, &heard, sizeof heard) == (ssize_t)sizeof heard) {
        if (heard.ssi_signo == SIGUSR1)
            retire(w);
        else if (w->state >= WORKER_DRAINS)
            stop(w, now);
        else
            drain(w, now);
    }
}

static void obey_operator(stoker_worker *w, double now)
{
    if (w->heartbeat.asked == COMMAND_STOP && w->state < WORKER_STOPS)
        stop(w, now);
    else if (w->heartbeat.asked == COMMAND_DRAIN && w->state < WORKER_DRAINS)
        drain(w, now);
}

/* A thread hangs in a job that was given up, or no children can be made any more: only a fresh
   process helps. */
static void look_after_itself(stoker_worker *w, double now)
{
    bool broken = w->dispatcher.stuck > 0 || crew_is_lost(w->dispatcher.crew);
    if (!broken || w->dispatcher.closing)
        return;
    w->recycles = true;
    drain(w, now);
}

static const trouble *find_fatal(const stoker_worker *w)
{
    const trouble *all[] = {&w->fatal, &w->heartbeat.fatal, &w->exchange.fatal};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i]->code[0] != '\0')
            return all[i];
    return NULL;
}

static bool is_drained(const stoker_worker *w)
{
    return w->dispatcher.closing && dispatcher_is_empty(&w->dispatcher) &&
           exchange_is_over(&w->exchange);
}

/* Whether the loop is over: it has drained and said goodbye, or it is too late for that. */
static bool is_over(stoker_worker *w, double now)
{
    if (w->goodbye)
        return now >= w->give_up_at || !connection_is_open(w->connection);
    if (now >= w->give_up_at) {
        log_line(LOG_ERROR, "what was done could not be handed in; a keeper takes the jobs back");
        return true;
    }
    if (!is_drained(w))
        return false;
    if (!w->heartbeat.open || !connection_is_open(w->connection))
        return true; /* the store finds out by itself */
    if (connection_is_asking(w->connection, ASK_BEAT))
        return false;
    w->goodbye = heartbeat_leave(&w->heartbeat);
    w->give_up_at = now + GOODBYE;
    return !w->goodbye;
}

/* ---- The loop ---- */

static size_t prepare_looks(stoker_worker *w)
{
    connection_prepare(w->connection, &w->looks[0]);
    w->looks[1] = (struct pollfd){.fd = w->signals, .events = POLLIN};
    w->looks[2] = (struct pollfd){.fd = pool_fd(w->dispatcher.pool), .events = POLLIN};
    return FIXED_LOOKS + crew_prepare(w->dispatcher.crew, w->looks + FIXED_LOOKS);
}

static double next_due(const stoker_worker *w)
{
    double due = fmin(connection_due(w->connection), w->hurry_at);
    due = fmin(due, fmin(w->give_up_at, w->notify_at));
    due = fmin(due, pool_due(w->dispatcher.pool));
    if (w->dispatcher.running > 0 || w->dispatcher.buffer.count > 0)
        due = fmin(due, w->ticked_at + TICK);
    if (w->goodbye)
        return due;
    due = fmin(due, heartbeat_due(&w->heartbeat));
    return fmin(due, exchange_due(&w->exchange));
}

static int patience_until(double due, double now)
{
    enum { LONGEST = 60000 };
    if (due <= now)
        return 0;
    double wait = ceil((due - now) * 1000);
    return wait < LONGEST ? (int)wait : LONGEST;
}

static void collect_threads(stoker_worker *w)
{
    attempt *next = NULL;
    for (attempt *a = pool_collect(w->dispatcher.pool); a != NULL; a = next) {
        next = a->link;
        dispatcher_done(&w->dispatcher, a);
    }
}

static void turn(stoker_worker *w, double now)
{
    take_signals(w, now);
    pool_kick(w->dispatcher.pool, now);
    collect_threads(w);
    crew_turn(w->dispatcher.crew);
    if (now - w->ticked_at >= TICK) {
        w->ticked_at = now;
        if (dispatcher_tick(&w->dispatcher, now))
            w->heartbeat.news = true;
    }
    connection_turn(w->connection, now);
    if (w->heartbeat.lost) {
        w->heartbeat.lost = false;
        exchange_drop(&w->exchange);
    }
    if (w->heartbeat.fresh_session) {
        w->heartbeat.fresh_session = false;
        w->exchange.look = true;
    }
    obey_operator(w, now);
    look_after_itself(w, now);
    keep_drain(w, now);
    dispatcher_fill(&w->dispatcher);
    if (w->goodbye)
        return;
    heartbeat_turn(&w->heartbeat, now);
    exchange_turn(&w->exchange, now);
}

static void sign_of_life(stoker_worker *w, double now)
{
    if (now < w->notify_at)
        return;
    w->notify_at = w->notify_every > 0 ? now + w->notify_every : HUGE_VAL;
    notify("WATCHDOG=1");
}

static void loop(stoker_worker *w)
{
    for (;;) {
        size_t count = prepare_looks(w);
        double now = now_monotonic();
        (void)poll(w->looks, count, patience_until(next_due(w), now));
        now = now_monotonic();
        turn(w, now);
        sign_of_life(w, now);
        if (find_fatal(w) != NULL || is_over(w, now))
            return;
        /* What this turn asked goes out before the next one waits. */
        connection_flush(w->connection);
    }
}

/* ---- Its beginning and its end ---- */

static void wipe(void *owner)
{
    options_wipe(&((stoker_worker *)owner)->options);
}

static bool catch_signals(stoker_worker *w)
{
    sigset_t caught;
    sigemptyset(&caught);
    for (int i = 0; i < STOP_NUMBERS; i++)
        sigaddset(&caught, stop_numbers[i]);
    signal(SIGPIPE, SIG_IGN);
    /* Blocked before any thread is made: every thread inherits that. */
    sigprocmask(SIG_BLOCK, &caught, NULL);
    w->signals = signalfd(-1, &caught, SFD_CLOEXEC | SFD_NONBLOCK);
    return w->signals >= 0;
}

static bool fail(stoker_worker *w, const trouble *why)
{
    w->fatal = *why;
    return false;
}

static bool open_parts(stoker_worker *w)
{
    trouble why = {0};
    char wrong[WRONG_SIZE];
    const char *store = w->options.store == NULL ? "" : w->options.store;
    if (!address_read(store, w->options.token, &w->address, wrong)) {
        trouble_set(&why, "invalid_config", false, "%s", wrong);
        return fail(w, &why);
    }
    if (w->address.is_tls && (w->keys = stream_keys_load(&w->address, &why)) == NULL)
        return fail(w, &why);
    const connection_events events = {.owner = w,
                                      .opened = on_opened,
                                      .answered = on_answered,
                                      .lost = on_lost,
                                      .failed = on_failed};
    w->connection = connection_new(&w->address, w->keys, w->client, &events);
    return true;
}

static bool start_parts(stoker_worker *w)
{
    trouble why;
    long slots = w->options.processes > 0 ? w->options.processes : w->options.concurrency;
    /* Before threads, descriptors and secrets: what comes after is not in the children. */
    if (!zygote_start(&w->zygote, w->tasks, (int)slots, wipe, w) || !catch_signals(w) ||
        (w->dispatcher.pool = pool_new((unsigned)w->options.concurrency)) == NULL) {
        trouble_set(&why, "internal", false, "the worker cannot start: %s", strerror(errno));
        return fail(w, &why);
    }
    /* Its children run as the same user, and could read the token in its environment under /proc. */
    prctl(PR_SET_DUMPABLE, 0);
    w->dispatcher.options = &w->options;
    w->dispatcher.runs = must_allocate((size_t)w->options.concurrency * sizeof(attempt *));
    w->dispatcher.tasks = w->tasks;
    w->dispatcher.crew = crew_new(&w->zygote, on_child_done, w);
    w->looks = must_allocate((FIXED_LOOKS + crew_most_looks(w->dispatcher.crew)) *
                             sizeof *w->looks);
    return open_parts(w);
}

static void wire_parts(stoker_worker *w)
{
    queues_begin(&w->queues, &w->options);
    w->heartbeat.options = w->exchange.options = &w->options;
    w->heartbeat.dispatcher = w->exchange.dispatcher = &w->dispatcher;
    w->heartbeat.connection = w->exchange.connection = w->connection;
    w->exchange.aside.connection = w->connection;
    w->exchange.aside.dispatcher = &w->dispatcher;
    w->heartbeat.queues = w->exchange.queues = &w->queues;
    w->heartbeat.name = w->name;
    w->exchange.heartbeat = &w->heartbeat;
    heartbeat_begin(&w->heartbeat);
    exchange_begin(&w->exchange);
    w->hurry_at = w->give_up_at = HUGE_VAL;
    w->notify_every = notify_every();
}

static void name_it(stoker_worker *w)
{
    char host[200] = "worker";
    if (gethostname(host, sizeof host - 1) != 0)
        strcpy(host, "worker");
    if (w->options.name != NULL)
        snprintf(w->name, sizeof w->name, "%s", w->options.name);
    else
        snprintf(w->name, sizeof w->name, "%s-%ld", host, (long)getpid());
    snprintf(w->client, sizeof w->client, "%s:%ld", host, (long)getpid());
}

static int exit_code(const trouble *why)
{
    static const char *const usage[] = {"usage", "invalid_config", "invalid_option", "unsupported"};
    for (size_t i = 0; i < sizeof usage / sizeof usage[0]; i++)
        if (trouble_is(why, usage[i]))
            return EXIT_USAGE;
    return trouble_is(why, "internal") ? EXIT_BUG : EXIT_UNREACHABLE;
}

static void end_parts(stoker_worker *w)
{
    if (w->connection != NULL)
        connection_close(w->connection);
    if (w->dispatcher.crew != NULL)
        crew_free(w->dispatcher.crew);
    zygote_stop(&w->zygote);
    if (w->dispatcher.pool != NULL)
        pool_close(w->dispatcher.pool);
    free(w->dispatcher.runs);
    if (w->signals > 0)
        close(w->signals);
}

bool worker_prepare(stoker_worker *w)
{
    char wrong[WRONG_SIZE];
    if (options_inherit(&w->options, wrong))
        return true;
    snprintf(w->error, sizeof w->error, "%s [invalid_config]", wrong);
    return false;
}

int worker_run(stoker_worker *w)
{
    /* Few arenas: each would keep the memory of the largest job that ran in it. */
    mallopt(M_ARENA_MAX, 2);
    log_set_up(w->options.log_level, w->options.log_format);
    name_it(w);
    if (start_parts(w)) {
        wire_parts(w);
        log_line(LOG_INFO, "worker %s starts: %ld jobs at once, %zu tasks, store %s", w->name,
                 w->options.concurrency, registry_count(w->tasks), w->address.shown);
        notify("READY=1");
        loop(w);
        notify("STOPPING=1");
    }
    const trouble *why = find_fatal(w);
    end_parts(w);
    if (why != NULL) {
        snprintf(w->error, sizeof w->error, "%s [%s]", why->message, why->code);
        return exit_code(why);
    }
    log_line(LOG_INFO, "worker %s ended: %s", w->name,
             w->recycles                  ? "recycle"
             : w->state == WORKER_STOPS ? "stopped"
                                        : "drained");
    return w->recycles ? RECYCLE : EXIT_DONE;
}
