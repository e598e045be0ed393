#include "csv.h"

#include <stdlib.h>

enum state { AT_RECORD, AT_FIELD, IN_FIELD, IN_QUOTES, AFTER_QUOTE };

bool csv_begin(struct csv *csv, char delimiter, struct csv_sink sink, struct fault *fault) {
    *csv = (struct csv){.delimiter = delimiter, .sink = sink, .state = AT_RECORD, .line = 1};
    csv->text = malloc(CSV_MAX_FIELD + 1);
    return csv->text != NULL || fault_memory(fault, CSV_MAX_FIELD + 1);
}

void csv_end(struct csv *csv) {
    free(csv->text);
    csv->text = NULL;
}

static bool wrong(const struct csv *csv, struct fault *fault, const char *why) {
    return fault_set(fault, FAULT_INPUT, "line %llu is not CSV: %s", (unsigned long long)csv->line,
                     why);
}

static bool add(struct csv *csv, char byte, struct fault *fault) {
    if (csv->length >= CSV_MAX_FIELD) {
        return wrong(csv, fault, "a field has more than 131,072 bytes");
    }
    csv->text[csv->length++] = byte;
    return true;
}

static bool end_field(struct csv *csv, struct fault *fault) {
    csv->text[csv->length] = '\0';
    size_t length = csv->length;
    csv->length = 0;
    csv->state = AT_FIELD;
    return csv->sink.field(csv->sink.context, csv->fields++, csv->text, length, fault);
}

static bool end_record(struct csv *csv, struct fault *fault) {
    size_t fields = csv->fields;
    csv->fields = 0;
    csv->record_size = 0;
    csv->state = AT_RECORD;
    return csv->sink.record(csv->sink.context, fields, fault);
}

static bool end_line(struct csv *csv, struct fault *fault) {
    if (csv->state == AT_RECORD) { /* a blank line is no record */
        csv->record_size = 0;
        return true;
    }
    return end_field(csv, fault) && end_record(csv, fault);
}

static bool after_quote(struct csv *csv, char byte, struct fault *fault) {
    if (byte == '"') {
        csv->state = IN_QUOTES;
        return add(csv, byte, fault);
    }
    if (byte == csv->delimiter) {
        return end_field(csv, fault);
    }
    return wrong(csv, fault, "something follows a closing quote");
}

static bool in_quotes(struct csv *csv, char byte, struct fault *fault) {
    if (byte == '"') {
        csv->state = AFTER_QUOTE;
        return true;
    }
    return add(csv, byte, fault);
}

static bool plain(struct csv *csv, char byte, struct fault *fault) {
    if (byte == csv->delimiter) {
        return end_field(csv, fault);
    }
    if (byte == '"' && csv->state != IN_FIELD) {
        csv->state = IN_QUOTES;
        return true;
    }
    csv->state = IN_FIELD;
    return add(csv, byte, fault);
}

static bool is_end(const struct csv *csv, char byte) {
    return (byte == '\n' || byte == '\r') && csv->state != IN_QUOTES;
}

static bool take(struct csv *csv, char byte, struct fault *fault) {
    if (csv->state == IN_QUOTES) {
        return in_quotes(csv, byte, fault);
    }
    if (is_end(csv, byte)) {
        return end_line(csv, fault);
    }
    return csv->state == AFTER_QUOTE ? after_quote(csv, byte, fault) : plain(csv, byte, fault);
}

/* The \n of \r\n ended its line already, unless it stands in quotes, where it is a byte as others. */
static bool is_second_half(const struct csv *csv, char byte) {
    return byte == '\n' && csv->was_return && csv->state != IN_QUOTES;
}

bool csv_feed(struct csv *csv, const char *piece, size_t size, struct fault *fault) {
    for (size_t i = 0; i < size; i++) {
        char byte = piece[i];
        csv->line += byte == '\n' || (csv->was_return && byte != '\n');
        csv->record_size += !is_end(csv, byte);
        if (csv->record_size > CSV_MAX_RECORD) {
            return wrong(csv, fault, "a record has more than 1,048,576 bytes");
        }
        if (!is_second_half(csv, byte) && !take(csv, byte, fault)) {
            return false;
        }
        csv->was_return = byte == '\r';
    }
    return true;
}

bool csv_finish(struct csv *csv, struct fault *fault) {
    if (csv->state == IN_QUOTES) {
        return wrong(csv, fault, "a quote is not closed");
    }
    return end_line(csv, fault);
}
