/* SHA-256 by OpenSSL. */
#ifndef STOKER_PLUGINS_DIGEST_H
#define STOKER_PLUGINS_DIGEST_H

#include "fault.h"


enum { DIGEST_HEX = 65 };

struct digest {
    void *inner;
};

bool digest_begin(struct digest *digest, struct fault *fault);
bool digest_add(struct digest *digest, const void *data, size_t size, struct fault *fault);
bool digest_end(struct digest *digest, char hex[DIGEST_HEX], struct fault *fault);
/* Free what digest_begin took; safe after digest_end, and on a zeroed digest. */
void digest_drop(struct digest *digest);

bool digest_of(const void *data, size_t size, char hex[DIGEST_HEX], struct fault *fault);

#endif
