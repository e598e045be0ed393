/* A plugin as small as they come; docs/guides/c-worker.md walks through it. */
#include <stoker_worker.h>

static int square(stoker_job *job)
{
    double side = 0;
    if (stoker_need_number(job, "side", &side) != STOKER_FOUND)
        return STOKER_FAILED; /* the error was recorded already */
    if (side < 0)
        return stoker_discard(job, "ValueError", "side is %g; expected 0 or more", side);
    stoker_put_number(job, "area", side * side);
    return STOKER_COMPLETED;
}

static const stoker_task tasks[] = {
    {.name = "shape.square",
     .run = square,
     .mode = STOKER_THREAD,
     .about = "the area of a square: {\"side\": 3}"},
};

STOKER_PLUGIN("shapes", "1.0", tasks)
