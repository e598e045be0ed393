#include "flow.h"

#include "base64.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool flow_arguments(stoker_job *job, struct flow *flow) {
    flow->in = -1;
    if (stoker_read_text(job, "file", &flow->file, NULL) == STOKER_WRONG ||
        stoker_read_text(job, "data", &flow->data, &flow->data_length) == STOKER_WRONG ||
        stoker_read_text(job, "output", &flow->output, NULL) == STOKER_WRONG) {
        return false;
    }
    if ((flow->file == NULL) == (flow->data == NULL)) {
        (void)stoker_discard(job, "InvalidArguments",
                             "%s of file and data given; expected exactly one of them",
                             flow->file == NULL ? "neither" : "both");
        return false;
    }
    return true;
}

static bool open_file(struct flow *flow, const struct folder *folder) {
    struct stat about;
    if (!folder_source(folder, flow->file, flow->source, &flow->fault)) {
        return false;
    }
    flow->in = open(flow->source, O_RDONLY | O_CLOEXEC);
    if (flow->in < 0 || fstat(flow->in, &about) != 0) {
        return fault_errno(&flow->fault, "open", flow->source);
    }
    flow->in_size = (uint64_t)about.st_size;
    return true;
}

static bool open_text(struct flow *flow) {
    flow->given = malloc(flow->data_length + 1);
    if (flow->given == NULL) {
        return fault_memory(&flow->fault, flow->data_length);
    }
    memcpy(flow->given, flow->data, flow->data_length);
    flow->in_size = flow->given_size = flow->data_length;
    return true;
}

static bool open_data(struct flow *flow) {
    if (flow->is_text) {
        return open_text(flow);
    }
    flow->given = malloc(flow->data_length / 4 * 3 + 1);
    if (flow->given == NULL) {
        return fault_memory(&flow->fault, flow->data_length);
    }
    if (!base64_decode(flow->data, flow->data_length, flow->given, &flow->given_size)) {
        return fault_set(&flow->fault, FAULT_ARGUMENTS, "data is not base64");
    }
    flow->in_size = flow->given_size;
    return true;
}

static bool choose_target(struct flow *flow, const struct folder *folder, flow_namer namer) {
    char name[PATH_MAX], path[PATH_MAX];
    const char *source = flow->file != NULL ? flow->source : NULL;
    if (flow->output != NULL) {
        return folder_target(folder, flow->output, source, flow->target, &flow->fault);
    }
    return source == NULL || namer == NULL ||
           (namer(folder_base(source), name, &flow->fault) &&
            folder_beside(source, name, path, &flow->fault) &&
            folder_target(folder, path, source, flow->target, &flow->fault));
}

static bool open_target(struct flow *flow) {
    if (flow->target[0] != '\0') {
        flow->has_part = part_begin(&flow->part, flow->target, &flow->fault);
        return flow->has_part;
    }
    return true;
}

bool flow_open(struct flow *flow, flow_namer namer) {
    const struct folder *folder = glue_folder();
    return (flow->file != NULL ? open_file(flow, folder) : open_data(flow)) &&
           choose_target(flow, folder, namer) && open_target(flow) &&
           digest_begin(&flow->digest, &flow->fault) && watch_tell(&flow->watch, 0.0, &flow->fault);
}

static ssize_t read_given(struct flow *flow, unsigned char *piece, size_t room) {
    size_t left = flow->given_size - (size_t)flow->in_done, size = left < room ? left : room;
    memcpy(piece, flow->given + flow->in_done, size);
    return (ssize_t)size;
}

static ssize_t read_file(struct flow *flow, unsigned char *piece, size_t room) {
    ssize_t size = 0;
    do {
        size = read(flow->in, piece, room);
    } while (size < 0 && errno == EINTR);
    if (size < 0) {
        (void)fault_errno(&flow->fault, "read", flow->source);
    }
    return size;
}

static double share_of(const struct flow *flow) {
    return flow->in_done < flow->in_size ? (double)flow->in_done / (double)flow->in_size : 1.0;
}

ssize_t flow_read(struct flow *flow, unsigned char *piece, size_t room) {
    if (!watch_tell(&flow->watch, share_of(flow), &flow->fault)) {
        return -1;
    }
    ssize_t size = flow->in < 0 ? read_given(flow, piece, room) : read_file(flow, piece, room);
    flow->in_done += size > 0 ? (uint64_t)size : 0;
    return size;
}

static bool keep(struct flow *flow, const unsigned char *piece, size_t size) {
    size_t used = (size_t)flow->out_done;
    if (size > FLOW_MAX_INLINE - used) {
        return fault_set(&flow->fault, FAULT_INPUT,
                         "the output has more than %d bytes, too many for a job's result; name a "
                         "file as output",
                         FLOW_MAX_INLINE);
    }
    if (used + size > flow->kept_room) {
        size_t room = 2 * (used + size);
        unsigned char *more = realloc(flow->kept, room);
        if (more == NULL) {
            return fault_memory(&flow->fault, room);
        }
        flow->kept = more;
        flow->kept_room = room;
    }
    memcpy(flow->kept + used, piece, size);
    return true;
}

bool flow_write(struct flow *flow, const unsigned char *piece, size_t size) {
    if (size == 0) {
        return true;
    }
    bool is_written = flow->has_part ? part_write(&flow->part, piece, size, &flow->fault)
                                     : keep(flow, piece, size);
    flow->out_done += size;
    return is_written && digest_add(&flow->digest, piece, size, &flow->fault) &&
           watch_tell(&flow->watch, share_of(flow), &flow->fault);
}

bool flow_publish(struct flow *flow, char hex[DIGEST_HEX]) {
    return digest_end(&flow->digest, hex, &flow->fault) &&
           (!flow->has_part || part_publish(&flow->part, &flow->fault));
}

void flow_close(struct flow *flow) {
    if (flow->has_part) {
        part_end(&flow->part);
    }
    if (flow->in >= 0) {
        (void)close(flow->in);
    }
    free(flow->given);
    free(flow->kept);
    digest_drop(&flow->digest);
}

static void put_data(stoker_job *job, const struct flow *flow) {
    char *text = malloc(BASE64_ENCODED((size_t)flow->out_done) + 1);
    if (text == NULL) {
        (void)stoker_fail(job, "MemoryError", "no memory for the output");
        return;
    }
    base64_encode(flow->kept, (size_t)flow->out_done, text);
    stoker_put_text(job, "data", text);
    free(text);
}

void flow_put_output(stoker_job *job, const struct flow *flow) {
    glue_put_text(job, "file", flow->has_part ? flow->target : NULL);
    if (flow->has_part) {
        stoker_put_null(job, "data");
    } else {
        put_data(job, flow);
    }
}

void flow_put_sizes(stoker_job *job, const struct flow *flow) {
    stoker_put_integer(job, "bytes_in", (int64_t)flow->in_done);
    stoker_put_integer(job, "bytes_out", (int64_t)flow->out_done);
}
