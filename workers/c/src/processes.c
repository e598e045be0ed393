#include "processes.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "text.h"
#include "wire.h"

#define POSTPONE 2.0 /* seconds, at least, when no process can be made */
#define LINGER 1.0 /* seconds that a process may take to exit once it has handed in its ending */
enum {
    TRACEBACK_MOST = 16000,
    LAST_WORDS_MOST = 65536,
    MOST_READS = 16,
    MOST_LAST_WORDS = 1024 /* times that many reads of 64 KiB: the longest result and more */
};

typedef struct child {
    attempt *attempt; /* NULL: the slot is free */
    int line;
    buffer in;
    buffer out; /* the job, as far as it is not sent */
    size_t sent;
    ending ending;
    bool has_ended;   /* it said how */
    bool was_killed;  /* because it did not obey, or was too late */
    bool is_crash;    /* its last words are in `in` */
    bool is_over;     /* its stream has ended, or is nonsense */
} child;

struct crew {
    zygote *zygote;
    child *children;
    void (*done)(void *owner, attempt *a);
    void *owner;
    int used;
    bool lost;
};

crew *crew_new(zygote *z, void (*done)(void *owner, attempt *a), void *owner)
{
    crew *c = must_allocate(sizeof *c);
    c->zygote = z;
    c->children = must_allocate((size_t)z->board->slots * sizeof *c->children);
    c->done = done;
    c->owner = owner;
    return c;
}

static void clear_child(child *one)
{
    if (one->attempt != NULL && one->line >= 0)
        close(one->line);
    buffer_free(&one->in);
    buffer_free(&one->out);
    ending_free(&one->ending);
    *one = (child){0};
}

void crew_free(crew *c)
{
    if (c == NULL)
        return;
    for (int slot = 0; slot < c->zygote->board->slots; slot++)
        clear_child(&c->children[slot]);
    free(c->children);
    free(c);
}

bool crew_has_room(const crew *c)
{
    return !c->lost && c->used < c->zygote->board->slots;
}

bool crew_is_lost(const crew *c)
{
    return c->lost;
}

/* Let go of a slot and hand its attempt back. */
static void finish(crew *c, child *one)
{
    attempt *a = one->attempt;
    a->slot = -1;
    a->ending = one->ending;
    one->ending = (ending){0};
    clear_child(one);
    c->used--;
    c->done(c->owner, a);
}

static void finish_crashed(crew *c, child *one, const char *message)
{
    ending_set_error(&one->ending, END_CRASHED, "crashed", "WorkerCrashed", message);
    finish(c, one);
}

/* It never ran: later, perhaps elsewhere. Uncounted, as the job is not to blame. */
static void finish_unstarted(crew *c, child *one, int error)
{
    char message[200];
    snprintf(message, sizeof message, "no process could be made for the job: %s", strerror(error));
    ending_set_error(&one->ending, END_SNOOZED, "no_executor", "", message);
    one->ending.seconds = POSTPONE * (1 + random_share());
    finish(c, one);
}

static bool start_child(crew *c, child *one, attempt *a, uint64_t memory)
{
    int lines[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, lines) != 0)
        return false;
    one->line = lines[0];
    const zygote_message asked = {.word = ZYGOTE_RUN, .slot = a->slot, .memory = memory};
    bool fine = zygote_send(c->zygote, &asked, lines[1]);
    close(lines[1]);
    size_t begun = wire_begin(&one->out, WIRE_JOB);
    wire_put_job(&one->out, a);
    return fine && wire_end(&one->out, begun);
}

void crew_run(crew *c, attempt *a, uint64_t memory)
{
    int slot = 0;
    while (c->children[slot].attempt != NULL)
        slot++;
    child *one = &c->children[slot];
    *one = (child){.attempt = a, .line = -1};
    a->slot = slot;
    c->used++;
    atomic_store(&c->zygote->board->stop[slot], STOKER_GO_ON);
    if (!start_child(c, one, a, memory))
        finish_unstarted(c, one, errno);
}

void crew_tell(crew *c, attempt *a)
{
    if (a->slot >= 0)
        atomic_store(&c->zygote->board->stop[a->slot], (int)a->reason);
}

void crew_kill(crew *c, attempt *a)
{
    if (a->slot < 0)
        return;
    const zygote_message asked = {.word = ZYGOTE_KILL, .slot = a->slot};
    c->children[a->slot].was_killed = true;
    zygote_send(c->zygote, &asked, -1);
}

static void send_job(child *one)
{
    while (one->sent < one->out.length) {
        ssize_t sent = send(one->line, one->out.data + one->sent, one->out.length - one->sent,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN)
            one->sent = one->out.length; /* it died; its end says how */
        if (sent <= 0)
            return;
        one->sent += (size_t)sent;
    }
    buffer_free(&one->out);
    one->sent = 0;
}

