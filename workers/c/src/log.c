#include "log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "json_write.h"
#include "text.h"

static const char *const names[] = {"debug", "info", "warning", "error"};
static log_level least = LOG_INFO;
static bool as_json;

void log_set_up(log_level level, log_format format)
{
    least = level;
    as_json = format == LOG_JSON || (format == LOG_AUTO && !isatty(STDERR_FILENO));
}

bool log_read_level(const char *text, log_level *level)
{
    for (int i = LOG_DEBUG; i <= LOG_ERROR; i++) {
        if (strcasecmp(text, names[i]) == 0) {
            *level = (log_level)i;
            return true;
        }
    }
    bool critical = strcasecmp(text, "critical") == 0;
    if (critical)
        *level = LOG_ERROR;
    return critical;
}

bool log_read_format(const char *text, log_format *format)
{
    static const char *const formats[] = {"auto", "text", "json"};
    for (int i = LOG_AUTO; i <= LOG_JSON; i++) {
        if (strcmp(text, formats[i]) == 0) {
            *format = (log_format)i;
            return true;
        }
    }
    return false;
}

static void write_json(buffer *line, log_level level, const char *at, const buffer *message)
{
    json_writer w;
    json_begin(&w, line);
    json_open(&w, NULL, false);
    json_put_string(&w, "at", at);
    json_put_string(&w, "level", names[level]);
    json_put_string(&w, "logger", "stoker.worker.c");
    json_put_text(&w, "message", message->data, message->length);
    json_put_integer(&w, "pid", getpid());
    json_close(&w);
}

/* Time, level, sentence; what would move a terminal's cursor is shown as a question mark. */
static void write_text(buffer *line, log_level level, const char *at, const buffer *message)
{
    buffer_print(line, "%.12s %-7s worker.c: ", at + strlen("2030-01-01T"), names[level]);
    for (size_t i = 0; i < message->length; i++) {
        unsigned char c = (unsigned char)message->data[i];
        buffer_byte(line, c < 0x20 || c == 0x7F ? '?' : (char)c);
    }
}

void log_line(log_level level, const char *format, ...)
{
    buffer said = {0};
    buffer message = {0};
    buffer line = {0};
    char at[MOMENT_SIZE];
    va_list values;
    if (level < least)
        return;
    va_start(values, format);
    buffer_vprint(&said, format, values);
    va_end(values);
    if (said.data != NULL)
        add_as_utf8(&message, said.data, said.length);
    write_moment(at, now_wall());
    if (as_json)
        write_json(&line, level, at, &message);
    else
        write_text(&line, level, at, &message);
    buffer_byte(&line, '\n');
    /* One write a line, so that lines of several processes do not mix. */
    if (!line.failed)
        (void)!write(STDERR_FILENO, line.data, line.length);
    buffer_free(&said);
    buffer_free(&message);
    buffer_free(&line);
}

void notify(const char *word)
{
    const char *place = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = place == NULL ? 0 : strlen(place);
    if (length == 0 || length >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, place, length);
    if (place[0] == '@')
        address.sun_path[0] = '\0';
    int line = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (line < 0)
        return;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    (void)!sendto(line, word, strlen(word), MSG_NOSIGNAL, (const struct sockaddr *)&address, size);
    close(line);
}

double notify_every(void)
{
    const char *text = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    if (text == NULL || (pid != NULL && atol(pid) != (long)getpid()))
        return -1;
    double patience = atof(text) / 1e6;
    /* Half the time that the supervisor has patience, as its manual asks for. */
    return patience > 0 ? patience / 2 : -1;
}
