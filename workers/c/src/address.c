#include "address.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "text.h"

#define DEFAULT_PORT "8001"
#define DEFAULT_TIMEOUT 30.0
#define EXAMPLES "Such as tcp://127.0.0.1:8001 or tls://jobs.example.com?ca=ca.pem"
enum { LONGEST_TOKEN = 4096 };

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Copy a part of a URL without its %XX. */
static char *unquote(const char *at, size_t length)
{
    char *out = must_allocate(length + 1);
    size_t size = 0;
    for (size_t i = 0; i < length; i++) {
        int high = at[i] == '%' && i + 2 < length ? hex_digit(at[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(at[i + 2]) : -1;
        out[size++] = low >= 0 ? (char)(high * 16 + low) : at[i];
        i += low >= 0 ? 2 : 0;
    }
    return out;
}

char *address_shown(const char *url)
{
    buffer shown = {0};
    const char *begin = strstr(url, "://");
    const char *host = begin == NULL ? url : begin + 3;
    size_t length = strcspn(host, "/?#");
    const char *at = NULL;
    for (size_t i = 0; i < length; i++)
        at = host[i] == '@' ? host + i : at;
    if (at == NULL) {
        buffer_text(&shown, url);
    } else {
        buffer_add(&shown, url, (size_t)(host - url));
        buffer_text(&shown, "***");
        buffer_text(&shown, at);
    }
    char *text = buffer_string(&shown);
    return text == NULL ? must_copy("***", 3) : text;
}

static bool take_option(address *a, const char *name, size_t length, char *value, char **token_file)
{
    const struct {
        const char *name;
        char **place;
    } options[] = {{"ca", &a->ca},
                   {"cert", &a->cert},
                   {"key", &a->key},
                   {"server_name", &a->server_name},
                   {"token_file", token_file}};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (strlen(options[i].name) == length && memcmp(options[i].name, name, length) == 0) {
            free(*options[i].place);
            *options[i].place = value;
            return true;
        }
    }
    bool fine = length == 7 && memcmp(name, "timeout", 7) == 0 &&
                read_duration(value, &a->timeout) && a->timeout > 0;
    free(value);
    return fine;
}

static bool take_query(address *a, const char *query, char **token_file, char wrong[WRONG_SIZE])
{
    while (*query != '\0') {
        size_t length = strcspn(query, "&#");
        const char *equals = memchr(query, '=', length);
        size_t name = equals == NULL ? length : (size_t)(equals - query);
        size_t value = equals == NULL ? 0 : length - name - 1;
        char *text = unquote(query + length - value, value);
        if (length > 0 && !take_option(a, query, name, text, token_file)) {
            snprintf(wrong, WRONG_SIZE,
                     "the store is '%s': the option '%.*s' is unknown or has a value that means "
                     "nothing; known are ca, cert, key, server_name, timeout, token_file",
                     a->shown, (int)name, query);
            return false;
        }
        if (length == 0)
            free(text);
        query += length;
        query += *query != '\0' ? 1 : 0;
    }
    return true;
}

static bool read_token_file(address *a, const char *path, char wrong[WRONG_SIZE])
{
    char line[LONGEST_TOKEN + 2] = "";
    FILE *file = fopen(path, "re");
    bool fine = file != NULL && fgets(line, sizeof line, file) != NULL;
    if (file != NULL)
        fclose(file);
    size_t length = strlen(line);
    while (length > 0 && isspace((unsigned char)line[length - 1]))
        line[--length] = '\0';
    if (!fine || length == 0) {
        snprintf(wrong, WRONG_SIZE, "the token file '%s' cannot be read or is empty", path);
        return false;
    }
    a->token = must_copy(line, length);
    explicit_bzero(line, sizeof line);
    return true;
}

/* Read `user:password@host:port`; a host in brackets may hold colons. */
static bool take_place(address *a, const char *place, size_t length)
{
    const char *host = place;
    for (size_t i = 0; i < length; i++)
        if (place[i] == '@')
            host = place + i + 1;
    if (host > place) {
        size_t user = (size_t)(host - place) - 1;
        const char *colon = memchr(place, ':', user);
        bool has_password = colon != NULL && colon + 1 < place + user;
        const char *secret = has_password ? colon + 1 : place;
        size_t size = has_password ? user - (size_t)(secret - place)
                      : colon != NULL ? (size_t)(colon - place)
                                      : user;
        a->token = size > 0 ? unquote(secret, size) : NULL;
    }
    size_t left = length - (size_t)(host - place);
    const char *bracket = left > 0 && host[0] == '[' ? memchr(host, ']', left) : NULL;
    const char *after = bracket != NULL ? bracket + 1 : memchr(host, ':', left);
    const char *end = host + left;
    if (after == NULL)
        after = end;
    a->host = bracket != NULL ? must_copy(host + 1, (size_t)(bracket - host) - 1)
                              : must_copy(host, (size_t)(after - host));
    long port = 0;
    bool has_port = after < end && *after == ':';
    a->port = has_port ? must_copy(after + 1, (size_t)(end - after) - 1)
                       : must_copy(DEFAULT_PORT, strlen(DEFAULT_PORT));
    return a->host[0] != '\0' && (after == end || has_port) &&
           read_whole(a->port, 1, 65535, &port);
}

static const char *find_wrong(const address *a, const char *path)
{
    if (path[0] == '/' && path[1] != '\0' && path[1] != '?' && path[1] != '#')
        return "a path means nothing here";
    if (!a->is_tls && (a->ca != NULL || a->cert != NULL || a->key != NULL || a->server_name != NULL))
        return "certificates need tls://";
    if (a->key != NULL && a->cert == NULL)
        return "a key needs its cert";
    return NULL;
}

static bool read_parts(const char *url, address *a, char **token_file, char wrong[WRONG_SIZE])
{
    bool is_tcp = strncmp(url, "tcp://", 6) == 0;
    a->is_tls = strncmp(url, "tls://", 6) == 0;
    const char *place = url + 6;
    size_t length = is_tcp || a->is_tls ? strcspn(place, "/?#") : 0;
    if (length == 0 || !take_place(a, place, length)) {
        snprintf(wrong, WRONG_SIZE,
                 "the store is '%s'; expected tcp:// or tls:// with a host, as this worker speaks "
                 "to a server's gateway. " EXAMPLES,
                 a->shown);
        return false;
    }
    const char *path = place + length;
    const char *query = strchr(path, '?');
    if (query != NULL && !take_query(a, query + 1, token_file, wrong))
        return false;
    const char *found = find_wrong(a, path);
    if (found != NULL)
        snprintf(wrong, WRONG_SIZE, "the store is '%s': %s. " EXAMPLES, a->shown, found);
    return found == NULL;
}

bool address_read(const char *url, const char *token, address *found, char wrong[WRONG_SIZE])
{
    char *token_file = NULL;
    *found = (address){.timeout = DEFAULT_TIMEOUT, .shown = address_shown(url)};
    bool fine = read_parts(url, found, &token_file, wrong);
    if (fine && found->token == NULL && token_file != NULL)
        fine = read_token_file(found, token_file, wrong);
    if (fine && found->token == NULL && token != NULL && token[0] != '\0')
        found->token = must_copy(token, strlen(token));
    free(token_file);
    if (!fine)
        address_free(found);
    return fine;
}

void address_free(address *a)
{
    if (a->token != NULL)
        explicit_bzero(a->token, strlen(a->token));
    char *owned[] = {a->host, a->port, a->shown, a->token, a->ca, a->cert, a->key, a->server_name};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        free(owned[i]);
    *a = (address){0};
}
