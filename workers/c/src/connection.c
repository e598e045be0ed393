#include "connection.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "frames.h"
#include "requests.h"
#include "resolver.h"
#include "version.h"

#define CONNECT_WITHIN 10.0 /* seconds for the name, TCP, TLS and the hello together */
#define PAUSE_FIRST 0.1     /* seconds; doubled with each failure */
#define PAUSE_MOST 5.0
#define PING_SHARE 0.8      /* of the silence after which something has to be said */
#define SILENCE_SHARE 3.0   /* pings without a word after which the server is taken for gone */
enum { CHUNK = 65536, MOST_CHUNKS = 64, KEPT = 256 * 1024, MOST_FAILURES = 16 };

typedef enum way { WAY_NONE, WAY_NAME, WAY_CONNECT, WAY_HELLO, WAY_OPEN } way;

struct connection {
    const address *where;
    stream_keys *keys;
    const char *client;
    connection_events events;
    way way;
    resolver *resolver;
    struct addrinfo *peers; /* owned; `peer` is the one being tried */
    struct addrinfo *peer;
    stream *stream;
    frame_reader reader;
    buffer out;
    size_t sent; /* how much of `out` went */
    json_doc doc;
    welcome welcome;
    uint64_t last_id;
    uint64_t asking[ASK_KINDS]; /* id of the request under way, or 0 */
    double patience[ASK_KINDS]; /* when it is too late for its answer */
    double begun;               /* when connecting began */
    double retry_at;
    double said_at;  /* when something was sent last */
    double heard_at; /* when something came last */
    unsigned failures;
    bool was_open;
    bool heard; /* anything on this connection */
    bool hungry; /* it stopped reading before there was nothing left */
};

static const char *const verbs[ASK_KINDS] = {"hello", "beat",   "exchange", "exchange", "wait",
                                             "wait",  "queues", "ping",     "forget"};

connection *connection_new(const address *where, stream_keys *keys, const char *client,
                           const connection_events *events)
{
    connection *c = must_allocate(sizeof *c);
    c->where = where;
    c->keys = keys;
    c->client = client;
    c->events = *events;
    return c;
}

static void hang_up(connection *c)
{
    stream_close(c->stream);
    c->stream = NULL;
    resolver_drop(c->resolver);
    c->resolver = NULL;
    if (c->peers != NULL)
        freeaddrinfo(c->peers);
    c->peers = c->peer = NULL;
    frame_end(&c->reader);
    buffer_free(&c->out);
    c->sent = 0;
    c->hungry = false;
    c->way = WAY_NONE;
}

void connection_free(connection *c)
{
    if (c == NULL)
        return;
    hang_up(c);
    json_free(&c->doc);
    free(c);
}

bool connection_is_open(const connection *c)
{
    return c->way == WAY_OPEN;
}

bool connection_is_asking(const connection *c, ask_kind kind)
{
    return c->asking[kind] != 0;
}

size_t connection_room(const connection *c)
{
    enum { LEAD = 64 };
    return c->way == WAY_OPEN ? (size_t)c->welcome.max_frame - LEAD : 0;
}

/* It broke, or never was: tell everybody who waits, and try again later. */
static void fail(connection *c, const trouble *why)
{
    hang_up(c);
    unsigned doublings = c->failures < MOST_FAILURES ? c->failures : MOST_FAILURES;
    c->failures++;
    c->retry_at = now_monotonic() + random_share() * fmin(PAUSE_MOST, ldexp(PAUSE_FIRST,
                                                                           (int)doublings));
    for (int kind = ASK_HELLO; kind < ASK_KINDS; kind++) {
        bool asked = c->asking[kind] != 0;
        c->asking[kind] = 0;
        if (asked && kind != ASK_HELLO && kind != ASK_PING && kind != ASK_FORGET)
            c->events.lost(c->events.owner, (ask_kind)kind);
    }
    c->events.failed(c->events.owner, why);
}

