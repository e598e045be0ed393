/*
 * stoker_worker.h - the one public header of Stoker's C worker.
 *
 * Two readers:
 *
 *   - whoever writes a PLUGIN, a shared object with tasks that `stoker-worker-c --plugin ./it.so`
 *     loads: parts 1 to 5;
 *   - whoever builds a worker PROGRAM of their own around `libstoker_worker.a`: part 6.
 *
 * A plugin in full:
 *
 *     #include <stoker_worker.h>
 *
 *     static int square(stoker_job *job)
 *     {
 *         double side = 0;
 *         if (stoker_need_number(job, "side", &side) != STOKER_FOUND)
 *             return STOKER_FAILED;                      // the error was recorded already
 *         if (side < 0)
 *             return stoker_discard(job, "ValueError", "side is %g; expected 0 or more", side);
 *         stoker_put_number(job, "area", side * side);   // the result: {"area": ...}
 *         return STOKER_COMPLETED;
 *     }
 *
 *     static const stoker_task tasks[] = {
 *         {.name = "shape.square", .run = square, .mode = STOKER_THREAD},
 *     };
 *     STOKER_PLUGIN("shapes", "1.0", tasks)
 *
 *     $ cc -std=c11 -fPIC -shared -I include -o shapes.so shapes.c
 *     $ echo '{"side": 3}' | stoker-worker-c --plugin ./shapes.so --try shape.square
 *     {"area":9.0}
 *
 * The functions below live in the program that loads the plugin: a plugin is linked against
 * nothing for them.
 *
 * Texts are UTF-8 without a zero byte inside, unless a length stands beside them. What a function
 * returns as a pointer belongs to the job and stays until the handler returns. Nothing here is
 * ever freed by a plugin.
 */
#ifndef STOKER_WORKER_H
#define STOKER_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define STOKER_EXPORT __attribute__((visibility("default")))
#define STOKER_PRINTF(at, first) __attribute__((format(printf, at, first)))
#else
#define STOKER_EXPORT
#define STOKER_PRINTF(at, first)
#endif

/* ---- 1. What a plugin exports ------------------------------------------------------------- */

/*
 * Rises when a plugin that was compiled against an older header would misbehave. A worker refuses
 * a plugin with another number. Within one number, fields are only added to the ends of structs
 * (`task_size` tells which of them the plugin knows) and functions are only added.
 */
#define STOKER_ABI_VERSION 1u

/* One attempt of a job. Opaque; valid until the handler returns, on the handler's thread only. */
typedef struct stoker_job stoker_job;

/* Where a handler runs. */
typedef enum stoker_mode {
    /*
     * On a thread of the worker: cheapest. The handler has to be thread-safe, and to look at
     * `stoker_should_stop` now and then: a thread cannot be killed. One that goes on after its
     * limit is given up, and the worker replaces itself as soon as its other jobs have ended.
     * A crash takes the whole worker with it.
     */
    STOKER_THREAD = 0,
    /*
     * In a forked child that runs nothing else meanwhile: it may crash, hang or eat memory, and
     * costs its own job only. It is killed at its limit and when the job is cancelled. Its
     * environment holds no token of the worker.
     */
    STOKER_PROCESS = 1
} stoker_mode;

/* How an attempt ended. A handler returns one of these. */
typedef enum stoker_outcome {
    STOKER_COMPLETED = 0, /* it did its work; see part 5 for the result */
    STOKER_FAILED = 1,    /* as the call of `stoker_fail`, `stoker_discard` or `stoker_retry` said */
    STOKER_SNOOZED = 2,   /* as the call of `stoker_snooze` said */
    STOKER_CANCELLED = 3  /* it stopped because `stoker_should_stop` told it to */
} stoker_outcome;

/* A handler: runs one attempt and returns a `stoker_outcome`. Other numbers mean STOKER_FAILED. */
typedef int (*stoker_run)(stoker_job *job);

/* One task. Fields that are left out are 0, which always means "the default". */
typedef struct stoker_task {
    const char *name;      /* as jobs name it: "image.blur". Letters, digits, `. _ -` */
    stoker_run run;        /* its handler */
    stoker_mode mode;      /* where it runs */
    uint64_t memory_limit; /* STOKER_PROCESS: bytes of address space (RLIMIT_AS) that the child may
                              take beyond what it has when it starts. 0: the worker's --memory,
                              which is none by default. An allocation beyond it fails; a handler
                              that then dies is recorded as memory_exceeded. */
    const char *about;     /* one line for `--list`; may be NULL */
} stoker_task;

