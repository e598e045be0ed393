"""Finding jobs among many: blocks without a match are not looked at, and none is left out."""

from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from stoker.core.job import ErrorInfo, JobRecord, Outcome
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.stores.redis import RedisStore
from stoker.stores.redis.keys import KEYS, kind_of, root
from stoker.testing.conformance.hand import Hand, settlement


async def furnish(hand: Hand) -> list[str]:
    """Put jobs of several kinds over many blocks, and delete a stretch in the middle."""
    made: list[str] = []
    for number in range(12):
        queue = "b" if number in {2, 9} else "a"
        task = "mail" if number % 4 == 1 else "work"
        made += await hand.put_many(150, queue=queue, task=task)
        hand.clock.advance(60)
    gone = made[400:1_100]
    for first in range(0, len(gone), 500):
        part = tuple(gone[first : first + 500])
        assert await hand.store.purge(JobQuery(ids=part)) == len(part)
    return [job_id for job_id in made if job_id not in set(gone)]


async def test_queries_over_many_blocks_find_all_and_only_what_matches(hand: Hand) -> None:
    made = await furnish(hand)
    everything = {job.id: job for job in await hand.all_jobs()}
    assert list(everything) == made[::-1]
    for job_id in (made[2], made[300], made[-1]):
        await hand.take(job_id, session="w7")
    everything = {job.id: job for job in await hand.all_jobs()}
    times = sorted(job.submitted_at.timestamp() for job in everything.values())
    middle = times[len(times) // 2]
    queries: list[tuple[dict[str, Any], Callable[[JobRecord], bool]]] = [
        ({"worker": "W7"}, lambda job: job.worker == "W7"),
        ({"worker": "W8"}, lambda job: False),
        ({"queues": ("b",)}, lambda job: job.queue == "b"),
        ({"tasks": ("mail",)}, lambda job: job.task == "mail"),
        (
            {"queues": ("a",), "tasks": ("mail",)},
            lambda job: (job.queue, job.task) == ("a", "mail"),
        ),
        ({"submitted_after": middle}, lambda job: job.submitted_at.timestamp() >= middle),
        ({"submitted_before": middle}, lambda job: job.submitted_at.timestamp() < middle),
        ({"states": (State.COMPLETED,)}, lambda job: False),
    ]
    for query, wanted in queries:
        expected = [job_id for job_id, job in everything.items() if wanted(job)]
        assert [job.id for job in await hand.all_jobs(**query)] == expected, query


async def test_a_rare_state_is_found_among_many_jobs(hand: Hand) -> None:
    jobs = await hand.put_many(1_500)
    dead = [jobs[3], jobs[700], jobs[1_499]]
    for job_id in dead:
        await hand.finish(job_id, Outcome.FAILED)
    found = await hand.store.find(JobQuery(states=(State.DEAD_LETTER,)))
    assert [job.id for job in found.jobs] == dead[::-1]
    await hand.store.requeue(JobQuery(states=(State.DEAD_LETTER,)))
    assert (await hand.store.find(JobQuery(states=(State.DEAD_LETTER,)))).jobs == []


async def test_errors_are_searched_by_pythons_idea_of_letters(hand: Hand) -> None:
    job_id = await hand.put()
    error = ErrorInfo(code="task_error", message="ÄRGER mit Straße")
    await hand.finish(job_id, Outcome.FAILED, error=error)
    for text in ("ärger", "STRASSE", "task_"):
        assert [job.id for job in await hand.all_jobs(error=text)] == [job_id], text
    assert await hand.all_jobs(error="freude") == []


async def test_blocks_without_jobs_leave_no_marks(
    hand: Hand, store: RedisStore, client: Redis
) -> None:
    await furnish(hand)
    while await store.purge(JobQuery(states=(State.QUEUED,))):
        pass
    assert await hand.all_jobs() == []
    namespace = store.info.details["namespace"]
    left = {key async for key in client.scan_iter(match=f"{root(namespace)}:*")}
    rows = {kind_of(key, namespace) for key in left}
    kept = ("LAYOUT", "IDENTITY", "SEQS", "QUEUES", "TALLIES", "TOTALS", "EVENTS", "MINUTE")
    assert rows == {KEYS[name] for name in kept}


async def test_large_results_and_payloads_live_beside_the_record(hand: Hand) -> None:
    big = b'"' + b"x" * 100_000 + b'"'
    parent = await hand.put(payload=b'{"a": ' + big + b"}")
    child = await hand.put(parents=(parent,))
    lease = await hand.take(parent)
    assert lease.payload == b'{"a": ' + big + b"}"
    await hand.exchange(settlement(lease, Outcome.COMPLETED, result=big))
    assert bytes((await hand.job(parent)).result or b"") == big
    assert dict((await hand.take(child)).parents or {}) == {parent: big}
    await hand.store.requeue(JobQuery(ids=(parent,)))
    assert (await hand.job(parent)).result is None


@pytest.mark.parametrize("size", [0, 255, 256, 257, 65_535, 65_536])
async def test_payloads_and_results_of_any_size_come_back(hand: Hand, size: int) -> None:
    value = b'"' + b"y" * size + b'"'
    job_id = await hand.put(payload=b'{"v":' + value + b"}")
    await hand.finish(job_id, result=value)
    job = await hand.job(job_id)
    assert (bytes(job.payload), bytes(job.result or b"")) == (b'{"v":' + value + b"}", value)


@pytest.mark.parametrize("field", ["delay", "run_at", "expires", "timeout"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
async def test_a_time_that_is_no_number_refuses_that_job_alone(
    hand: Hand, field: str, value: float
) -> None:
    first, second = await hand.store.submit([hand.spec(**{field: value}), hand.spec()])
    assert (first.created, first.error and first.error.code) == (False, "invalid_option")
    assert second.created


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
async def test_times_that_are_no_numbers_harm_no_settlement(hand: Hand, value: float) -> None:
    told = await hand.take(await hand.put())
    assert await hand.settle(told, Outcome.FAILED, retry_in=value, ran_for=value) == "ok"
    assert await hand.state(told.id) is State.RETRY_QUEUED


async def test_text_that_utf8_cannot_say_refuses_that_job_alone(hand: Hand) -> None:
    good, bad = hand.spec(), hand.spec(unique_key="\ud800")
    first, second = await hand.store.submit([good, bad])
    assert first.created
    assert second.error is not None
    assert (second.created, second.error.code) == (False, "invalid_option")