static void fail_because(connection *c, const char *code, bool retryable, const char *what)
{
    trouble why;
    trouble_set(&why, code, retryable, "%s: %s", c->where->shown, what);
    fail(c, &why);
}

static bool send_request(connection *c, ask_kind kind, const char *params, size_t length,
                         size_t limit)
{
    uint64_t id = c->last_id + 1;
    if (!frame_request(&c->out, id, verbs[kind], params, length, limit)) {
        c->out.failed = false;
        return false;
    }
    c->last_id = id;
    c->asking[kind] = id;
    return true;
}

bool connection_ask(connection *c, ask_kind kind, const char *params, size_t length,
                    double patience)
{
    if (c->way != WAY_OPEN || c->asking[kind] != 0 ||
        !send_request(c, kind, params, length, (size_t)c->welcome.max_frame))
        return false;
    c->patience[kind] = now_monotonic() + (patience > 0 ? patience : c->where->timeout);
    return true;
}

void connection_forget(connection *c, ask_kind kind)
{
    if (c->way != WAY_OPEN || c->asking[kind] == 0 || c->asking[ASK_FORGET] != 0)
        return;
    buffer params = {0};
    say_forget(&params, c->asking[kind]);
    if (!params.failed && connection_ask(c, ASK_FORGET, params.data, params.length, 0))
        c->asking[kind] = 0;
    buffer_free(&params);
}

static void begin(connection *c, double now)
{
    c->begun = now;
    c->last_id = 0;
    c->heard = false;
    c->resolver = resolver_start(c->where->host, c->where->port);
    c->way = WAY_NAME;
    if (c->resolver == NULL)
        fail_because(c, "unavailable", true, "no look-up of its name can be begun");
}

/* Try one address after the other. */
static void try_peers(connection *c)
{
    trouble why = {0};
    while (c->peer != NULL) {
        c->stream = stream_open(c->where, c->keys, c->peer->ai_addr, c->peer->ai_addrlen, &why);
        if (c->stream != NULL) {
            c->way = WAY_CONNECT;
            return;
        }
        c->peer = c->peer->ai_next;
    }
    fail(c, &why);
}

static void take_name(connection *c)
{
    const char *why = NULL;
    c->peers = c->peer = resolver_answer(c->resolver, &why);
    resolver_drop(c->resolver);
    c->resolver = NULL;
    if (c->peers == NULL) {
        trouble told;
        trouble_set(&told, "unavailable", true, "cannot reach the server at %s: %s",
                    c->where->shown, why);
        fail(c, &told);
        return;
    }
    try_peers(c);
}

static void say_hello_to(connection *c)
{
    const hello said = {.protocol = PROTOCOL_VERSION,
                        .token = c->where->token,
                        .client = c->client,
                        .version = STOKER_VERSION,
                        .max_frame = FRAME_MOST};
    buffer params = {0};
    say_hello(&params, &said);
    frame_begin(&c->reader, FRAME_BEFORE_WELCOME);
    bool fits = !params.failed && send_request(c, ASK_HELLO, params.data, params.length,
                                               FRAME_BEFORE_WELCOME);
    if (params.data != NULL)
        explicit_bzero(params.data, params.length); /* the token */
    buffer_free(&params);
    c->way = WAY_HELLO;
    if (!fits)
        fail_because(c, "usage", false, "the token is too long for a hello");
}

static void go_on_connecting(connection *c)
{
    stream_state state = stream_connect(c->stream);
    if (state == STREAM_AGAIN)
        return;
    if (state == STREAM_DONE) {
        say_hello_to(c);
        return;
    }
    trouble why = *stream_why(c->stream);
    if (state == STREAM_ENDED)
        trouble_set(&why, "unavailable", true, "%s hung up in the middle of the TLS handshake",
                    c->where->shown);
    stream_close(c->stream);
    c->stream = NULL;
    c->peer = c->peer->ai_next;
    if (c->peer != NULL && why.retryable)
        try_peers(c);
    else
        fail(c, &why);
}

