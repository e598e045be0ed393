"""Child processes: how they start, what they know, and how they end."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stoker.core.lifecycle import State
from stoker.core.task import Task, TaskOptions
from stoker.settings import Seconds
from stoker.testing import wait_until
from stoker.worker import processes
from stoker.worker.processes import in_words, machine_memory, resident_bytes
from stoker.worker.source import TaskSource
from tests.unit.worker import kit
from tests.unit.worker.kit import Bench, bench


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")


async def value(b: Bench, task: str, payload: Any = None, **options: Any) -> Any:
    record = await b.ended(await b.submit(task, payload, timeout=30.0, **options))
    assert record.state is State.COMPLETED, record.error
    return msgspec.json.decode(record.result or b"null")


async def test_one_child_runs_many_jobs_one_at_a_time() -> None:
    async with bench(concurrency=4, processes=1) as b:
        ids = [await b.submit("process.whoami", timeout=30.0) for _ in range(12)]
        pids = set()
        for job_id in ids:
            record = await b.ended(job_id)
            assert record.result is not None
            _, pid, in_main_thread = msgspec.json.decode(record.result)
            assert in_main_thread
            pids.add(pid)
        assert len(pids) == 1
        assert b.worker.children == tuple(pids)


async def test_jobs_run_beside_each_other_in_children_of_their_own() -> None:
    async with bench(concurrency=2) as b:
        ids = [await b.submit("process.spins", {"seconds": 30}, timeout=60.0) for _ in range(2)]
        for job_id in ids:
            await b.in_state(job_id, State.RUNNING)
        assert len(b.worker.children) == 2
        b.worker.stop()


async def test_a_child_does_not_know_the_store_and_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STOKER_STORE", "postgresql://user:secret@db/jobs")
    monkeypatch.setenv("STOKER_TASKS__ENCRYPTION_KEY", "c2VjcmV0")
    async with bench() as b:
        assert await value(b, "process.environment") == {}
        [pid] = b.worker.children
        assert "secret" not in command_line(pid)


async def test_an_async_task_runs_in_a_child_on_a_loop_of_its_own() -> None:
    async with bench() as b:
        assert await value(b, "process.process_async", {"number": 4}) == 8


async def test_a_task_that_exits_by_exception_fails_and_its_child_lives_on() -> None:
    async with bench() as b:
        record = await b.ended(await b.submit("process.system_exit"))
        assert record.error is not None
        assert record.error.type == "SystemExit"
        before = b.worker.children
        assert await value(b, "process.plain_double", {"number": 1}) == 2
        assert b.worker.children == before


async def test_what_a_job_started_dies_with_it() -> None:
    async with bench() as b:
        job_id = await b.submit("process.spawns", timeout=1.5)
        running = await b.until(job_id, lambda r: bool(r.logs), "has started a process")
        sleeper = int(running.logs[0].message)
        assert is_alive(sleeper)
        record = await b.ended(job_id)
        assert record.error is not None
        assert record.error.code == "timeout"
        await wait_until(lambda: not is_alive(sleeper), "the process of the job is gone")


async def test_children_die_when_the_worker_ends() -> None:
    async with bench() as b:
        await value(b, "process.plain_double", {"number": 1})
        [pid] = b.worker.children
        await b.finish()
        assert not is_alive(pid)
        assert b.worker.children == ()


async def test_a_child_that_died_while_idle_costs_no_job() -> None:
    async with bench() as b:
        await value(b, "process.plain_double", {"number": 1})
        [pid] = b.worker.children
        os.kill(pid, signal.SIGKILL)
        await wait_until(lambda: not is_alive(pid), "the idle child is dead")
        record = await b.ended(await b.submit("process.plain_double", {"number": 2}))
        assert record.state is State.COMPLETED
        assert len(record.attempts) == 1


async def test_a_job_that_its_child_never_began_is_handed_to_a_fresh_one() -> None:
    async with bench() as b:
        await value(b, "process.plain_double", {"number": 1})
        [pid] = b.worker.children
        # It is alive, and will not read what it is sent.
        os.kill(pid, signal.SIGSTOP)
        job_id = await b.submit("process.plain_double", {"number": 2}, timeout=30.0)
        processes = b.worker._processes
        assert processes is not None
        await wait_until(lambda: processes.serving == 1, "the job was sent to the child")
        os.kill(pid, signal.SIGKILL)
        record = await b.ended(job_id)
        assert (record.state, len(record.attempts)) == (State.COMPLETED, 1)


async def test_an_idle_child_is_ended_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "IDLE_LIMIT", 0.1)
    async with bench() as b:
        await value(b, "process.plain_double", {"number": 1})
        await wait_until(lambda: b.worker.children == (), "the idle child was ended")
        assert await value(b, "process.plain_double", {"number": 2}) == 4


async def test_a_child_that_grew_is_replaced_before_a_job_with_a_small_limit() -> None:
    tasks = kit.registry()
    options = TaskOptions.make(run_in="process", memory="60MB")
    tasks.add(Task(kit.whoami, name="lean", options=options))
    async with bench(tasks=tasks, concurrency=1) as b:
        _, first, _ = await value(b, "process.whoami")
        big = await b.ended(await b.submit("process.keeps_memory", {"megabytes": 64}))
        assert big.state is State.COMPLETED
        job_id = await b.submit("lean", timeout=30.0)
        await b.tried(job_id)
        assert b.worker.children != (first,)


async def test_a_job_is_put_off_when_no_child_can_be_started() -> None:
    async with bench(source=TaskSource(app="broken")) as b:
        record = await b.tried(await b.submit("process.plain_double", {"number": 1}))
        assert (record.state, record.attempt) == (State.SCHEDULED, 0)
        error = record.attempts[0].error
        assert error is not None
        assert error.code == "child_broken"
        assert "no such shop" in error.message


async def test_a_task_that_only_the_worker_knows_is_put_off() -> None:
    tasks = kit.registry()
    options = TaskOptions.make(run_in="process")
    tasks.add(Task(kit.plain_double, name="newer", options=options))
    async with bench(tasks=tasks) as b:
        record = await b.tried(await b.submit("newer", {"number": 1}))
        assert (record.state, record.attempt) == (State.SCHEDULED, 0)
        assert record.attempts[0].error is not None
        assert record.attempts[0].error.code == "unknown_task"


async def test_a_bug_in_starting_children_puts_the_job_off_and_does_not_spin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starts = []

    def broken(self: object, crash_fd: int) -> None:
        starts.append(crash_fd)
        raise TypeError("a bug")

    monkeypatch.setattr(processes.ChildSpec, "hello", broken)
    async with bench() as b:
        record = await b.tried(await b.submit("process.plain_double", {"number": 1}))
        assert record.attempts[0].error is not None
        assert "a bug" in record.attempts[0].error.message
        assert len(starts) == 1


async def test_more_process_jobs_than_children_wait_their_turn() -> None:
    async with bench(concurrency=3, processes=1) as b:
        ids = [await b.submit("process.plain_double", {"number": n}) for n in range(6)]
        assert {(await b.ended(job_id)).state for job_id in ids} == {State.COMPLETED}


async def test_a_drain_interrupts_a_child_that_is_still_starting() -> None:
    async with bench(drain=Seconds(0.01)) as b:
        job_id = await b.submit("process.spins", timeout=60.0)
        await wait_until(lambda: b.worker.busy == 1, "the job was given to a child")
        async with asyncio.timeout(20):
            await b.finish()
        record = await b.get(job_id)
        assert (record.state, record.attempt, record.lost) == (State.QUEUED, 0, 0)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-11, "was killed by SIGSEGV"),
        (-64, "was killed by SIGRTMAX"),
        (-63, "was killed by signal 63"),
        (0, "exited with code 0 in the middle of it"),
        (3, "exited with code 3 in the middle of it"),
        (None, "does not end although it was killed"),
    ],
)
def test_an_end_is_told_in_words(code: int | None, words: str) -> None:
    assert in_words(code) == words


def test_memory_is_measured_in_bytes() -> None:
    mine = resident_bytes(os.getpid())
    assert 2**20 < mine < machine_memory()
    assert resident_bytes(2**22 + 1) == 0
