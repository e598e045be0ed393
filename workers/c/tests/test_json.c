/* JSON as slices: what is taken, what is refused, what keeps its bytes. */
#include <math.h>

#include "check.h"
#include "json_read.h"
#include "json_write.h"
#include "text.h"

static const json_limits all = {.depth = 50, .indexed = 50, .max_nodes = 1000};

static bool takes(const char *text, size_t length)
{
    json_doc doc = {0};
    const char *wrong = json_parse(&doc, text, length, &all);
    json_free(&doc);
    return wrong == NULL;
}

#define TAKES(text) takes(text, sizeof(text) - 1)

static void it_takes_what_is_json_and_nothing_else(void)
{
    CHECK(TAKES("{}"));
    CHECK(TAKES(" [1, -2.5e3, true, null, \"x\"] "));
    CHECK(TAKES("3"));
    CHECK(TAKES("\"\xc3\xa9\xf0\x9f\x98\x80\""));
    CHECK(!TAKES(""));
    CHECK(!TAKES("{"));
    CHECK(!TAKES("{}{}"));
    CHECK(!TAKES("[1,]"));
    CHECK(!TAKES("{\"a\":}"));
    CHECK(!TAKES("{a:1}"));
    CHECK(!TAKES("01"));
    CHECK(!TAKES("NaN"));
    CHECK(!TAKES("[Infinity]"));
    CHECK(!TAKES("// x\n{}"));
    CHECK(!TAKES("\"a\nb\""));
    CHECK(!TAKES("\xef\xbb\xbf{}"));
}

static void it_refuses_what_is_not_utf8(void)
{
    CHECK(!TAKES("\"\xff\""));
    CHECK(!TAKES("\"\xc0\xaf\""));             /* an overlong slash */
    CHECK(!TAKES("\"\xed\xa0\x80\""));         /* a surrogate */
    CHECK(!TAKES("\"\xf4\x90\x80\x80\""));     /* above U+10FFFF */
    CHECK(!TAKES("\"\xe2\x82\""));             /* cut */
    CHECK(!TAKES("\"12345678\x80\""));         /* behind eight bytes of ASCII */
    CHECK(is_utf8("", 0));
}

static void it_refuses_nesting_and_numbers_of_values_without_end(void)
{
    char deep[200];
    memset(deep, '[', 100);
    memset(deep + 100, ']', 100);
    CHECK(!takes(deep, 200));
    CHECK(takes(deep + 50, 100));
    static const json_limits few = {.depth = 5, .indexed = 5, .max_nodes = 3};
    json_doc doc = {0};
    CHECK(json_parse(&doc, "[1,2]", 5, &few) == NULL);
    CHECK(json_parse(&doc, "[1,2,3]", 7, &few) != NULL);
    CHECK(doc.count == 0);
    json_free(&doc);
}

static void values_keep_their_bytes(void)
{
    static const char text[] = "{ \"p\" : {\"n\": 18446744073709551615, \"x\": 1.50} , \"q\":[ ]}";
    static const json_limits shallow = {.depth = 50, .indexed = 1, .max_nodes = 100};
    json_doc doc = {0};
    size_t length = 0;
    CHECK(json_parse(&doc, text, sizeof text - 1, &shallow) == NULL);
    CHECK(doc.count == 5); /* what is inside `p` has no nodes */
    const char *slice = json_slice(&doc, json_member(&doc, 0, "p"), &length);
    static const char kept[] = "{\"n\": 18446744073709551615, \"x\": 1.50}";
    CHECK(length == sizeof kept - 1 && memcmp(slice, kept, length) == 0);
    slice = json_slice(&doc, json_member(&doc, 0, "q"), &length);
    CHECK(length == 3 && memcmp(slice, "[ ]", 3) == 0);
    CHECK(json_member(&doc, 0, "r") == JSON_NONE);
    json_free(&doc);
}

static void members_and_items_are_found(void)
{
    static const char text[] = "{\"a\":[{\"b\":[]},2,[3,4]],\"\\u0061b\":5,\"dup\":1,\"dup\":2}";
    json_doc doc = {0};
    int64_t value = 0;
    CHECK(json_parse(&doc, text, sizeof text - 1, &all) == NULL);
    int64_t a = json_member(&doc, 0, "a");
    CHECK(json_count(&doc, a) == 3);
    CHECK(json_count(&doc, 0) == 4);
    CHECK(json_integer(&doc, json_item(&doc, json_item(&doc, a, 2), 1), &value) && value == 4);
    CHECK(json_item(&doc, a, 3) == JSON_NONE);
    CHECK(json_integer(&doc, json_member(&doc, 0, "ab"), &value) && value == 5);
    CHECK(json_integer(&doc, json_member(&doc, 0, "dup"), &value) && value == 2);
    CHECK(json_first(&doc, json_member(&doc, json_item(&doc, a, 0), "b")) == JSON_NONE);
    CHECK(json_member(&doc, JSON_NONE, "x") == JSON_NONE);
    json_free(&doc);
}

static bool decodes(const char *text, const char *expected, size_t length)
{
    json_doc doc = {0};
    buffer out = {0};
    bool same = json_parse(&doc, text, strlen(text), &all) == NULL && json_decode(&doc, 0, &out) &&
                out.length == length && (length == 0 || memcmp(out.data, expected, length) == 0);
    buffer_free(&out);
    json_free(&doc);
    return same;
}

