/* Tasks that behave, and tasks that do not: what the tests run. */
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <stoker_worker.h>

extern char **environ;

static void nap(double seconds)
{
    struct timespec t = {.tv_sec = (time_t)seconds};
    t.tv_nsec = (long)((seconds - floor(seconds)) * 1e9);
    nanosleep(&t, NULL);
}

static int nothing(stoker_job *job)
{
    (void)job;
    return STOKER_COMPLETED;
}

static int echo(stoker_job *job)
{
    size_t length = 0;
    const char *payload = stoker_job_payload(job, &length);
    stoker_result_json(job, payload, length);
    return STOKER_COMPLETED;
}

static int describe(stoker_job *job)
{
    stoker_put_text(job, "id", stoker_job_id(job));
    stoker_put_text(job, "task", stoker_job_task(job));
    stoker_put_text(job, "queue", stoker_job_queue(job));
    stoker_put_integer(job, "attempt", stoker_job_attempt(job));
    stoker_put_text(job, "tenant", stoker_job_tenant(job));
    stoker_put_text(job, "header", stoker_job_header(job, "traceparent"));
    stoker_put_boolean(job, "has_limit", isfinite(stoker_seconds_left(job)));
    return STOKER_COMPLETED;
}

/* {"times": N}: fail in the first N attempts. */
static int fail(stoker_job *job)
{
    int64_t times = INT64_MAX;
    const char *type = "TrialFailed";
    stoker_read_integer(job, "times", &times);
    stoker_read_text(job, "type", &type, NULL);
    if (stoker_job_attempt(job) > times)
        return STOKER_COMPLETED;
    return stoker_fail(job, type, "attempt %d failed", (int)stoker_job_attempt(job));
}

static int discard(stoker_job *job)
{
    return stoker_discard(job, "BadImage", "no picture in it");
}

static int retry(stoker_job *job)
{
    double after = 0.05;
    stoker_read_number(job, "after", &after);
    if (stoker_job_attempt(job) > 1)
        return STOKER_COMPLETED;
    return stoker_retry(job, after, "Busy", "the printer is busy");
}

/* {"marker": FILE}: not now, the first time. */
static int snooze(stoker_job *job)
{
    const char *marker = NULL;
    if (stoker_need_text(job, "marker", &marker, NULL) != STOKER_FOUND)
        return STOKER_FAILED;
    if (access(marker, F_OK) == 0)
        return STOKER_COMPLETED;
    FILE *file = fopen(marker, "w");
    if (file != NULL)
        fclose(file);
    return stoker_snooze(job, 0.05);
}

static int report(stoker_job *job)
{
    for (int i = 1; i <= 4; i++) {
        stoker_progress(job, i / 4.0, i == 4 ? "done" : "at it");
        stoker_log(job, "line %d \xff", i);
        nap(0.2);
    }
    stoker_put_integer(job, "lines", 4);
    return STOKER_COMPLETED;
}

/* Works until it is told to stop, and obeys. */
static int patient(stoker_job *job)
{
    stoker_log(job, "it began");
    while (stoker_should_stop(job) == STOKER_GO_ON)
        nap(0.005);
    return STOKER_CANCELLED;
}

/* {"seconds": S}: works that long, whatever it is told. */
static int stubborn(stoker_job *job)
{
    double seconds = 3600;
    stoker_read_number(job, "seconds", &seconds);
    nap(seconds);
    return STOKER_COMPLETED;
}

static int spin(stoker_job *job)
{
    (void)job;
    volatile unsigned turns = 0;
    for (;;)
        turns++;
    return STOKER_COMPLETED;
}

static int crash(stoker_job *job)
{
    const char *how = "segv";
    stoker_read_text(job, "how", &how, NULL);
    if (strcmp(how, "abort") == 0)
        abort();
    if (strcmp(how, "exit") == 0)
        _exit(7);
    if (strcmp(how, "kill") == 0)
        kill(getpid(), 9);
    /* A page that may not be touched: a null pointer would be the compiler's to judge. */
    char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    page[0] = 1;
    return STOKER_COMPLETED;
}

/* Takes memory without end, and does not look whether it got some. */
static int eat(stoker_job *job)
{
    (void)job;
    enum { BITE = 4 * 1024 * 1024 };
    for (;;) {
        char *bite = malloc(BITE);
        memset(bite, 1, BITE);
    }
    return STOKER_COMPLETED;
}

static int leave_something(stoker_job *job)
{
    pid_t pid = fork();
    if (pid == 0) {
        for (;;)
            pause();
    }
    stoker_put_integer(job, "pid", pid);
    return STOKER_COMPLETED;
}