/* The server closed. Over TLS that is how most servers refuse a certificate: the handshake of TLS
   1.3 is over for the client before the server has judged his. */
static void hung_up(connection *c)
{
    trouble why;
    if (c->heard)
        trouble_set(&why, "unavailable", true, "%s closed the connection", c->where->shown);
    else if (c->where->is_tls && !c->was_open)
        trouble_set(&why, "unauthenticated", false,
                    "%s hung up after the TLS handshake: it does not believe the client's "
                    "certificate, or asks for one; give it with ?cert=FILE&key=FILE",
                    c->where->shown);
    else
        trouble_set(&why, "unavailable", true, "%s hung up without a word; %s", c->where->shown,
                    c->where->is_tls ? "its log says why" : "if it speaks TLS, use tls://");
    fail(c, &why);
}

static void take_welcome(connection *c, const response *found)
{
    if (!read_welcome(&c->doc, found->ok, &c->welcome)) {
        fail_because(c, "protocol_error", false, "its welcome is not one of protocol version 1");
        return;
    }
    c->way = WAY_OPEN;
    c->was_open = true;
    c->failures = 0;
    c->reader.limit = FRAME_MOST;
    c->events.opened(c->events.owner, &c->welcome);
}

static void take_response(connection *c, const char *body, size_t length)
{
    response found;
    const char *wrong = read_response(&c->doc, body, length, &found);
    if (wrong != NULL || found.id > c->last_id) {
        fail_because(c, "protocol_error", true,
                     wrong != NULL ? wrong : "it answered what was not asked");
        return;
    }
    c->heard = true;
    if (found.id == 0 || (c->way == WAY_HELLO && found.ok < 0)) {
        fail(c, &found.error);
        return;
    }
    for (int kind = 0; kind < ASK_KINDS; kind++) {
        if (c->asking[kind] != found.id)
            continue;
        c->asking[kind] = 0;
        if (kind == ASK_HELLO)
            take_welcome(c, &found);
        else if (kind != ASK_PING && kind != ASK_FORGET)
            c->events.answered(c->events.owner, (ask_kind)kind, &c->doc, &found);
        return;
    }
    /* A request that was forgotten; its answer had been on the way. */
}

/* Take all frames that are complete; false when the connection is over. */
static bool take_frames(connection *c)
{
    const char *body = NULL;
    size_t length = 0;
    for (;;) {
        frame_state state = frame_next(&c->reader, &body, &length);
        if (state == FRAME_MORE)
            return true;
        if (state == FRAME_READY) {
            take_response(c, body, length);
            if (c->stream == NULL)
                return false;
            continue;
        }
        bool known = c->was_open;
        fail_because(c, "protocol_error", known || state == FRAME_NO_MEMORY,
                     state == FRAME_EMPTY       ? "it sent an empty frame"
                     : state == FRAME_NO_MEMORY ? "there is no memory for its answer"
                                                : "it announced a frame over the limit; is it the "
                                                  "gateway of a Stoker server?");
        return false;
    }
}

static void read_some(connection *c)
{
    static char chunk[CHUNK];
    size_t got = 0;
    c->hungry = false;
    for (int i = 0; i < MOST_CHUNKS; i++) {
        stream_state state = stream_read(c->stream, chunk, sizeof chunk, &got);
        if (state == STREAM_AGAIN)
            return;
        if (state == STREAM_ENDED) {
            hung_up(c);
            return;
        }
        if (state == STREAM_BROKEN) {
            trouble why = *stream_why(c->stream);
            /* A server that has closed answers our hello by a reset, and the reset takes along what
               it had said before. */
            if (!c->heard && why.retryable)
                hung_up(c);
            else
                fail(c, &why);
            return;
        }
        c->heard_at = now_monotonic();
        frame_feed(&c->reader, chunk, got);
        if (!take_frames(c))
            return;
    }
    /* TLS may hold more bytes that the poll does not see. */
    c->hungry = true;
}

