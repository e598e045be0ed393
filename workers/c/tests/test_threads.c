/* The pool: who runs what, how many threads that takes, and what is left when it is closed. */
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "threads.c" /* to see when all threads are at rest */

#define DEADLINE 10.0 /* seconds for what takes milliseconds */
enum { MOST = 8, MANY = 500 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned inside;
static unsigned most_inside;
static bool is_open;
static pthread_t last_seen;

static int quick(stoker_job *job)
{
    (void)job;
    pthread_mutex_lock(&lock);
    last_seen = pthread_self();
    pthread_mutex_unlock(&lock);
    return STOKER_COMPLETED;
}

/* Stays until the gate is open. */
static int gated(stoker_job *job)
{
    (void)job;
    pthread_mutex_lock(&lock);
    inside++;
    most_inside = inside > most_inside ? inside : most_inside;
    pthread_cond_broadcast(&changed);
    while (!is_open)
        pthread_cond_wait(&changed, &lock);
    inside--;
    pthread_mutex_unlock(&lock);
    return STOKER_COMPLETED;
}

static const known_task quick_task = {.task = {.name = "quick", .run = quick}};
static const known_task gated_task = {.task = {.name = "gated", .run = gated}};

static void open_gate(bool open)
{
    pthread_mutex_lock(&lock);
    is_open = open;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static attempt_queue make(const known_task *task, size_t count)
{
    attempt_queue made = {0};
    for (size_t i = 0; i < count; i++) {
        lease taken = {.memory = must_allocate(8), .timeout = -1, .soft_timeout = -1};
        taken.id = taken.nonce = taken.task = taken.queue = strcpy(taken.memory, "x");
        taken.payload = "{}";
        taken.payload_length = 2;
        attempt *a = attempt_new(&taken, 0);
        a->task = task;
        a->job.result_limit = 1024;
        attempt_begin(a, now_monotonic());
        queue_push(&made, a);
    }
    return made;
}

/* Behave like the main loop until so many have ended; return how many did. */
static size_t collect(pool *p, size_t count)
{
    double until = now_monotonic() + DEADLINE;
    size_t ended = 0;
    while (ended < count && now_monotonic() < until) {
        double due = fmin(pool_due(p), until) - now_monotonic();
        struct pollfd look = {.fd = pool_fd(p), .events = POLLIN};
        (void)poll(&look, 1, due > 0 ? (int)ceil(due * 1000) : 0);
        pool_kick(p, now_monotonic());
        attempt *next = NULL;
        for (attempt *a = pool_collect(p); a != NULL; a = next) {
            next = a->link;
            CHECK(a->ending.kind == END_COMPLETED);
            attempt_free(a);
            ended++;
        }
    }
    return ended;
}

/* Wait until so many are inside; without a pool, whoever is inside has come by himself. */
static bool wait_inside(pool *p, unsigned count)
{
    double until = now_monotonic() + DEADLINE;
    bool reached = false;
    while (!reached && now_monotonic() < until) {
        struct timespec soon;
        if (p != NULL)
            pool_kick(p, now_monotonic());
        clock_gettime(CLOCK_REALTIME, &soon);
        soon.tv_nsec += 1000000;
        soon.tv_sec += soon.tv_nsec / 1000000000;
        soon.tv_nsec %= 1000000000;
        pthread_mutex_lock(&lock);
        if (inside < count)
            pthread_cond_timedwait(&changed, &lock, &soon);
        reached = inside >= count;
        pthread_mutex_unlock(&lock);
    }
    return reached;
}

static void many_quick_ones(void)
{
    pool *p = pool_new(MOST);
    attempt_queue given = make(&quick_task, MANY);
    CHECK(pool_run(p, &given));
    CHECK(given.count == 0 && given.first == NULL);
    CHECK(collect(p, MANY) == MANY);
    CHECK(isinf(pool_due(p)));
    pool_close(p);
}

static unsigned count_threads(pool *p)
{
    pthread_mutex_lock(&p->lock);
    unsigned threads = p->threads;
    pthread_mutex_unlock(&p->lock);
    return threads;
}

/* Who waits behind one that takes long is helped by one thread more, then by two, then by four. */
static void more_each_time(void)
{
    pool *p = pool_new(MOST);
    open_gate(false);
    attempt_queue given = make(&gated_task, MOST);
    CHECK(pool_run(p, &given));
    double now = now_monotonic();
    for (unsigned count = 1; count <= MOST; count *= 2) {
        CHECK(wait_inside(NULL, count));
        CHECK(count_threads(p) == count);
        now += 1;
        pool_kick(p, now);
    }
    open_gate(true);
    CHECK(collect(p, MOST) == MOST);
    pool_close(p);
}

/* Those that take long run beside each other, and no more of them than there may be threads. */
static void as_many_as_may_be(void)
{
    pool *p = pool_new(MOST);
    most_inside = 0;
    open_gate(false);
    attempt_queue given = make(&gated_task, 3 * MOST);
    CHECK(pool_run(p, &given));
    CHECK(wait_inside(p, MOST));
    open_gate(true);
    CHECK(collect(p, 3 * MOST) == 3 * MOST);
    CHECK(most_inside == MOST);
    pool_close(p);
}

static bool wait_rest(pool *p)
{
    double until = now_monotonic() + DEADLINE;
    bool rests = false;
    while (!rests && now_monotonic() < until) {
        sched_yield();
        pthread_mutex_lock(&p->lock);
        rests = p->idle == p->threads && p->busy == 0;
        pthread_mutex_unlock(&p->lock);
    }
    return rests;
}

/* With many threads at rest, one job after the other is run by the one that ran last. */
static void the_warmest_thread(void)
{
    pool *p = pool_new(MOST);
    open_gate(false);
    attempt_queue given = make(&gated_task, MOST);
    CHECK(pool_run(p, &given));
    CHECK(wait_inside(p, MOST));
    open_gate(true);
    CHECK(collect(p, MOST) == MOST);
    CHECK(wait_rest(p));
    attempt_queue first = make(&quick_task, 1);
    CHECK(pool_run(p, &first));
    CHECK(collect(p, 1) == 1);
    CHECK(wait_rest(p));
    pthread_t warm = last_seen;
    for (int i = 0; i < 20; i++) {
        attempt_queue one = make(&quick_task, 1);
        CHECK(pool_run(p, &one));
        CHECK(collect(p, 1) == 1);
        CHECK(wait_rest(p));
        CHECK(pthread_equal(warm, last_seen));
    }
    pool_close(p);
}

int main(void)
{
    many_quick_ones();
    more_each_time();
    as_many_as_may_be();
    the_warmest_thread();
    return checks_done("threads");
}
