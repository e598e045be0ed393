#include "options.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "json_read.h"
#include "text.h"

#define COMMAND_LINE "_STOKER_COMMAND_LINE"

enum { MOST_JOBS = 10000, LONGEST_NAME = 200 };

typedef bool (*setter)(options *o, const char *value);

void options_begin(options *o)
{
    *o = (options){.concurrency = 10,
                   .result = 4 * 1048576,
                   .lease = 30,
                   .beat = -1,
                   .drain = 30,
                   .poll = 1,
                   .log_format = LOG_AUTO,
                   .log_level = LOG_INFO};
}

static void wipe(char **text)
{
    if (*text != NULL)
        explicit_bzero(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

static void free_queues(options *o)
{
    for (size_t i = 0; i < o->queue_count; i++)
        free(o->queues[i].name);
    free(o->queues);
    o->queues = NULL;
    o->queue_count = 0;
}

void options_wipe(options *o)
{
    wipe(&o->store);
    wipe(&o->token);
}

void options_free(options *o)
{
    options_wipe(o);
    free(o->name);
    free_queues(o);
    *o = (options){0};
}

static bool set_text(char **place, const char *value)
{
    wipe(place);
    *place = must_copy(value, strlen(value));
    return true;
}

static bool is_name(const char *name, size_t length)
{
    if (length == 0 || length > LONGEST_NAME ||
        !(isalnum((unsigned char)name[0]) || name[0] == '_'))
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)name[i]) && strchr("_.:/-", name[i]) == NULL)
            return false;
    return true;
}

static bool set_store(options *o, const char *value)
{
    return set_text(&o->store, value);
}

static bool set_token(options *o, const char *value)
{
    return set_text(&o->token, value);
}

static bool set_name(options *o, const char *value)
{
    return is_name(value, strlen(value)) && set_text(&o->name, value);
}

static bool add_queue(options *o, const char *name, size_t length, const char *most)
{
    long number = 0;
    if (!is_name(name, length) || !read_whole(most, 0, MOST_JOBS, &number))
        return false;
    for (size_t i = 0; i < o->queue_count; i++) {
        if (strlen(o->queues[i].name) == length && memcmp(o->queues[i].name, name, length) == 0) {
            o->queues[i].most = number;
            return true;
        }
    }
    o->queues = must_grow(o->queues, o->queue_count + 1, sizeof *o->queues);
    o->queues[o->queue_count++] = (queue_limit){.name = must_copy(name, length), .most = number};
    return true;
}

/* `queue` or `queue:n`. */
static bool set_queue(options *o, const char *value)
{
    const char *colon = strrchr(value, ':');
    return colon == NULL ? add_queue(o, value, strlen(value), "0")
                         : add_queue(o, value, (size_t)(colon - value), colon + 1);
}

/* `queue,queue=n`, as in a variable. */
static bool set_queues(options *o, const char *value)
{
    char *copy = must_copy(value, strlen(value));
    char *rest = NULL;
    bool fine = true;
    for (char *part = strtok_r(copy, ", ", &rest); part != NULL && fine;
         part = strtok_r(NULL, ", ", &rest)) {
        char *equals = strchr(part, '=');
        size_t length = equals == NULL ? strlen(part) : (size_t)(equals - part);
        fine = add_queue(o, part, length, equals == NULL || equals[1] == '\0' ? "0" : equals + 1);
    }
    free(copy);
    return fine;
}

static bool set_concurrency(options *o, const char *value)
{
    return read_whole(value, 1, MOST_JOBS, &o->concurrency);
}

static bool set_processes(options *o, const char *value)
{
    return read_whole(value, 0, MOST_JOBS, &o->processes);
}

static bool set_memory(options *o, const char *value)
{
    return read_size(value, &o->memory);
}

static bool set_result(options *o, const char *value)
{
    return read_size(value, &o->result) && o->result > 0;
}

static bool set_lease(options *o, const char *value)
{
    return read_duration(value, &o->lease) && o->lease >= 1;
}

static bool set_beat(options *o, const char *value)
{
    return read_duration(value, &o->beat) && o->beat > 0;
}

static bool set_drain(options *o, const char *value)
{
    return read_duration(value, &o->drain);
}

static bool set_poll(options *o, const char *value)
{
    return read_duration(value, &o->poll) && o->poll > 0;
}

static bool set_level(options *o, const char *value)
{
    return log_read_level(value, &o->log_level);
}

static bool set_format(options *o, const char *value)
{
    return log_read_format(value, &o->log_format);
}

static bool set_keeper(options *o, const char *value)
{
    (void)o;
    /* It never stands for election, so "no" is what it does, and "yes" would be a lie. */
    return strcmp(value, "false") == 0 || strcmp(value, "0") == 0 || strcmp(value, "no") == 0;
}

