"""What it costs a system that many watch it: the drain rate with and without open streams.

``python -m benchmarks.watchers [--streams N] [--tiny] [STORE]``. A server and a worker run in
processes of their own. Each round drains a full queue twice, once with nobody watching and once
with as many streams of the first screen open, in alternating order, so that whatever else the
machine does meets both. What is shown is the median of the rounds' ratios.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from benchmarks import measures, report, workers
from benchmarks.measures import Sizes
from benchmarks.servers import cpu, serving
from benchmarks.tasks import app

STREAMS = 50
ROUNDS = 9
DRAINED = 60_000
CONCURRENCY = 100


@dataclass
class Figures:
    """What was measured, a figure a round."""

    alone: list[float] = field(default_factory=list)
    watched: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    """The share of a core that the server used while it was watched."""
    frames: int = 0
    """Frames that all streams got together."""
    bytes: int = 0

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios; neighbours in time share the machine's mood."""
        return statistics.median(w / a for w, a in zip(self.watched, self.alone, strict=True))


async def measure(store: str, *, streams: int, rounds: int, drained: int) -> Figures:
    """Drain by turns with nobody watching and with open streams."""
    app.configure(msgspec.structs.replace(app.settings, store=store))
    sizes = Sizes(drained=drained, concurrency=CONCURRENCY)
    figures = Figures()
    crew = workers.processes(app, 1, concurrency=CONCURRENCY)
    async with app, crew, serving(store) as (server, port):
        await measures.drain(app, sizes)
        for number in range(rounds):
            for is_watched in (number % 2 == 0, number % 2 == 1):
                if is_watched:
                    async with _watching(port, streams, figures):
                        used, began = cpu(server), app.clock.monotonic()
                        figures.watched.append(await measures.drain(app, sizes))
                    took = app.clock.monotonic() - began
                    figures.busy.append((cpu(server) - used) / took)
                else:
                    figures.alone.append(await measures.drain(app, sizes))
    return figures


@asynccontextmanager
async def _watching(port: int, streams: int, figures: Figures) -> AsyncIterator[None]:
    """Keep streams open, each read as it comes; yield once each has its first frame."""
    begun = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_watch(port, begun, figures)) for _ in range(streams)]
        try:
            for _ in range(streams):
                await begun.acquire()
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _watch(port: int, begun: asyncio.Semaphore, figures: Figures) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    try:
        writer.write(b"GET /api/v1/live HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % port)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"a stream was refused: {head.decode(errors='replace')}")
        is_first = True
        while line := await reader.readline():
            figures.bytes += len(line)
            if line.startswith(b"event: overview"):
                figures.frames += 1
                if is_first:
                    begun.release()
                is_first = False
        raise RuntimeError("the server ended a stream")
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def table(figures: Figures, streams: int) -> str:
    """Return what was measured as one table."""
    rows: Sequence[tuple[str, Sequence[str]]] = (
        ("drain, nobody watches (jobs/s)", [f"{statistics.median(figures.alone):,.0f}"]),
        (f"drain, {streams} streams (jobs/s)", [f"{statistics.median(figures.watched):,.0f}"]),
        ("ratio, median of the rounds", [f"{figures.ratio:.3f}"]),
        ("of a core, by the watched server", [f"{statistics.median(figures.busy):.1%}"]),
        ("frames to all streams", [f"{figures.frames:,}"]),
        ("bytes a frame", [f"{figures.bytes / max(1, figures.frames):,.0f}"]),
    )
    return report.markdown(["", "measured"], rows)


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watchers", description=__doc__)
    parser.add_argument("store", nargs="?", help="URL of an empty store; SQLite by default")
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--tiny", action="store_true", help="only show that everything runs")
    given = parser.parse_args()
    rounds, drained = (1, 200) if given.tiny else (ROUNDS, DRAINED)
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder:
        store = given.store or f"sqlite:///{Path(folder) / 'watched.db'}"
        figures = asyncio.run(measure(store, streams=given.streams, rounds=rounds, drained=drained))
    for fact, value in report.facts(rounds=rounds, drained=f"{drained:,}").items():
        print(f"{fact}: {value}")
    print(f"\n{table(figures, given.streams)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
