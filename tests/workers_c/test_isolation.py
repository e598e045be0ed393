"""A handler in a process may do its worst: it costs its own job, and its record says why."""

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.core.retry import RetryPolicy
from stoker.testing import wait_until
from tests.workers_c.conftest import Desk
from tests.workers_c.program import Worker, c_worker, processes_below

ONCE = RetryPolicy(max_retries=0)
SECRET = "a-token-that-no-handler-may-see"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("segv", "the process that ran the job was killed by SIGSEGV"),
        ("abort", "the process that ran the job was killed by SIGABRT"),
        ("kill", "the process that ran the job was killed by SIGKILL"),
        ("exit", "ended with exit code 7 before its handler returned"),
    ],
)
async def test_a_crash_costs_its_own_job_only(desk: Desk, how: str, message: str) -> None:
    async with c_worker(desk.folder, desk.url) as worker:
        beside = [await desk.jobs.submit("trial.nothing_apart") for _ in range(10)]
        payload = json.dumps({"how": how}).encode()
        record = await desk.jobs.run("trial.crash", payload, max_lost=1)
        others = [await desk.jobs.ends(job_id) for job_id in beside]
        assert await worker.drain() == 0
    assert record.state is State.DEAD_LETTER
    assert record.error is not None
    assert (record.error.code, record.error.type) == ("crashed", "WorkerCrashed")
    assert message in record.error.message
    assert {(other.state, other.lost) for other in others} == {(State.COMPLETED, 0)}


async def test_a_crash_says_where_it_happened(desk: Desk) -> None:
    async with c_worker(desk.folder, desk.url):
        record = await desk.jobs.run("trial.crash", max_lost=1)
    assert record.error is not None
    assert record.error.traceback is not None
    assert "trials.so" in record.error.traceback


async def test_a_job_that_kills_its_process_three_times_is_a_dead_letter(desk: Desk) -> None:
    async with c_worker(desk.folder, desk.url):
        record = await desk.jobs.run("trial.crash")
    assert (record.state, record.lost) == (State.DEAD_LETTER, 3)


@pytest.mark.parametrize("task", ["trial.spin", "trial.stubborn_apart"])
async def test_an_endless_handler_is_killed_at_its_limit(desk: Desk, task: str) -> None:
    async with c_worker(desk.folder, desk.url) as worker:
        record = await desk.jobs.run(task, timeout=0.3, retry=ONCE)
        after = await desk.jobs.run("trial.nothing_apart")
        assert await worker.drain() == 0
    assert record.error is not None
    assert (record.state, record.error.code) == (State.DEAD_LETTER, "timeout")
    assert after.state is State.COMPLETED
    assert "recycle" not in worker.said


async def test_a_handler_that_takes_memory_without_end_is_ended_and_named(desk: Desk) -> None:
    async with c_worker(desk.folder, desk.url):
        record = await desk.jobs.run("trial.eat", retry=ONCE)
        after = await desk.jobs.run("trial.nothing_apart")
    assert record.error is not None
    assert (record.error.code, record.error.type) == ("memory_exceeded", "MemoryError")
    assert "after the system had refused it memory" in record.error.message
    assert after.state is State.COMPLETED


async def test_a_cancelled_handler_that_does_not_look_is_killed(desk: Desk) -> None:
    async with c_worker(desk.folder, desk.url) as worker:
        job_id = await desk.jobs.submit("trial.spin")
        await desk.jobs.reaches(job_id, State.RUNNING)
        await desk.jobs.store.cancel(JobQuery(ids=(job_id,)))
        record = await desk.jobs.ends(job_id)
        await _only_the_zygote_is_left(worker)
    assert record.state is State.CANCELLED


async def test_what_a_handler_started_ends_with_it(desk: Desk) -> None:
    async with c_worker(desk.folder, desk.url):
        record = await desk.jobs.run("trial.leave_something")
        assert record.result is not None
        left = json.loads(bytes(record.result))["pid"]
        await wait_until(lambda: not _is_alive(left), "the grandchild is gone")


