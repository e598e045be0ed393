from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from stoker.app.explain import Explanation, Facts, Line, aexplain, explain
from stoker.connect import open_store
from stoker.core.errors import JobNotFound
from stoker.core.job import (
    Command,
    ErrorInfo,
    JobRecord,
    Outcome,
    Priority,
    SessionInfo,
    SessionState,
)
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery, QueueInfo
from stoker.testing import FakeClock
from stoker.testing.conformance.hand import Hand

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def job(**changes: Any) -> JobRecord:
    given: dict[str, Any] = {
        "id": "j",
        "task": "work",
        "queue": "default",
        "priority": Priority.MEDIUM,
        "state": State.QUEUED,
        "attempt": 0,
        "max_retries": 3,
        "payload": msgspec.Raw(b"{}"),
        "submitted_at": NOW,
        "run_at": NOW,
    }
    return JobRecord(**(given | changes))


def session(**changes: Any) -> SessionInfo:
    given: dict[str, Any] = {
        "id": "s",
        "name": "mill",
        "state": SessionState.ALIVE,
        "host": "h",
        "pid": 1,
        "kind": "python",
        "version": "1",
        "queues": ("default",),
        "tasks": ("work",),
        "concurrency": 2,
        "busy": 0,
        "started_at": NOW,
        "seen_at": NOW,
        "expires_at": NOW + timedelta(seconds=30),
    }
    return SessionInfo(**(given | changes))


def codes(found: Explanation) -> list[str]:
    return [blocker.code for blocker in found.blockers]


def ask(record: JobRecord, **changes: Any) -> Explanation:
    given: dict[str, Any] = {
        "now": NOW,
        "queue": QueueInfo("default"),
        "sessions": [session()],
        "line": Line(0),
    }
    return explain(record, Facts(**(given | changes)))


FULL = QueueInfo("default", limit=2, counts={State.RUNNING: 1, State.ASSIGNED: 1})
PAUSED = QueueInfo("default", paused=True)
LATER = NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("record", "facts", "expected"),
    [
        (job(), {}, []),
        (job(), {"queue": PAUSED}, ["queue_paused"]),
        (job(), {"queue": FULL}, ["queue_full"]),
        (job(), {"queue": msgspec.structs.replace(FULL, limit=3)}, []),
        (job(), {"queue": msgspec.structs.replace(FULL, limit=None)}, []),
        (job(), {"sessions": []}, ["no_worker"]),
        (job(), {"sessions": [session(state=SessionState.DRAINING)]}, ["no_worker"]),
        (job(), {"sessions": [session(command=Command.DRAIN)]}, ["no_worker"]),
        (job(), {"sessions": [session(expires_at=NOW)]}, ["no_worker"]),
        (job(), {"sessions": [session(queues=("mail",))]}, ["no_worker_for_queue"]),
        (job(), {"sessions": [session(queues=())]}, []),
        (job(), {"sessions": [session(tasks=("other",))]}, ["no_worker_for_task"]),
        (job(), {"sessions": [session(busy=2)]}, ["workers_busy"]),
        (job(), {"sessions": [session(busy=2), session(busy=1)]}, []),
        (job(), {"line": Line(3)}, ["in_line"]),
        (job(state=State.SCHEDULED, run_at=LATER), {}, ["scheduled"]),
        (job(state=State.RETRY_QUEUED, run_at=LATER, attempt=1), {}, ["waiting_for_retry"]),
        (job(state=State.SCHEDULED, run_at=NOW - timedelta(minutes=1)), {}, ["overdue"]),
        (job(state=State.BLOCKED, parents=("a", "b"), waiting_for=1), {}, ["waiting_for_parents"]),
        (job(state=State.RUNNING, worker="mill"), {}, []),
        (job(state=State.ASSIGNED, worker="mill"), {}, []),
        (job(state=State.RUNNING, worker="gone"), {}, ["worker_silent"]),
        (job(state=State.RUNNING, worker="mill", cancel_requested=True), {}, ["cancel_requested"]),
        (job(state=State.COMPLETED), {}, ["ended"]),
        (job(state=State.CANCELLED), {"queue": PAUSED, "sessions": []}, ["ended"]),
        # in pairs
        (job(), {"queue": PAUSED, "sessions": []}, ["queue_paused", "no_worker"]),
        (
            job(state=State.SCHEDULED, run_at=LATER),
            {"queue": PAUSED, "sessions": []},
            ["scheduled", "queue_paused", "no_worker"],
        ),
        (job(), {"queue": FULL, "sessions": [session(busy=2)]}, ["queue_full", "workers_busy"]),
        (job(), {"queue": PAUSED, "line": Line(3)}, ["queue_paused"]),
    ],
)
def test_exactly_what_holds_a_job_is_named(
    record: JobRecord, facts: dict[str, Any], expected: list[str]
) -> None:
    found = ask(record, **facts)
    assert codes(found) == expected
    assert found.summary
    if expected:
        assert found.summary == found.blockers[0].message


