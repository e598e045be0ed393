"""The C worker for tests: built once, started against any gateway, asked what it said."""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stoker.core.clock import SystemClock
from stoker.core.job import JobRecord, JobSpec
from stoker.core.lifecycle import State
from stoker.core.store import Store
from stoker.testing import wait_until

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "workers" / "c"
BUILD = FOLDER / "build"
PROGRAM = BUILD / "stoker-worker-c"
PATIENCE = 60.0


@cache
def build(target: str = "test-programs") -> None:
    """Build, one process at a time, however many run tests."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = ["make", "-j2", "-C", str(FOLDER), target]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, (
        f"the C worker could not be built; scripts/install-c installs what it needs:\n"
        f"{made.stdout[-2000:]}\n{made.stderr[-5000:]}"
    )


def plugin(name: str = "trials", *, folder: Path = BUILD) -> Path:
    return folder / "plugins" / f"{name}.so"


def environment(**variables: str) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("STOKER_")}  # noqa: TID251 - handed on
    return {**inherited, **variables}


@dataclass
class Worker:
    """A running C worker."""

    process: asyncio.subprocess.Process
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    async def says(self, words: str) -> None:
        await wait_until(lambda: words in self.said, f"it says {words!r}", timeout=PATIENCE)

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    async def drain(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()


@asynccontextmanager
async def c_worker(
    folder: Path,
    url: str,
    *words: str,
    name: str = "press",
    plugins: tuple[Path, ...] | None = None,
    program: Path = PROGRAM,
    env: Mapping[str, str] | None = None,
    **variables: str,
) -> AsyncIterator[Worker]:
    """Run a C worker on a gateway."""
    build()
    command = [str(program), "--store", url, "--name", name, *words]
    for path in plugins if plugins is not None else (plugin(),):
        command += ["--plugin", str(path)]
    log = folder / f"{name}.log"
    with log.open("ab") as sink:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=sink, stderr=sink, env=environment(**(env or {}), **variables)
        )
    try:
        yield Worker(process, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def run(*words: str, text: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    build()
    return subprocess.run(
        [str(PROGRAM), *words],
        input=text,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(**variables),
        check=False,
    )


class Jobs:
    """Submits to a store, and waits for what becomes of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._clock = SystemClock()

    async def submit(self, task: str, payload: bytes = b"{}", **more: object) -> str:
        job_id = self._clock.new_id()
        spec = JobSpec(id=job_id, task=task, payload=payload, **more)  # type: ignore[arg-type]
        [submitted] = await self.store.submit([spec])
        assert submitted.error is None, submitted
        return job_id

    async def record(self, job_id: str) -> JobRecord:
        [record] = await self.store.get([job_id])
        assert record is not None
        return record

    async def reaches(self, job_id: str, *states: State) -> JobRecord:
        async def look() -> bool:
            return (await self.record(job_id)).state in states

        wanted = " or ".join(states)
        await wait_until(look, f"it is {wanted}", timeout=PATIENCE)
        return await self.record(job_id)

    async def ends(self, job_id: str) -> JobRecord:
        return await self.reaches(job_id, State.COMPLETED, State.DEAD_LETTER, State.CANCELLED)

    async def run(self, task: str, payload: bytes = b"{}", **more: object) -> JobRecord:
        return await self.ends(await self.submit(task, payload, **more))


def processes_below(pid: int) -> Iterator[int]:
    """Process ids of the descendants of a process."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                child = int(stat.parent.name)
                yield child
                yield from processes_below(child)
