/* encryption.so: the tasks encrypt and decrypt.
 *
 * The key comes from the worker's environment when the plugin is loaded, never from a payload:
 * STOKER_TASKS__ENCRYPTION_KEY holds it, or STOKER_TASKS__ENCRYPTION_KEY_FILE names a file that
 * does. */
#include "common/glue.h"
#include "encryption/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_TEXT = 256 };

static bool read_key_file(const char *path, struct seal_key *key, struct fault *fault) {
    char text[KEY_TEXT] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    int number = errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (got < 0) {
        return fault_set(fault, FAULT_CONFIG, "cannot read the encryption key in %.200s: %s", path,
                         strerrordesc_np(number));
    }
    bool is_read = seal_read_key(text, key, fault);
    OPENSSL_cleanse(text, sizeof text);
    return is_read;
}

static bool read_key(struct seal_key *key, struct fault *fault) {
    const char *text = getenv("STOKER_TASKS__ENCRYPTION_KEY");
    const char *path = getenv("STOKER_TASKS__ENCRYPTION_KEY_FILE");
    if (text != NULL && text[0] != '\0') {
        return seal_read_key(text, key, fault);
    }
    if (path != NULL && path[0] != '\0') {
        return read_key_file(path, key, fault);
    }
    return fault_set(fault, FAULT_CONFIG,
                     "no encryption key is set; set STOKER_TASKS__ENCRYPTION_KEY, or "
                     "STOKER_TASKS__ENCRYPTION_KEY_FILE, to 32 bytes in base64");
}

static struct seal_key the_key; /* written by `open`, before there is any other thread */

/* Without a key every job would fail for good: better that the worker does not start. */
static int open_plugin(char *error, size_t error_size) {
    struct fault fault = {.kind = FAULT_NONE};
    if (read_key(&the_key, &fault)) {
        return glue_open(error, error_size);
    }
    (void)snprintf(error, error_size, "%s", fault.message);
    return -1;
}

static void close_plugin(void) { seal_forget(&the_key); }

static bool sealed_name(const char *name, char out[PATH_MAX], struct fault *fault) {
    int wrote = snprintf(out, PATH_MAX, "%s.enc", name);
    return (wrote > 0 && wrote < PATH_MAX) ||
           fault_set(fault, FAULT_ARGUMENTS, "the file name is too long");
}

static bool plain_name(const char *name, char out[PATH_MAX], struct fault *fault) {
    size_t length = strlen(name);
    if (length > 4 && strcmp(name + length - 4, ".enc") == 0) {
        (void)snprintf(out, PATH_MAX, "%.*s", (int)(length - 4), name);
        return true;
    }
    return fault_set(fault, FAULT_ARGUMENTS,
                     "the name '%.200s' does not end in .enc, so it does not tell what the plain "
                     "file is called; name it with output",
                     name);
}

static int finish(stoker_job *job, struct flow *flow) {
    char hex[DIGEST_HEX] = "";
    if (!flow_publish(flow, hex)) {
        return glue_end(job, &flow->fault);
    }
    flow_put_output(job, flow);
    flow_put_sizes(job, flow);
    stoker_put_text(job, "sha256", hex);
    return STOKER_COMPLETED;
}

static int run(stoker_job *job, const char *note, flow_namer namer,
               bool (*work)(const struct seal_key *, struct flow *)) {
    static const char *const KNOWN[] = {"file", "data", "output", NULL};
    struct flow flow = {.watch = glue_watch(job, note), .in = -1};
    if (!glue_check_keys(job, KNOWN) || !flow_arguments(job, &flow)) {
        return STOKER_FAILED;
    }
    bool is_done = flow_open(&flow, namer) && work(&the_key, &flow);
    int outcome = is_done ? finish(job, &flow) : glue_end(job, &flow.fault);
    flow_close(&flow);
    return outcome;
}

static int encrypt(stoker_job *job) { return run(job, "encrypt", sealed_name, seal_all); }
static int decrypt(stoker_job *job) { return run(job, "decrypt", plain_name, unseal_all); }

static const stoker_task TASKS[] = {
    {.name = "encrypt",
     .run = encrypt,
     .mode = STOKER_PROCESS,
     .about = "Encrypt a file or bytes with the worker's key: file or data, output"},
    {.name = "decrypt",
     .run = decrypt,
     .mode = STOKER_PROCESS,
     .about = "Decrypt what encrypt wrote: file or data, output"},
};
STOKER_PLUGIN_WITH("encryption", "1.0", TASKS, open_plugin, close_plugin)
