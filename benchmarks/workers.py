"""Worker processes for a measurement: started, waited for, stopped, weighed."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stoker import Stoker
from stoker.core.job import SessionState

ROOT = Path(__file__).resolve().parents[1]
JOINS_WITHIN = 30.0


@dataclass
class Crew:
    """Worker processes; ``peak`` is known once they have left."""

    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    peak: int = 0
    """Bytes that the biggest of them used at its peak."""

    def stop(self) -> None:
        """Drain them all and weigh each."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            unit = 1 if sys.platform == "darwin" else 1024
            self.peak = max(self.peak, usage.ru_maxrss * unit)
            if process.returncode != 0:
                raise RuntimeError(f"a worker ended with exit code {process.returncode}")


@asynccontextmanager
async def workers(app: Stoker, count: int, *, concurrency: int) -> AsyncIterator[Crew]:
    """Run worker processes on the app's store; yield once all of them beat."""
    crew = Crew()
    command = [sys.executable, "-m", "stoker", "worker", "--app", "benchmarks.tasks:app"]
    command += ["--store", app.settings.store, "--concurrency", str(concurrency)]
    before = len(await _alive(app))
    try:
        for _ in range(count):
            crew.processes.append(
                subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=2)
            )
        async with asyncio.timeout(JOINS_WITHIN):
            while len(await _alive(app)) < before + count:
                await app.arun(lambda store: store.wait(timeout=0.05))
        yield crew
    finally:
        await asyncio.to_thread(crew.stop)


async def _alive(app: Stoker) -> list[str]:
    sessions = await app.arun(lambda store: store.sessions())
    return [session.id for session in sessions if session.state is SessionState.ALIVE]