/* What a plugin is. Made by STOKER_PLUGIN. */
typedef struct stoker_plugin {
    uint32_t abi;             /* STOKER_ABI_VERSION of the header that it was compiled with */
    uint32_t task_size;       /* sizeof(stoker_task) of that header */
    const char *name;         /* for people */
    const char *version;      /* for people */
    const stoker_task *tasks; /* its tasks */
    uint32_t task_count;      /* how many */
    /*
     * Called once after the plugin was loaded, on the main thread, before any thread or child was
     * made; it MUST NOT make a thread. Returns 0, or not 0 with a reason in `error`: then the
     * worker does not start. May be NULL.
     */
    int (*open)(char *error, size_t error_size);
    /* Called once when the worker ends and no handler runs any more. May be NULL. */
    void (*close)(void);
} stoker_plugin;

/* The one symbol that a plugin exports, under this name. */
typedef const stoker_plugin *(*stoker_plugin_entry)(void);
#define STOKER_PLUGIN_SYMBOL "stoker_plugin_entry_point"
STOKER_EXPORT const stoker_plugin *stoker_plugin_entry_point(void);

/* Export a plugin. `task_table` is an array of stoker_task, not a pointer. */
#define STOKER_PLUGIN(plugin_name, plugin_version, task_table)                                     \
    STOKER_PLUGIN_WITH(plugin_name, plugin_version, task_table, NULL, NULL)

/* The same with functions `open` and `close`; see stoker_plugin. */
#define STOKER_PLUGIN_WITH(plugin_name, plugin_version, task_table, open_function, close_function) \
    STOKER_EXPORT const stoker_plugin *stoker_plugin_entry_point(void)                             \
    {                                                                                              \
        static const stoker_plugin plugin = {                                                      \
            .abi = STOKER_ABI_VERSION,                                                             \
            .task_size = (uint32_t)sizeof(stoker_task),                                            \
            .name = (plugin_name),                                                                 \
            .version = (plugin_version),                                                           \
            .tasks = (task_table),                                                                 \
            .task_count = (uint32_t)(sizeof(task_table) / sizeof((task_table)[0])),                \
            .open = (open_function),                                                               \
            .close = (close_function),                                                             \
        };                                                                                         \
        return &plugin;                                                                            \
    }

/* ---- 2. Reading the job ------------------------------------------------------------------- */

STOKER_EXPORT const char *stoker_job_id(const stoker_job *job);
STOKER_EXPORT const char *stoker_job_task(const stoker_job *job);
STOKER_EXPORT const char *stoker_job_queue(const stoker_job *job);
/* 1 for the first attempt. Attempts that were snoozed or given back do not count. */
STOKER_EXPORT int64_t stoker_job_attempt(const stoker_job *job);
/* NULL if the job has none. */
STOKER_EXPORT const char *stoker_job_tenant(const stoker_job *job);
STOKER_EXPORT const char *stoker_job_workflow(const stoker_job *job);
/* The payload as it was submitted: the bytes of one JSON object, then a zero byte. `length` may
   be NULL. */
STOKER_EXPORT const char *stoker_job_payload(const stoker_job *job, size_t *length);
/* A header of the job (for tracing, say); NULL if it has none of that name. */
STOKER_EXPORT const char *stoker_job_header(stoker_job *job, const char *name);

/*
 * Values out of the payload. WHERE says which:
 *
 *     "path"            the value of that key of the payload
 *     "/size/0"         a JSON pointer (RFC 6901) into the payload: `~1` is a slash, `~0` a tilde
 *     "@resize"         in a workflow: the result of the parent of that name (or job id)
 *     "@resize/path"    the same, and a JSON pointer into it
 *
 * The `read` functions are for what may be left out: they leave *value alone when there is
 * nothing, so set it to the default before. The `need` functions are for what must be there. A
 * value of another type, and for `need` none at all, records the error `invalid_arguments`, which
 * is final (a repeat would not help), and the handler only has to return STOKER_FAILED.
 */
typedef enum stoker_found {
    STOKER_FOUND = 1,  /* *value is set */
    STOKER_ABSENT = 0, /* not there, or null; *value is as it was (`read` only) */
    STOKER_WRONG = -1  /* an error was recorded: return STOKER_FAILED */
} stoker_found;

