#include "table.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

static bool is_blank(char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }
static bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

static const char *skip_digits(const char *at, const char *end) {
    while (at < end && is_digit(*at)) {
        at++;
    }
    return at;
}

/* Digits with or without a point, at least one of them; null: something else. */
static const char *skip_mantissa(const char *at, const char *end) {
    const char *whole = skip_digits(at, end);
    if (whole < end && *whole == '.') {
        const char *part = skip_digits(whole + 1, end);
        return whole > at || part > whole + 1 ? part : NULL;
    }
    return whole > at ? whole : NULL;
}

static const char *skip_exponent(const char *at, const char *end) {
    if (at == end || (*at != 'e' && *at != 'E')) {
        return at;
    }
    const char *digits = at + 1;
    digits += digits < end && (*digits == '+' || *digits == '-');
    const char *after = skip_digits(digits, end);
    return after > digits ? after : NULL;
}

static bool is_number(const char *at, const char *end) {
    at += at < end && (*at == '+' || *at == '-');
    at = skip_mantissa(at, end);
    return at != NULL && skip_exponent(at, end) == end;
}

/* strtod reads a comma for a point where the worker's locale says so. This one never does; it is
 * made once, when the library is loaded, for then there is one thread. */
static locale_t plain_locale;

__attribute__((constructor)) static void make_locale(void) {
    plain_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

__attribute__((destructor)) static void drop_locale(void) {
    if (plain_locale != (locale_t)0) {
        freelocale(plain_locale);
    }
}

bool number_of(const char *text, size_t length, double *value) {
    const char *end = text + length;
    while (text < end && is_blank(*text)) {
        text++;
    }
    while (end > text && is_blank(end[-1])) {
        end--;
    }
    if (!is_number(text, end) || plain_locale == (locale_t)0) {
        return false;
    }
    *value = strtod_l(text, NULL, plain_locale);
    return isfinite(*value);
}

/* ---- the header ---- */

/* FNV-1a. */
static uint64_t hash_of(const char *name) {
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *name != '\0'; name++) {
        hash = (hash ^ (unsigned char)*name) * UINT64_C(1099511628211);
    }
    return hash;
}

static bool is_taken(const struct table *table, const char *name) {
    uint64_t hash = hash_of(name);
    for (size_t i = 0; i < table->count; i++) {
        const struct column *column = &table->columns[i];
        if (column->hash == hash && strcmp(column->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* "price", "price (2)", "price (3)": two columns of one name stay two. */
static char *unique_name(const struct table *table, const char *name, size_t length) {
    size_t room = length + 16;
    char *unique = malloc(room);
    if (unique == NULL) {
        return NULL;
    }
    (void)snprintf(unique, room, "%.*s", (int)length, name);
    for (int number = 2; is_taken(table, unique); number++) {
        (void)snprintf(unique, room, "%.*s (%d)", (int)length, name, number);
    }
    return unique;
}

/* How many bytes the character at `at` has; 0: it is none that UTF-8 knows. */
static size_t character(const unsigned char *at, size_t left) {
    static const struct {
        uint32_t least;
        unsigned char mask, lead;
    } KINDS[] = {{0, 0x80, 0x00}, {0x80, 0xe0, 0xc0}, {0x800, 0xf0, 0xe0}, {0x10000, 0xf8, 0xf0}};
    for (size_t size = 1; size <= 4; size++) {
        if ((at[0] & KINDS[size - 1].mask) != KINDS[size - 1].lead || size > left) {
            continue;
        }
        uint32_t code = at[0] & (unsigned char)~KINDS[size - 1].mask;
        for (size_t i = 1; i < size; i++) {
            if ((at[i] & 0xc0) != 0x80) {
                return 0;
            }
            code = code << 6 | (at[i] & 0x3f);
        }
        bool is_right = code >= KINDS[size - 1].least && code <= 0x10ffff &&
                        (code < 0xd800 || code > 0xdfff);
        return is_right ? size : 0;
    }
    return 0;
}

static bool is_text(const char *text, size_t length) {
    const unsigned char *at = (const unsigned char *)text;
    while (length > 0) {
        size_t size = *at == 0 ? 0 : character(at, length);
        if (size == 0) {
            return false;
        }
        at += size;
        length -= size;
    }
    return true;
}

static bool add_column(struct table *table, const char *text, size_t length, struct fault *fault) {
    if (table->count == TABLE_MAX_COLUMNS) {
        return fault_set(fault, FAULT_INPUT, "the table has more than %d columns",
                         TABLE_MAX_COLUMNS);
    }
    while (length > 0 && is_blank(*text)) {
        text++;
        length--;
    }
    while (length > 0 && is_blank(text[length - 1])) {
        length--;
    }
    if (!is_text(text, length)) {
        return fault_set(fault, FAULT_INPUT, "the name of column %zu is not UTF-8 text",
                         table->count + 1);
    }
    struct column *column = &table->columns[table->count];
    *column = (struct column){.name = unique_name(table, text, length)};
    if (column->name == NULL) {
        return fault_memory(fault, length);
    }
    column->hash = hash_of(column->name);
    table->count++;
    return true;
}

/* ---- the rows ---- */

static void add_number(struct column *column, double value) {
    bool is_first = column->numbers++ == 0;
    double delta = value - column->mean;
    column->mean += delta / (double)column->numbers;
    column->m2 += delta * (value - column->mean);
    column->low = is_first || value < column->low ? value : column->low;
    column->high = is_first || value > column->high ? value : column->high;
}

static bool take_field(void *context, size_t index, const char *text, size_t length,
                       struct fault *fault) {
    struct table *table = context;
    double value = 0;
    if (!table->has_header) {
        return add_column(table, text, length, fault);
    }
    if (index >= table->count || length == 0) {
        return true;
    }
    if (number_of(text, length, &value)) {
        add_number(&table->columns[index], value);
    } else {
        table->columns[index].texts++;
    }
    return true;
}

static bool take_record(void *context, size_t fields, struct fault *fault) {
    struct table *table = context;
    (void)fault;
    if (!table->has_header) {
        table->has_header = true;
        return true;
    }
    table->rows++;
    table->ragged += fields != table->count;
    return true;
}

struct csv_sink table_sink(struct table *table) {
    return (struct csv_sink){take_field, take_record, table};
}

void table_drop(struct table *table) {
    for (size_t i = 0; i < table->count; i++) {
        free(table->columns[i].name);
    }
}

bool column_deviation(const struct column *column, double *value) {
    if (column->numbers < 2 || !isfinite(column->m2) || column->m2 < 0) {
        return false;
    }
    *value = sqrt(column->m2 / (double)(column->numbers - 1));
    return true;
}
