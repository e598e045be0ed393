#include "zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "buffer.h"

extern char **environ;

/* What the zygote itself knows. */
typedef struct server {
    const registry *tasks;
    zygote_board *board;
    int line;
    int deaths; /* a signalfd */
    pid_t *children;
} server;

bool zygote_send(const zygote *z, const zygote_message *said, int descriptor)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)said, .iov_len = sizeof *said};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptor >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(head), &descriptor, sizeof descriptor);
    }
    ssize_t sent = 0;
    do
        sent = sendmsg(z->line, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)sizeof *said;
}

/* Take a message and the descriptor that may come with it (else -1). */
static ssize_t receive(int line, zygote_message *heard, int *descriptor, int flags)
{
    struct iovec part = {.iov_base = heard, .iov_len = sizeof *heard};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t got = 0;
    *descriptor = -1;
    do
        got = recvmsg(line, &message, flags | MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    struct cmsghdr *head = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (head != NULL && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(descriptor, CMSG_DATA(head), sizeof *descriptor);
    return got;
}

int zygote_receive(const zygote *z, zygote_message *heard)
{
    int descriptor = -1;
    ssize_t got = receive(z->line, heard, &descriptor, MSG_DONTWAIT);
    if (descriptor >= 0)
        close(descriptor);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    return got == (ssize_t)sizeof *heard ? 1 : -1;
}

static void tell(const server *s, zygote_word word, int slot, int status)
{
    const zygote_message said = {.word = word, .slot = slot, .status = status};
    (void)!send(s->line, &said, sizeof said, MSG_NOSIGNAL);
}

static void fork_child(server *s, const zygote_message *asked, int line)
{
    pid_t pid = line < 0 ? -1 : fork();
    if (pid == 0) {
        close(s->line);
        close(s->deaths);
        child_main(s->tasks, line, &s->board->stop[asked->slot], asked->memory);
    }
    if (pid < 0)
        tell(s, ZYGOTE_FAILED, asked->slot, errno);
    else
        s->children[asked->slot] = pid;
    if (line >= 0)
        close(line);
}

static void kill_child(const server *s, int slot)
{
    pid_t pid = s->children[slot];
    if (pid > 0 && kill(-pid, SIGKILL) != 0)
        kill(pid, SIGKILL); /* in its first moments it has no group of its own */
}

/* Collect the children that ended, with what they left behind in their groups. */
static void collect(server *s)
{
    siginfo_t who = {0};
    while (waitid(P_ALL, 0, &who, WEXITED | WNOHANG | WNOWAIT) == 0 && who.si_pid > 0) {
        int status = 0;
        pid_t pid = who.si_pid;
        /* Not yet collected, so nobody else can have its number. */
        kill(-pid, SIGKILL);
        waitpid(pid, &status, 0);
        for (int slot = 0; slot < s->board->slots; slot++) {
            if (s->children[slot] != pid)
                continue;
            s->children[slot] = 0;
            tell(s, ZYGOTE_EXITED, slot, status);
        }
        who.si_pid = 0;
    }
}

/* Obey one message; false when the worker is gone. */
static bool obey(server *s)
{
    zygote_message asked;
    int line = -1;
    if (receive(s->line, &asked, &line, 0) != (ssize_t)sizeof asked)
        return false;
    if (asked.slot < 0 || asked.slot >= s->board->slots)
        return false;
    if (asked.word == ZYGOTE_RUN)
        fork_child(s, &asked, line);
    else if (asked.word == ZYGOTE_KILL)
        kill_child(s, asked.slot);
    return true;
}

_Noreturn static void serve(server *s)
{
    struct signalfd_siginfo ignored;
    struct pollfd looks[2] = {{.fd = s->line, .events = POLLIN},
                              {.fd = s->deaths, .events = POLLIN}};
    for (;;) {
        if (poll(looks, 2, -1) < 0 && errno != EINTR)
            break;
        if (looks[1].revents != 0) {
            (void)!read(s->deaths, &ignored, sizeof ignored);
            collect(s);
        }
        if (looks[0].revents != 0 && !obey(s))
            break;
    }
    /* Without a worker nobody wants what its children do. */
    for (int slot = 0; slot < s->board->slots; slot++)
        kill_child(s, slot);
    _exit(0);
}

/* Take what is Stoker's out of the environment, bytes included: /proc shows them. */
static void scrub_environment(void)
{
    char **kept = environ;
    for (char **at = environ; at != NULL && *at != NULL; at++) {
        if (strncmp(*at, "STOKER_", 7) == 0 || strncmp(*at, "_STOKER_", 8) == 0)
            explicit_bzero(*at, strlen(*at));
        else
            *kept++ = *at;
    }
    if (kept != NULL)
        *kept = NULL;
}

static void become_server(zygote *z, const registry *tasks, int line)
{
    sigset_t deaths;
    sigemptyset(&deaths);
    sigaddset(&deaths, SIGCHLD);
    sigprocmask(SIG_SETMASK, &deaths, NULL);
    for (int number = 1; number < SIGRTMIN; number++)
        if (number != SIGKILL && number != SIGSTOP)
            signal(number, SIG_DFL);
    /* A group of its own: Ctrl-C is for the worker, which then tells what to end, and a supervisor
       that kills the worker's group does not kill the one that tidies up after it. */
    setpgid(0, 0);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    prctl(PR_SET_NAME, "stoker-zygote");
    close(z->line);
    server s = {.tasks = tasks, .board = z->board, .line = line};
    s.deaths = signalfd(-1, &deaths, SFD_CLOEXEC | SFD_NONBLOCK);
    s.children = must_allocate((size_t)z->board->slots * sizeof *s.children);
    serve(&s);
}

bool zygote_start(zygote *z, const registry *tasks, int slots, void (*wipe)(void *), void *owner)
{
    int lines[2];
    size_t size = sizeof(zygote_board) + (size_t)slots * sizeof(atomic_int);
    void *board = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED)
        return false;
    z->board = board;
    z->board->slots = slots;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, lines) != 0)
        return false;
    z->line = lines[0];
    z->pid = fork();
    if (z->pid == 0) {
        wipe(owner);
        scrub_environment();
        become_server(z, tasks, lines[1]);
    }
    close(lines[1]);
    return z->pid > 0;
}

void zygote_stop(zygote *z)
{
    if (z->pid <= 0)
        return;
    close(z->line);
    while (waitpid(z->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    munmap(z->board, sizeof(zygote_board) + (size_t)z->board->slots * sizeof(atomic_int));
    *z = (zygote){0};
}
