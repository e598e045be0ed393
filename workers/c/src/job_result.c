/* The functions of part 5 of the header: the result of a job. */
#include <string.h>

#include "job.h"

static const json_limits result_limits = {.depth = 100, .indexed = 0, .max_nodes = 1};

/* Why these bytes cannot be a result, or a part of one; NULL if they can. */
static const char *judge_json(const char *json, size_t length)
{
    json_doc doc = {0};
    const char *wrong = json_parse(&doc, json, length, &result_limits);
    json_free(&doc);
    if (wrong == NULL && !json_has_whole_pairs(json, length))
        wrong = "it holds half a surrogate pair";
    return wrong;
}

void stoker_result_json(stoker_job *job, const char *json, size_t length)
{
    buffer_clear(&job->ending.result);
    job->form = RESULT_GIVEN;
    job->result_wrong = judge_json(json, length);
    if (job->result_wrong == NULL && !buffer_add(&job->ending.result, json, length))
        job->result_wrong = "there is no memory for it";
}

static json_writer *writer(stoker_job *job)
{
    if (job->form != RESULT_PUT) {
        buffer_clear(&job->ending.result);
        job->form = RESULT_PUT;
        json_begin(&job->writer, &job->ending.result);
        json_open(&job->writer, NULL, false);
    }
    /* Far over the limit already: more would only cost memory. */
    if (job->ending.result.length > 4 * job->result_limit && job->writer.wrong == NULL)
        job->writer.wrong = "it is far larger than limits.result";
    return &job->writer;
}

void stoker_put_bytes(stoker_job *job, const char *key, const char *text, size_t length)
{
    json_put_text(writer(job), key, text, length);
}

void stoker_put_text(stoker_job *job, const char *key, const char *text)
{
    json_writer *w = writer(job);
    if (text == NULL)
        json_put_raw(w, key, "null", 4);
    else
        json_put_string(w, key, text);
}

void stoker_put_integer(stoker_job *job, const char *key, int64_t value)
{
    json_put_integer(writer(job), key, value);
}

void stoker_put_number(stoker_job *job, const char *key, double value)
{
    json_put_number(writer(job), key, value);
}

void stoker_put_boolean(stoker_job *job, const char *key, bool value)
{
    json_put_boolean(writer(job), key, value);
}

void stoker_put_null(stoker_job *job, const char *key)
{
    json_put_raw(writer(job), key, "null", 4);
}

void stoker_put_json(stoker_job *job, const char *key, const char *json, size_t length)
{
    json_writer *w = writer(job);
    const char *wrong = judge_json(json, length);
    if (wrong != NULL && w->wrong == NULL)
        w->wrong = wrong;
    json_put_raw(w, key, json, length);
}

void stoker_put_object(stoker_job *job, const char *key)
{
    json_open(writer(job), key, false);
}

void stoker_put_array(stoker_job *job, const char *key)
{
    json_open(writer(job), key, true);
}

void stoker_put_end(stoker_job *job)
{
    json_writer *w = writer(job);
    /* The outermost object ends with the handler. */
    if (w->depth == 1 && w->wrong == NULL)
        w->wrong = "more was ended than begun";
    json_close(w);
}
