/* The URL of a store behind a server: where it is, who asks, and whom to believe. */
#ifndef STOKER_ADDRESS_H
#define STOKER_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct address {
    bool is_tls;
    char *host;
    char *port;        /* digits */
    char *shown;       /* the URL without secrets, for messages */
    char *token;       /* NULL: none */
    char *ca;          /* file of authorities; NULL: those of the system */
    char *cert;        /* file of the own certificate, or NULL */
    char *key;         /* file of its key; NULL: the certificate's file */
    char *server_name; /* what the server's certificate must name; NULL: the host */
    double timeout;    /* seconds that a call may take */
} address;

enum { WRONG_SIZE = 512 };

/*
 * Read `tcp://host:8001`, `tls://TOKEN@host?ca=ca.pem&cert=me.pem&key=me.key&server_name=jobs`.
 * `token` is shown when the URL names none; it may be NULL. False with a reason in `wrong`.
 */
bool address_read(const char *url, const char *token, address *found, char wrong[WRONG_SIZE]);
/* Free it; the token is wiped. */
void address_free(address *a);
/* A URL without what may be secret in it; to be freed. */
char *address_shown(const char *url);

#endif
