#include "threads.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"

#define QUICK 0.0001   /* seconds: jobs that take less are run one after the other */
#define PATIENCE 0.002 /* seconds that a job then waits before another thread is woken for it */

/* A thread without work, on its own stack. */
typedef struct idler {
    pthread_cond_t called;
    struct idler *below;
    bool is_called;
} idler;

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t gone;
    attempt_queue queued; /* to be run */
    attempt *ended;
    idler *idlers; /* the one that ran last on top: what it needs is still in the caches */
    unsigned most;
    unsigned threads;
    unsigned idle; /* how many are in `idlers` */
    unsigned busy; /* threads inside a handler */
    unsigned unseen; /* how many are in `ended` */
    double usual;    /* seconds that jobs took of late */
    double kicked_at;
    unsigned kicks; /* threads that were woken by the last kick; 0: nothing was queued since */
    bool told; /* `fd` says that there are some in `ended` */
    bool closing;
    int fd;
};

pool *pool_new(unsigned most)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return NULL;
    pool *p = must_allocate(sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->gone, NULL);
    p->most = most;
    p->fd = fd;
    return p;
}

int pool_fd(const pool *p)
{
    return p->fd;
}

static void rest(pool *p, idler *self)
{
    self->is_called = false;
    self->below = p->idlers;
    p->idlers = self;
    p->idle++;
    while (!self->is_called)
        pthread_cond_wait(&self->called, &p->lock);
}

static attempt *next_work(pool *p, idler *self)
{
    while (p->queued.count == 0 && !p->closing) {
        p->kicks = 0;
        rest(p, self);
    }
    return queue_pop(&p->queued);
}

/* Quick jobs are handed back by the half of what fits in here. The others of them are not forgotten:
   while work is queued the main thread comes by itself, at the latest when `pool_due` says. */
static void hand_back(pool *p, attempt *a)
{
    static const uint64_t one = 1;
    a->link = p->ended;
    p->ended = a;
    p->unseen++;
    if (p->told || (p->queued.count > 0 && p->usual <= QUICK && p->unseen < p->most / 2))
        return;
    p->told = write(p->fd, &one, sizeof one) == (ssize_t)sizeof one;
}

static void *work(void *given)
{
    pool *p = given;
    idler self = {.called = PTHREAD_COND_INITIALIZER};
    pthread_mutex_lock(&p->lock);
    for (attempt *a = next_work(p, &self); a != NULL; a = next_work(p, &self)) {
        p->busy++;
        pthread_mutex_unlock(&p->lock);
        double began = now_monotonic();
        job_run(&a->job, a->task->task.run, &a->ending);
        job_release(&a->job); /* here, where it was made, and not when it is settled */
        double took = now_monotonic() - began;
        pthread_mutex_lock(&p->lock);
        p->busy--;
        p->usual += (took - p->usual) / 16;
        hand_back(p, a);
    }
    p->threads--;
    pthread_cond_signal(&p->gone);
    pthread_mutex_unlock(&p->lock);
    pthread_cond_destroy(&self.called);
    return NULL;
}

/* One more thread. */
static bool add_thread(pool *p)
{
    pthread_attr_t attributes;
    pthread_t thread;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    bool made = pthread_create(&thread, &attributes, work, p) == 0;
    pthread_attr_destroy(&attributes);
    p->threads += made ? 1 : 0;
    return made;
}

/* Let one more thread look for work, if there may be one more. */
static void wake(pool *p)
{
    idler *top = p->idlers;
    if (top == NULL) {
        if (p->threads < p->most)
            add_thread(p);
        return;
    }
    p->idlers = top->below;
    p->idle--;
    top->is_called = true;
    pthread_cond_signal(&top->called);
}

bool pool_run(pool *p, attempt_queue *started)
{
    pthread_mutex_lock(&p->lock);
    size_t more = p->usual > QUICK ? started->count : p->idle == p->threads ? 1 : 0;
    queue_append(&p->queued, started);
    while (more-- > 0)
        wake(p);
    bool fine = p->threads > 0;
    if (!fine) /* There is no thread at all, so nothing else is queued either. */
        queue_append(started, &p->queued);
    pthread_mutex_unlock(&p->lock);
    return fine;
}

/* When the first in the queue has waited long enough; one that was kicked for, once more. */
static double kick_due(const pool *p)
{
    if (p->queued.count == 0)
        return HUGE_VAL;
    return fmax(p->queued.first->started, p->kicked_at) + PATIENCE;
}

double pool_due(pool *p)
{
    pthread_mutex_lock(&p->lock);
    /* Nobody comes for what was handed back in silence, if a job that takes long was the last. */
    bool forgotten = p->queued.count == 0 && p->unseen > 0 && !p->told;
    double due = forgotten ? 0 : kick_due(p);
    pthread_mutex_unlock(&p->lock);
    return due;
}

/* Twice as many each time. That jobs wait does not say that one of them takes long: if the machine is
   busy, their thread has not had its turn, and a thread for each would only want a turn as well. */
void pool_kick(pool *p, double now)
{
    pthread_mutex_lock(&p->lock);
    if (now >= kick_due(p)) {
        unsigned left = p->kicks == 0 ? 1 : p->kicks < p->most ? 2 * p->kicks : p->most;
        p->kicks = left;
        const attempt *a = p->queued.first;
        for (; a != NULL && left > 0 && now >= a->started + PATIENCE; a = a->link, left--)
            wake(p);
        /* What is queued next has its own time; a thread that could not be made is tried again. */
        p->kicked_at = now;
    }
    pthread_mutex_unlock(&p->lock);
}

attempt *pool_collect(pool *p)
{
    uint64_t count = 0;
    pthread_mutex_lock(&p->lock);
    attempt *ended = p->ended;
    if (p->told)
        (void)!read(p->fd, &count, sizeof count);
    p->ended = NULL;
    p->unseen = 0;
    p->told = false;
    pthread_mutex_unlock(&p->lock);
    return ended;
}

void pool_close(pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    p->queued = (attempt_queue){0}; /* nothing starts any more */
    while (p->idle > 0)
        wake(p);
    /* Those without work end at once; one inside a handler is not waited for. */
    while (p->threads > p->busy)
        pthread_cond_wait(&p->gone, &p->lock);
    bool empty = p->threads == 0;
    pthread_mutex_unlock(&p->lock);
    if (!empty)
        return; /* a thread still uses it */
    close(p->fd);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->gone);
    free(p);
}
