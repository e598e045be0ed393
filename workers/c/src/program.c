/* The program `stoker-worker-c`: its command line. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exits.h"
#include "library.h"
#include "version.h"

static const char usage[] =
    "Usage: stoker-worker-c --store URL --plugin ./NAME.so [OPTIONS]\n"
    "\n"
    "Run jobs in C: lease them from a Stoker server, run them by plugins, settle them.\n"
    "SIGTERM or Ctrl-C drains it: what runs may end, what waits is given back. The second one\n"
    "interrupts what runs and gives that back too. SIGUSR1 drains it without a limit of time.\n"
    "\n"
    "  --store URL          tcp://host:8001 or tls://host:8001?ca=FILE&cert=FILE&key=FILE\n"
    "                       &server_name=NAME&token_file=FILE&timeout=30s   [STOKER_STORE]\n"
    "  --plugin FILE        a shared object with tasks; repeatable\n"
    "  -q, --queue Q[:N]    only this queue, at most N of its jobs at once; repeatable\n"
    "                                                             [STOKER_WORKER__QUEUES]\n"
    "  -c, --concurrency N  jobs at once (10)                [STOKER_WORKER__CONCURRENCY]\n"
    "  --name NAME          for people; host and process id if not given\n"
    "                                                               [STOKER_WORKER__NAME]\n"
    "  --lease TIME         how long a silent worker keeps its jobs (30s)\n"
    "                                                              [STOKER_WORKER__LEASE]\n"
    "  --beat TIME          between heartbeats (a third of the lease)\n"
    "                                                               [STOKER_WORKER__BEAT]\n"
    "  --drain TIME         how long jobs may go on after SIGTERM (30s)\n"
    "                                                              [STOKER_WORKER__DRAIN]\n"
    "  --poll TIME          how often an idle worker looks by itself (1s)\n"
    "                                                               [STOKER_WORKER__POLL]\n"
    "  --processes N        the most children for tasks that run in one (as --concurrency)\n"
    "                                                          [STOKER_WORKER__PROCESSES]\n"
    "  --memory SIZE        address space that a child may take beyond its start, unless its\n"
    "                       task says (none)                      [STOKER_WORKER__MEMORY]\n"
    "  --result-limit SIZE  the longest result (4MB)              [STOKER_LIMITS__RESULT]\n"
    "  --log-level LEVEL    debug, info, warning, error              [STOKER_LOG__LEVEL]\n"
    "  --log-format FORMAT  text, json, or auto: text on a terminal [STOKER_LOG__FORMAT]\n"
    "  --no-keeper          accepted: this worker never stands for election\n"
    "  --list               print the tasks of the plugins, and end\n"
    "  --try TASK           run one task on the payload on stdin, print its result, and end\n"
    "  --version, --help\n"
    "\n"
    "The token comes from STOKER_TOKEN or from token_file, never from the command line.\n"
    "\n"
    "Exit codes: 0 done; 1 --try: the job failed; 2 usage: an unknown name, a bad value;\n"
    "3 the server cannot be reached or does not want this worker; 70 an error inside Stoker.\n";

typedef struct request {
    bool lists;
    const char *tries;
} request;

static int tell(const char *message)
{
    fprintf(stderr, "Error: %s\n", message);
    return EXIT_USAGE;
}

static void list_tasks(const stoker_worker *w)
{
    for (size_t i = 0; i < registry_count(w->tasks); i++) {
        const known_task *known = registry_at(w->tasks, i);
        printf("%-30s %-8s %-16s %s\n", known->task.name,
               known->task.mode == STOKER_PROCESS ? "process" : "thread", known->plugin,
               known->task.about == NULL ? "" : known->task.about);
    }
}

/* Take one option with its value; 0, or an exit code. */
static int take_option(stoker_worker *w, request *asked, const char *name, const char *value)
{
    char message[ERROR_SIZE + 16];
    if (strcmp(name, "token") == 0)
        return tell("a token on the command line can be read by everybody on this machine; put it "
                    "into STOKER_TOKEN or into a file named by ?token_file=FILE [usage]");
    if (strcmp(name, "try") == 0) {
        asked->tries = value;
        return 0;
    }
    int failed = strcmp(name, "plugin") == 0 ? stoker_worker_load(w, value)
                                             : stoker_worker_set(w, name, value);
    if (failed == 0)
        return 0;
    snprintf(message, sizeof message, "%s [usage]", w->error);
    return tell(message);
}

