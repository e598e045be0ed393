"""The thread that ends a process whose event loop hangs."""

import asyncio
import subprocess
import sys
import textwrap
import threading

import pytest

from stoker.testing import FakeClock
from stoker.worker import watchdog
from stoker.worker.crew import Crew
from stoker.worker.watchdog import EXIT_CODE, Watchdog
from tests.unit.worker.kit import bench


class Ended(threading.Event):
    code = 0

    def __call__(self, code: int) -> None:
        self.code = code
        self.set()


class Looks:
    """The limit of 10 seconds, which also tells when the watchdog looks."""

    def __init__(self) -> None:
        self._looked = threading.Semaphore(0)

    def __call__(self) -> float:
        self._looked.release()
        return 10.0

    def wait(self) -> None:
        """Wait until a look that begins from now on has ended."""
        while self._looked.acquire(blocking=False):
            pass
        for _ in range(3):
            assert self._looked.acquire(timeout=10)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOOK_EVERY", 0.01)


def test_a_loop_without_a_sign_of_life_ends_the_process_with_all_stacks(
    capfd: pytest.CaptureFixture[str],
) -> None:
    clock, ended = FakeClock(), Ended()
    look = Looks()
    dog = Watchdog(clock=clock, limit=look, end=ended)
    dog.touch()
    dog.start()
    for _ in range(3):
        look.wait()
        clock.advance(3.5)
    assert ended.wait(10)
    dog.stop()
    assert ended.code == EXIT_CODE
    assert "test_watchdog.py" in capfd.readouterr().err


def test_a_loop_that_rests_or_shows_itself_is_left_alone() -> None:
    clock, ended = FakeClock(), Ended()
    look = Looks()
    dog = Watchdog(clock=clock, limit=look, end=ended)
    dog.start()
    for _ in range(30):
        look.wait()
        clock.advance(4)
        dog.touch()
    look.wait()
    dog.rest()
    for _ in range(30):
        look.wait()
        clock.advance(4)
    look.wait()
    dog.stop()
    assert not ended.is_set()


def test_a_process_that_was_frozen_is_given_the_whole_limit_again() -> None:
    clock, ended = FakeClock(), Ended()
    look = Looks()
    dog = Watchdog(clock=clock, limit=look, end=ended)
    dog.touch()
    dog.start()
    look.wait()
    clock.advance(100)
    for _ in range(2):
        look.wait()
        clock.advance(4)
    look.wait()
    assert not ended.is_set()
    clock.advance(4)
    assert ended.wait(10)
    dog.stop()


async def test_the_limit_is_that_of_the_async_jobs_and_two_leases_at_most() -> None:
    async with bench(lease=30) as b:
        assert b.worker._longest_block() == 60.0
        job_id = await b.submit("never", timeout=20.0)
        await b.until(job_id, lambda r: r.started_at is not None, "runs")
        assert b.worker._longest_block() == 25.0
        other = await b.submit("never", timeout=900.0)
        await b.until(other, lambda r: r.started_at is not None, "runs")
        assert b.worker._longest_block() == 60.0


@pytest.mark.parametrize(
    ("hang", "code"),
    [("while True: pass", EXIT_CODE), ("re.match(r'(a+)+$', 'a' * 60 + 'b')", 1)],
)
def test_a_worker_whose_async_task_blocks_the_loop_ends_with_the_stacks(
    hang: str, code: int
) -> None:
    program = f"""
        import asyncio, re
        from stoker.core.clock import SystemClock
        from stoker.core.job import JobSpec
        from stoker.core.task import Registry, Task, TaskOptions
        from stoker.settings import LimitSettings, Seconds, WorkerSettings
        from stoker.stores.memory import MemoryStore
        from stoker.worker import watchdog, worker as module

        watchdog.LOOK_EVERY = 0.05

        async def hangs():
            {hang}

        async def main():
            clock = SystemClock()
            tasks = Registry()
            tasks.add(Task(hangs, name="hangs", options=TaskOptions.make(run_in="async")))
            async with MemoryStore(clock=clock) as store:
                await store.submit([JobSpec(id=clock.new_id(), task="hangs")])
                worker = module.Worker(
                    store, tasks, settings=WorkerSettings(lease=Seconds(0.4)),
                    limits=LimitSettings(), owns_process=True,
                )
                await worker.run()

        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    assert "in hangs" in done.stderr


async def test_a_bug_in_a_task_of_an_executor_surfaces() -> None:
    async def breaks() -> None:
        raise ZeroDivisionError

    async def goes_on() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    crew = Crew()
    first = crew.spawn(breaks(), "breaks")
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(10):
            await crew.watch()
    assert first.done()
    second = crew.spawn(goes_on(), "goes on")
    await asyncio.sleep(0)
    assert await crew.dismiss(timeout=0.01) == 1
    assert await crew.dismiss(timeout=5) == 0
    assert second.cancelled()


async def test_a_bug_in_the_dispatcher_ends_the_worker_loudly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench(start=False) as b:

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(b.worker._dispatcher, "_settle", broken)
        await b.submit("double", {"number": 1})
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(20):
                await b.worker.run()
