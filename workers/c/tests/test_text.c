/* What people write: durations, sizes, URLs, options. */
#include <math.h>
#include <stdlib.h>

#include "address.h"
#include "check.h"
#include "options.h"
#include "text.h"

static double duration(const char *text)
{
    double seconds = -1;
    return read_duration(text, &seconds) ? seconds : -1;
}

static void durations(void)
{
    CHECK(duration("30") == 30);
    CHECK(duration("0.5") == 0.5);
    CHECK(duration("1h30m") == 5400);
    CHECK(duration("500ms") == 0.5);
    CHECK(duration("1w") == 604800);
    CHECK(duration("") == -1);
    CHECK(duration("-3") == -1);
    CHECK(duration("3x") == -1);
    CHECK(duration("1h 30m") == -1);
    CHECK(duration("1e9") == -1);
    CHECK(duration("nan") == -1);
    CHECK(duration("5000w9999w") == -1);
    CHECK(duration("99999999999999999999999999999999999999999999999999999999999999999999") == -1);
}

static void sizes(void)
{
    uint64_t bytes = 0;
    CHECK(read_size("512MB", &bytes) && bytes == 512ULL * 1048576);
    CHECK(read_size("1.5 gib", &bytes) && bytes == 1610612736ULL);
    CHECK(read_size("77", &bytes) && bytes == 77);
    CHECK(!read_size("77 x", &bytes));
    CHECK(!read_size("99999999999GB", &bytes));
    CHECK(utf8_cut("a\xc3\xa9" "b", 4, 2) == 1);
}

static void urls(void)
{
    char wrong[WRONG_SIZE];
    address a;
    CHECK(address_read("tls://s%20ecret@jobs.example.com?ca=%2Fetc%2Fca.pem&timeout=5s", NULL, &a,
                       wrong));
    CHECK(a.is_tls && a.timeout == 5);
    CHECK_TEXT(a.host, "jobs.example.com");
    CHECK_TEXT(a.port, "8001");
    CHECK_TEXT(a.token, "s ecret");
    CHECK_TEXT(a.ca, "/etc/ca.pem");
    CHECK(strstr(a.shown, "ecret") == NULL);
    address_free(&a);
    CHECK(address_read("tcp://[::1]:7", "t", &a, wrong));
    CHECK_TEXT(a.host, "::1");
    CHECK_TEXT(a.port, "7");
    CHECK_TEXT(a.token, "t");
    address_free(&a);
    CHECK(address_read("tcp://u:p%40ss@h", NULL, &a, wrong));
    CHECK_TEXT(a.token, "p@ss");
    address_free(&a);
}

static void refused(const char *url, const char *because)
{
    char wrong[WRONG_SIZE] = "";
    address a;
    bool taken = address_read(url, NULL, &a, wrong);
    CHECK(!taken);
    CHECK(strstr(wrong, because) != NULL);
    if (taken)
        address_free(&a);
}

static void wrong_urls(void)
{
    refused("sqlite:///jobs.db", "tcp:// or tls://");
    refused("", "tcp:// or tls://");
    refused("tcp://", "with a host");
    refused("tcp://h:0", "with a host");
    refused("tcp://h:99999", "with a host");
    refused("tcp://h/path", "a path means nothing");
    refused("tcp://h?ca=x", "certificates need tls://");
    refused("tls://h?key=x", "a key needs its cert");
    refused("tls://h?colour=red", "colour");
    refused("tls://h?timeout=soon", "timeout");
    refused("tls://h?token_file=/nonexistent/token", "/nonexistent/token");
    refused("tcp://secret@h?x=1", "***");
}

static void options_and_where_they_come_from(void)
{
    char wrong[WRONG_SIZE] = "";
    options o;
    options_begin(&o);
    setenv("STOKER_WORKER__QUEUES", "mail=5, print", 1);
    setenv("STOKER_WORKER__CONCURRENCY", "7", 1);
    setenv("STOKER_WORKER__LEASE", "1m", 1);
    setenv("_STOKER_COMMAND_LINE",
           "{\"store\":\"tcp://h\",\"worker.lease\":12.5,\"worker.queues\":{\"a\":2,\"b\":0},"
           "\"fleet.max\":3}",
           1);
    CHECK(options_set(&o, "concurrency", "3", wrong));
    CHECK(options_inherit(&o, wrong));
    CHECK(o.concurrency == 3);           /* its own command line */
    CHECK(o.lease == 12.5);              /* the parent's, before the environment */
    CHECK(o.queue_count == 2);
    CHECK_TEXT(o.queues[0].name, "a");
    CHECK(o.queues[0].most == 2 && o.queues[1].most == 0);
    CHECK_TEXT(o.store, "tcp://h");
    options_free(&o);
    unsetenv("_STOKER_COMMAND_LINE");
    options_begin(&o);
    CHECK(options_inherit(&o, wrong));
    CHECK(o.lease == 60 && o.queue_count == 2 && o.queues[0].most == 5);
    options_free(&o);
    options_begin(&o);
    setenv("STOKER_WORKER__LEASE", "soon", 1);
    CHECK(!options_inherit(&o, wrong));
    CHECK(strstr(wrong, "STOKER_WORKER__LEASE is 'soon'") != NULL);
    CHECK(!options_set(&o, "concurrency", "0", wrong));
    CHECK(!options_set(&o, "queue", "a:x", wrong));
    CHECK(!options_set(&o, "colour", "red", wrong));
    CHECK(options_set(&o, "queue", "a:5", wrong) && o.queues[0].most == 5);
    options_free(&o);
}

int main(void)
{
    durations();
    sizes();
    urls();
    wrong_urls();
    options_and_where_they_come_from();
    return checks_done("text");
}
