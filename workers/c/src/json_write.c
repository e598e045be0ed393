#include "json_write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

enum { DIGITS = 20 }; /* of 64 bits, or a sign and 19 */

void json_begin(json_writer *w, buffer *out)
{
    *w = (json_writer){.out = out};
}

static void refuse(json_writer *w, const char *wrong)
{
    if (w->wrong == NULL)
        w->wrong = wrong;
}

/* Write what stands before a value: a comma, a key. False if no value may stand here. */
static bool lead(json_writer *w, const char *key)
{
    if (w->wrong != NULL)
        return false;
    if (w->depth == 0)
        return true;
    unsigned top = w->depth - 1;
    if (w->is_array[top] != (key == NULL)) {
        refuse(w, key == NULL ? "a value inside an object was written without its key"
                              : "a value inside an array was written with a key");
        return false;
    }
    if (w->has_items[top])
        buffer_byte(w->out, ',');
    w->has_items[top] = true;
    if (key != NULL) {
        if (!is_utf8(key, strlen(key)))
            refuse(w, "a key is not UTF-8");
        json_quote(w->out, key, strlen(key));
        buffer_byte(w->out, ':');
    }
    return true;
}

static void after(json_writer *w)
{
    if (w->out->failed)
        refuse(w, "there is no memory for it");
}

void json_open(json_writer *w, const char *key, bool is_array)
{
    if (w->depth >= JSON_MOST_OPEN)
        refuse(w, "it nests too deep");
    if (!lead(w, key))
        return;
    w->is_array[w->depth] = is_array;
    w->has_items[w->depth] = false;
    w->depth++;
    buffer_byte(w->out, is_array ? '[' : '{');
    after(w);
}

void json_close(json_writer *w)
{
    if (w->depth == 0)
        refuse(w, "more was ended than begun");
    if (w->wrong != NULL)
        return;
    w->depth--;
    buffer_byte(w->out, w->is_array[w->depth] ? ']' : '}');
    after(w);
}

void json_put_text(json_writer *w, const char *key, const char *text, size_t length)
{
    if (!is_utf8(text, length))
        refuse(w, "a text is not UTF-8");
    if (!lead(w, key))
        return;
    json_quote(w->out, text, length);
    after(w);
}

void json_put_string(json_writer *w, const char *key, const char *text)
{
    json_put_text(w, key, text, strlen(text));
}

void json_put_integer(json_writer *w, const char *key, int64_t value)
{
    if (!lead(w, key))
        return;
    char text[DIGITS];
    char *at = text + DIGITS;
    /* Written backwards, as an unsigned number: the lowest has no positive twin. */
    uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do {
        *--at = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (value < 0)
        *--at = '-';
    buffer_add(w->out, at, (size_t)(text + DIGITS - at));
    after(w);
}

void json_put_number(json_writer *w, const char *key, double value)
{
    char text[NUMBER_SIZE];
    if (!isfinite(value))
        refuse(w, "a number is not finite");
    if (!lead(w, key))
        return;
    json_format(text, value);
    buffer_text(w->out, text);
    after(w);
}

void json_put_boolean(json_writer *w, const char *key, bool value)
{
    if (!lead(w, key))
        return;
    buffer_text(w->out, value ? "true" : "false");
    after(w);
}

void json_put_raw(json_writer *w, const char *key, const char *json, size_t length)
{
    if (!lead(w, key))
        return;
    buffer_add(w->out, json, length);
    after(w);
}

static void escape(buffer *out, unsigned char c)
{
    static const char plain[] = "\"\\\b\f\n\r\t";
    static const char names[] = "\"\\bfnrt";
    const char *found = c == 0 ? NULL : strchr(plain, c);
    if (found != NULL) {
        buffer_byte(out, '\\');
        buffer_byte(out, names[found - plain]);
    } else {
        buffer_print(out, "\\u%04x", c);
    }
}

void json_quote(buffer *out, const char *text, size_t length)
{
    buffer_byte(out, '"');
    size_t begun = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buffer_add(out, text + begun, i - begun);
        escape(out, c);
        begun = i + 1;
    }
    buffer_add(out, text + begun, length - begun);
    buffer_byte(out, '"');
}

/* A number of at most six decimals, which most are, without the detour over printf. False if it is
   none. Its quotient is the double nearest to the decimal, so it reads as the same double. */
static bool format_short(char out[NUMBER_SIZE], double value)
{
    if (!(fabs(value) < 9e9))
        return false;
    int64_t micro = llround(value * 1e6);
    if ((double)micro / 1e6 != value || (micro == 0 && signbit(value)))
        return false;
    uint64_t left = micro < 0 ? (uint64_t)-micro : (uint64_t)micro;
    char *at = out + NUMBER_SIZE - 1;
    *at = '\0';
    for (int decimals = 6; decimals > 0; decimals--) {
        char digit = (char)('0' + left % 10);
        left /= 10;
        /* Zeros at the end are left out, but for one behind the point. */
        if (*at != '\0' || digit != '0' || decimals == 1)
            *--at = digit;
    }
    *--at = '.';
    do {
        *--at = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (micro < 0)
        *--at = '-';
    memmove(out, at, strlen(at) + 1);
    return true;
}

void json_format(char out[NUMBER_SIZE], double value)
{
    if (format_short(out, value))
        return;
    /* The fewest digits that read as the same double. */
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, NUMBER_SIZE - 2, "%.*g", digits, value);
        if (strtod(out, NULL) == value)
            break;
    }
    if (strpbrk(out, ".eE") == NULL)
        memcpy(out + strlen(out), ".0", sizeof ".0");
}