/* What a handler can see of the worker: its environment, its descriptors, its parent's. */
static int expose(stoker_job *job)
{
    char path[64];
    stoker_put_array(job, "environment");
    for (char **at = environ; *at != NULL; at++)
        stoker_put_text(job, NULL, *at);
    stoker_put_end(job);
    stoker_put_array(job, "descriptors");
    DIR *folder = opendir("/proc/self/fd");
    for (struct dirent *entry = folder == NULL ? NULL : readdir(folder); entry != NULL;
         entry = readdir(folder)) {
        char target[256] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%.20s", entry->d_name);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length > 0)
            stoker_put_text(job, NULL, target);
    }
    stoker_put_end(job);
    if (folder != NULL)
        closedir(folder);
    char raw[65536];
    FILE *file = fopen("/proc/self/environ", "r");
    size_t length = file == NULL ? 0 : fread(raw, 1, sizeof raw - 1, file);
    if (file != NULL)
        fclose(file);
    for (size_t i = 0; i < length; i++)
        raw[i] = raw[i] == '\0' ? '\n' : raw[i];
    stoker_put_bytes(job, "raw_environment", raw, length);
    return STOKER_COMPLETED;
}

static int not_json(stoker_job *job)
{
    stoker_result_json(job, "{\"a\":", 5);
    return STOKER_COMPLETED;
}

static int large(stoker_job *job)
{
    int64_t size = 0;
    if (stoker_need_integer(job, "size", &size) != STOKER_FOUND)
        return STOKER_FAILED;
    char *text = malloc((size_t)size);
    memset(text, 'x', (size_t)size);
    stoker_put_bytes(job, "text", text, (size_t)size);
    free(text);
    return STOKER_COMPLETED;
}

/* Where the result of a parent stands, by its name, and where in it. */
static int from_parent(stoker_job *job)
{
    double area = 0;
    if (stoker_need_number(job, "@square/area", &area) != STOKER_FOUND)
        return STOKER_FAILED;
    stoker_put_number(job, "half", area / 2);
    return STOKER_COMPLETED;
}

/* {"ledger": FILE, "number": N}: write down that it ran, and work for a moment. */
static int ledger(stoker_job *job)
{
    const char *path = NULL;
    int64_t number = 0;
    char line[128];
    if (stoker_need_text(job, "ledger", &path, NULL) != STOKER_FOUND ||
        stoker_need_integer(job, "number", &number) != STOKER_FOUND)
        return STOKER_FAILED;
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT, 0644);
    int length = snprintf(line, sizeof line, "%s c\n", stoker_job_id(job));
    ssize_t written = write(file, line, (size_t)length);
    close(file);
    if (written != length)
        return stoker_fail(job, "LedgerError", "the ledger cannot be written");
    nap(0.001 * (double)(number % 10));
    stoker_put_integer(job, "number", number);
    return STOKER_COMPLETED;
}

#define MEGABYTES(n) ((uint64_t)(n)*1024 * 1024)

static const stoker_task tasks[] = {
    {.name = "trial.nothing", .run = nothing, .about = "does nothing"},
    {.name = "trial.nothing_apart", .run = nothing, .mode = STOKER_PROCESS},
    {.name = "trial.echo", .run = echo},
    {.name = "trial.echo_apart", .run = echo, .mode = STOKER_PROCESS},
    {.name = "trial.describe", .run = describe},
    {.name = "trial.describe_apart", .run = describe, .mode = STOKER_PROCESS},
    {.name = "trial.fail", .run = fail},
    {.name = "trial.fail_apart", .run = fail, .mode = STOKER_PROCESS},
    {.name = "trial.discard", .run = discard},
    {.name = "trial.retry", .run = retry},
    {.name = "trial.snooze", .run = snooze},
    {.name = "trial.report", .run = report},
    {.name = "trial.report_apart", .run = report, .mode = STOKER_PROCESS},
    {.name = "trial.patient", .run = patient},
    {.name = "trial.patient_apart", .run = patient, .mode = STOKER_PROCESS},
    {.name = "trial.stubborn", .run = stubborn},
    {.name = "trial.stubborn_apart", .run = stubborn, .mode = STOKER_PROCESS},
    {.name = "trial.spin", .run = spin, .mode = STOKER_PROCESS},
    {.name = "trial.crash", .run = crash, .mode = STOKER_PROCESS},
    {.name = "trial.eat", .run = eat, .mode = STOKER_PROCESS, .memory_limit = MEGABYTES(64)},
    {.name = "trial.leave_something", .run = leave_something, .mode = STOKER_PROCESS},
    {.name = "trial.expose", .run = expose, .mode = STOKER_PROCESS},
    {.name = "trial.not_json", .run = not_json},
    {.name = "trial.large", .run = large},
    {.name = "trial.ledger", .run = ledger},
    {.name = "trial.from_parent", .run = from_parent},
};

STOKER_PLUGIN("trials", "1.0", tasks)
