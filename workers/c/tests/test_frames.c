/* Frames: lengths are judged before anything else, and memory grows only with what came. */
#include <stdlib.h>

#include "check.h"
#include "frames.h"

static frame_state feed(frame_reader *reader, const char *bytes, size_t length, const char **body,
                        size_t *size)
{
    frame_feed(reader, bytes, length);
    return frame_next(reader, body, size);
}

static void a_frame_may_come_byte_by_byte(void)
{
    static const char frame[] = "\0\0\0\7{\"a\":1}\0\0\0\2{}";
    frame_reader reader = {0};
    const char *body = NULL;
    size_t size = 0;
    int frames = 0;
    frame_begin(&reader, 100);
    for (size_t i = 0; i + 1 < sizeof frame; i++)
        while (feed(&reader, frame + i, 1, &body, &size) == FRAME_READY) {
            CHECK(size == (frames == 0 ? 7U : 2U));
            CHECK(memcmp(body, frames == 0 ? "{\"a\":1}" : "{}", size) == 0);
            frames++;
            break;
        }
    CHECK(frames == 2);
    CHECK(!frame_is_inside(&reader));
    frame_end(&reader);
}

static void several_frames_may_come_at_once(void)
{
    static const char two[] = "\0\0\0\2{}\0\0\0\2[]\0\0";
    frame_reader reader = {0};
    const char *body = NULL;
    size_t size = 0;
    frame_begin(&reader, 100);
    CHECK(feed(&reader, two, sizeof two - 1, &body, &size) == FRAME_READY);
    CHECK(frame_next(&reader, &body, &size) == FRAME_READY);
    CHECK(size == 2 && memcmp(body, "[]", 2) == 0);
    CHECK(frame_next(&reader, &body, &size) == FRAME_MORE);
    CHECK(frame_is_inside(&reader));
    frame_end(&reader);
}

static void a_length_over_the_limit_takes_no_memory(void)
{
    static const char head[] = "\xff\xff\xff\xff";
    frame_reader reader = {0};
    const char *body = NULL;
    size_t size = 0;
    frame_begin(&reader, 65536);
    CHECK(feed(&reader, head, 4, &body, &size) == FRAME_TOO_LARGE);
    CHECK(reader.length == 0xffffffffU);
    CHECK(reader.in.capacity < 4096);
    frame_begin(&reader, 65536);
    CHECK(feed(&reader, "\0\1\0\1", 4, &body, &size) == FRAME_TOO_LARGE);
    frame_begin(&reader, 65536);
    CHECK(feed(&reader, "\0\1\0\0", 4, &body, &size) == FRAME_MORE);
    CHECK(reader.in.capacity < 4096);
    frame_begin(&reader, 65536);
    CHECK(feed(&reader, "\0\0\0\0", 4, &body, &size) == FRAME_EMPTY);
    frame_end(&reader);
}

static void a_request_that_is_too_long_is_not_written(void)
{
    buffer out = {0};
    char *params = calloc(1, 1000);
    memset(params, ' ', 1000);
    CHECK(!frame_request(&out, 1, "beat", params, 1000, 1000));
    CHECK(out.length == 0);
    CHECK(frame_request(&out, 1, "beat", params, 900, 1000));
    CHECK(out.length == 900 + strlen("{\"id\":1,\"verb\":\"beat\",\"params\":}") + FRAME_HEAD);
    free(params);
    buffer_free(&out);
}

int main(void)
{
    a_frame_may_come_byte_by_byte();
    several_frames_may_come_at_once();
    a_length_over_the_limit_takes_no_memory();
    a_request_that_is_too_long_is_not_written();
    return checks_done("frames");
}
