#include "text.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define LONGEST_DURATION (100.0 * 365 * 86400)

/* How many bytes the character at `at` has; 0 if it is none. The ranges are those of table 3-7 of
   the Unicode standard. */
static size_t character_size(const unsigned char *at, size_t left)
{
    unsigned char first = at[0];
    if (first < 0x80)
        return 1;
    size_t size = first >= 0xC2 && first <= 0xDF   ? 2
                  : first >= 0xE0 && first <= 0xEF ? 3
                  : first >= 0xF0 && first <= 0xF4 ? 4
                                                   : 0;
    if (size == 0 || size > left)
        return 0;
    unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < size; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    return size;
}

/* How many bytes from `at` on are plain ASCII, looked at eight at a time. */
static size_t ascii_run(const unsigned char *at, size_t left)
{
    size_t done = 0;
    uint64_t eight = 0;
    while (left - done >= sizeof eight) {
        memcpy(&eight, at + done, sizeof eight);
        if ((eight & UINT64_C(0x8080808080808080)) != 0)
            break;
        done += sizeof eight;
    }
    return done;
}

bool is_utf8(const char *bytes, size_t length)
{
    const unsigned char *at = (const unsigned char *)bytes;
    size_t left = length;
    while (left > 0) {
        size_t size = ascii_run(at, left);
        if (size == 0)
            size = character_size(at, left);
        if (size == 0)
            return false;
        at += size;
        left -= size;
    }
    return true;
}

size_t utf8_cut(const char *text, size_t length, size_t limit)
{
    if (length <= limit)
        return length;
    size_t cut = limit;
    while (cut > 0 && ((unsigned char)text[cut] & 0xC0) == 0x80)
        cut--;
    return cut;
}

void add_code_point(buffer *out, uint32_t code)
{
    char bytes[4];
    size_t size = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = size; i-- > 1;) {
        bytes[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    bytes[0] = (char)(leads[size] | code);
    buffer_add(out, bytes, size);
}

void add_as_utf8(buffer *out, const char *bytes, size_t length)
{
    const unsigned char *at = (const unsigned char *)bytes;
    while (length > 0) {
        size_t size = ascii_run(at, length);
        if (size == 0)
            size = character_size(at, length);
        if (size > 0)
            buffer_add(out, at, size);
        else
            add_code_point(out, 0xFFFD);
        size_t step = size > 0 ? size : 1;
        at += step;
        length -= step;
    }
}

static double unit_of(const char **at)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"ms", 0.001}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"w", 604800}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        size_t length = strlen(units[i].name);
        if (strncmp(*at, units[i].name, length) == 0) {
            *at += length;
            return units[i].seconds;
        }
    }
    return 0;
}

/* A number without a sign: digits, perhaps a point and digits. */
static bool read_plain(const char **at, double *value)
{
    if (!isdigit((unsigned char)**at))
        return false;
    size_t length = strspn(*at, "0123456789");
    if ((*at)[length] == '.' && isdigit((unsigned char)(*at)[length + 1]))
        length += 1 + strspn(*at + length + 1, "0123456789");
    char copy[64];
    if (length >= sizeof copy)
        return false;
    memcpy(copy, *at, length);
    copy[length] = '\0';
    *value = strtod(copy, NULL);
    *at += length;
    return true;
}

bool read_duration(const char *text, double *seconds)
{
    double total = 0;
    double part = 0;
    const char *at = text;
    if (!read_plain(&at, &part))
        return false;
    if (*at == '\0') {
        *seconds = part;
        return part <= LONGEST_DURATION;
    }
    for (;;) {
        double unit = unit_of(&at);
        total += part * unit;
        if (unit == 0 || total > LONGEST_DURATION)
            return false;
        if (*at == '\0')
            break;
        if (!read_plain(&at, &part))
            return false;
    }
    *seconds = total;
    return true;
}

bool read_size(const char *text, uint64_t *bytes)
{
    static const struct {
        const char *name;
        double factor;
    } units[] = {{"", 1},           {"B", 1},           {"K", 1024},        {"KB", 1024},
                 {"KIB", 1024},     {"M", 1048576},     {"MB", 1048576},    {"MIB", 1048576},
                 {"G", 1073741824}, {"GB", 1073741824}, {"GIB", 1073741824}};
    double value = 0;
    const char *at = text;
    if (!read_plain(&at, &value))
        return false;
    at += strspn(at, " ");
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcasecmp(at, units[i].name) != 0)
            continue;
        double size = value * units[i].factor;
        *bytes = size < 1e18 ? (uint64_t)size : 0;
        return size < 1e18;
    }
    return false;
}

bool read_whole(const char *text, long least, long most, long *value)
{
    if (!isdigit((unsigned char)text[0]))
        return false;
    char *end = NULL;
    errno = 0;
    long found = strtol(text, &end, 10);
    if (errno != 0 || *end != '\0' || found < least || found > most)
        return false;
    *value = found;
    return true;
}

void write_moment(char out[MOMENT_SIZE], double seconds)
{
    double whole = floor(seconds);
    time_t clock = (time_t)whole;
    unsigned micro = (unsigned)((seconds - whole) * 1e6) % 1000000U;
    struct tm parts;
    char day[MOMENT_SIZE - 12];
    if (gmtime_r(&clock, &parts) == NULL ||
        strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &parts) == 0)
        memcpy(day, "1970-01-01T00:00:00", sizeof "1970-01-01T00:00:00");
    snprintf(out, MOMENT_SIZE, "%s.%06uZ", day, micro);
}
