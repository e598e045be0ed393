"""How a worker process ends when something in it cannot be ended."""

import subprocess
import sys
import textwrap
from pathlib import Path

HEAD = """
import asyncio, os, signal, sys, threading
from stoker.core.clock import SystemClock
from stoker.core.job import JobSpec
from stoker.core.task import Registry, Task, TaskOptions
from stoker.settings import LimitSettings, Seconds, WorkerSettings
from stoker.stores.memory import MemoryStore
from stoker.worker.worker import ExitReason, Worker, install_signals, recycle_exec

async def work(fn, run_in, then, **settings):
    clock, tasks = SystemClock(), Registry()
    tasks.add(Task(fn, name="task", options=TaskOptions.make(run_in=run_in)))
    async with MemoryStore(clock=clock) as store:
        await store.submit([JobSpec(id=clock.new_id(), task="task", timeout=0.3)])
        worker = Worker(
            store, tasks, settings=WorkerSettings(**settings), limits=LimitSettings()
        )
        install_signals(worker, asyncio.get_running_loop())
        run = asyncio.get_running_loop().create_task(worker.run())
        await then(worker)
        reason = await run
        return reason, worker.leftovers
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HEAD + textwrap.dedent(program), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_handler_that_swallows_every_cancellation_does_not_keep_the_process() -> None:
    done = run(
        """
        async def deaf():
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    pass

        async def then(worker):
            while not worker.finished:
                await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)

        print(*asyncio.run(work(deaf, "async", then)))
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["drained", "1"]


def test_a_worker_with_a_stuck_thread_replaces_its_process(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    program = """
        notes = sys.argv[1]
        with open(notes, "a") as file:
            print(os.getpid(), threading.active_count(), file=file)
        with open(notes) as file:
            if len(file.readlines()) > 1:
                sys.exit(0)

        def stuck():
            threading.Lock().acquire()
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()

        async def then(worker):
            pass

        reason, leftovers = asyncio.run(work(stuck, "thread", then, drain=Seconds(5)))
        assert (reason, leftovers) == (ExitReason.RECYCLE, 1)
        recycle_exec()
        """
    file = tmp_path / "program.py"
    file.write_text(HEAD + textwrap.dedent(program), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(file), str(notes)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    first, second = (line.split() for line in notes.read_text(encoding="utf-8").splitlines())
    assert first == second, "the same process id, and no thread left"