static void take_message(child *one, wire_kind kind, wire_reader *body)
{
    size_t length = 0;
    attempt *a = one->attempt;
    if (kind == WIRE_PROGRESS) {
        double done = wire_number(body);
        const char *note = wire_text(body, NULL);
        if (body->fine && isfinite(done) && (note == NULL || is_utf8(note, strlen(note))))
            attempt_progress(a, fmin(1, fmax(0, done)), note);
    } else if (kind == WIRE_LOG) {
        const char *line = wire_text(body, &length);
        if (line != NULL && length <= LOG_LINE_MOST && is_utf8(line, length))
            attempt_log(a, line, length);
    } else if (kind == WIRE_ENDING && !one->has_ended) {
        one->has_ended = wire_get_ending(body, &one->ending);
        a->kill_at = fmin(a->kill_at, now_monotonic() + LINGER);
    }
}

static void take_messages(child *one)
{
    wire_reader body;
    wire_kind kind = WIRE_JOB;
    size_t taken = 0;
    while (!one->is_crash && !one->is_over) {
        long size = wire_next(one->in.data + taken, one->in.length - taken, &kind, &body);
        if (size == 0)
            break;
        one->is_crash = size > 0 && kind == WIRE_CRASH;
        one->is_over = size < 0;
        if (one->is_crash || one->is_over)
            break;
        take_message(one, kind, &body);
        taken += (size_t)size;
    }
    buffer_drop(&one->in, taken);
}

/* Read what a child has said so far; false if there may be more at once. */
static bool hear(child *one)
{
    static char chunk[65536];
    for (int i = 0; i < MOST_READS && !one->is_over; i++) {
        ssize_t got = recv(one->line, chunk, sizeof chunk, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return true;
        one->is_over = got <= 0;
        if (got > 0 && !buffer_add(&one->in, chunk, (size_t)got))
            one->is_over = true;
        take_messages(one);
        if (one->is_crash && one->in.length > LAST_WORDS_MOST)
            one->is_over = true;
    }
    return one->is_over;
}

/* Say how a process ended that had not said how its job did. */
static void describe_crash(child *one, int status)
{
    char message[300];
    const char *words = one->is_crash ? one->in.data : NULL;
    size_t head = WIRE_HEAD + 2;
    bool refused = words != NULL && one->in.length >= head && words[WIRE_HEAD + 1] != 0;
    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        snprintf(message, sizeof message, "the process that ran the job was killed by SIG%s%s",
                 name == NULL ? "?" : name,
                 refused ? ", after the system had refused it memory" : "");
    } else {
        snprintf(message, sizeof message,
                 "the process that ran the job ended with exit code %d before its handler returned",
                 WEXITSTATUS(status));
    }
    ending_set_error(&one->ending, refused ? END_MEMORY : END_CRASHED,
                     refused ? "memory_exceeded" : "crashed",
                     refused ? "MemoryError" : "WorkerCrashed", message);
    if (words != NULL && one->in.length > head) {
        buffer trace = {0};
        size_t length = one->in.length - head;
        add_as_utf8(&trace, words + head, length < TRACEBACK_MOST ? length : TRACEBACK_MOST);
        one->ending.traceback = buffer_string(&trace);
    }
}

static void exited(crew *c, child *one, int status)
{
    /* What it said last is still in the stream. Not for ever: a grandchild may hold it, too. */
    for (int i = 0; i < MOST_LAST_WORDS && !hear(one); i++)
        continue;
    if (!one->has_ended && one->was_killed)
        ending_set_error(&one->ending, END_GIVEN_UP, NULL, NULL, NULL);
    else if (!one->has_ended)
        describe_crash(one, status);
    finish(c, one);
}

static void zygote_lost(crew *c)
{
    c->lost = true;
    for (int slot = 0; slot < c->zygote->board->slots; slot++)
        if (c->children[slot].attempt != NULL)
            finish_crashed(c, &c->children[slot],
                           "the process that starts the processes of jobs died");
}

static void take_news(crew *c)
{
    zygote_message heard;
    int state = 0;
    while ((state = zygote_receive(c->zygote, &heard)) == 1) {
        if (heard.slot < 0 || heard.slot >= c->zygote->board->slots)
            continue;
        child *one = &c->children[heard.slot];
        if (one->attempt == NULL)
            continue;
        if (heard.word == ZYGOTE_EXITED)
            exited(c, one, heard.status);
        else if (heard.word == ZYGOTE_FAILED)
            finish_unstarted(c, one, heard.status);
    }
    if (state < 0 && !c->lost)
        zygote_lost(c);
}

size_t crew_most_looks(const crew *c)
{
    return 1 + (size_t)c->zygote->board->slots;
}

size_t crew_prepare(const crew *c, struct pollfd *looks)
{
    size_t count = 0;
    if (!c->lost)
        looks[count++] = (struct pollfd){.fd = c->zygote->line, .events = POLLIN};
    for (int slot = 0; slot < c->zygote->board->slots; slot++) {
        const child *one = &c->children[slot];
        short events = (short)((one->is_over ? 0 : POLLIN) | (one->out.length > 0 ? POLLOUT : 0));
        if (one->attempt != NULL && events != 0)
            looks[count++] = (struct pollfd){.fd = one->line, .events = events};
    }
    return count;
}

void crew_turn(crew *c)
{
    for (int slot = 0; slot < c->zygote->board->slots; slot++) {
        child *one = &c->children[slot];
        if (one->attempt == NULL)
            continue;
        if (one->out.length > 0)
            send_job(one);
        hear(one);
    }
    if (!c->lost)
        take_news(c);
}
