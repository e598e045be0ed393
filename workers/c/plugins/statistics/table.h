/* Statistics of each column of a table, in one pass and in bounded memory.
 *
 * A value is a number if it reads as one: blanks, a sign, digits with a point, an exponent, blanks,
 * and finite as a double. Mean and deviation are Welford's, in double precision and in the order of
 * the rows, so that every program which does the same additions gets the same bits:
 *
 *     delta = x - mean;  mean += delta / n;  m2 += delta * (x - mean);  stddev = sqrt(m2 / (n - 1)) */
#ifndef STOKER_PLUGINS_TABLE_H
#define STOKER_PLUGINS_TABLE_H

#include "csv.h"

enum { TABLE_MAX_COLUMNS = 1000 };

struct column {
    char *name;    /* UTF-8, without blanks around it, and told from its neighbours */
    uint64_t hash; /* of the name, so that a thousand long names are told apart in no time */
    uint64_t numbers, texts;
    double low, high, mean, m2;
};

struct table {
    struct column columns[TABLE_MAX_COLUMNS];
    size_t count;
    bool has_header;
    uint64_t rows, ragged;
};

/* What csv is to tell. */
struct csv_sink table_sink(struct table *table);
void table_drop(struct table *table);

bool number_of(const char *text, size_t length, double *value);
/* False: there is none (fewer than two numbers, or beyond what a double holds). */
bool column_deviation(const struct column *column, double *value);

#endif
