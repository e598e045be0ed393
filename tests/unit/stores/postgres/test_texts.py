"""Texts that PostgreSQL cannot hold harm nobody but their own item."""

import msgspec
import pytest

from stoker.core.clock import SystemClock
from stoker.core.duration import when
from stoker.core.errors import InvalidPayload
from stoker.core.events import Event, Kind
from stoker.core.job import ErrorInfo, LogLine, Outcome, WorkflowSpec
from stoker.core.lifecycle import State
from stoker.core.records import EventQuery, JobQuery
from stoker.stores.postgres import PostgresStore
from stoker.testing.conformance.hand import Hand, held_job, session_spec

NUL = "a\0b"
HALF = "half a \udc80 character"


@pytest.mark.parametrize("field", ["id", "task", "queue", "unique_key", "tenant", "node"])
@pytest.mark.parametrize("text", [NUL, HALF])
async def test_a_job_with_such_an_option_is_refused_alone(
    hand: Hand, field: str, text: str
) -> None:
    bad = msgspec.structs.replace(hand.spec(), **{field: text})
    answers = await hand.store.submit([hand.spec(), bad, hand.spec()])
    assert [answer.created for answer in answers] == [True, False, True]
    error = answers[1].error
    assert error is not None
    assert error.code == "invalid_option"


async def test_a_payload_that_is_not_utf_8_is_refused_alone(hand: Hand) -> None:
    answers = await hand.store.submit([hand.spec(payload=b'{"a": "\xff"}'), hand.spec()])
    assert [answer.created for answer in answers] == [False, True]
    assert answers[0].error is not None
    assert answers[0].error.code == "invalid_payload"


@pytest.mark.parametrize("field", ["id", "queue", "unique_key"])
async def test_what_no_index_can_hold_is_refused_alone(hand: Hand, field: str) -> None:
    clock = SystemClock()
    # Random, so that nothing can be compressed.
    long = "".join(clock.new_nonce() for _ in range(200))
    bad = msgspec.structs.replace(hand.spec(), **{field: long})
    answers = await hand.store.submit([bad, hand.spec()])
    assert [answer.created for answer in answers] == [False, True]


async def test_one_such_job_refuses_its_workflow(hand: Hand) -> None:
    flow = WorkflowSpec(id="flow", name="f")
    specs = [hand.spec(workflow_id="flow"), hand.spec(workflow_id="flow", queue=NUL)]
    answers = await hand.store.submit(specs, workflow=flow)
    codes = [answer.error.code for answer in answers if answer.error is not None]
    assert codes == ["invalid_workflow", "invalid_option"]
    assert await hand.all_jobs() == []


async def test_a_nul_in_what_a_job_tells_comes_back_as_it_was(hand: Hand) -> None:
    lease = await hand.take(await hand.put())
    line = LogLine(when(hand.clock.now()), NUL, 1)
    told = held_job(lease, ran_for=1.0, note=NUL, logs=(line,))
    await hand.store.beat(session_spec("w1"), [told], ttl=30.0)
    error = ErrorInfo(code="task_error", message=NUL, type="ValueError")
    await hand.settle(lease, Outcome.FAILED, error=error)
    job = await hand.job(lease.id)
    assert (job.progress_note, [entry.message for entry in job.logs]) == (NUL, [NUL])
    assert job.error == error
    assert [found.id for found in await hand.all_jobs(error=NUL)] == [lease.id]


async def test_half_a_character_in_what_a_job_tells_becomes_a_question_mark(hand: Hand) -> None:
    lease = await hand.take(await hand.put())
    error = ErrorInfo(code="task_error", message=HALF)
    await hand.settle(lease, Outcome.FAILED, error=error, note=HALF)
    job = await hand.job(lease.id)
    assert job.state is State.DEAD_LETTER
    assert job.error is not None
    assert job.error.message == job.progress_note == "half a ? character"


async def test_results_are_kept_byte_for_byte(hand: Hand) -> None:
    for result in (b'"\\u0000"', b'"\xff"', b"\0"):
        lease = await hand.take(await hand.put())
        await hand.settle(lease, result=result)
        assert bytes((await hand.job(lease.id)).result or b"") == result


async def test_questions_with_such_texts_find_nothing(hand: Hand) -> None:
    await hand.put()
    assert await hand.store.get([NUL, HALF]) == [None, None]
    assert await hand.all_jobs(queues=(NUL,), tasks=(HALF,), tenant=NUL) == []
    [answer] = await hand.store.cancel(JobQuery(ids=(NUL,)))
    assert answer.answer == "unknown"


async def test_an_event_with_such_texts_is_kept(store: PostgresStore) -> None:
    event = Event(kind=Kind.FLEET_STARTED, actor=NUL, worker=HALF, details={"why": NUL})
    await store.record([event])
    [found] = await store.events(EventQuery(kinds=(Kind.FLEET_STARTED,)))
    assert (found.actor, found.worker) == ("a\ufffdb", "half a ? character")
    assert found.details == {"why": NUL}


async def test_a_new_payload_that_is_not_utf_8_is_refused(hand: Hand) -> None:
    job_id = await hand.put()
    await hand.finish(job_id)
    with pytest.raises(InvalidPayload):
        await hand.store.requeue(JobQuery(ids=(job_id,)), payload=b"\xff")
    assert await hand.state(job_id) is State.COMPLETED
