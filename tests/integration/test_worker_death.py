"""A worker process that is killed takes its child processes with it."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

PROGRAM = textwrap.dedent(
    """
    import asyncio, sys
    from stoker.core.clock import SystemClock
    from stoker.core.job import JobSpec
    from stoker.settings import LimitSettings, WorkerSettings
    from stoker.stores.memory import MemoryStore
    from stoker.worker.source import TaskSource
    from stoker.worker.worker import Worker
    from tests.unit.worker import kit

    async def main():
        clock = SystemClock()
        async with MemoryStore(clock=clock) as store:
            await store.submit([JobSpec(id=clock.new_id(), task=sys.argv[1])])
            worker = Worker(
                store, kit.registry(), settings=WorkerSettings(), limits=LimitSettings(),
                source=TaskSource(), child_module=kit.CHILD,
            )
            run = asyncio.get_running_loop().create_task(worker.run())
            while not (worker.children and worker._processes.serving):
                await asyncio.sleep(0.01)
            print(*worker.children, flush=True)
            await run

    asyncio.run(main())
    """
)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


def killed_worker(task: str) -> int:
    """Kill a worker in the middle of a job; return the child's process id."""
    worker = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, task],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert worker.stdout is not None
        child = int(worker.stdout.readline())
        assert is_alive(child)
        worker.send_signal(signal.SIGKILL)
    finally:
        worker.kill()
        worker.communicate(timeout=30)
    return child


def assert_dies(pid: int) -> None:
    end = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < end, f"child {pid} outlived its worker"
        os.sched_yield()


def test_a_child_in_an_endless_loop_dies_with_its_worker() -> None:
    assert_dies(killed_worker("process.spins"))


def test_a_child_that_holds_the_interpreter_lock_dies_with_its_worker() -> None:
    assert_dies(killed_worker("process.holds_the_gil"))
