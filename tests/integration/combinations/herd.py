"""Worker processes that are killed, frozen and replaced."""

import asyncio
import random  # noqa: TID251 - seeded
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from stoker.cli.exits import UNREACHABLE
from stoker.testing import wait_until
from tests.integration.combinations import program
from tests.integration.combinations.ledger import Ledger

LEASE = 3.0
"""Seconds. A worker whose loop is silent for two of them ends itself, so not too few of them."""
START_WITHIN = 60.0
CONFIG = f"""
[worker]
lease = "{LEASE}s"
concurrency = 12
processes = 2
poll = "200ms"
[keeper]
interval = "100ms"
term = "{LEASE}s"
[tasks]
standard = false
[log]
format = "text"
"""
"""What each of Stoker's processes is told, besides where its store and its broker are."""


def configuration(store: str, *, broker: str = "", app: str = "program:app") -> str:
    """Return a ``stoker.toml``."""
    keys = {"store": store, "broker": broker, "app": app}
    return "".join(f'{key} = "{value}"\n' for key, value in keys.items() if value) + CONFIG


@dataclass
class Process:
    """One worker process."""

    name: str
    process: asyncio.subprocess.Process

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)


class Herd:
    """The workers. They share a folder, with the ledger in it."""

    def __init__(self, folder: Path, *, config: str, options: tuple[str, ...] = ()) -> None:
        """Prepare a herd.

        Args:
            folder: Where the workers run.
            config: Their ``stoker.toml``.
            options: More of their command line.
        """
        self._folder = folder
        self._options = options
        self.workers: list[Process] = []
        self._started = 0
        self.ledger = Ledger(folder / program.LEDGER)
        (folder / "stoker.toml").write_text(config)
        shutil.copy(program.__file__, folder / "program.py")

    async def start(self) -> None:
        """Start one more."""
        self._started += 1
        name = f"w{self._started}"
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "stoker", "worker", "--name", name, *self._options,
                cwd=self._folder, stdout=log, stderr=log,
            )  # fmt: skip
        self.workers.append(Process(name, process))

    async def choose(self, chance: random.Random) -> Process:
        """Wait until some worker runs a job, and return one of those that do."""

        async def working() -> list[Process]:
            await self.mend()
            return self.busy()

        found = await wait_until(working, "a worker runs a job", timeout=START_WITHIN)
        return chance.choice(found)

    def busy(self) -> list[Process]:
        """Return those that run a job."""
        running = {line.worker for line in self.ledger.look().open.values()}
        return [worker for worker in self.workers if worker.name in running]

    async def kill(self, worker: Process) -> None:
        """Kill one with SIGKILL."""
        self.workers.remove(worker)
        worker.send(signal.SIGKILL)
        await worker.process.wait()

    async def mend(self) -> None:
        """Do what a supervisor does: start another one for each that found no store to begin with.

        Any other end that nobody asked for is a failure.
        """
        ended = [worker for worker in self.workers if worker.process.returncode is not None]
        for worker in ended:
            self.workers.remove(worker)
        worked = {line.worker for line in self.ledger.lines}
        for worker in ended:
            code = worker.process.returncode
            excused = code == UNREACHABLE and worker.name not in worked
            assert excused, f"{worker.name} ended by itself with {code}\n{self.log_tail()}"
            await self.start()

    async def drain(self) -> dict[str, int]:
        """Let all of them end as an operator would; return their exit codes."""
        for worker in self.workers:
            worker.send(signal.SIGTERM)
        return {worker.name: await worker.process.wait() for worker in self.workers}

    async def close(self) -> None:
        """Leave none behind, whatever happened."""
        for worker in self.workers:
            if worker.process.returncode is None:
                worker.send(signal.SIGKILL)
                await worker.process.wait()

    def log_tail(self, size: int = 4_000) -> str:
        """Return the end of what the workers logged."""
        return self._log.read_text(errors="replace")[-size:] if self._log.exists() else ""

    @property
    def _log(self) -> Path:
        return self._folder / "workers.log"
