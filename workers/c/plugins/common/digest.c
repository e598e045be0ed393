#include "digest.h"

#include <openssl/evp.h>
#include <stdio.h>

static bool failed(struct fault *fault) {
    return fault_set(fault, FAULT_SYSTEM, "OpenSSL cannot compute SHA-256 here");
}

bool digest_begin(struct digest *digest, struct fault *fault) {
    digest->inner = EVP_MD_CTX_new();
    if (digest->inner == NULL || EVP_DigestInit_ex(digest->inner, EVP_sha256(), NULL) != 1) {
        return failed(fault);
    }
    return true;
}

bool digest_add(struct digest *digest, const void *data, size_t size, struct fault *fault) {
    return EVP_DigestUpdate(digest->inner, data, size) == 1 || failed(fault);
}

bool digest_end(struct digest *digest, char hex[DIGEST_HEX], struct fault *fault) {
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (EVP_DigestFinal_ex(digest->inner, raw, &size) != 1 || size != 32) {
        return failed(fault);
    }
    for (unsigned i = 0; i < size; i++) {
        (void)snprintf(hex + (size_t)i * 2, 3, "%02x", raw[i]);
    }
    return true;
}

void digest_drop(struct digest *digest) {
    EVP_MD_CTX_free(digest->inner);
    digest->inner = NULL;
}

bool digest_of(const void *data, size_t size, char hex[DIGEST_HEX], struct fault *fault) {
    struct digest digest = {NULL};
    bool is_done = digest_begin(&digest, fault) && digest_add(&digest, data, size, fault) &&
                   digest_end(&digest, hex, fault);
    digest_drop(&digest);
    return is_done;
}
