/* What a handler can read, and what becomes of what it says. */
#include <math.h>
#include <stdlib.h>

#include "attempt.h"
#include "check.h"
#include "outputs.h"
#include "wire.h"

static const atomic_int go_on = STOKER_GO_ON;
static stoker_job job;
static lease given;
static char last_log[256];
static double last_progress;

static void take_progress(void *owner, double done, const char *note)
{
    (void)owner;
    (void)note;
    last_progress = done;
}

static void take_log(void *owner, const char *message, size_t length)
{
    (void)owner;
    snprintf(last_log, sizeof last_log, "%.*s", (int)length, message);
}

static void begin(const char *payload)
{
    job_release(&job);
    given = (lease){.id = "j", .task = "t", .queue = "q", .attempt = 2, .payload = payload,
                    .payload_length = strlen(payload)};
    job = (stoker_job){.lease = &given, .stop = &go_on, .hard_at = HUGE_VAL, .result_limit = 100,
                       .sink = {.progress = take_progress, .log = take_log}};
}

static ending run(stoker_run handler)
{
    ending e;
    job_run(&job, handler, &e);
    return e;
}

static void values_are_read_by_key_and_by_pointer(void)
{
    const char *text = NULL;
    size_t length = 0;
    size_t count = 0;
    int64_t whole = -1;
    double number = -1;
    bool yes = false;
    begin("{\"t\":\"a\\u0000b\",\"s\":\"x\",\"n\":2.5,\"i\":7,\"b\":true,\"l\":[1,[2,3]],\"z\":null,"
          "\"a/b\":{\"~\":9}}");
    CHECK(stoker_read_text(&job, "s", &text, NULL) == STOKER_FOUND);
    CHECK_TEXT(text, "x");
    CHECK(stoker_read_text(&job, "t", &text, &length) == STOKER_FOUND && length == 3);
    CHECK(stoker_read_text(&job, "t", &text, NULL) == STOKER_WRONG);
    CHECK(stoker_read_number(&job, "n", &number) == STOKER_FOUND && number == 2.5);
    CHECK(stoker_read_number(&job, "i", &number) == STOKER_FOUND && number == 7);
    CHECK(stoker_read_integer(&job, "/l/1/0", &whole) == STOKER_FOUND && whole == 2);
    CHECK(stoker_read_integer(&job, "/a~1b/~0", &whole) == STOKER_FOUND && whole == 9);
    CHECK(stoker_read_boolean(&job, "b", &yes) == STOKER_FOUND && yes);
    CHECK(stoker_need_count(&job, "l", &count) == STOKER_FOUND && count == 2);
    CHECK(stoker_read_json(&job, "l", &text, &length) == STOKER_FOUND);
    CHECK_TEXT(text, "[1,[2,3]]");
    whole = 42;
    CHECK(stoker_read_integer(&job, "z", &whole) == STOKER_ABSENT && whole == 42);
    CHECK(stoker_read_integer(&job, "/l/01", &whole) == STOKER_ABSENT);
    CHECK(stoker_read_integer(&job, "/l/9", &whole) == STOKER_ABSENT);
    CHECK(stoker_read_integer(&job, "/t/9", &whole) == STOKER_ABSENT);
}

static void what_is_wrong_is_said(void)
{
    int64_t whole = 0;
    begin("{\"i\":\"seven\"}");
    CHECK(stoker_read_integer(&job, "i", &whole) == STOKER_WRONG);
    CHECK(job.ending.kind == END_DISCARDED);
    CHECK_TEXT(job.ending.code, "invalid_arguments");
    CHECK_TEXT(job.ending.message,
               "i of the payload is \"seven\"; expected a whole number within 64 bits");
    CHECK(stoker_need_integer(&job, "k", &whole) == STOKER_WRONG);
    CHECK_TEXT(job.ending.message, "the payload has no k; expected a whole number within 64 bits");
}

static void parents_are_read_by_name_and_by_id(void)
{
    double area = 0;
    begin("{}");
    given.parents = "{\"id-1\":{\"area\":4.0},\"id-2\":null}";
    given.parent_names = "{\"id-1\":\"square\",\"id-2\":\"other\"}";
    CHECK(stoker_need_number(&job, "@square/area", &area) == STOKER_FOUND && area == 4);
    CHECK(stoker_need_number(&job, "@id-1/area", &area) == STOKER_FOUND);
    CHECK(stoker_read_number(&job, "@other", &area) == STOKER_ABSENT);
    CHECK(stoker_read_number(&job, "@nobody", &area) == STOKER_ABSENT);
}

static int builds(stoker_job *j)
{
    stoker_put_text(j, "t", "x");
    stoker_put_array(j, "l");
    stoker_put_number(j, NULL, 2);
    return STOKER_COMPLETED;
}

static int nothing(stoker_job *j)
{
    (void)j;
    return STOKER_COMPLETED;
}

static int not_a_number(stoker_job *j)
{
    stoker_put_number(j, "n", NAN);
    return STOKER_COMPLETED;
}

static int half_a_pair(stoker_job *j)
{
    stoker_result_json(j, "\"\\ud800\"", 8);
    return STOKER_COMPLETED;
}