def test_the_messages_say_what_and_how_much() -> None:
    parents = [job(id="p1", node="load", state=State.RUNNING)]
    blocked = job(state=State.BLOCKED, parents=("p1", "p2", "p3"), waiting_for=2)
    found = ask(blocked, parents=parents)
    assert found.summary == "it waits for 2 of 3 parents: load (running), ..."
    assert found.blockers[0].details == {"waiting_for": 2, "of": 3, "parents": ["p1"]}
    error = ErrorInfo(code="task_error", type="ValueError", message="no")
    waiting = job(state=State.RETRY_QUEUED, run_at=LATER, attempt=2, error=error)
    assert ask(waiting).summary == (
        "attempt 2 failed: ValueError: no; "
        "the next one is due at 2030-01-01 01:00:00 UTC, in 3600 s"
    )
    assert "at least 2,000 jobs are ahead" in ask(job(), line=Line(2_000, exact=False)).summary
    assert "1 job is ahead of it in queue 'default'" in ask(job(), line=Line(1)).summary
    dead = job(state=State.DEAD_LETTER, error=error)
    assert "dead_letter (ValueError: no); retry it" in ask(dead).summary
    assert "running on worker 'mill'" in ask(job(state=State.RUNNING, worker="mill")).summary


async def test_the_facts_are_gathered_from_the_store(fake_clock: FakeClock) -> None:
    async with open_store("memory://", clock=fake_clock) as store:
        hand = Hand(store, fake_clock)
        first = await hand.put()
        fake_clock.advance(1)
        high = await hand.put(priority=Priority.HIGH)
        low = await hand.put(priority=Priority.LOW)
        batch = await hand.put_many(3)
        await hand.put(queue="other", priority=Priority.HIGH)
        await hand.beat("w1", queues=("default",), tasks=("work",))

        async def ahead(job_id: str) -> int:
            found = await aexplain(store, job_id)
            return found.blockers[0].details["ahead"] if found.blockers else 0

        assert await ahead(high) == 0
        assert await ahead(first) == 1
        assert [await ahead(job_id) for job_id in batch] == [2, 3, 4]
        assert await ahead(low) == 5
        await store.set_queue("default", paused=True)
        assert codes(await aexplain(store, first)) == ["queue_paused"]


async def test_pending_parents_are_named_by_node_and_state(fake_clock: FakeClock) -> None:
    async with open_store("memory://", clock=fake_clock) as store:
        hand = Hand(store, fake_clock)
        parents = await hand.put_many(12)
        child = await hand.put(parents=tuple(parents))
        await hand.finish(parents[0], Outcome.COMPLETED)
        found = await aexplain(store, child)
        assert found.blockers[0].code == "waiting_for_parents"
        assert found.blockers[0].details["waiting_for"] == 11
        named = found.blockers[0].details["parents"]
        assert len(named) == 10
        assert parents[0] not in named


async def test_an_unknown_job_cannot_be_explained(fake_clock: FakeClock) -> None:
    async with open_store("memory://", clock=fake_clock) as store:
        with pytest.raises(JobNotFound):
            await aexplain(store, "nothing")
        assert (await store.find(JobQuery())).jobs == []