/* Send as much as goes at once. */
static stream_state push(connection *c)
{
    while (c->sent < c->out.length) {
        size_t put = 0;
        stream_state state =
            stream_write(c->stream, c->out.data + c->sent, c->out.length - c->sent, &put);
        if (state != STREAM_DONE)
            return state;
        c->sent += put;
        c->said_at = now_monotonic();
    }
    buffer_clear(&c->out);
    buffer_shrink(&c->out, KEPT);
    c->sent = 0;
    return STREAM_DONE;
}

static void write_some(connection *c)
{
    if (c->stream == NULL)
        return;
    stream_state state = push(c);
    if (state == STREAM_DONE || state == STREAM_AGAIN)
        return;
    /* What it said before it closed may say why. */
    read_some(c);
    if (c->stream != NULL)
        hung_up(c);
}

/* Whether an answer, or any word at all, is overdue. */
static bool is_late(const connection *c, double now)
{
    if (c->way < WAY_OPEN)
        return now > c->begun + CONNECT_WITHIN;
    if (now > c->heard_at + SILENCE_SHARE * c->welcome.ping_every)
        return true;
    for (int kind = 0; kind < ASK_KINDS; kind++)
        if (c->asking[kind] != 0 && now > c->patience[kind])
            return true;
    return false;
}

static void keep_time(connection *c, double now)
{
    if (c->way != WAY_NONE && is_late(c, now)) {
        fail_because(c, "unavailable", true,
                     c->way < WAY_OPEN ? "it did not answer within 10 seconds"
                                       : "it has not answered in time");
        return;
    }
    if (c->way == WAY_OPEN && now > c->said_at + PING_SHARE * c->welcome.ping_every) {
        connection_ask(c, ASK_PING, "{}", 2, 0);
        c->said_at = now; /* also while the socket is full: or the loop would spin until it is not */
    }
}

void connection_turn(connection *c, double now)
{
    if (c->way == WAY_NONE && now >= c->retry_at)
        begin(c, now);
    if (c->way == WAY_NAME) {
        struct pollfd look = {.fd = resolver_fd(c->resolver), .events = POLLIN};
        if (poll(&look, 1, 0) > 0)
            take_name(c);
    }
    if (c->way == WAY_CONNECT)
        go_on_connecting(c);
    if (c->way >= WAY_HELLO)
        read_some(c);
    keep_time(c, now);
    if (c->way >= WAY_HELLO)
        write_some(c);
}

void connection_flush(connection *c)
{
    if (c->way == WAY_OPEN)
        write_some(c);
}

void connection_push(connection *c)
{
    /* A socket that is broken is so at the next turn, too. */
    if (c->way == WAY_OPEN)
        (void)push(c);
}

void connection_prepare(connection *c, struct pollfd *look)
{
    *look = (struct pollfd){.fd = -1};
    if (c->way == WAY_NAME)
        *look = (struct pollfd){.fd = resolver_fd(c->resolver), .events = POLLIN};
    else if (c->stream != NULL)
        *look = (struct pollfd){.fd = stream_fd(c->stream),
                                .events = stream_events(c->stream, c->sent < c->out.length)};
}

double connection_due(const connection *c)
{
    if (c->way == WAY_NONE)
        return c->retry_at;
    if (c->hungry)
        return 0;
    if (c->way < WAY_OPEN)
        return c->begun + CONNECT_WITHIN;
    double due = fmin(c->said_at + PING_SHARE * c->welcome.ping_every,
                      c->heard_at + SILENCE_SHARE * c->welcome.ping_every);
    for (int kind = 0; kind < ASK_KINDS; kind++)
        if (c->asking[kind] != 0)
            due = fmin(due, c->patience[kind]);
    return due;
}

void connection_close(connection *c)
{
    if (c->stream != NULL && c->way == WAY_OPEN)
        write_some(c);
    hang_up(c);
}