/* Options without a value; -1 if it is none. */
static int take_flag(request *asked, const char *name)
{
    if (strcmp(name, "list") == 0)
        asked->lists = true;
    else if (strcmp(name, "no-keeper") != 0)
        return -1;
    return 0;
}

/* The name of an option, long or short; NULL if it is none. */
static const char *option_name(const char *argument)
{
    if (strcmp(argument, "-q") == 0)
        return "queue";
    if (strcmp(argument, "-c") == 0)
        return "concurrency";
    return strncmp(argument, "--", 2) == 0 && argument[2] != '\0' ? argument + 2 : NULL;
}

static int take_arguments(stoker_worker *w, request *asked, int argc, char **argv)
{
    char name[64];
    char message[200];
    for (int i = 1; i < argc; i++) {
        const char *option = option_name(argv[i]);
        if (option == NULL) {
            snprintf(message, sizeof message, "'%.80s' is no option; see --help [usage]", argv[i]);
            return tell(message);
        }
        const char *equals = strchr(option, '=');
        snprintf(name, sizeof name, "%.*s", equals == NULL ? 60 : (int)(equals - option), option);
        if (equals == NULL && take_flag(asked, name) == 0)
            continue;
        const char *value = equals != NULL ? equals + 1 : i + 1 < argc ? argv[++i] : NULL;
        if (value == NULL) {
            snprintf(message, sizeof message, "--%.60s needs a value; see --help [usage]", name);
            return tell(message);
        }
        int code = take_option(w, asked, name, value);
        if (code != 0)
            return code;
    }
    return 0;
}

static bool has_word(int argc, char **argv, const char *word)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], word) == 0)
            return true;
    return false;
}

/* Become a fresh process with the same command line: a thread that cannot be killed ends with the
   old one. Returns only if that fails. */
static int execute_anew(char **argv)
{
    sigset_t nothing;
    sigemptyset(&nothing);
    sigprocmask(SIG_SETMASK, &nothing, NULL);
    execv("/proc/self/exe", argv);
    perror("Error: the worker cannot be started anew");
    return EXIT_BUG;
}

static int run(stoker_worker *w, const request *asked, char **argv)
{
    if (asked->lists) {
        list_tasks(w);
        return EXIT_DONE;
    }
    int code = asked->tries != NULL ? library_try(w, asked->tries) : library_run(w);
    if (code == RECYCLE)
        return execute_anew(argv);
    if (w->error[0] != '\0')
        tell(w->error);
    return code;
}

int stoker_worker_main(int argc, char **argv, const stoker_plugin *built_in)
{
    request asked = {0};
    if (has_word(argc, argv, "--help") || has_word(argc, argv, "-h")) {
        fputs(usage, stdout);
        return EXIT_DONE;
    }
    if (has_word(argc, argv, "--version")) {
        puts("stoker-worker-c " STOKER_VERSION);
        return EXIT_DONE;
    }
    /* What the caller left open is nothing for handlers. */
    close_range(3, ~0U, 0);
    stoker_worker *w = stoker_worker_new();
    if (w == NULL)
        return EXIT_BUG;
    int code = built_in != NULL && stoker_worker_add(w, built_in) != 0 ? tell(w->error) : 0;
    if (code == 0)
        code = take_arguments(w, &asked, argc, argv);
    if (code == 0)
        code = run(w, &asked, argv);
    bool hangs = w->dispatcher.stuck > 0;
    stoker_worker_free(w);
    if (hangs) {
        fflush(NULL);
        _exit(code); /* a thread that was given up still runs, and exit() would pull its ground away */
    }
    return code;
}
