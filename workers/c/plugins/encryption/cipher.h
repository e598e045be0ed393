/* One file's cipher: its key, its header, and the nonce of each chunk. */
#ifndef STOKER_PLUGINS_CIPHER_H
#define STOKER_PLUGINS_CIPHER_H

#include "seal.h"

enum {
    SEAL_MAGIC = 9, /* with the version */
    SEAL_SALT = 16,
    SEAL_PREFIX = 7,
    SEAL_HEADER = SEAL_MAGIC + SEAL_ID + SEAL_SALT + SEAL_PREFIX,
    SEAL_PLAIN = 65536,
    SEAL_TAG = 16,
    SEAL_SEALED = SEAL_PLAIN + SEAL_TAG,
};

bool derive(const unsigned char secret[SEAL_KEY], const char *info, const unsigned char *salt,
            size_t salt_size, unsigned char *out, size_t size, struct fault *fault);

struct cipher {
    void *context;
    const unsigned char *header;
};

/* The salt and the nonce's prefix stand in the header, which must outlive the cipher. */
bool cipher_begin(struct cipher *cipher, const struct seal_key *key,
                  const unsigned char header[SEAL_HEADER], bool is_sealing, struct fault *fault);
void cipher_end(struct cipher *cipher);

/* Seal `size` bytes into size + SEAL_TAG. */
bool cipher_seal(struct cipher *cipher, uint32_t number, bool is_last, const unsigned char *plain,
                 size_t size, unsigned char *sealed, struct fault *fault);
/* Open `size` bytes, tag included; false without a fault: they are not authentic. */
bool cipher_open(struct cipher *cipher, uint32_t number, bool is_last, const unsigned char *sealed,
                 size_t size, unsigned char *plain);

#endif
