/* The retry policy: the same decisions as in every other worker. */
#include <math.h>

#include "check.h"
#include "retry.h"

static double wait_of(const char *policy, int64_t failures, const char *type)
{
    double seconds = -1;
    return retry_decide(policy, failures, type, 0.5, &seconds) ? seconds : -1;
}

static void defaults(void)
{
    CHECK(wait_of(NULL, 1, "E") == 1.0); /* half of two seconds: jitter */
    CHECK(wait_of("{}", 2, "E") == 2.0);
    CHECK(wait_of("{}", 3, "E") == 4.0);
    CHECK(wait_of("{}", 4, "E") == -1);
    CHECK(wait_of("not json", 1, "E") == 1.0);
}

static void shapes(void)
{
    CHECK(wait_of("{\"backoff\":\"fixed\",\"base\":5,\"jitter\":false}", 3, "E") == 5);
    CHECK(wait_of("{\"backoff\":\"linear\",\"base\":5,\"jitter\":false}", 3, "E") == 15);
    CHECK(wait_of("{\"base\":5,\"jitter\":false}", 3, "E") == 20);
    CHECK(wait_of("{\"base\":5,\"cap\":7,\"jitter\":false}", 3, "E") == 7);
    CHECK(wait_of("{\"max_retries\":1000,\"base\":1,\"cap\":9,\"jitter\":false}", 900, "E") == 9);
    CHECK(wait_of("{\"max_retries\":0}", 1, "E") == -1);
}

static void names(void)
{
    CHECK(wait_of("{\"never\":[\"BadImage\"]}", 1, "BadImage") == -1);
    CHECK(wait_of("{\"never\":[\"BadImage\"]}", 1, "Busy") == 1);
    CHECK(wait_of("{\"on\":[\"Busy\"]}", 1, "BadImage") == -1);
    CHECK(wait_of("{\"on\":[\"Busy\"]}", 1, "Busy") == 1);
    CHECK(wait_of("{\"on\":[\"builtins.ValueError\"]}", 1, "ValueError") == 1);
    CHECK(wait_of("{\"on\":[\"Exception\"]}", 1, "Whatever") == 1);
    CHECK(wait_of("{\"never\":[\"stoker.core.errors.StokerError\"]}", 1, "TaskTimeout") == -1);
}

static void policies_of_their_own(void)
{
    static const char policy[] =
        "{\"max_retries\":9,\"jitter\":false,\"per\":["
        "[\"Exception\",{\"backoff\":\"fixed\",\"base\":1,\"jitter\":false}],"
        "[\"Busy\",{\"max_retries\":1,\"backoff\":\"fixed\",\"base\":60,\"jitter\":false}]]}";
    CHECK(wait_of(policy, 1, "Busy") == 60);
    CHECK(wait_of(policy, 2, "Busy") == -1);
    CHECK(wait_of(policy, 2, "Other") == 1);
    CHECK(retry_delay("{\"base\":8,\"jitter\":false}", 1, 0.5) == 8);
}

int main(void)
{
    defaults();
    shapes();
    names();
    policies_of_their_own();
    return checks_done("retry");
}
