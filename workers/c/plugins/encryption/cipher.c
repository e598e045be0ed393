#include "cipher.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

enum { NONCE = SEAL_PREFIX + 5 };

static const char FILE_KEY[] = "stoker file key 1";

bool cipher_begin(struct cipher *cipher, const struct seal_key *key,
                  const unsigned char header[SEAL_HEADER], bool is_sealing, struct fault *fault) {
    unsigned char file_key[SEAL_KEY];
    cipher->header = header;
    cipher->context = EVP_CIPHER_CTX_new();
    if (cipher->context == NULL) {
        return fault_memory(fault, 1024);
    }
    bool is_ready =
        derive(key->secret, FILE_KEY, header + SEAL_MAGIC + SEAL_ID, SEAL_SALT, file_key, SEAL_KEY,
               fault) &&
        EVP_CipherInit_ex(cipher->context, EVP_aes_256_gcm(), NULL, file_key, NULL, is_sealing) == 1;
    OPENSSL_cleanse(file_key, sizeof file_key);
    return is_ready || fault_set(fault, FAULT_SYSTEM, "OpenSSL has no AES-256-GCM here");
}

void cipher_end(struct cipher *cipher) {
    EVP_CIPHER_CTX_free(cipher->context);
    cipher->context = NULL;
}

/* Nonce and header first: both are what a moved or cut chunk stumbles over. */
static bool begin_chunk(struct cipher *cipher, uint32_t number, bool is_last) {
    unsigned char nonce[NONCE];
    int wrote = 0;
    memcpy(nonce, cipher->header + SEAL_HEADER - SEAL_PREFIX, SEAL_PREFIX);
    for (int i = 0; i < 4; i++) {
        nonce[SEAL_PREFIX + i] = (unsigned char)(number >> (24 - 8 * i));
    }
    nonce[NONCE - 1] = is_last;
    return EVP_CipherInit_ex(cipher->context, NULL, NULL, NULL, nonce, -1) == 1 &&
           EVP_CipherUpdate(cipher->context, NULL, &wrote, cipher->header, SEAL_HEADER) == 1;
}

bool cipher_seal(struct cipher *cipher, uint32_t number, bool is_last, const unsigned char *plain,
                 size_t size, unsigned char *sealed, struct fault *fault) {
    int wrote = 0, more = 0;
    bool is_done =
        begin_chunk(cipher, number, is_last) &&
        EVP_CipherUpdate(cipher->context, sealed, &wrote, plain, (int)size) == 1 &&
        EVP_CipherFinal_ex(cipher->context, sealed + wrote, &more) == 1 &&
        EVP_CIPHER_CTX_ctrl(cipher->context, EVP_CTRL_GCM_GET_TAG, SEAL_TAG, sealed + size) == 1;
    return is_done || fault_set(fault, FAULT_SYSTEM, "OpenSSL cannot encrypt here");
}

bool cipher_open(struct cipher *cipher, uint32_t number, bool is_last, const unsigned char *sealed,
                 size_t size, unsigned char *plain) {
    unsigned char tag[SEAL_TAG];
    int wrote = 0, more = 0;
    if (size < SEAL_TAG) {
        return false;
    }
    memcpy(tag, sealed + size - SEAL_TAG, SEAL_TAG);
    return begin_chunk(cipher, number, is_last) &&
           EVP_CipherUpdate(cipher->context, plain, &wrote, sealed, (int)(size - SEAL_TAG)) == 1 &&
           EVP_CIPHER_CTX_ctrl(cipher->context, EVP_CTRL_GCM_SET_TAG, SEAL_TAG, tag) == 1 &&
           EVP_CipherFinal_ex(cipher->context, plain + wrote, &more) == 1;
}
