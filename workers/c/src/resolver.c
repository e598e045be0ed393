#include "resolver.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "buffer.h"

struct resolver {
    char *host;
    char *port;
    int fd;
    int error;
    struct addrinfo *found;
    atomic_int owners; /* the worker and the thread; the last one frees */
};

static void release(resolver *r)
{
    if (atomic_fetch_sub(&r->owners, 1) > 1)
        return;
    if (r->found != NULL)
        freeaddrinfo(r->found);
    close(r->fd);
    free(r->host);
    free(r->port);
    free(r);
}

static void look_up(resolver *r)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    r->error = getaddrinfo(r->host, r->port, &hints, &r->found);
    if (r->error != 0)
        r->found = NULL;
    uint64_t one = 1;
    (void)!write(r->fd, &one, sizeof one);
    release(r);
}

static void *run(void *given)
{
    look_up(given);
    return NULL;
}

static bool start_thread(resolver *r)
{
    pthread_attr_t attributes;
    pthread_t thread;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    bool started = pthread_create(&thread, &attributes, run, r) == 0;
    pthread_attr_destroy(&attributes);
    return started;
}

static bool is_number(const char *host)
{
    return strspn(host, "0123456789.") == strlen(host) || strchr(host, ':') != NULL;
}

resolver *resolver_start(const char *host, const char *port)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return NULL;
    resolver *r = must_allocate(sizeof *r);
    r->fd = fd;
    r->host = must_copy(host, strlen(host));
    r->port = must_copy(port, strlen(port));
    atomic_store(&r->owners, 2);
    /* No name server is asked for a number. */
    if (is_number(host) || !start_thread(r))
        look_up(r);
    return r;
}

int resolver_fd(const resolver *r)
{
    return r->fd;
}

struct addrinfo *resolver_answer(resolver *r, const char **why)
{
    struct addrinfo *found = r->found;
    r->found = NULL;
    *why = found == NULL ? gai_strerror(r->error) : NULL;
    return found;
}

void resolver_drop(resolver *r)
{
    if (r != NULL)
        release(r);
}
