/* checksum.so: the task checksum, SHA-256 or CRC-32 of a file or bytes. */
#include "common/flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* flow.c hashes what is written; here nothing is, and what is read counts. */
static bool crc_all(struct flow *flow, unsigned char *piece, char *hex) {
    uLong crc = crc32(0, NULL, 0);
    ssize_t got = 0;
    while ((got = flow_read(flow, piece, FLOW_CHUNK)) > 0) {
        crc = crc32(crc, piece, (uInt)got);
    }
    (void)snprintf(hex, DIGEST_HEX, "%08lx", crc);
    return got == 0;
}

static bool sha_all(struct flow *flow, unsigned char *piece, char *hex) {
    ssize_t got = 0;
    while ((got = flow_read(flow, piece, FLOW_CHUNK)) > 0) {
        if (!digest_add(&flow->digest, piece, (size_t)got, &flow->fault)) {
            return false;
        }
    }
    return got == 0 && digest_end(&flow->digest, hex, &flow->fault);
}

static bool read_all(struct flow *flow, bool is_crc, char *hex) {
    unsigned char *piece = malloc(FLOW_CHUNK);
    if (piece == NULL) {
        return fault_memory(&flow->fault, FLOW_CHUNK);
    }
    bool is_done = is_crc ? crc_all(flow, piece, hex) : sha_all(flow, piece, hex);
    free(piece);
    return is_done;
}

static int put_result(stoker_job *job, const struct flow *flow, bool is_crc, const char *hex) {
    glue_put_text(job, "file", flow->file == NULL ? NULL : flow->source);
    stoker_put_text(job, "algorithm", is_crc ? "crc32" : "sha256");
    stoker_put_text(job, "checksum", hex);
    stoker_put_integer(job, "bytes", (int64_t)flow->in_done);
    return STOKER_COMPLETED;
}

static int checksum(stoker_job *job) {
    static const char *const KNOWN[] = {"file", "data", "algorithm", NULL};
    struct flow flow = {.watch = glue_watch(job, "checksum"), .in = -1};
    const char *algorithm = "sha256";
    char hex[DIGEST_HEX] = "";
    if (!glue_check_keys(job, KNOWN) || !flow_arguments(job, &flow) ||
        stoker_read_text(job, "algorithm", &algorithm, NULL) == STOKER_WRONG) {
        return STOKER_FAILED;
    }
    bool is_crc = strcmp(algorithm, "crc32") == 0;
    if (!is_crc && strcmp(algorithm, "sha256") != 0) {
        return stoker_discard(job, "InvalidArguments",
                              "algorithm is '%.50s'; expected sha256 or crc32", algorithm);
    }
    bool is_done = flow_open(&flow, NULL) && read_all(&flow, is_crc, hex);
    int outcome = is_done ? put_result(job, &flow, is_crc, hex) : glue_end(job, &flow.fault);
    flow_close(&flow);
    return outcome;
}

static const stoker_task TASKS[] = {
    {.name = "checksum",
     .run = checksum,
     .mode = STOKER_THREAD,
     .about = "Checksum of a file or bytes: file or data, algorithm (sha256 or crc32)"},
};
STOKER_PLUGIN_WITH("checksum", "1.0", TASKS, glue_open, NULL)
