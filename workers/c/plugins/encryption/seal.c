#include "cipher.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char MAGIC[SEAL_MAGIC] = {'S', 'T', 'O', 'K', 'R', 'E', 'N', 'C', 1};

/* Two pieces, so that the last one is known when it is worked on. */
struct pieces {
    unsigned char now[SEAL_SEALED], next[SEAL_SEALED], out[SEAL_SEALED];
};

/* A whole piece, or what is left: an input gives what it likes at once. Negative on a fault. */
static ssize_t read_piece(struct flow *flow, unsigned char *piece, size_t size) {
    size_t got = 0;
    while (got < size) {
        ssize_t some = flow_read(flow, piece + got, size - got);
        if (some < 0) {
            return some;
        }
        if (some == 0) {
            break;
        }
        got += (size_t)some;
    }
    return (ssize_t)got;
}

typedef bool (*piece_worker)(struct cipher *cipher, struct flow *flow, uint32_t number,
                             bool is_last, const unsigned char *piece, size_t size,
                             unsigned char *out);

static bool too_large(struct flow *flow) {
    return fault_set(&flow->fault, FAULT_ARGUMENTS,
                     "the input has more than 2^32 chunks, the most that the format holds");
}

static bool each_piece(struct flow *flow, struct cipher *cipher, struct pieces *pieces, size_t size,
                       piece_worker work) {
    ssize_t now = read_piece(flow, pieces->now, size);
    for (uint64_t number = 0; now >= 0; number++) {
        ssize_t next = (size_t)now < size ? 0 : read_piece(flow, pieces->next, size);
        if (next < 0) {
            return false;
        }
        if (number > UINT32_MAX) {
            return too_large(flow);
        }
        if (!work(cipher, flow, (uint32_t)number, next == 0, pieces->now, (size_t)now,
                  pieces->out)) {
            return false;
        }
        if (next == 0) {
            return true;
        }
        memcpy(pieces->now, pieces->next, (size_t)next);
        now = next;
    }
    return false;
}

static bool with_pieces(struct flow *flow, const struct seal_key *key,
                        const unsigned char header[SEAL_HEADER], bool is_sealing,
                        piece_worker work) {
    struct cipher cipher = {NULL, NULL};
    struct pieces *pieces = malloc(sizeof *pieces);
    if (pieces == NULL) {
        return fault_memory(&flow->fault, sizeof *pieces);
    }
    bool is_done = cipher_begin(&cipher, key, header, is_sealing, &flow->fault) &&
                   each_piece(flow, &cipher, pieces, is_sealing ? SEAL_PLAIN : SEAL_SEALED, work);
    cipher_end(&cipher);
    OPENSSL_cleanse(pieces, sizeof *pieces);
    free(pieces);
    return is_done;
}

static bool seal_piece(struct cipher *cipher, struct flow *flow, uint32_t number, bool is_last,
                       const unsigned char *piece, size_t size, unsigned char *out) {
    return cipher_seal(cipher, number, is_last, piece, size, out, &flow->fault) &&
           flow_write(flow, out, size + SEAL_TAG);
}

bool seal_all(const struct seal_key *key, struct flow *flow) {
    unsigned char header[SEAL_HEADER];
    memcpy(header, MAGIC, SEAL_MAGIC);
    memcpy(header + SEAL_MAGIC, key->id, SEAL_ID);
    if (RAND_bytes(header + SEAL_MAGIC + SEAL_ID, SEAL_SALT + SEAL_PREFIX) != 1) {
        return fault_set(&flow->fault, FAULT_SYSTEM, "OpenSSL has no random bytes here");
    }
    return flow_write(flow, header, SEAL_HEADER) &&
           with_pieces(flow, key, header, true, seal_piece);
}

static bool unseal_piece(struct cipher *cipher, struct flow *flow, uint32_t number, bool is_last,
                         const unsigned char *piece, size_t size, unsigned char *out) {
    if (!cipher_open(cipher, number, is_last, piece, size, out)) {
        return fault_set(&flow->fault, FAULT_INPUT,
                         "the input is not what encrypt wrote: chunk %u was changed, moved or cut "
                         "off; nothing was decrypted",
                         number);
    }
    return flow_write(flow, out, size - SEAL_TAG);
}

static void hex_id(const unsigned char id[SEAL_ID], char hex[2 * SEAL_ID + 1]) {
    for (int i = 0; i < SEAL_ID; i++) {
        hex[2 * i] = "0123456789abcdef"[id[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[id[i] & 15];
    }
    hex[2 * SEAL_ID] = '\0';
}

static bool check_id(const struct seal_key *key, const unsigned char *id, struct fault *fault) {
    char theirs[2 * SEAL_ID + 1], own[2 * SEAL_ID + 1];
    if (memcmp(id, key->id, SEAL_ID) == 0) {
        return true;
    }
    hex_id(id, theirs);
    hex_id(key->id, own);
    return fault_set(fault, FAULT_INPUT,
                     "the input was encrypted with the key of id %s, and this worker's key has id "
                     "%s; set the key that encrypted it",
                     theirs, own);
}

static bool check_header(const struct seal_key *key, const unsigned char *header, size_t size,
                         struct fault *fault) {
    if (size < SEAL_MAGIC - 1 || memcmp(header, MAGIC, SEAL_MAGIC - 1) != 0) {
        return fault_set(fault, FAULT_INPUT, "the input was not written by encrypt");
    }
    if (size < SEAL_HEADER) {
        return fault_set(fault, FAULT_INPUT, "the input ends inside its header, after %zu bytes",
                         size);
    }
    if (header[SEAL_MAGIC - 1] != MAGIC[SEAL_MAGIC - 1]) {
        return fault_set(fault, FAULT_INPUT,
                         "the input has version %u of the format, and this worker reads version "
                         "%u; update it",
                         header[SEAL_MAGIC - 1], MAGIC[SEAL_MAGIC - 1]);
    }
    return check_id(key, header + SEAL_MAGIC, fault);
}

bool unseal_all(const struct seal_key *key, struct flow *flow) {
    unsigned char header[SEAL_HEADER];
    ssize_t got = read_piece(flow, header, SEAL_HEADER);
    return got >= 0 && check_header(key, header, (size_t)got, &flow->fault) &&
           with_pieces(flow, key, header, false, unseal_piece);
}
