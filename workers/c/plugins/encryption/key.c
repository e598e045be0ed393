#include "../common/base64.h"
#include "cipher.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

#define MAKE_KEY "make one with: head -c 32 /dev/urandom | base64"

bool derive(const unsigned char secret[SEAL_KEY], const char *info, const unsigned char *salt,
            size_t salt_size, unsigned char *out, size_t size, struct fault *fault) {
    EVP_KDF *kind = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *context = kind == NULL ? NULL : EVP_KDF_CTX_new(kind);
    OSSL_PARAM values[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){"SHA256"}, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)secret, SEAL_KEY),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info,
                                          strlen(info)),
        salt_size > 0 /* none is no empty one to OpenSSL; to HKDF they are the same */
            ? OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt,
                                                salt_size)
            : OSSL_PARAM_construct_end(),
        OSSL_PARAM_construct_end(),
    };
    bool is_done = context != NULL && EVP_KDF_derive(context, out, size, values) == 1;
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kind);
    return is_done || fault_set(fault, FAULT_SYSTEM, "OpenSSL cannot derive a key here");
}

/* Without the blanks around it, and in the standard alphabet. */
static size_t normalised(const char *text, char *out, size_t room) {
    static const char BLANKS[] = " \t\r\n\v\f";
    text += strspn(text, BLANKS);
    size_t length = strlen(text);
    while (length > 0 && strchr(BLANKS, text[length - 1]) != NULL) {
        length--;
    }
    for (size_t i = 0; i < length && i < room; i++) {
        out[i] = (char)(text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i]);
    }
    return length;
}

bool seal_read_key(const char *text, struct seal_key *key, struct fault *fault) {
    char letters[64];
    unsigned char raw[sizeof letters];
    size_t size = 0, length = normalised(text, letters, sizeof letters);
    if (length > sizeof letters || !base64_decode(letters, length, raw, &size)) {
        return fault_set(fault, FAULT_CONFIG, "the encryption key is not 32 bytes in base64; %s",
                         MAKE_KEY);
    }
    bool is_right = size == SEAL_KEY;
    if (is_right) {
        memcpy(key->secret, raw, SEAL_KEY);
    }
    OPENSSL_cleanse(raw, sizeof raw);
    OPENSSL_cleanse(letters, sizeof letters);
    if (!is_right) {
        return fault_set(fault, FAULT_CONFIG,
                         "the encryption key has %zu bytes; expected 32 in base64; %s", size,
                         MAKE_KEY);
    }
    return derive(key->secret, "stoker key id", NULL, 0, key->id, SEAL_ID, fault);
}

void seal_forget(struct seal_key *key) { OPENSSL_cleanse(key, sizeof *key); }
