/* csv_statistics.so: the task csv.statistics. */
#include "common/flow.h"
#include "statistics/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A mark that some programs put before UTF-8. */
static size_t mark(const unsigned char *first, size_t size) {
    return size >= 3 && memcmp(first, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

/* The first piece is a whole one if the file has as much: a mark is never cut in two. */
static bool feed_all(struct flow *flow, struct csv *csv, unsigned char *piece) {
    ssize_t got = 0;
    bool is_first = true;
    while ((got = flow_read(flow, piece, FLOW_CHUNK)) > 0) {
        size_t skip = is_first ? mark(piece, (size_t)got) : 0;
        is_first = false;
        if (!csv_feed(csv, (const char *)piece + skip, (size_t)got - skip, &flow->fault)) {
            return false;
        }
    }
    return got == 0 && csv_finish(csv, &flow->fault);
}

static bool read_table(struct flow *flow, char delimiter, struct table *table) {
    struct csv csv = {.text = NULL};
    unsigned char *piece = malloc(FLOW_CHUNK);
    bool is_done = piece != NULL || fault_memory(&flow->fault, FLOW_CHUNK);
    is_done = is_done && csv_begin(&csv, delimiter, table_sink(table), &flow->fault) &&
              feed_all(flow, &csv, piece);
    csv_end(&csv);
    free(piece);
    if (is_done && !table->has_header) {
        return fault_set(&flow->fault, FAULT_INPUT, "the table is empty; expected a CSV header");
    }
    return is_done;
}

static void put_or_null(stoker_job *job, const char *key, bool is_there, double value) {
    if (is_there) {
        stoker_put_number(job, key, value);
    } else {
        stoker_put_null(job, key);
    }
}

static void put_column(stoker_job *job, const struct column *column, uint64_t rows) {
    double deviation = 0;
    bool has_any = column->numbers > 0, has_deviation = column_deviation(column, &deviation);
    stoker_put_object(job, column->name);
    stoker_put_integer(job, "count", (int64_t)column->numbers);
    stoker_put_integer(job, "texts", (int64_t)column->texts);
    stoker_put_integer(job, "empty", (int64_t)(rows - column->numbers - column->texts));
    put_or_null(job, "min", has_any, column->low);
    put_or_null(job, "max", has_any, column->high);
    put_or_null(job, "mean", has_any && isfinite(column->mean), column->mean);
    put_or_null(job, "stddev", has_deviation, deviation);
    stoker_put_end(job);
}

static int put_result(stoker_job *job, const struct table *table, const struct flow *flow) {
    stoker_put_integer(job, "rows", (int64_t)table->rows);
    stoker_put_integer(job, "ragged", (int64_t)table->ragged);
    stoker_put_integer(job, "bytes", (int64_t)flow->in_done);
    stoker_put_object(job, "columns");
    for (size_t i = 0; i < table->count; i++) {
        put_column(job, &table->columns[i], table->rows);
    }
    stoker_put_end(job);
    return STOKER_COMPLETED;
}

static bool read_delimiter(stoker_job *job, char *delimiter) {
    const char *text = ",";
    size_t length = 1;
    if (stoker_read_text(job, "delimiter", &text, &length) == STOKER_WRONG) {
        return false;
    }
    if (length != 1 || strchr(",;\t|", text[0]) == NULL || text[0] == '\0') {
        (void)stoker_discard(job, "InvalidArguments",
                             "the delimiter is no comma, semicolon, tab or bar");
        return false;
    }
    *delimiter = text[0];
    return true;
}

static int run(stoker_job *job, struct flow *flow, char delimiter) {
    struct table *table = calloc(1, sizeof *table);
    if (table == NULL) {
        (void)fault_memory(&flow->fault, sizeof *table);
        return glue_end(job, &flow->fault);
    }
    bool is_done = flow_open(flow, NULL) && read_table(flow, delimiter, table);
    int outcome = is_done ? put_result(job, table, flow) : glue_end(job, &flow->fault);
    table_drop(table);
    free(table);
    return outcome;
}

static int statistics(stoker_job *job) {
    static const char *const KNOWN[] = {"file", "data", "delimiter", NULL};
    struct flow flow = {.watch = glue_watch(job, "read the table"), .in = -1, .is_text = true};
    char delimiter = ',';
    if (!glue_check_keys(job, KNOWN) || !flow_arguments(job, &flow) ||
        !read_delimiter(job, &delimiter)) {
        return STOKER_FAILED;
    }
    int outcome = run(job, &flow, delimiter);
    flow_close(&flow);
    return outcome;
}

static const stoker_task TASKS[] = {
    {.name = "csv.statistics",
     .run = statistics,
     .mode = STOKER_PROCESS,
     .about = "Statistics of each column of a CSV table: file or data, delimiter"},
};
STOKER_PLUGIN_WITH("csv_statistics", "1.0", TASKS, glue_open, NULL)
