/* The process that runs one job. */
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "exits.h"
#include "wire.h"
#include "zygote.h"

enum { MOST_FRAMES = 64, ALTERNATE_STACK = 64 * 1024 };

static int the_line = -1; /* for the signal handler */

static bool send_all(int line, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(line, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        bytes += sent;
        length -= (size_t)sent;
    }
    return true;
}

/* The last words: which signal, whether memory had been refused, and where it was. Only calls that
   may be made in a signal handler. */
static void on_crash(int number)
{
    int refused = errno == ENOMEM;
    uint32_t rest = WIRE_REST;
    char head[WIRE_HEAD + 2] = {WIRE_CRASH};
    memcpy(head + 1, &rest, sizeof rest);
    head[WIRE_HEAD] = (char)number;
    head[WIRE_HEAD + 1] = (char)refused;
    send_all(the_line, head, sizeof head);
    void *frames[MOST_FRAMES];
    int count = backtrace(frames, MOST_FRAMES);
    backtrace_symbols_fd(frames, count, the_line);
    signal(number, SIG_DFL);
    raise(number);
}

static void catch_crashes(void)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS};
    void *frames[1];
    /* The first call loads a library, which must not happen inside a handler. */
    (void)backtrace(frames, 1);
    /* On a stack of its own: the usual one may be what overflowed. */
    stack_t stack = {.ss_size = ALTERNATE_STACK, .ss_sp = must_allocate(ALTERNATE_STACK)};
    sigaltstack(&stack, NULL);
    struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | (int)SA_RESETHAND};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaction(numbers[i], &action, NULL);
}

static rlim_t memory_now(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL || fscanf(file, "%lu", &pages) != 1)
        pages = 0;
    if (file != NULL)
        fclose(file);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static void limit(uint64_t memory)
{
    const struct rlimit none = {0, 0};
    /* A core file would hold the payload, and may fill the disk. */
    setrlimit(RLIMIT_CORE, &none);
    rlim_t now = memory > 0 ? memory_now() : 0;
    if (now > 0) {
        const struct rlimit most = {now + memory, now + memory};
        setrlimit(RLIMIT_AS, &most);
    }
}

static void settle_down(int line)
{
    sigset_t nothing;
    setpgid(0, 0);
    /* The zygote tidies up; this is for the case that it dies first. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigemptyset(&nothing);
    sigprocmask(SIG_SETMASK, &nothing, NULL);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    int silence = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (silence >= 0)
        dup2(silence, STDIN_FILENO);
    the_line = line;
    catch_crashes();
}

static void read_job(int line, buffer *in, wire_job *found)
{
    static char chunk[65536];
    wire_kind kind = WIRE_JOB;
    wire_reader body;
    long size = 0;
    while ((size = wire_next(in->data, in->length, &kind, &body)) == 0) {
        ssize_t got = recv(line, chunk, sizeof chunk, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || !buffer_add(in, chunk, (size_t)got))
            _exit(EXIT_BUG);
    }
    if (size < 0 || kind != WIRE_JOB || !wire_get_job(&body, found))
        _exit(EXIT_BUG);
}

static void send_progress(void *owner, double done, const char *note)
{
    buffer out = {0};
    size_t begun = wire_begin(&out, WIRE_PROGRESS);
    wire_put_number(&out, done);
    wire_put_text(&out, note, note == NULL ? 0 : strlen(note));
    if (wire_end(&out, begun))
        send_all(*(const int *)owner, out.data, out.length);
    buffer_free(&out);
}

static void send_log(void *owner, const char *message, size_t length)
{
    buffer out = {0};
    size_t begun = wire_begin(&out, WIRE_LOG);
    wire_put_text(&out, message, length);
    if (wire_end(&out, begun))
        send_all(*(const int *)owner, out.data, out.length);
    buffer_free(&out);
}

static void send_ending(int line, const ending *e)
{
    buffer out = {0};
    size_t begun = wire_begin(&out, WIRE_ENDING);
    wire_put_ending(&out, e);
    if (!wire_end(&out, begun))
        abort(); /* no memory for the result: the crash says so */
    send_all(line, out.data, out.length);
    buffer_free(&out);
}

_Noreturn void child_main(const registry *tasks, int line, const atomic_int *stop, uint64_t memory)
{
    buffer in = {0};
    wire_job given;
    ending ended;
    settle_down(line);
    read_job(line, &in, &given);
    const known_task *known = registry_find(tasks, given.lease.task);
    if (known == NULL)
        _exit(EXIT_BUG);
    stoker_job job = {.lease = &given.lease,
                      .stop = stop,
                      .hard_at = given.hard_at,
                      .result_limit = given.result_limit,
                      .sink = {.owner = &line, .progress = send_progress, .log = send_log}};
    limit(memory);
    errno = 0;
    job_run(&job, known->task.run, &ended);
    send_ending(line, &ended);
    fflush(NULL);
    _exit(0);
}
