/* AES-256-GCM over files of any size, in the format of Stoker's Python tasks.
 *
 * A file is sealed in chunks (the STREAM construction: Hoang, Reyhanitabar, Rogaway and Vizár,
 * 2015). Big-endian:
 *
 *     header   magic "STOKRENC" (8) . version 1 (1) . key id (8) . salt (16) . nonce prefix (7)
 *     chunk i  AES-GCM(file key, nonce = prefix . i as 4 bytes . 1 if last else 0,
 *                      plaintext of 65,536 bytes (the last one: 0 to 65,536), the header)
 *
 * The file key is HKDF-SHA256 of the configured key and the salt. Every execution draws its own
 * salt and prefix, so a job that runs twice never meets a nonce again under one key. */
#ifndef STOKER_PLUGINS_SEAL_H
#define STOKER_PLUGINS_SEAL_H

#include "../common/flow.h"

enum { SEAL_KEY = 32, SEAL_ID = 8 };

struct seal_key {
    unsigned char secret[SEAL_KEY], id[SEAL_ID];
};

/* The key as people write it: 32 bytes in base64, standard or URL-safe, blanks around it. */
bool seal_read_key(const char *text, struct seal_key *key, struct fault *fault);
void seal_forget(struct seal_key *key);

bool seal_all(const struct seal_key *key, struct flow *flow);
bool unseal_all(const struct seal_key *key, struct flow *flow);

#endif
