/* The task of the benchmark: what `benchmarks/blocking.py` does in Python. */
#include <stdio.h>

#include <stoker_worker.h>

static int nothing(stoker_job *job)
{
    int64_t number = 0;
    char text[32];
    if (stoker_need_integer(job, "number", &number) != STOKER_FOUND)
        return STOKER_FAILED;
    int length = snprintf(text, sizeof text, "%lld", (long long)number);
    stoker_result_json(job, text, (size_t)length);
    return STOKER_COMPLETED;
}

static const stoker_task tasks[] = {{.name = "nothing", .run = nothing}};

STOKER_PLUGIN("bench", "1.0", tasks)