async def test_a_handler_sees_neither_the_token_nor_the_connection(desk: Desk) -> None:
    variables = {
        "STOKER_TOKEN": SECRET,
        "_STOKER_COMMAND_LINE": json.dumps({"token": SECRET}),
        "PLAIN": "seen",
    }
    async with c_worker(desk.folder, desk.url, env=variables):
        record = await desk.jobs.run("trial.expose")
    assert record.result is not None
    seen = json.loads(bytes(record.result))
    assert "PLAIN=seen" in seen["environment"]
    assert [v for v in seen["environment"] if "STOKER_" in v] == []
    assert SECRET not in seen["raw_environment"]
    assert "PLAIN=seen" in seen["raw_environment"]
    sockets = [d for d in seen["descriptors"] if d.startswith("socket:")]
    # Its line to the worker. Besides that: its output, no input, and the folder it looks into.
    assert len(sockets) == 1
    others = {d for d in seen["descriptors"] if not d.startswith("socket:")}
    assert {Path(d).name for d in others} <= {"press.log", "null", "fd"}


async def test_children_end_when_their_worker_is_killed(desk: Desk) -> None:
    async with c_worker(desk.folder, desk.url) as worker:
        job_id = await desk.jobs.submit("trial.spin")
        await desk.jobs.reaches(job_id, State.RUNNING)
        below = list(processes_below(worker.process.pid))
        assert len(below) == 2
        worker.process.send_signal(signal.SIGKILL)
        await worker.ended()
        await wait_until(lambda: not any(map(_is_alive, below)), "nobody is left")


async def test_a_worker_whose_zygote_died_replaces_itself(desk: Desk) -> None:
    async with c_worker(desk.folder, desk.url) as worker:
        await desk.jobs.run("trial.nothing_apart")
        [zygote] = processes_below(worker.process.pid)
        os.kill(zygote, signal.SIGKILL)
        await worker.says("ended: recycle")
        record = await desk.jobs.run("trial.nothing_apart")
        assert await worker.drain() == 0
    assert record.state is State.COMPLETED


async def test_a_job_that_took_a_worker_with_it_runs_apart_from_then_on(desk: Desk) -> None:
    async with c_worker(desk.folder, desk.url, "--lease", "1s") as worker:
        job_id = await desk.jobs.submit("trial.patient")
        await desk.jobs.reaches(job_id, State.RUNNING)
        worker.process.kill()
        await worker.ended()
    sessions = [info.id for info in await desk.jobs.store.sessions()]
    await desk.jobs.store.reap(sessions=sessions)
    async with c_worker(desk.folder, desk.url, name="second") as worker:
        await desk.jobs.reaches(job_id, State.RUNNING)
        await wait_until(
            lambda: len(list(processes_below(worker.process.pid))) == 2, "it runs in a child"
        )
        await desk.jobs.store.cancel(JobQuery(ids=(job_id,)))
        await desk.jobs.ends(job_id)


async def test_many_children_at_once_are_no_more_than_allowed(desk: Desk) -> None:
    words = ("--processes", "3", "--concurrency", "20")
    async with c_worker(desk.folder, desk.url, *words) as worker:
        payload = b'{"seconds":0.1}'
        ids = [await desk.jobs.submit("trial.stubborn_apart", payload) for _ in range(9)]
        seen: list[int] = []

        async def all_ended() -> bool:
            seen.append(len(list(processes_below(worker.process.pid))) - 1)
            return all([(await desk.jobs.record(i)).state is State.COMPLETED for i in ids])

        await wait_until(all_ended, "all ended")
    assert 1 <= max(seen) <= 3


async def _only_the_zygote_is_left(worker: Worker) -> None:
    await wait_until(
        lambda: len(list(processes_below(worker.process.pid))) == 1, "only the zygote is left"
    )


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False
