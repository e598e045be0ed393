/* Exit codes: those of the command `stoker`, which scripts and supervisors rely on. */
#ifndef STOKER_EXITS_H
#define STOKER_EXITS_H

enum {
    EXIT_DONE = 0,         /* drained, stopped, or what was asked for was printed */
    EXIT_REFUSED = 1,      /* `--try`: the job failed */
    EXIT_USAGE = 2,        /* an unknown option, a bad value, a plugin that cannot be used */
    EXIT_UNREACHABLE = 3,  /* the server cannot be reached, or does not want this worker */
    EXIT_BUG = 70          /* an error inside the worker, or no memory */
};

#endif
