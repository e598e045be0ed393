/* Log lines on stderr: text for people, or one JSON object a line. Main thread only. */
#ifndef STOKER_LOG_H
#define STOKER_LOG_H

#include <stdbool.h>

typedef enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR } log_level;
typedef enum log_format { LOG_AUTO, LOG_TEXT, LOG_JSON } log_format;

void log_set_up(log_level level, log_format format);
bool log_read_level(const char *text, log_level *level);
bool log_read_format(const char *text, log_format *format);
void log_line(log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Tell a supervisor such as systemd a word: READY=1. Without one, nothing happens. */
void notify(const char *word);
/* Seconds between the signs of life that it asks for; less than 0: none. */
double notify_every(void);

#endif
