"""From a body to a job in the store: checks first, then one commit."""

import asyncio
from collections.abc import Sequence
from typing import Any

from stoker.app.bodies import call_of, read_body
from stoker.core.errors import JobNotFound, OutcomeUnknown, StokerError, from_code
from stoker.core.job import ErrorInfo, JobRecord, JobSpec, Submitted
from stoker.server.caller import Caller
from stoker.server.errors import ErrorDetail, detail_of
from stoker.server.schemas import BatchItem, SubmitBody

CHUNK = 1_000
"""Jobs that are read at once."""
_BREATH = 100
"""Jobs of a batch after which others on the loop have their turn."""


async def submit_one(caller: Caller, body: SubmitBody) -> tuple[JobRecord, bool]:
    """Submit a job; return it and whether it is new.

    Raises:
        StokerError: It was refused. After `OutcomeUnknown` the same id may be submitted again.
    """
    spec = await _spec(caller, body)
    try:
        [answer] = await caller.submit([spec])
    except OutcomeUnknown as error:
        raise OutcomeUnknown(
            f"{error.message}; submit it again with this id, which is harmless", id=spec.id
        ) from error
    if answer.error is not None:
        raise from_code(answer.error.code, answer.error.message)
    [record] = await records(caller, [answer.id])
    return record, answer.created


async def submit_batch(caller: Caller, bodies: Sequence[Any]) -> list[BatchItem]:
    """Submit jobs in one commit; tell what became of each."""
    refused: dict[int, ErrorDetail] = {}
    specs: dict[int, JobSpec] = {}
    for place, value in enumerate(bodies):
        try:
            body = read_body(value, SubmitBody, what=f"job at place {place}")
            spec = await _spec(caller, body)
            caller.app.check_spec(spec)
        except StokerError as error:
            refused[place] = detail_of(error)
        else:
            specs[place] = spec
        if place % _BREATH == _BREATH - 1:
            await asyncio.sleep(0)
    given = await caller.submit(list(specs.values()))
    answers = dict(zip(specs, given, strict=True))
    found = await _found(caller, answers.values())
    return [
        BatchItem(created=False, error=refused[place])
        if place in refused
        else _item(answers[place], found)
        for place in range(len(bodies))
    ]


async def records(caller: Caller, ids: Sequence[str]) -> list[JobRecord]:
    """Return jobs that were there a moment ago.

    Raises:
        JobNotFound: One was purged in the meantime.
    """
    present = [record for record in await _get(caller, ids) if record is not None]
    if len(present) < len(ids):
        raise JobNotFound("the job was accepted, and purged before it could be shown")
    return present


async def _spec(caller: Caller, body: SubmitBody) -> JobSpec:
    call = await call_of(caller.app, body)
    job_id = caller.app.clock.new_id() if body.id is None else str(body.id)
    return call.spec(job_id, defaults=caller.app.defaults)


async def _found(caller: Caller, answers: Any) -> dict[str, JobRecord]:
    ids = [answer.id for answer in answers if answer.error is None]
    found: dict[str, JobRecord] = {}
    for start in range(0, len(ids), CHUNK):
        for record in await _get(caller, ids[start : start + CHUNK]):
            if record is not None:
                found[record.id] = record
    return found


async def _get(caller: Caller, ids: Sequence[str]) -> list[JobRecord | None]:
    return await caller.run(lambda store: store.get(ids))


def _item(answer: Submitted, found: dict[str, JobRecord]) -> BatchItem:
    if answer.error is not None:
        return BatchItem(created=False, error=_detail(answer.error))
    return BatchItem(created=answer.created, job=found.get(answer.id))


def _detail(error: ErrorInfo) -> ErrorDetail:
    return ErrorDetail(error.code, error.message)
