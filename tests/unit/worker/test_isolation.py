"""The isolation matrix: what a bad job does to its slot, to its neighbours, and to the record.

Each cell runs one bad job beside good ones in the same executor, in a worker with two slots. The
good ones must complete, the bad one must end with its reason, and its slot must be free again.
"""

import asyncio
import os
from typing import Any

import msgspec
import pytest

from stoker.core.job import JobRecord, SessionSpec
from stoker.core.lifecycle import State
from stoker.core.task import Registry, Task, TaskOptions
from stoker.testing import wait_until
from stoker.worker.worker import ExitReason
from tests.unit.worker import kit
from tests.unit.worker.kit import Bench, bench

SHORT = 0.4


async def run_beside(
    b: Bench, bad: str, good: str, payload: Any = None, **options: Any
) -> tuple[JobRecord, list[JobRecord]]:
    before = await b.submit(good, {"number": 1}, timeout=30.0)
    victim = await b.submit(bad, payload, **options)
    after = [await b.submit(good, {"number": n}, timeout=30.0) for n in range(2, 6)]
    record = await b.ended(victim)
    neighbours = [await b.ended(job_id) for job_id in (before, *after)]
    return record, neighbours


def all_completed(records: list[JobRecord]) -> bool:
    return [r.state for r in records] == [State.COMPLETED] * len(records) and all(
        len(r.attempts) == 1 for r in records
    )


async def slots_are_free(b: Bench, good: str) -> bool:
    await wait_until(lambda: b.worker.busy == 0, "all slots are free")
    pair = [await b.submit(good, {"number": n}, timeout=30.0) for n in (1, 2)]
    return all_completed([await b.ended(job_id) for job_id in pair])


@pytest.mark.parametrize("bad", ["never", "stubborn"])
async def test_an_endless_async_job_is_stopped_at_its_hard_limit(bad: str) -> None:
    payload = {"swallow": 2} if bad == "stubborn" else None
    async with bench(concurrency=2) as b:
        record, neighbours = await run_beside(b, bad, "double", payload, timeout=SHORT)
        assert record.state is State.DEAD_LETTER
        assert record.error is not None
        assert record.error.code == "timeout"
        assert "0.4 s" in record.error.message
        assert all_completed(neighbours)
        assert await slots_are_free(b, "double")


@pytest.mark.parametrize("bad", ["thread.spins", "thread.spins_deaf"])
async def test_an_endless_python_loop_in_a_thread_is_stopped_and_the_worker_stays(
    bad: str,
) -> None:
    async with bench(concurrency=2) as b:
        record, neighbours = await run_beside(b, bad, "thread.plain_double", timeout=SHORT)
        assert record.state is State.DEAD_LETTER
        assert record.error is not None
        assert record.error.code == "timeout"
        assert "in spins" in (record.error.traceback or "")
        assert all_completed(neighbours)
        assert await slots_are_free(b, "thread.plain_double")
        assert b.worker.stuck == 0
        assert not b.worker.is_draining


async def test_a_thread_stuck_in_c_is_given_up_and_the_worker_asks_to_be_replaced() -> None:
    async with bench(concurrency=2) as b:
        record, neighbours = await run_beside(
            b, "thread.blocks_in_c", "thread.plain_double", {"seconds": 8.0}, timeout=SHORT
        )
        assert record.state is State.DEAD_LETTER
        assert record.error is not None
        assert record.error.code == "timeout"
        assert "in blocks_in_c" in (record.error.traceback or "")
        assert all_completed(neighbours)
        assert b.worker.stuck == 1
        assert b.task is not None
        async with asyncio.timeout(10):
            assert await b.task is ExitReason.RECYCLE


@pytest.mark.parametrize(
    "bad", ["spins", "spins_deaf", "blocks_in_c", "holds_the_gil", "process_never"]
)
async def test_whatever_hangs_in_a_process_is_killed_at_its_hard_limit(bad: str) -> None:
    async with bench(concurrency=2) as b:
        record, neighbours = await run_beside(
            b, f"process.{bad}", "process.plain_double", timeout=SHORT
        )
        assert record.state is State.DEAD_LETTER
        assert record.error is not None
        assert record.error.code == "timeout"
        if bad != "process_never":
            assert f"in {bad}" in (record.error.traceback or "")
        assert all_completed(neighbours)
        assert await slots_are_free(b, "process.plain_double")


