/* compression.so: the tasks compress and decompress, for gzip and zlib. */
#include "common/glue.h"
#include "compression/deflate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *kind_name(enum deflate_kind kind) {
    return kind == DEFLATE_GZIP ? "gzip" : "zlib";
}

/* `kind` stays as it is when nobody said one. */
static bool read_algorithm(stoker_job *job, enum deflate_kind *kind) {
    const char *name = NULL;
    stoker_found found = stoker_read_text(job, "algorithm", &name, NULL);
    if (found != STOKER_FOUND) {
        return found == STOKER_ABSENT;
    }
    if (strcmp(name, "gzip") != 0 && strcmp(name, "zlib") != 0) {
        bool is_other = strcmp(name, "bz2") == 0 || strcmp(name, "lzma") == 0;
        (void)stoker_discard(job, "InvalidArguments", "algorithm is '%.50s'; expected gzip or zlib%s",
                             name, is_other ? ", or a worker in Python, which knows it" : "");
        return false;
    }
    *kind = strcmp(name, "gzip") == 0 ? DEFLATE_GZIP : DEFLATE_ZLIB;
    return true;
}

/* Compressed by plain, to four digits, as the Python task rounds it; null for nothing. */
static void put_ratio(stoker_job *job, uint64_t small, uint64_t large) {
    char digits[64];
    if (large == 0) {
        stoker_put_null(job, "ratio");
        return;
    }
    (void)snprintf(digits, sizeof digits, "%.4f", (double)small / (double)large);
    stoker_put_number(job, "ratio", strtod(digits, NULL));
}

static void put_result(stoker_job *job, const struct flow *flow, enum deflate_kind kind,
                       bool is_packing, const char *hex) {
    uint64_t in = flow->in_done, out = flow->out_done;
    flow_put_output(job, flow);
    stoker_put_text(job, "algorithm", kind_name(kind));
    flow_put_sizes(job, flow);
    put_ratio(job, is_packing ? out : in, is_packing ? in : out);
    stoker_put_text(job, "sha256", hex);
}

static bool packed_name(const char *name, char out[PATH_MAX], const char *suffix,
                        struct fault *fault) {
    int wrote = snprintf(out, PATH_MAX, "%s%s", name, suffix);
    return (wrote > 0 && wrote < PATH_MAX) ||
           fault_set(fault, FAULT_ARGUMENTS, "the file name is too long");
}

static bool gzip_name(const char *name, char out[PATH_MAX], struct fault *fault) {
    return packed_name(name, out, ".gz", fault);
}

static bool zlib_name(const char *name, char out[PATH_MAX], struct fault *fault) {
    return packed_name(name, out, ".zz", fault);
}

static bool plain_name(const char *name, char out[PATH_MAX], struct fault *fault) {
    static const char *const SUFFIXES[] = {".gz", ".zz", ".bz2", ".xz", ".gzip", ".zlib"};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof SUFFIXES / sizeof *SUFFIXES; i++) {
        size_t end = strlen(SUFFIXES[i]);
        if (length > end && strcasecmp(name + length - end, SUFFIXES[i]) == 0) {
            (void)snprintf(out, PATH_MAX, "%.*s", (int)(length - end), name);
            return true;
        }
    }
    return fault_set(fault, FAULT_ARGUMENTS,
                     "the name '%.200s' does not tell what the plain file is called (it ends in "
                     "neither .gz nor .zz); name it with output",
                     name);
}

static int run_compress(stoker_job *job, struct flow *flow, struct deflating *how) {
    char hex[DIGEST_HEX] = "";
    if (!flow_open(flow, how->kind == DEFLATE_GZIP ? gzip_name : zlib_name) ||
        !deflate_all(how, flow) || !flow_publish(flow, hex)) {
        return glue_end(job, &flow->fault);
    }
    put_result(job, flow, how->kind, true, hex);
    return STOKER_COMPLETED;
}

static int compress_task(stoker_job *job) {
    static const char *const KNOWN[] = {"file", "data", "output", "algorithm", "level", NULL};
    struct flow flow = {.watch = glue_watch(job, "compress"), .in = -1};
    struct deflating how = {DEFLATE_GZIP, 0};
    int64_t level = 6;
    if (!glue_check_keys(job, KNOWN) || !flow_arguments(job, &flow) ||
        !read_algorithm(job, &how.kind) ||
        stoker_read_integer(job, "level", &level) == STOKER_WRONG) {
        return STOKER_FAILED;
    }
    if (level < 0 || level > 9) {
        return stoker_discard(job, "InvalidArguments", "level is %lld; expected 0 to 9",
                              (long long)level);
    }
    how.level = (int)level;
    int outcome = run_compress(job, &flow, &how);
    flow_close(&flow);
    return outcome;
}

static int run_decompress(stoker_job *job, struct flow *flow, struct inflating *how) {
    char hex[DIGEST_HEX] = "";
    if (!flow_open(flow, plain_name) || !inflate_all(how, flow) || !flow_publish(flow, hex)) {
        return glue_end(job, &flow->fault);
    }
    put_result(job, flow, how->kind, false, hex);
    return STOKER_COMPLETED;
}

static int decompress_task(stoker_job *job) {
    static const char *const KNOWN[] = {"file", "data", "output", "algorithm", "max_bytes", NULL};
    struct flow flow = {.watch = glue_watch(job, "decompress"), .in = -1};
    struct inflating how = {DEFLATE_UNKNOWN, 0};
    int64_t most = INT64_C(1) << 30;
    if (!glue_check_keys(job, KNOWN) || !flow_arguments(job, &flow) ||
        !read_algorithm(job, &how.kind) ||
        stoker_read_integer(job, "max_bytes", &most) == STOKER_WRONG) {
        return STOKER_FAILED;
    }
    if (most < 0) {
        return stoker_discard(job, "InvalidArguments", "max_bytes is %lld; expected 0 or more",
                              (long long)most);
    }
    how.most = (uint64_t)most;
    int outcome = run_decompress(job, &flow, &how);
    flow_close(&flow);
    return outcome;
}

static const stoker_task TASKS[] = {
    {.name = "compress",
     .run = compress_task,
     .mode = STOKER_PROCESS,
     .about = "Compress a file or bytes: file or data, output, algorithm, level"},
    {.name = "decompress",
     .run = decompress_task,
     .mode = STOKER_PROCESS,
     .about = "Expand gzip or zlib data: file or data, output, algorithm, max_bytes"},
};
STOKER_PLUGIN_WITH("compression", "1.0", TASKS, glue_open, NULL)