static void texts_are_decoded(void)
{
    CHECK(decodes("\"\"", "", 0));
    CHECK(decodes("\"a\\n\\t\\\\\\\"\\/b\"", "a\n\t\\\"/b", 7));
    CHECK(decodes("\"\\u00e9\\ud83d\\ude00\\u0000\"", "\xc3\xa9\xf0\x9f\x98\x80\0", 7));
    CHECK(!decodes("\"\\ud83d\"", "", 0));
    CHECK(!decodes("\"\\ude00\"", "", 0));
    CHECK(!decodes("\"\\ud83d\\u0041\"", "", 0));
    CHECK(!decodes("3", "3", 1));
    CHECK(json_has_whole_pairs("\"\\ud83d\\ude00\\\\ud83d\"", 21));
    CHECK(!json_has_whole_pairs("\"\\\\\\ud83d\"", 10));
}

static bool whole(const char *text, int64_t *value)
{
    json_doc doc = {0};
    bool fine = json_parse(&doc, text, strlen(text), &all) == NULL && json_integer(&doc, 0, value);
    json_free(&doc);
    return fine;
}

static void numbers_are_read_or_refused(void)
{
    int64_t value = 0;
    CHECK(whole("9223372036854775807", &value) && value == INT64_MAX);
    CHECK(whole("-9223372036854775808", &value) && value == INT64_MIN);
    CHECK(!whole("9223372036854775808", &value));
    CHECK(whole("3.0", &value) && value == 3);
    CHECK(whole("1e3", &value) && value == 1000);
    CHECK(!whole("3.5", &value));
    CHECK(!whole("1e300", &value));
    CHECK(!whole("1e999", &value));
    CHECK(!whole("\"3\"", &value));
}

static void what_is_written_is_json(void)
{
    buffer out = {0};
    json_writer w;
    json_begin(&w, &out);
    json_open(&w, NULL, false);
    json_put_text(&w, "t\n", "a\"\\\x01\xc3\xa9", 6);
    json_put_number(&w, "n", 0.1);
    json_put_number(&w, "whole", 30);
    json_put_integer(&w, "i", INT64_MIN);
    json_open(&w, "list", true);
    json_put_boolean(&w, NULL, true);
    json_put_raw(&w, NULL, "null", 4);
    json_close(&w);
    json_close(&w);
    CHECK(w.wrong == NULL);
    CHECK_TEXT(buffer_string(&out),
               "{\"t\\n\":\"a\\\"\\\\\\u0001\xc3\xa9\",\"n\":0.1,\"whole\":30.0,"
               "\"i\":-9223372036854775808,\"list\":[true,null]}");
    buffer_free(&out);
}

static void a_mistake_in_writing_sticks(void)
{
    buffer out = {0};
    json_writer w;
    json_begin(&w, &out);
    json_open(&w, NULL, false);
    json_put_integer(&w, NULL, 1);
    CHECK(w.wrong != NULL);
    json_put_integer(&w, "fine", 1);
    CHECK(out.length == 1);
    json_begin(&w, &out);
    json_put_number(&w, NULL, NAN);
    CHECK(w.wrong != NULL);
    json_begin(&w, &out);
    json_put_text(&w, NULL, "\xff", 1);
    CHECK(w.wrong != NULL);
    json_begin(&w, &out);
    for (int i = 0; i < JSON_MOST_OPEN + 1; i++)
        json_open(&w, NULL, true);
    CHECK(w.wrong != NULL);
    json_begin(&w, &out);
    json_close(&w);
    CHECK(w.wrong != NULL);
    buffer_free(&out);
}

static void doubles_are_short_and_exact(void)
{
    static const double values[] = {0, 1, -1, 0.1, 1.0 / 3, 1e21, 5e-324, 1.7976931348623157e308,
                                    123456789.125, 1e15, 0.30000000000000004,
                                    -0.0, 1e-6, -12.000001, 8999999999.5, 0.1 + 1e-17, 1.0000005};
    char text[NUMBER_SIZE];
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        json_doc doc = {0};
        double again = -7;
        json_format(text, values[i]);
        CHECK(json_parse(&doc, text, strlen(text), &all) == NULL);
        CHECK(json_number(&doc, 0, &again) && again == values[i]);
        json_free(&doc);
    }
    json_format(text, 0.30000000000000004);
    CHECK_TEXT(text, "0.30000000000000004");
    json_format(text, 2);
    CHECK_TEXT(text, "2.0");
    json_format(text, -1200.5);
    CHECK_TEXT(text, "-1200.5");
    json_format(text, 0.000001);
    CHECK_TEXT(text, "0.000001");
    json_format(text, -0.0);
    CHECK_TEXT(text, "-0.0");
}

int main(void)
{
    it_takes_what_is_json_and_nothing_else();
    it_refuses_what_is_not_utf8();
    it_refuses_nesting_and_numbers_of_values_without_end();
    values_keep_their_bytes();
    members_and_items_are_found();
    texts_are_decoded();
    numbers_are_read_or_refused();
    what_is_written_is_json();
    a_mistake_in_writing_sticks();
    doubles_are_short_and_exact();
    return checks_done("json");
}
