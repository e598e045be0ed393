#include "retry.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "json_read.h"

typedef enum backoff { BACKOFF_FIXED, BACKOFF_LINEAR, BACKOFF_EXPONENTIAL } backoff;

typedef struct policy {
    const json_doc *doc;
    int64_t node; /* for its lists */
    int64_t max_retries;
    backoff backoff;
    double base;
    double cap;
    bool jitter;
} policy;

static const json_limits policy_limits = {.depth = 64, .indexed = 64, .max_nodes = 100000};
static const policy default_policy = {.node = JSON_NONE,
                                      .max_retries = 3,
                                      .backoff = BACKOFF_EXPONENTIAL,
                                      .base = 2,
                                      .cap = 300,
                                      .jitter = true};

static policy read_policy(const json_doc *doc, int64_t node)
{
    policy p = default_policy;
    p.doc = doc;
    p.node = node;
    json_integer(doc, json_member(doc, node, "max_retries"), &p.max_retries);
    json_number(doc, json_member(doc, node, "base"), &p.base);
    json_number(doc, json_member(doc, node, "cap"), &p.cap);
    p.jitter = !json_is(doc, json_member(doc, node, "jitter"), JSON_FALSE);
    int64_t shape = json_member(doc, node, "backoff");
    if (json_equals(doc, shape, "fixed", 5))
        p.backoff = BACKOFF_FIXED;
    else if (json_equals(doc, shape, "linear", 6))
        p.backoff = BACKOFF_LINEAR;
    return p;
}

static double delay_of(const policy *p, int64_t failures, double random)
{
    double n = failures < 1 ? 1 : (double)failures;
    double wait = p->backoff == BACKOFF_FIXED    ? p->base
                  : p->backoff == BACKOFF_LINEAR ? p->base * n
                                                 : ldexp(p->base, (int)fmin(n - 1, 64));
    wait = fmax(0, fmin(wait, p->cap));
    return p->jitter ? wait * random : wait;
}

enum { MOST_NAMES = 8 };

/* The names under which a policy may mean an error, the nearest first. A policy may have been
   written for Python, where every error is also an Exception. */
static size_t names_of(const char *type, char own[256], const char *names[MOST_NAMES])
{
    size_t count = 0;
    bool of_stoker = strcmp(type, "TaskTimeout") == 0;
    snprintf(own, 256, "%s%.200s", of_stoker ? "stoker.core.errors." : "builtins.", type);
    names[count++] = type;
    names[count++] = own;
    if (of_stoker) {
        names[count++] = "StokerError";
        names[count++] = "stoker.core.errors.StokerError";
    }
    names[count++] = "Exception";
    names[count++] = "builtins.Exception";
    names[count++] = "BaseException";
    names[count++] = "builtins.BaseException";
    return count;
}

static bool lists(const policy *p, const char *list, const char *const *names, size_t count)
{
    int64_t array = json_member(p->doc, p->node, list);
    for (int64_t at = json_first(p->doc, array); at >= 0; at = json_after(p->doc, array, at))
        for (size_t i = 0; i < count; i++)
            if (json_equals(p->doc, at, names[i], strlen(names[i])))
                return true;
    return false;
}

/* The policy that an error has of its own: the one for its nearest name. */
static policy own_policy(const policy *p, const char *const *names, size_t count)
{
    int64_t pairs = json_member(p->doc, p->node, "per");
    for (size_t i = 0; i < count; i++) {
        int64_t pair = json_first(p->doc, pairs);
        for (; pair >= 0; pair = json_after(p->doc, pairs, pair))
            if (json_equals(p->doc, json_item(p->doc, pair, 0), names[i], strlen(names[i])))
                return read_policy(p->doc, json_item(p->doc, pair, 1));
    }
    return *p;
}

static bool decide(const policy *p, int64_t failures, const char *type, double random,
                   double *seconds)
{
    char own[256];
    const char *names[MOST_NAMES];
    size_t count = names_of(type, own, names);
    policy chosen = own_policy(p, names, count);
    bool is_limited = json_count(p->doc, json_member(p->doc, chosen.node, "on")) > 0;
    if (lists(&chosen, "never", names, count) ||
        (is_limited && !lists(&chosen, "on", names, count)) || failures > chosen.max_retries)
        return false;
    *seconds = delay_of(&chosen, failures, random);
    return true;
}

bool retry_decide(const char *text, int64_t failures, const char *type, double random,
                  double *seconds)
{
    json_doc doc = {0};
    bool known = text != NULL && json_parse(&doc, text, strlen(text), &policy_limits) == NULL;
    policy p = read_policy(&doc, known ? 0 : JSON_NONE);
    bool again = decide(&p, failures, type, random, seconds);
    json_free(&doc);
    return again;
}

double retry_delay(const char *text, int64_t failures, double random)
{
    json_doc doc = {0};
    bool known = text != NULL && json_parse(&doc, text, strlen(text), &policy_limits) == NULL;
    policy p = read_policy(&doc, known ? 0 : JSON_NONE);
    double wait = delay_of(&p, failures, random);
    json_free(&doc);
    return wait;
}