async def test_a_job_that_takes_too_much_memory_is_killed_and_says_so() -> None:
    tasks = kit.registry()
    tasks.discard("process.eats_memory")
    options = TaskOptions.make(run_in="process", memory="200MB")
    tasks.add(Task(kit.eats_memory, name="process.eats_memory", options=options))
    async with bench(concurrency=2, tasks=tasks) as b:
        record, neighbours = await run_beside(
            b, "process.eats_memory", "process.plain_double", timeout=60.0
        )
        assert record.state is State.DEAD_LETTER
        assert record.error is not None
        assert record.error.code == "memory_exceeded"
        assert "limit is 200 MB" in record.error.message
        assert all_completed(neighbours)
        assert await slots_are_free(b, "process.plain_double")


@pytest.mark.parametrize(
    ("bad", "how"),
    [
        ("segfaults", "was killed by SIGSEGV"),
        ("exits", "exited with code 3"),
        ("kills_itself", "was killed by SIGKILL"),
    ],
)
async def test_a_job_that_takes_its_process_along_is_tried_alone_and_then_buried(
    bad: str, how: str
) -> None:
    async with bench(concurrency=2) as b:
        record, neighbours = await run_beside(
            b, f"process.{bad}", "process.plain_double", timeout=30.0
        )
        assert record.state is State.DEAD_LETTER
        assert record.lost == 3
        assert [a.outcome for a in record.attempts] == ["crashed"] * 3
        assert record.error is not None
        assert record.error.code == "crashed"
        assert how in record.error.message
        assert all_completed(neighbours)
        assert await slots_are_free(b, "process.plain_double")


async def test_a_crash_keeps_the_python_stack_that_led_to_it() -> None:
    async with bench() as b:
        record = await b.ended(await b.submit("process.segfaults", max_lost=1))
        assert record.error is not None
        assert "segfaults" in (record.error.traceback or "")


async def test_a_suspect_runs_in_a_child_whatever_its_task_says() -> None:
    async with bench(concurrency=2, start=False) as b:
        job_id = await b.submit("thread.whoami")
        await lose_once(b, job_id)
        b.start()
        record = await b.ended(job_id)
        assert record.state is State.COMPLETED
        assert record.result is not None
        worker, pid, in_main_thread = msgspec.json.decode(record.result)
        assert worker == "tester"
        assert pid != os.getpid()
        assert in_main_thread


async def test_an_async_suspect_runs_in_a_child_too() -> None:
    async with bench(concurrency=2, start=False) as b:
        job_id = await b.submit("double", {"number": 21})
        await lose_once(b, job_id)
        b.start()
        record = await b.ended(job_id)
        assert record.state is State.COMPLETED
        assert record.result == msgspec.Raw(b"42")
        assert b.worker.children


async def lose_once(b: Bench, job_id: str) -> None:
    """Let a session lease the job and die."""
    await b.store.beat(SessionSpec(id="victim", name="victim"), (), ttl=30)
    given = await b.store.exchange("victim", (), queues={"default": 1}, want=1, nonce="0" * 32)
    assert [leased.id for leased in given.leased] == [job_id]
    await b.store.reap(sessions=["victim"])
    assert (await b.get(job_id)).lost == 1


async def test_a_process_task_is_put_off_by_a_worker_that_cannot_start_children() -> None:
    async with bench(isolated=False) as b:
        record = await b.tried(await b.submit("process.plain_double", {"number": 1}))
        assert record.state is State.SCHEDULED
        assert record.attempt == 0
        assert record.attempts[0].error is not None
        assert record.attempts[0].error.code == "no_executor"


async def test_a_suspect_runs_as_usual_where_no_child_can_be_started() -> None:
    async with bench(isolated=False, start=False) as b:
        job_id = await b.submit("double", {"number": 4})
        await lose_once(b, job_id)
        b.start()
        assert (await b.ended(job_id)).state is State.COMPLETED


def test_the_matrix_names_tasks_that_exist() -> None:
    known: Registry = kit.registry()
    assert {"never", "thread.spins", "process.segfaults"} <= set(known)