/* Each option: on the command line, as a variable, as a setting; what it expects. */
static const struct {
    const char *name;
    const char *variable;
    const char *key;
    setter set;
    const char *expected;
} known[] = {
    {"store", "STOKER_STORE", "store", set_store, "a URL"},
    {"token", "STOKER_TOKEN", "token", set_token, "a text"},
    {"name", "STOKER_WORKER__NAME", "worker.name", set_name, "letters, digits and _.:/-"},
    {"queue", NULL, NULL, set_queue, "QUEUE or QUEUE:N, such as mail:5"},
    {"queues", "STOKER_WORKER__QUEUES", "worker.queues", set_queues, "QUEUE=N,QUEUE"},
    {"concurrency", "STOKER_WORKER__CONCURRENCY", "worker.concurrency", set_concurrency,
     "a number from 1 to 10000"},
    {"processes", "STOKER_WORKER__PROCESSES", "worker.processes", set_processes,
     "a number from 0 to 10000"},
    {"memory", "STOKER_WORKER__MEMORY", "worker.memory", set_memory, "a size such as 512MB"},
    {"lease", "STOKER_WORKER__LEASE", "worker.lease", set_lease, "1s or more, such as 30s"},
    {"beat", "STOKER_WORKER__BEAT", "worker.beat", set_beat, "a duration such as 10s"},
    {"drain", "STOKER_WORKER__DRAIN", "worker.drain", set_drain, "a duration such as 30s"},
    {"poll", "STOKER_WORKER__POLL", "worker.poll", set_poll, "a duration such as 1s"},
    {"keeper", "STOKER_WORKER__KEEPER", "worker.keeper", set_keeper,
     "false: this worker never stands for election as keeper"},
    {"result-limit", "STOKER_LIMITS__RESULT", "limits.result", set_result, "a size such as 4MB"},
    {"log-level", "STOKER_LOG__LEVEL", "log.level", set_level, "debug, info, warning or error"},
    {"log-format", "STOKER_LOG__FORMAT", "log.format", set_format, "auto, text or json"},
};
enum { KNOWN = sizeof known / sizeof known[0], QUEUE = 3, QUEUES = 4 };

static uint32_t bit_of(size_t option)
{
    return (uint32_t)1 << (option == QUEUE ? QUEUES : option);
}

static bool set(options *o, size_t option, const char *value, const char *origin,
                char wrong[WRONG_SIZE])
{
    bool secret = known[option].set == set_token || known[option].set == set_store;
    if (known[option].set(o, value)) {
        o->given |= bit_of(option);
        return true;
    }
    snprintf(wrong, WRONG_SIZE, "%s is '%.100s'; expected %s", origin, secret ? "***" : value,
             known[option].expected);
    return false;
}

bool options_set(options *o, const char *name, const char *value, char wrong[WRONG_SIZE])
{
    for (size_t i = 0; i < KNOWN; i++) {
        char origin[64];
        if (strcmp(known[i].name, name) != 0)
            continue;
        snprintf(origin, sizeof origin, "--%s", name);
        return set(o, i, value, origin, wrong);
    }
    snprintf(wrong, WRONG_SIZE, "there is no option --%.100s; see --help", name);
    return false;
}

/* A setting as a text: what a JSON value says. Queues are an object of numbers. */
static bool value_of(const json_doc *doc, int64_t node, buffer *out)
{
    size_t length = 0;
    if (json_is(doc, node, JSON_TEXT))
        return json_decode(doc, node, out);
    if (!json_is(doc, node, JSON_OBJECT)) {
        const char *slice = json_slice(doc, node, &length);
        return slice != NULL && buffer_add(out, slice, length);
    }
    for (int64_t key = json_first(doc, node); key >= 0;) {
        int64_t value = json_after(doc, node, key);
        const char *slice = json_slice(doc, value, &length);
        if (!json_decode(doc, key, out) || slice == NULL)
            return false;
        buffer_byte(out, '=');
        buffer_add(out, slice, length);
        buffer_byte(out, ',');
        key = json_after(doc, node, value);
    }
    return true;
}

/* What the command line of the process that started this one said, as JSON. */
static bool inherit_command_line(options *o, uint32_t own, char wrong[WRONG_SIZE])
{
    static const json_limits limits = {.depth = 16, .indexed = 16, .max_nodes = 1000};
    const char *text = getenv(COMMAND_LINE);
    json_doc doc = {0};
    bool fine = true;
    if (text == NULL)
        return true;
    if (json_parse(&doc, text, strlen(text), &limits) != NULL) {
        json_free(&doc);
        snprintf(wrong, WRONG_SIZE, COMMAND_LINE " is not JSON");
        return false;
    }
    for (size_t i = 0; fine && i < KNOWN; i++) {
        int64_t node = known[i].key == NULL ? JSON_NONE : json_member(&doc, 0, known[i].key);
        if (node < 0 || json_is(&doc, node, JSON_NULL) || (own & bit_of(i)) != 0)
            continue;
        buffer value = {0};
        if (i == QUEUES)
            free_queues(o);
        fine = value_of(&doc, node, &value) && buffer_string(&value) != NULL &&
               set(o, i, value.data, known[i].key, wrong);
        buffer_free(&value);
    }
    json_free(&doc);
    return fine;
}

bool options_inherit(options *o, char wrong[WRONG_SIZE])
{
    uint32_t own = o->given;
    for (size_t i = 0; i < KNOWN; i++) {
        const char *value = known[i].variable == NULL ? NULL : getenv(known[i].variable);
        /* A supervisor on another engine has a keeper of its own: nothing to complain about. */
        if (value == NULL || value[0] == '\0' || (own & bit_of(i)) != 0 ||
            known[i].set == set_keeper)
            continue;
        if (!set(o, i, value, known[i].variable, wrong))
            return false;
    }
    return inherit_command_line(o, own, wrong);
}
