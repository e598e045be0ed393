#include "stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buffer.h"

struct stream_keys {
    SSL_CTX *context;
};

struct stream {
    int fd;
    SSL *ssl; /* NULL without TLS */
    const address *where;
    bool connected; /* TCP is */
    bool shaken;    /* TLS is, or there is none */
    bool wants_write;
    trouble why;
};

static const char *last_tls_error(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
    return reason == NULL ? "no reason was given" : reason;
}

static stream_keys *keys_fail(stream_keys *keys, const address *where, trouble *why)
{
    trouble_set(why, "invalid_config", false,
                "the certificates of %s cannot be used: %s; expected PEM files in ca, cert and key",
                where->shown, last_tls_error());
    stream_keys_free(keys);
    return NULL;
}

stream_keys *stream_keys_load(const address *where, trouble *why)
{
    stream_keys *keys = must_allocate(sizeof *keys);
    ERR_clear_error();
    SSL_CTX *context = keys->context = SSL_CTX_new(TLS_client_method());
    if (context == NULL)
        return keys_fail(keys, where, why);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    int fine = SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    if (where->ca != NULL)
        fine = fine && SSL_CTX_load_verify_locations(context, where->ca, NULL);
    else
        fine = fine && SSL_CTX_set_default_verify_paths(context);
    if (fine && where->cert != NULL) {
        const char *key = where->key != NULL ? where->key : where->cert;
        fine = SSL_CTX_use_certificate_chain_file(context, where->cert) &&
               SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) &&
               SSL_CTX_check_private_key(context);
    }
    return fine ? keys : keys_fail(keys, where, why);
}

void stream_keys_free(stream_keys *keys)
{
    if (keys == NULL)
        return;
    SSL_CTX_free(keys->context);
    free(keys);
}

