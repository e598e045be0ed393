/* Bytes in, other bytes out: the road of compress, decompress, encrypt and decrypt.
 *
 * The input is a file or the bytes of the payload, the output a file or the bytes of the result; in
 * between everything flows in pieces, so a file of any size needs the memory of a few of them. */
#ifndef STOKER_PLUGINS_FLOW_H
#define STOKER_PLUGINS_FLOW_H

#include "digest.h"
#include "glue.h"
#include "part.h"

#include <stdint.h>
#include <sys/types.h>

enum { FLOW_CHUNK = 256 * 1024 };
/* The most bytes that travel inside a result of 4 MiB: base64 makes four of three. */
enum { FLOW_MAX_INLINE = 4194304 / 4 * 3 - 1024 };

struct flow {
    struct watch watch;
    struct fault fault;
    const char *file, *data, *output; /* of the payload; null: not given */
    size_t data_length;
    bool is_text; /* data is plain text, not base64 */
    char source[PATH_MAX], target[PATH_MAX]; /* empty: bytes */
    int in;
    unsigned char *given; /* the decoded data */
    size_t given_size;
    uint64_t in_size, in_done, out_done;
    struct part part;
    bool has_part;
    unsigned char *kept; /* output that goes into the result */
    size_t kept_room;
    struct digest digest;
};

/* Makes the output's name of the input's; sets the fault if it cannot. */
typedef bool (*flow_namer)(const char *name, char out[PATH_MAX], struct fault *fault);

/* Read `file`, `data` and `output`; false: an error was recorded in the job. */
bool flow_arguments(stoker_job *job, struct flow *flow);
/* Without a namer, and unless the payload names it, there is no output file. */
bool flow_open(struct flow *flow, flow_namer namer);
/* The next bytes of the input, at most `room`; 0 at its end, negative on a fault. */
ssize_t flow_read(struct flow *flow, unsigned char *piece, size_t room);
bool flow_write(struct flow *flow, const unsigned char *piece, size_t size);
/* Put the output in its place and its digest into `hex`. */
bool flow_publish(struct flow *flow, char hex[DIGEST_HEX]);
void flow_close(struct flow *flow);

/* The parts of a result that all flows share: file, data; and bytes_in, bytes_out, sha256. */
void flow_put_output(stoker_job *job, const struct flow *flow);
void flow_put_sizes(stoker_job *job, const struct flow *flow);

#endif