/* Texts are decoded. One that holds a zero byte is WRONG if `length` is NULL. */
STOKER_EXPORT stoker_found stoker_read_text(stoker_job *job, const char *where, const char **value,
                                            size_t *length);
STOKER_EXPORT stoker_found stoker_need_text(stoker_job *job, const char *where, const char **value,
                                            size_t *length);
/* A whole number (also one written as 3.0) within 64 bits; WRONG beyond. */
STOKER_EXPORT stoker_found stoker_read_integer(stoker_job *job, const char *where, int64_t *value);
STOKER_EXPORT stoker_found stoker_need_integer(stoker_job *job, const char *where, int64_t *value);
/* Any number that is finite as a double. */
STOKER_EXPORT stoker_found stoker_read_number(stoker_job *job, const char *where, double *value);
STOKER_EXPORT stoker_found stoker_need_number(stoker_job *job, const char *where, double *value);
STOKER_EXPORT stoker_found stoker_read_boolean(stoker_job *job, const char *where, bool *value);
STOKER_EXPORT stoker_found stoker_need_boolean(stoker_job *job, const char *where, bool *value);
/* How many items an array, or keys an object, has. */
STOKER_EXPORT stoker_found stoker_read_count(stoker_job *job, const char *where, size_t *value);
STOKER_EXPORT stoker_found stoker_need_count(stoker_job *job, const char *where, size_t *value);
/* The bytes of any value but null, as JSON, with a zero byte behind. `length` may be NULL. */
STOKER_EXPORT stoker_found stoker_read_json(stoker_job *job, const char *where, const char **value,
                                            size_t *length);
STOKER_EXPORT stoker_found stoker_need_json(stoker_job *job, const char *where, const char **value,
                                            size_t *length);

/* ---- 3. While it runs --------------------------------------------------------------------- */

/* Why a handler should end. The greater reason wins. */
typedef enum stoker_stop {
    STOKER_GO_ON = 0,
    STOKER_STOP_SOFT = 1,    /* past its soft limit: tidy up; it may even succeed */
    STOKER_STOP_TIMEOUT = 2, /* past its limit */
    STOKER_STOP_RELEASE = 4, /* the worker leaves, and gives the job back */
    STOKER_STOP_CANCEL = 5,  /* somebody called the job off */
    STOKER_STOP_LOST = 6     /* the lease is lost: nobody wants the result any more */
} stoker_stop;

/*
 * Whether, and why, to end now. Costs next to nothing: call it often, at least twice a second of
 * work. A handler that obeys returns STOKER_CANCELLED, whatever the reason is; the worker knows
 * it and records what is right (at a limit: a failed attempt, under the job's retry policy).
 */
STOKER_EXPORT stoker_stop stoker_should_stop(const stoker_job *job);

/* Seconds until the job's limit: less than 0 after it, HUGE_VAL if it has none. */
STOKER_EXPORT double stoker_seconds_left(const stoker_job *job);

/* Report how much is done, 0 to 1, and a note for people (NULL: none). Cheap: only the last report
   before a beat travels. */
STOKER_EXPORT void stoker_progress(stoker_job *job, double done, const char *note);

/* Write a line to the job's log, which people read in the dashboard and by `stoker jobs logs`. The
   newest 1,000 lines of a job are kept; a line of more than 8,000 bytes is cut. */
STOKER_EXPORT void stoker_log(stoker_job *job, const char *format, ...) STOKER_PRINTF(2, 3);

/* ---- 4. How it ends ----------------------------------------------------------------------- */

/*
 * Each of these records how the attempt ends and returns what the handler has to return, so that
 * it reads `return stoker_fail(job, ...);`. The last call counts. `type` is the name of the error,
 * as in the job's retry policy (`never=["BadImage"]`); NULL means "Error".
 */

/* It failed: the job's retry policy says whether and when it is tried again. */
STOKER_EXPORT int stoker_fail(stoker_job *job, const char *type, const char *format, ...)
    STOKER_PRINTF(3, 4);
/* It failed for good, without another attempt: the payload is wrong, say. */
STOKER_EXPORT int stoker_discard(stoker_job *job, const char *type, const char *format, ...)
    STOKER_PRINTF(3, 4);
/* It failed, and is to be tried again in `seconds`, if the policy allows another attempt. Less
   than 0: when the policy says. */