static int too_much(stoker_job *j)
{
    for (int i = 0; i < 10000; i++)
        stoker_put_text(j, "key", "value");
    return STOKER_COMPLETED;
}

static int ends_too_often(stoker_job *j)
{
    stoker_put_text(j, "t", "x");
    stoker_put_end(j);
    return STOKER_COMPLETED;
}

static void check_result(stoker_run handler, ending_kind kind, const char *expected)
{
    begin("{}");
    ending e = run(handler);
    CHECK(e.kind == kind);
    CHECK_TEXT(kind == END_COMPLETED ? buffer_string(&e.result) : e.code, expected);
    ending_free(&e);
}

static void results(void)
{
    check_result(builds, END_COMPLETED, "{\"t\":\"x\",\"l\":[2.0]}");
    check_result(nothing, END_COMPLETED, "null");
    check_result(not_a_number, END_DISCARDED, "invalid_payload");
    check_result(half_a_pair, END_DISCARDED, "invalid_payload");
    check_result(too_much, END_DISCARDED, "invalid_payload");
    check_result(ends_too_often, END_DISCARDED, "invalid_payload");
}

static int silent(stoker_job *j)
{
    (void)j;
    return 77;
}

static int says_not_utf8(stoker_job *j)
{
    stoker_log(j, "a\xff%s", "b");
    stoker_progress(j, 7, NULL);
    return stoker_retry(j, 3, NULL, "n\xc3");
}

static void failures(void)
{
    begin("{}");
    ending e = run(silent);
    CHECK(e.kind == END_FAILED);
    CHECK_TEXT(e.type, "Error");
    ending_free(&e);
    begin("{}");
    e = run(says_not_utf8);
    CHECK(e.kind == END_RETRY && e.seconds == 3);
    CHECK_TEXT(e.message, "n\xef\xbf\xbd");
    CHECK_TEXT(last_log, "a\xef\xbf\xbd" "b");
    CHECK(last_progress == 1);
    ending_free(&e);
    job_release(&job);
}

static void outputs_are_filled_in(void)
{
    lease l = {.payload = "{\"a\":{\"$output\":\"p\"},\"l\":[{\"$output\":\"q\"},{\"$output\":1}],"
                          "\"x\": {\"$output\":\"p\",\"y\":2}}",
               .parents = "{\"p\":{\"n\": 1.50},\"r\":2}"};
    l.payload_length = strlen(l.payload);
    CHECK(fill_outputs(&l));
    CHECK_TEXT(l.payload, "{\"a\":{\"n\": 1.50},\"l\":[null,{\"$output\":1}],"
                          "\"x\": {\"$output\":\"p\",\"y\":2}}");
    CHECK(l.payload_length == strlen(l.payload));
    lease_free(&l);
}

static void the_wire_refuses_what_is_cut(void)
{
    buffer out = {0};
    wire_kind kind = WIRE_JOB;
    wire_reader body;
    ending e = {.kind = END_COMPLETED};
    ending found;
    buffer_text(&e.result, "{\"a\":1}");
    e.message = strdup("m");
    size_t begun = wire_begin(&out, WIRE_ENDING);
    wire_put_ending(&out, &e);
    CHECK(wire_end(&out, begun));
    CHECK(wire_next(out.data, out.length, &kind, &body) == (long)out.length);
    CHECK(kind == WIRE_ENDING && wire_get_ending(&body, &found));
    CHECK_TEXT(found.message, "m");
    CHECK(found.result.length == 7);
    ending_free(&found);
    for (size_t cut = 0; cut < out.length; cut++) {
        CHECK(wire_next(out.data, cut, &kind, &body) == 0);
        body = (wire_reader){.at = out.data + WIRE_HEAD, .end = out.data + WIRE_HEAD, .fine = true};
        if (cut > WIRE_HEAD) {
            body.end = out.data + cut;
            CHECK(!wire_get_ending(&body, &found));
        }
    }
    memset(out.data + 1, 0xfe, 4);
    CHECK(wire_next(out.data, out.length, &kind, &body) == -1);
    ending_free(&e);
    buffer_free(&out);
}

static void of_too_many_lines_the_oldest_go(void)
{
    lease l = {.memory = calloc(1, 1), .attempt = 1, .timeout = -1, .soft_timeout = -1};
    told found;
    attempt *a = attempt_new(&l, 0);
    for (int i = 0; i < LINES_MOST + 5; i++)
        attempt_log(a, "line", 4);
    attempt_take_news(a, 1000, &found);
    CHECK(found.logs != NULL && strlen(found.logs) < 1200);
    size_t left = a->news.count;
    CHECK(left > 900 && left < LINES_MOST);
    attempt_keep_news(a, &found);
    CHECK(a->news.count == LINES_MOST);
    told_free(&found);
    attempt_take_news(a, 10000000, &found);
    CHECK(a->news.count == 0 && found.logs != NULL);
    told_free(&found);
    attempt_free(a);
}

int main(void)
{
    values_are_read_by_key_and_by_pointer();
    what_is_wrong_is_said();
    parents_are_read_by_name_and_by_id();
    results();
    failures();
    outputs_are_filled_in();
    the_wire_refuses_what_is_cut();
    of_too_many_lines_the_oldest_go();
    return checks_done("job");
}
