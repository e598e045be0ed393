"""A worker in C beside one in Python, over one TCP connection to the same gateway.

``python -m benchmarks.c_worker [--tiny] [STORE]``. A server lends its store through its gateway.
Each round drains a full queue once by each worker, in alternating order, so that whatever else the
machine does meets all; what is shown is the median of the rounds' ratios. All run the same no-op
task, which decodes its payload and returns a number: in C in a thread, in Python once as a plain
function, in a thread too, and once as a coroutine. Beside the rates stands the time of the
processor that worker and server used for a thousand jobs: it says who was the limit.
"""

import argparse
import asyncio
import contextlib
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil  # type: ignore[import-untyped]

from benchmarks import measures, report, workers
from benchmarks.measures import Sizes
from benchmarks.servers import GATEWAY, cpu, serving
from benchmarks.tasks import app
from stoker.core.job import SessionState

ROUNDS = 5
DRAINED = 100_000
CONCURRENCY = 100
STARTS_WITHIN = 30.0
LOOK_EVERY = 0.05
MEGABYTE = 1024 * 1024
C_WORKER = workers.ROOT / "workers" / "c"
KINDS = ("c", "def", "async def")
_PYTHON = (sys.executable, "-m", "stoker", "worker", "--app")
HEADINGS = ("", "in C", "in Python, `def`", "in Python, `async def`")


@dataclass
class Figures:
    """What was measured of one worker, a figure a round."""

    rates: list[float] = field(default_factory=list)
    worker_cpu: list[float] = field(default_factory=list)
    """Seconds of processor that the worker used for each second of the drain."""
    server_cpu: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    """The most bytes that were its own (PSS), its children included."""

    def per_thousand(self, used: Sequence[float]) -> float:
        """Return the milliseconds of processor for a thousand jobs."""
        each = [share / rate for share, rate in zip(used, self.rates, strict=True)]
        return statistics.median(each) * 1e6


def build() -> None:
    """Build the worker in C and the plugin with the task."""
    make = ["make", "-C", str(C_WORKER), "test-programs"]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)


async def measure(store: str, *, rounds: int, drained: int) -> dict[str, Figures]:
    """Drain by turns with a worker in C and two in Python."""
    build()
    app.configure(msgspec.structs.replace(app.settings, store=store))
    sizes = Sizes(drained=drained, concurrency=CONCURRENCY)
    found = {kind: Figures() for kind in KINDS}
    async with app, serving(store, "--gateway-port", "0", says=GATEWAY) as (server, port):
        for number in range(rounds):
            for kind in KINDS if number % 2 == 0 else reversed(KINDS):
                async with _worker(kind, port) as worker:
                    await _round(worker, server, sizes, found[kind])
    return found


async def _round(
    worker: psutil.Process, server: psutil.Process, sizes: Sizes, figures: Figures
) -> None:
    used, lent = cpu(worker), cpu(server)
    weighing = _Scales(worker)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(weighing.run())
        rate = await measures.drain(app, sizes)
        task.cancel()
    # The submits go to the store itself: all that these two did belongs to the drain.
    took = sizes.drained / rate
    figures.rates.append(rate)
    figures.worker_cpu.append((cpu(worker) - used) / took)
    figures.server_cpu.append((cpu(server) - lent) / took)
    figures.memory.append(weighing.most)


class _Scales:
    """Weighs a process and its children now and then."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self.most = 0

    async def run(self) -> None:
        while True:
            self.most = max(self.most, sum(_pss(one) for one in self._everybody()))
            await asyncio.sleep(LOOK_EVERY)

    def _everybody(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]


def _pss(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0


@asynccontextmanager
async def _worker(kind: str, port: int) -> AsyncIterator[psutil.Process]:
    """Run a worker on the gateway; yield it once it beats."""
    command = {
        "c": [str(C_WORKER / "build" / "stoker-worker-c"), "--plugin", str(_plugin())],
        "def": [*_PYTHON, "benchmarks.blocking:app"],
        "async def": [*_PYTHON, "benchmarks.tasks:app"],
    }[kind]
    command += ["--store", f"tcp://127.0.0.1:{port}", "--concurrency", str(CONCURRENCY)]
    process = await asyncio.create_subprocess_exec(
        *command, "--no-keeper", cwd=workers.ROOT, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(STARTS_WITHIN):
            while not await _beats(process.pid):
                await asyncio.sleep(LOOK_EVERY)
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STARTS_WITHIN):
            await process.wait()


def _plugin() -> Path:
    return C_WORKER / "build" / "plugins" / "bench.so"


async def _beats(pid: int) -> bool:
    sessions = await app.arun(lambda store: store.sessions())
    return any(s.pid == pid and s.state is SessionState.ALIVE for s in sessions)


def table(found: dict[str, Figures]) -> str:
    """Return what was measured, as a table."""
    rows = [
        ("drain over one connection (jobs/s)", _each(found, lambda f: _middle(f.rates))),
        ("the worker in C, as many times", _each(found, lambda f: _times(found["c"], f))),
        (
            "worker, processor for 1,000 jobs (ms)",
            _each(found, lambda f: f"{f.per_thousand(f.worker_cpu):.1f}"),
        ),
        (
            "server, processor for 1,000 jobs (ms)",
            _each(found, lambda f: f"{f.per_thousand(f.server_cpu):.1f}"),
        ),
        ("worker, share of a core", _each(found, lambda f: _share(f.worker_cpu))),
        ("memory of the worker, peak PSS (MB)", _each(found, lambda f: _heaviest(f.memory))),
    ]
    return report.markdown(HEADINGS, rows)


def _each(found: dict[str, Figures], show: Callable[[Figures], str]) -> list[str]:
    return [show(found[kind]) for kind in KINDS]


def _times(c: Figures, other: Figures) -> str:
    ratios = [a / b for a, b in zip(c.rates, other.rates, strict=True)]
    return f"{statistics.median(ratios):.2f}"


def _middle(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.0f}"


def _share(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0%}"


def _heaviest(bytes_used: Sequence[int]) -> str:
    return f"{max(bytes_used) / MEGABYTE:.1f}"


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.c_worker", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="only show that everything runs")
    parser.add_argument("store", nargs="?", help="an SQLite store in a folder of its own if none")
    given = parser.parse_args()
    rounds, drained = (1, 200) if given.tiny else (ROUNDS, DRAINED)
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder:
        store = given.store or f"sqlite:///{folder}/bench.db"
        found = asyncio.run(measure(store, rounds=rounds, drained=drained))
    for fact, value in report.facts(
        sizes=f"{drained:,} no-op jobs a drain, {CONCURRENCY} at once, median of {rounds} rounds"
    ).items():
        print(f"{fact}: {value}")
    print()
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
