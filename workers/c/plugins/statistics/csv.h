/* A streaming reader of CSV, which takes exactly what Python's csv.reader takes when it is strict.
 *
 * Fields are separated by one byte and may stand in double quotes; a doubled quote inside is one
 * quote. Lines end with \n, \r\n or \r, inside quotes as well. Bytes are bytes: nothing is decoded.
 * A field and a record are bounded, so memory is too, whatever the file says. */
#ifndef STOKER_PLUGINS_CSV_H
#define STOKER_PLUGINS_CSV_H

#include "../common/fault.h"

#include <stdint.h>

enum { CSV_MAX_FIELD = 131072, CSV_MAX_RECORD = 1048576 };

/* Told each field as it ends (`text` has a zero behind it), and each record that is not blank. */
struct csv_sink {
    bool (*field)(void *context, size_t index, const char *text, size_t length,
                  struct fault *fault);
    bool (*record)(void *context, size_t fields, struct fault *fault);
    void *context;
};

struct csv {
    char delimiter;
    struct csv_sink sink;
    int state;
    bool was_return; /* the last byte was \r: a \n after it belongs to it */
    uint64_t line;
    size_t record_size, fields, length;
    char *text;
};

bool csv_begin(struct csv *csv, char delimiter, struct csv_sink sink, struct fault *fault);
bool csv_feed(struct csv *csv, const char *piece, size_t size, struct fault *fault);
/* The end of the input: a last line need not end. */
bool csv_finish(struct csv *csv, struct fault *fault);
void csv_end(struct csv *csv);

#endif
