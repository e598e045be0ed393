/* `--try TASK`: run one task here, without a server, on a payload from stdin. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exits.h"
#include "job.h"
#include "library.h"

static void print_progress(void *owner, double done, const char *note)
{
    (void)owner;
    fprintf(stderr, "progress %.0f %%%s%s\n", done * 100, note == NULL ? "" : ": ",
            note == NULL ? "" : note);
}

static void print_log(void *owner, const char *message, size_t length)
{
    (void)owner;
    fprintf(stderr, "log: %.*s\n", (int)length, message);
}

static bool read_all(int from, buffer *in)
{
    ssize_t got = 0;
    do {
        if (!buffer_reserve(in, 65536))
            return false;
        got = read(from, in->data + in->length, 65536);
        in->length += got > 0 ? (size_t)got : 0;
    } while (got > 0 || (got < 0 && errno == EINTR));
    return got == 0 && buffer_string(in) != NULL;
}

/* Why these bytes are no payload; NULL if they are one. */
static const char *judge_payload(const buffer *in)
{
    static const json_limits limits = {.depth = 100, .indexed = 0, .max_nodes = 1};
    json_doc doc = {0};
    const char *wrong = json_parse(&doc, in->data, in->length, &limits);
    if (wrong == NULL && !json_is(&doc, 0, JSON_OBJECT))
        wrong = "it is not an object";
    json_free(&doc);
    return wrong;
}

static int print_error(const char *code, const char *type, const char *message)
{
    buffer out = {0};
    json_writer w;
    json_begin(&w, &out);
    json_open(&w, NULL, false);
    json_open(&w, "error", false);
    json_put_string(&w, "code", code);
    json_put_string(&w, "type", type);
    json_put_string(&w, "message", message);
    json_close(&w);
    json_close(&w);
    fprintf(stderr, "%.*s\n", (int)out.length, out.data == NULL ? "" : out.data);
    buffer_free(&out);
    return EXIT_REFUSED;
}

static int print_ending(const ending *e)
{
    char message[64];
    const char *code = e->code == NULL ? "task_error" : e->code;
    switch (e->kind) {
    case END_COMPLETED:
        fwrite(e->result.data, 1, e->result.length, stdout);
        putchar('\n');
        return fflush(stdout) == 0 ? EXIT_DONE : EXIT_REFUSED;
    case END_SNOOZED:
        snprintf(message, sizeof message, "it asks to be run again in %g s", e->seconds);
        return print_error("snooze", "Snooze", message);
    case END_CANCELLED:
        return print_error("cancelled", "Cancelled", "it says that it was cancelled");
    default:
        return print_error(code, e->type == NULL ? "Error" : e->type,
                           e->message == NULL ? "" : e->message);
    }
}

int library_try(stoker_worker *w, const char *name)
{
    buffer in = {0};
    ending ended;
    const known_task *known = registry_find(w->tasks, name);
    if (known == NULL) {
        snprintf(w->error, sizeof w->error, "no plugin has a task named '%.200s'; see --list [usage]",
                 name);
        return EXIT_USAGE;
    }
    const char *wrong = read_all(STDIN_FILENO, &in) ? judge_payload(&in) : "it cannot be read";
    if (wrong != NULL) {
        snprintf(w->error, sizeof w->error, "the payload on stdin cannot be used: %s [usage]",
                 wrong);
        buffer_free(&in);
        return EXIT_USAGE;
    }
    static const atomic_int go_on = STOKER_GO_ON;
    const lease given = {.id = "try",
                         .task = name,
                         .queue = "default",
                         .payload = in.data,
                         .payload_length = in.length,
                         .attempt = 1};
    stoker_job job = {.lease = &given,
                      .stop = &go_on,
                      .hard_at = HUGE_VAL,
                      .result_limit = (size_t)w->options.result,
                      .sink = {.progress = print_progress, .log = print_log}};
    job_run(&job, known->task.run, &ended);
    int code = print_ending(&ended);
    ending_free(&ended);
    job_release(&job);
    buffer_free(&in);
    return code;
}
