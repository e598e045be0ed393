/* Any bytes as a table: read whole and read in two pieces, with the same answer. */
#include "statistics/table.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool read_table(struct table *table, const char *text, size_t size, size_t cut,
                       struct fault *fault) {
    struct csv csv;
    bool is_done = csv_begin(&csv, ',', table_sink(table), fault) &&
                   csv_feed(&csv, text, cut, fault) &&
                   csv_feed(&csv, text + cut, size - cut, fault) && csv_finish(&csv, fault);
    csv_end(&csv);
    return is_done;
}

static void check(bool is_right) {
    if (!is_right) {
        abort();
    }
}

static bool is_same_number(double one, double other) {
    return memcmp(&one, &other, sizeof one) == 0 || (one != one && other != other);
}

static void compare(const struct table *one, const struct table *other) {
    check(one->rows == other->rows && one->ragged == other->ragged && one->count == other->count);
    for (size_t i = 0; i < one->count; i++) {
        const struct column *a = &one->columns[i], *b = &other->columns[i];
        check(strcmp(a->name, b->name) == 0 && a->numbers == b->numbers && a->texts == b->texts);
        check(is_same_number(a->mean, b->mean) && is_same_number(a->m2, b->m2));
        check(a->numbers + a->texts <= one->rows);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fault whole_fault = {.kind = FAULT_NONE}, cut_fault = {.kind = FAULT_NONE};
    struct table *whole = calloc(1, sizeof *whole), *cut = calloc(1, sizeof *cut);
    size_t at = size > 0 ? data[0] % size : 0;
    bool is_whole = read_table(whole, (const char *)data, size, size, &whole_fault);
    bool is_cut = read_table(cut, (const char *)data, size, at, &cut_fault);
    check(is_whole == is_cut && whole_fault.kind == cut_fault.kind);
    if (is_whole) { /* a row that was cut by a fault counts its fields, but not itself */
        compare(whole, cut);
    }
    table_drop(whole);
    table_drop(cut);
    free(whole);
    free(cut);
    return 0;
}