static bool is_numeric(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

/* Say which name the certificate has to bear: without this, any certificate of the authority would
   do, also that of another client. */
static bool expect_name(SSL *ssl, const char *name)
{
    if (is_numeric(name))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

static bool begin_tls(stream *s, stream_keys *keys)
{
    const char *name = s->where->server_name != NULL ? s->where->server_name : s->where->host;
    s->ssl = SSL_new(keys->context);
    if (s->ssl == NULL || !expect_name(s->ssl, name) || SSL_set_fd(s->ssl, s->fd) != 1)
        return false;
    SSL_set_connect_state(s->ssl);
    return true;
}

static void cannot_reach(const stream *s, trouble *why, int error)
{
    trouble_set(why, "unavailable", true,
                "cannot reach the server at %s: %s. Is 'stoker server --gateway-port %s' running "
                "there?",
                s->where->shown, strerror(error), s->where->port);
}

stream *stream_open(const address *where, stream_keys *keys, const struct sockaddr *peer,
                    socklen_t peer_size, trouble *why)
{
    stream *s = must_allocate(sizeof *s);
    int on = 1;
    s->where = where;
    s->fd = socket(peer->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0) {
        cannot_reach(s, why, errno);
        stream_close(s);
        return NULL;
    }
    /* Answers and questions are small and wait for each other. */
    (void)setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(s->fd, peer, peer_size) != 0 && errno != EINPROGRESS) {
        cannot_reach(s, why, errno);
        stream_close(s);
        return NULL;
    }
    if (keys != NULL && !begin_tls(s, keys)) {
        trouble_set(why, "backend", false, "TLS cannot begin: %s", last_tls_error());
        stream_close(s);
        return NULL;
    }
    return s;
}

void stream_close(stream *s)
{
    if (s == NULL)
        return;
    if (s->ssl != NULL) {
        /* One word of goodbye, not waited for. */
        if (s->shaken && s->why.code[0] == '\0')
            SSL_shutdown(s->ssl);
        SSL_free(s->ssl);
    }
    if (s->fd >= 0)
        close(s->fd);
    free(s);
}

static bool is_other_protocol(unsigned long code)
{
    int reason = ERR_GET_REASON(code);
    return reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST ||
           reason == SSL_R_PACKET_LENGTH_TOO_LONG;
}

static void tls_failed(stream *s)
{
    const char *where = s->where->shown;
    unsigned long code = ERR_peek_last_error();
    long verdict = SSL_get_verify_result(s->ssl);
    if (verdict != X509_V_OK)
        trouble_set(&s->why, "unauthenticated", false,
                    "the certificate of %s is not trusted: %s; give its authority with ?ca=FILE, "
                    "or its name with &server_name=NAME",
                    where, X509_verify_cert_error_string(verdict));
    else if (is_other_protocol(code))
        trouble_set(&s->why, "not_a_store", false, "%s does not speak TLS; use tcp:// for it",
                    where);
    else
        trouble_set(&s->why, "unauthenticated", false,
                    "TLS with %s failed: %s; if the server asks for a client certificate, give it "
                    "with ?cert=FILE&key=FILE",
                    where, last_tls_error());
}

static stream_state broken(stream *s, int error)
{
    trouble_set(&s->why, "unavailable", true, "the connection to %s broke: %s", s->where->shown,
                error == 0 ? "it was cut off" : strerror(error));
    return STREAM_BROKEN;
}

/* Say what a call of OpenSSL that returned `result` means. */
static stream_state judge_tls(stream *s, int result, int error)
{
    switch (SSL_get_error(s->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        s->wants_write = false;
        return STREAM_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        s->wants_write = true;
        return STREAM_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return STREAM_ENDED;
    case SSL_ERROR_SYSCALL:
        return broken(s, error);
    default:
        if (ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
            return STREAM_ENDED;
        tls_failed(s);
        return STREAM_BROKEN;
    }
}

static stream_state judge_socket(stream *s, ssize_t moved)
{
    if (moved > 0)
        return STREAM_DONE;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        return STREAM_AGAIN;
    return broken(s, errno);
}

stream_state stream_connect(stream *s)
{
    int error = 0;
    socklen_t size = sizeof error;
    struct pollfd look = {.fd = s->fd, .events = POLLOUT};
    if (!s->connected) {
        if (poll(&look, 1, 0) == 0)
            return STREAM_AGAIN;
        if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
            cannot_reach(s, &s->why, error);
            return STREAM_BROKEN;
        }
        s->connected = true;
    }
    if (s->ssl != NULL && !s->shaken) {
        ERR_clear_error();
        errno = 0;
        int result = SSL_do_handshake(s->ssl);
        if (result != 1)
            return judge_tls(s, result, errno);
    }
    s->shaken = true;
    s->wants_write = false;
    return STREAM_DONE;
}

stream_state stream_read(stream *s, char *bytes, size_t size, size_t *got)
{
    *got = 0;
    if (s->ssl != NULL) {
        ERR_clear_error();
        errno = 0;
        int result = SSL_read_ex(s->ssl, bytes, size, got);
        return result == 1 ? STREAM_DONE : judge_tls(s, result, errno);
    }
    ssize_t moved = recv(s->fd, bytes, size, 0);
    if (moved == 0)
        return STREAM_ENDED;
    *got = moved > 0 ? (size_t)moved : 0;
    return judge_socket(s, moved);
}

stream_state stream_write(stream *s, const char *bytes, size_t size, size_t *put)
{
    *put = 0;
    if (s->ssl != NULL) {
        ERR_clear_error();
        errno = 0;
        int result = SSL_write_ex(s->ssl, bytes, size, put);
        s->wants_write = false;
        return result == 1 ? STREAM_DONE : judge_tls(s, result, errno);
    }
    ssize_t moved = send(s->fd, bytes, size, MSG_NOSIGNAL);
    *put = moved > 0 ? (size_t)moved : 0;
    return judge_socket(s, moved);
}

int stream_fd(const stream *s)
{
    return s->fd;
}

short stream_events(const stream *s, bool has_output)
{
    if (!s->connected)
        return POLLOUT;
    return (short)(POLLIN | (has_output || s->wants_write ? POLLOUT : 0));
}

const trouble *stream_why(const stream *s)
{
    return &s->why;
}