STOKER_EXPORT int stoker_retry(stoker_job *job, double seconds, const char *type,
                               const char *format, ...) STOKER_PRINTF(4, 5);
/* Not now: run it again in `seconds`, without counting an attempt. */
STOKER_EXPORT int stoker_snooze(stoker_job *job, double seconds);

/* ---- 5. The result ------------------------------------------------------------------------ */

/*
 * Either hand in JSON that you have, or build an object with the `put` functions; without either
 * the result is null. Errors stick: the first one (no memory, text that is not UTF-8, a number
 * that is not finite, too large) makes the attempt fail for good, so calls need not be checked.
 */

/* Take the result as JSON text of `length` bytes; they are copied. */
STOKER_EXPORT void stoker_result_json(stoker_job *job, const char *json, size_t length);

/*
 * Write one value. `key` is its key, or NULL inside an array. The first call begins the object
 * that is the result:
 *
 *     stoker_put_integer(job, "width", 640);
 *     stoker_put_array(job, "boxes");
 *         stoker_put_integer(job, NULL, 3);
 *     stoker_put_end(job);
 *
 * gives {"width":640,"boxes":[3]}. What is open when the handler returns is closed.
 */
STOKER_EXPORT void stoker_put_text(stoker_job *job, const char *key, const char *text);
STOKER_EXPORT void stoker_put_bytes(stoker_job *job, const char *key, const char *text,
                                    size_t length); /* text with its length */
STOKER_EXPORT void stoker_put_integer(stoker_job *job, const char *key, int64_t value);
/* The shortest text that reads as the same double; 2 is written 2.0, as Python does. */
STOKER_EXPORT void stoker_put_number(stoker_job *job, const char *key, double value);
STOKER_EXPORT void stoker_put_boolean(stoker_job *job, const char *key, bool value);
STOKER_EXPORT void stoker_put_null(stoker_job *job, const char *key);
STOKER_EXPORT void stoker_put_json(stoker_job *job, const char *key, const char *json,
                                   size_t length); /* JSON that you have */
STOKER_EXPORT void stoker_put_object(stoker_job *job, const char *key); /* ends with put_end */
STOKER_EXPORT void stoker_put_array(stoker_job *job, const char *key);  /* ends with put_end */
STOKER_EXPORT void stoker_put_end(stoker_job *job);

/* ---- 6. A worker of one's own ------------------------------------------------------------- */

/*
 * `stoker-worker-c` is these calls and a loop over its arguments. One worker per process: it
 * takes the signals SIGTERM, SIGINT, SIGUSR1, SIGCHLD and SIGPIPE.
 *
 *     stoker_worker *worker = stoker_worker_new();
 *     if (worker == NULL) return 70;
 *     if (stoker_worker_set(worker, "store", "tls://jobs.example.com:8001") == 0 &&
 *         stoker_worker_add(worker, stoker_plugin_entry_point()) == 0)
 *         code = stoker_worker_run(worker);
 *     else
 *         fprintf(stderr, "%s\n", stoker_worker_error(worker));
 *     stoker_worker_free(worker);
 */
typedef struct stoker_worker stoker_worker;

STOKER_EXPORT stoker_worker *stoker_worker_new(void); /* NULL: no memory */
STOKER_EXPORT void stoker_worker_free(stoker_worker *worker);
/* Set an option by the name it has on the command line, without its dashes. 0, or -1. */
STOKER_EXPORT int stoker_worker_set(stoker_worker *worker, const char *option, const char *value);
/* Load a shared object; take a plugin that is part of this program. 0, or -1. */
STOKER_EXPORT int stoker_worker_load(stoker_worker *worker, const char *path);
STOKER_EXPORT int stoker_worker_add(stoker_worker *worker, const stoker_plugin *plugin);
/* Run until it was told to end; returns the exit code of the process. */
STOKER_EXPORT int stoker_worker_run(stoker_worker *worker);
/* What the last call that did not return 0 found, expected, and what to do. */
STOKER_EXPORT const char *stoker_worker_error(const stoker_worker *worker);
/* The whole program `stoker-worker-c`, for one with tasks of its own: they are `built_in`, which
   may be NULL. Returns the exit code. */
STOKER_EXPORT int stoker_worker_main(int argc, char **argv, const stoker_plugin *built_in);
/* The version of the library: "0.1.0". */
STOKER_EXPORT const char *stoker_worker_version(void);

#ifdef __cplusplus
}
#endif

#endif /* STOKER_WORKER_H */
