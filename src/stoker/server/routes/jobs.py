"""Jobs: submit, find, look, cancel, retry, remove, follow, explain."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from stoker.app.explain import Explanation, aexplain
from stoker.app.job import fetch, not_found
from stoker.core import codec
from stoker.core.errors import Refused
from stoker.core.job import JobRecord
from stoker.core.lifecycle import LEASED, TERMINAL
from stoker.core.records import JobQuery
from stoker.server.access import Need, needs
from stoker.server.caller import PREFIX, Caller, reply
from stoker.server.describe import answers, takes
from stoker.server.live import Streams
from stoker.server.query import Cursor, JobFilter, Limit
from stoker.server.schemas import (
    BatchAnswer,
    BatchBody,
    JobAnswer,
    ReasonBody,
    RetryJobBody,
    SubmitBody,
)
from stoker.server.sifting import SearchPage, find
from stoker.server.submitting import submit_batch, submit_one

router = APIRouter(prefix=f"{PREFIX}/jobs", tags=["jobs"])

_EXAMPLE = {
    "task": "send_email",
    "payload": {"to": "user@example.com", "subject": "Hello", "body": "Test"},
    "priority": "high",
    "max_retries": 3,
}
_EXISTS = "The job exists already: the same id, or a live job with the same unique key."


@router.post(
    "",
    status_code=201,
    responses=answers(JobRecord, status=201, body=True, refuses=(404,), more={200: _EXISTS}),
    openapi_extra=takes(SubmitBody, example=_EXAMPLE),
)
@needs(Need.SUBMIT)
async def submit_job(request: Request) -> Response:
    """Submit a job.

    Answers once the job is safe in the store. Send an `id` of your own (a UUID), and repeating
    the request after a lost answer is harmless.
    """
    caller = Caller(request)
    job, created = await submit_one(caller, await caller.body(SubmitBody))
    headers = {"location": f"{PREFIX}/jobs/{job.id}"}
    return reply(job, 201 if created else 200, headers=headers)


@router.post(
    "/batch",
    status_code=201,
    responses=answers(BatchAnswer, status=201, body=True),
    openapi_extra=takes(BatchBody, example={"jobs": [_EXAMPLE, _EXAMPLE]}),
)
@needs(Need.SUBMIT)
async def submit_jobs(request: Request) -> Response:
    """Submit many jobs in one commit.

    Each job is accepted or refused by itself; the answer says which, in the order of the
    request, with `job` or `error`. The status is 201 even when some were refused.
    """
    caller = Caller(request)
    body = await caller.body(BatchBody)
    return reply(BatchAnswer(await submit_batch(caller, body.jobs)), 201)


@router.get("", responses=answers(SearchPage))
@needs(Need.READ)
async def list_jobs(
    request: Request, search: JobFilter, cursor: Cursor = None, limit: Limit = 100
) -> Response:
    """List jobs, newest submitted first, without their log lines.

    A search of payloads looks at 5,000 jobs and then gives what it has: go on with the cursor.
    """
    caller = Caller(request)
    return reply(await find(caller.run, search, cursor=cursor, limit=limit))


@router.get("/{job_id}", responses=answers(JobRecord, refuses=(404,)))
@needs(Need.READ)
async def get_job(request: Request, job_id: str) -> Response:
    """Return a job with its attempts and log lines."""
    caller = Caller(request)
    return reply(await caller.run(lambda store: fetch(store, job_id)))


@router.delete("/{job_id}", responses=answers(JobRecord, refuses=(404, 409)))
@needs(Need.OPERATE)
async def remove_job(request: Request, job_id: str) -> Response:
    """Delete a job that has ended or waits; answer with its last state.

    A job that runs must be cancelled first. A job of a workflow goes with its workflow, when
    all of it has ended.
    """
    caller = Caller(request)
    job = await caller.run(lambda store: fetch(store, job_id))
    if job.state not in LEASED:
        query = JobQuery(ids=(job_id,))
        if await caller.run(lambda store: store.purge(query, actor=caller.actor)):
            return reply(job)
        job = await caller.run(lambda store: fetch(store, job_id))
    raise Refused(_why_it_stays(job), id=job.id, state=str(job.state))


@router.post(
    "/{job_id}/cancel",
    responses=answers(JobAnswer, body=True, refuses=(404, 409)),
    openapi_extra=takes(ReasonBody, required=False),
)
@needs(Need.OPERATE)
async def cancel_job(request: Request, job_id: str) -> Response:
    """Call a job off.

    `cancelled`: it was waiting. `requested`: it runs, and its worker was told to stop it.
    """
    caller = Caller(request)
    reason = (await caller.optional_body(ReasonBody)).reason
    query = JobQuery(ids=(job_id,))
    [answer] = await caller.run(
        lambda store: store.cancel(query, actor=caller.actor, reason=reason)
    )
    if answer.answer == "unknown":
        raise not_found(job_id)
    job = await caller.run(lambda store: fetch(store, job_id))
    if answer.answer == "too_late":
        raise Refused(
            f"job {job_id} has ended already: it is {job.state}", id=job_id, state=str(job.state)
        )
    return reply(JobAnswer(job_id, answer.answer, job))


@router.post(
    "/{job_id}/retry",
    responses=answers(JobAnswer, body=True, refuses=(404, 409)),
    openapi_extra=takes(RetryJobBody, required=False),
)
@needs(Need.OPERATE)
async def retry_job(request: Request, job_id: str) -> Response:
    """Bring an ended job back to life, with its counters of failures at zero."""
    caller = Caller(request)
    body = await caller.optional_body(RetryJobBody)
    payload = None
    if body.payload is not None:
        record = await caller.run(lambda store: fetch(store, job_id))
        payload = _checked(caller, record, body.payload)
    query = JobQuery(ids=(job_id,))
    [answer, *_] = await caller.run(
        lambda store: store.requeue(
            query,
            downstream=body.downstream,
            payload=payload,
            actor=caller.actor,
            reason=body.reason,
        )
    )
    if answer.answer == "unknown":
        raise not_found(job_id)
    job = await caller.run(lambda store: fetch(store, job_id))
    if answer.answer != "requeued":
        raise Refused(_why_not_again(job), id=job_id, state=str(job.state))
    return reply(JobAnswer(job_id, answer.answer, job))


@router.get(
    "/{job_id}/events",
    responses={
        **answers(JobRecord, refuses=(404, 429)),
        200: {"description": "Server-sent events", "content": {"text/event-stream": {}}},
        204: {"description": "The stream has been read to its end"},
    },
)
@needs(Need.READ)
async def follow_job(request: Request, job_id: str) -> Response:
    """Follow a job live, as server-sent events, until it has ended.

    `job`: the whole job, first and whenever its state changed. `progress`: `{"progress",
    "note"}`. `log`: one line. `end`: the whole job, last; then the stream closes.
    """
    caller = Caller(request)
    streams: Streams = request.app.state.streams
    return await streams.open(caller, job_id, last_id=request.headers.get("last-event-id"))


@router.get("/{job_id}/explain", responses=answers(Explanation, refuses=(404,)))
@needs(Need.READ)
async def explain_job(request: Request, job_id: str) -> Response:
    """Say why a job is not running: what stands in its way, nearest cause first."""
    caller = Caller(request)
    return reply(await caller.run(lambda store: aexplain(store, job_id)))


def _checked(caller: Caller, job: JobRecord, given: dict[str, object]) -> bytes:
    payload = codec.encode(given)
    codec.check_size(len(payload), limit=caller.app.settings.limits.payload)
    task = caller.app.find_task(job.task)
    return payload if task is None else task.check(payload)


def _why_it_stays(job: JobRecord) -> str:
    if job.state in LEASED:
        return (
            f"job {job.id} is {job.state} on worker {job.worker!r}; cancel it first: "
            f"POST {PREFIX}/jobs/{job.id}/cancel"
        )
    return (
        f"job {job.id} is {job.state} and belongs to workflow {job.workflow_id}; it is deleted "
        "with the workflow when all of it has ended"
    )


def _why_not_again(job: JobRecord) -> str:
    if job.state not in TERMINAL:
        return f"job {job.id} is {job.state}; only a job that has ended can be retried"
    return f"job {job.id} cannot be retried: another live job has its unique key {job.unique_key!r}"
