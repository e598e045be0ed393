"""Workers for a measurement: started, waited for, stopped, weighed."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from stoker import Stoker
from stoker.app.running import build_worker
from stoker.core.job import SessionState
from stoker.core.store import Store
from stoker.worker.worker import Worker

ROOT = Path(__file__).resolve().parents[1]
JOINS_WITHIN = 60.0
LEAVES_WITHIN = 60.0
LOOK_EVERY = 0.05


@dataclass
class Crew:
    """Worker processes, and what they say."""

    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    log: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    peak: int = 0
    """Bytes that the biggest of them used at its peak; known once they have left."""

    def start(self, command: list[str]) -> None:
        """Start one."""
        self.processes.append(
            subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
            )
        )

    def check(self) -> None:
        """See that all of them run.

        Raises:
            RuntimeError: One ended, with what it said.
        """
        if any(process.poll() is not None for process in self.processes):
            raise RuntimeError(f"a worker ended too early:\n{self._said()}")

    def stop(self) -> None:
        """Drain them all and weigh each.

        Raises:
            RuntimeError: One did not end as it should, with what it said.
        """
        for process in self.processes:
            if process.returncode is None:
                os.kill(process.pid, signal.SIGTERM)
        for process in self.processes:
            if process.returncode is None:
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                self.peak = max(self.peak, _bytes(usage))
        if any(process.returncode for process in self.processes):
            raise RuntimeError(f"a worker failed:\n{self._said()}")

    def _said(self) -> str:
        self.log.seek(0)
        return self.log.read().decode(errors="replace")


@asynccontextmanager
async def processes(app: Stoker, count: int, *, concurrency: int) -> AsyncIterator[Crew]:
    """Run worker processes on the app's store; yield once all of them beat."""
    crew = Crew()
    command = [sys.executable, "-m", "stoker", "worker", "--app", "benchmarks.tasks:app"]
    command += ["--store", app.settings.store, "--concurrency", str(concurrency)]
    try:
        for _ in range(count):
            crew.start(command)
        await _wait_for(app, crew, count)
        yield crew
    finally:
        async with asyncio.timeout(LEAVES_WITHIN):
            await asyncio.to_thread(crew.stop)
        crew.log.close()


@asynccontextmanager
async def in_this_process(app: Stoker, *, concurrency: int) -> AsyncIterator[Crew]:
    """Run one worker in this process, for a store that no other process can open."""
    settings = msgspec.structs.replace(app.settings.worker, concurrency=concurrency)
    app.settings = msgspec.structs.replace(app.settings, worker=settings)

    async def make(store: Store) -> Worker:
        return build_worker(app, store)

    worker = await app.arun(make)
    crew = Crew()
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run())
        try:
            await _wait_for(app, crew, 1)
            yield crew
        finally:
            worker.drain()
    crew.peak = _bytes(resource.getrusage(resource.RUSAGE_SELF))


async def _wait_for(app: Stoker, crew: Crew, count: int) -> None:
    async with asyncio.timeout(JOINS_WITHIN):
        while len(await _alive(app)) < count:
            crew.check()
            await asyncio.sleep(LOOK_EVERY)


async def _alive(app: Stoker) -> list[str]:
    sessions = await app.arun(lambda store: store.sessions())
    return [session.id for session in sessions if session.state is SessionState.ALIVE]


def _bytes(usage: resource.struct_rusage) -> int:
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
