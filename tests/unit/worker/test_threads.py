"""Interrupting a thread: the right job hears it, and no other."""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from stoker.core.clock import SystemClock
from stoker.core.job import Leased, Outcome
from stoker.core.task import Task, TaskOptions
from stoker.testing import wait_until
from stoker.worker.attempt import Attempt, Stop, Verdict
from stoker.worker.runner import Runner
from stoker.worker.threads import ThreadExecutor, _Thread
from tests.unit.worker import kit


class Rig:
    def __init__(self) -> None:
        self.clock = SystemClock()
        self.verdicts: dict[str, Verdict] = {}
        self.stuck = 0
        self.executor = ThreadExecutor(
            runner=Runner(worker="w", result_limit=1_000, random=lambda: 0.5),
            done=self._done,
            on_stuck=self._on_stuck,
            loop=asyncio.get_running_loop(),
        )

    def _done(self, attempt: Attempt, verdict: Verdict) -> None:
        attempt.finish()
        assert attempt.leased.id not in self.verdicts
        self.verdicts[attempt.leased.id] = verdict

    def _on_stuck(self) -> None:
        self.stuck += 1

    def start(self, fn: Callable[..., Any], name: str) -> Attempt:
        task: Task[..., Any] = Task(fn, name="t", options=TaskOptions.make(run_in="thread"))
        job = Leased(name, "t", b"{}", "q", 1, 1, "n")
        attempt = Attempt(job, task, leased_at=self.clock.monotonic(), clock=self.clock)
        self.executor.start(attempt)
        return attempt

    def stop(self, attempt: Attempt, stop: Stop) -> None:
        attempt.ask(stop)
        self.executor.interrupt(attempt, stop)

    async def verdict(self, name: str) -> Verdict:
        await wait_until(lambda: name in self.verdicts, f"{name} has ended")
        return self.verdicts[name]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    kit.started.clear()
    kit.release.clear()
    yield rig
    kit.release.set()
    await rig.executor.aclose()


def spin_briefly() -> str:
    end = time.monotonic() + 0.002
    while time.monotonic() < end:
        pass
    return "done"


async def test_an_interrupt_at_the_very_end_of_a_job_never_hits_the_next(rig: Rig) -> None:
    for number in range(150):
        first = rig.start(spin_briefly, f"first {number}")
        near_its_end = time.monotonic() + 0.002 * (0.7 + number % 10 * 0.06)
        while time.monotonic() < near_its_end:
            pass
        if not first.ended:
            rig.stop(first, Stop.CANCEL)
        second = f"second {number}"
        rig.start(spin_briefly, second)
        assert (await rig.verdict(first.leased.id)).outcome in {
            Outcome.COMPLETED,
            Outcome.CANCELLED,
        }
        assert await rig.verdict(second) == Verdict(Outcome.COMPLETED, b'"done"')


def test_a_thread_that_ends_its_job_waits_for_an_interrupt_that_is_under_way() -> None:
    thread = _Thread()
    thread.poking = True
    over = threading.Event()

    def shut() -> None:
        thread._shut()
        over.set()

    threading.Thread(target=shut, daemon=True).start()
    assert not over.wait(0.05)
    thread.poking = False
    assert over.wait(10)


async def test_many_threads_are_interrupted_at_once(rig: Rig) -> None:
    attempts = [rig.start(kit.spins, f"job {n}") for n in range(8)]
    await wait_until(lambda: all(a.started for a in attempts), "all run")
    for attempt in attempts:
        rig.stop(attempt, Stop.RELEASE)
    for attempt in attempts:
        assert (await rig.verdict(attempt.leased.id)).outcome is Outcome.RELEASED


async def test_a_thread_in_a_blocking_call_hears_it_when_the_call_returns(rig: Rig) -> None:
    def waits() -> None:
        kit.started.set()
        kit.release.wait(10)
        while True:
            pass

    attempt = rig.start(waits, "waits")
    await wait_until(kit.started.is_set, "the job has started")
    rig.stop(attempt, Stop.CANCEL)
    await asyncio.sleep(0)
    assert not attempt.ended
    kit.release.set()
    assert (await rig.verdict("waits")).outcome is Outcome.CANCELLED


async def test_nothing_stays_planted_in_a_thread_that_does_not_hear(rig: Rig) -> None:
    attempt = rig.start(kit.blocks, "blocks")
    await wait_until(kit.started.is_set, "the job has started")
    entered = []

    def trace(frame: Any, event: str, arg: Any) -> None:
        entered.append(frame.f_code.co_name)

    rig.stop(attempt, Stop.CANCEL)
    rig.executor._telling.clear()
    # CPython 3.11 hangs here, entering a traced function, while an exception is pending anywhere.
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        spin_briefly()
    finally:
        sys.settrace(before)
    assert "spin_briefly" in entered
    kit.release.set()
    assert (await rig.verdict("blocks")).outcome is Outcome.COMPLETED


async def test_a_thread_inside_a_lock_of_the_process_is_left_alone_for_a_moment(
    rig: Rig,
) -> None:
    attempt = rig.start(kit.blocks, "blocks")
    await wait_until(kit.started.is_set, "the job has started")
    await wait_until(attempt.handle.is_delicate, "it waits inside threading")
    poked = []
    attempt.handle.poke = lambda *_: poked.append(rig.clock.monotonic())
    rig.stop(attempt, Stop.CANCEL)
    assert not poked
    await wait_until(lambda: poked, "it was poked in the end")
    kit.release.set()
    await rig.verdict("blocks")


async def test_a_stuck_thread_is_counted_until_it_ends_and_replaced_by_a_fresh_one(
    rig: Rig,
) -> None:
    attempt = rig.start(kit.blocks, "stuck")
    await wait_until(kit.started.is_set, "the job has started")
    attempt.ask(Stop.HARD)
    rig.executor.kill(attempt)
    assert (rig.executor.stuck, rig.stuck) == (1, 1)
    error = rig.verdicts["stuck"].error
    assert error is not None
    assert "in blocks" in (error.traceback or "")
    rig.start(spin_briefly, "next")
    assert (await rig.verdict("next")).outcome is Outcome.COMPLETED
    kit.release.set()
    await wait_until(lambda: rig.executor.stuck == 0, "the stuck thread has ended")
    assert rig.verdicts["stuck"].outcome is Outcome.FAILED


async def test_a_job_killed_before_a_thread_took_it_never_runs(rig: Rig) -> None:
    ran = threading.Event()
    attempt = rig.start(ran.set, "never")
    attempt.ask(Stop.CANCEL)
    if attempt.handle is None:
        rig.executor.kill(attempt)
    assert (await rig.verdict("never")).outcome in {Outcome.CANCELLED, Outcome.COMPLETED}
    rig.start(spin_briefly, "next")
    assert (await rig.verdict("next")).outcome is Outcome.COMPLETED
    assert rig.stuck == 0


async def test_idle_threads_end_when_the_executor_is_closed() -> None:
    rig = Rig()
    rig.start(spin_briefly, "one")
    await rig.verdict("one")
    names = {t.name for t in threading.enumerate()}
    assert any(name.startswith("stoker-task") for name in names)
    await rig.executor.aclose()
    await wait_until(
        lambda: not any(t.name.startswith("stoker-task") for t in threading.enumerate()),
        "the threads are gone",
    )
