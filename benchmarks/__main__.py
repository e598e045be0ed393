"""``make bench``: rates, latency and memory of Stoker on this machine, as one table.

Every figure is measured in this run; a rate is the median of its rounds. The bare loop beside the
stores is the same machine, the same SQLite, the same durability and the same batches without a
queue around them, so a ratio means something where a rate depends on the machine.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from benchmarks import measures, report, workers
from benchmarks.bare import Bare
from benchmarks.measures import Sizes, percentile
from benchmarks.tasks import app
from stoker import Stoker
from stoker.core.clock import SystemClock

MEGABYTE = 1024 * 1024
ROWS = (
    "submit, one by one (jobs/s)",
    "submit, batches (jobs/s)",
    "... share of the bare loop",
    "drain, 1 worker process (jobs/s)",
    "... share of the bare loop",
    "drain, 2 worker processes (jobs/s)",
    "start latency p50 (ms)",
    "start latency p95 (ms)",
    "start latency p99 (ms)",
    "peak memory of a worker (MB)",
)


@dataclass
class Figures:
    """What was measured with one store, a figure a round; empty where it does not apply."""

    one_by_one: list[float] = field(default_factory=list)
    batched: list[float] = field(default_factory=list)
    drained: list[float] = field(default_factory=list)
    drained_by_two: list[float] = field(default_factory=list)
    latency: Sequence[float] = ()
    peak: int = 0

    def column(self, bare: "Figures | None" = None) -> list[str]:
        """Return the cells of the table, in the order of `ROWS`.

        Args:
            bare: The bare loop with the same durability, measured round by round beside it.
        """
        waits = [percentile(self.latency, p) for p in (0.5, 0.95, 0.99)] if self.latency else []
        return [
            _rate(self.one_by_one),
            _rate(self.batched),
            _share(self.batched, bare.batched if bare else []),
            _rate(self.drained),
            _share(self.drained, bare.drained if bare else []),
            _rate(self.drained_by_two),
            *([f"{wait * 1000:.1f}" for wait in waits] or ["–"] * 3),
            f"{self.peak / MEGABYTE:.0f}" if self.peak else "–",
        ]


@dataclass
class Beside:
    """The bare loop, measured a round at a time beside the store it is compared with."""

    folder: Path
    sizes: Sizes
    figures: Figures = field(default_factory=Figures)
    full: list[Bare] = field(default_factory=list)

    def submit(self) -> None:
        """Measure a round of submits."""
        clock = SystemClock()
        bare = Bare(self.folder / f"bare-{len(self.full)}.db", clock=clock)
        began = clock.monotonic()
        bare.submit(self.sizes.batched, batch=self.sizes.batch)
        self.figures.batched.append(self.sizes.batched / (clock.monotonic() - began))
        self.full.append(bare)

    async def drain(self) -> None:
        """Measure a round of running what one round submitted."""
        clock = SystemClock()
        bare = self.full.pop()
        began = clock.monotonic()
        count = await bare.drain(batch=self.sizes.bare_batch)
        self.figures.drained.append(count / (clock.monotonic() - began))
        bare.close()


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="only show that everything runs")
    sizes = Sizes.tiny() if parser.parse_args().tiny else Sizes()
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder:
        asyncio.run(_bench(Path(folder), sizes))
    return 0


async def _bench(folder: Path, sizes: Sizes) -> None:
    _say("sqlite, and the bare loop")
    beside = Beside(folder, sizes)
    full = await _measure_sqlite(folder / "full", "", sizes, beside)
    _say("sqlite, fast")
    fast = await _measure_sqlite(folder / "fast", "?durability=fast", sizes)
    _say("memory")
    memory = await _measure_memory(sizes)
    for fact, value in report.facts(**_settings(sizes)).items():
        print(f"{fact}: {value}")
    columns = [beside.figures.column(), full.column(beside.figures), fast.column(), memory.column()]
    rows = [(name, [column[place] for column in columns]) for place, name in enumerate(ROWS)]
    print(f"\n{report.markdown(['', 'bare loop', 'sqlite', 'sqlite, fast', 'memory'], rows)}")


async def _measure_sqlite(
    folder: Path, query: str, sizes: Sizes, beside: Beside | None = None
) -> Figures:
    folder.mkdir()
    figures = Figures()
    async with _opened(f"sqlite:///{folder / 'submit.db'}{query}"):
        await _measure_submits(figures, sizes, beside)
    async with _opened(f"sqlite:///{folder / 'run.db'}{query}"):
        async with workers.processes(app, 1, concurrency=sizes.concurrency) as crew:
            figures.latency = await measures.start_latency(sizes)
            for _ in range(sizes.rounds):
                if beside is not None:
                    await beside.drain()
                figures.drained.append(await measures.drain(app, sizes))
        figures.peak = crew.peak
        async with workers.processes(app, 2, concurrency=sizes.concurrency):
            for _ in range(sizes.rounds):
                figures.drained_by_two.append(await measures.drain(app, sizes))
    return figures


async def _measure_memory(sizes: Sizes) -> Figures:
    figures = Figures()
    async with _opened("memory://"):
        await _measure_submits(figures, sizes)
    async with _opened("memory://"):
        async with workers.in_this_process(app, concurrency=sizes.concurrency) as crew:
            figures.latency = await measures.start_latency(sizes)
            for _ in range(sizes.rounds):
                figures.drained.append(await measures.drain(app, sizes))
        figures.peak = crew.peak
    return figures


async def _measure_submits(figures: Figures, sizes: Sizes, beside: Beside | None = None) -> None:
    for _ in range(sizes.rounds):
        if beside is not None:
            beside.submit()
        figures.batched.append(await measures.submit_batched(app, sizes, count=sizes.batched))
        figures.one_by_one.append(await measures.submit_one_by_one(app, sizes))


def _opened(url: str) -> Stoker:
    app.configure(msgspec.structs.replace(app.settings, store=url))
    return app


def _settings(sizes: Sizes) -> dict[str, str]:
    return {
        "durability": "bare loop and sqlite: WAL, synchronous=FULL; sqlite, fast: "
        "synchronous=NORMAL; memory: none",
        "sizes": f"submits in batches of {sizes.batch}; {sizes.drained:,} no-op async jobs a "
        f"drain, {sizes.concurrency} at once a worker, batches as they come (bare loop: "
        f"{sizes.bare_batch:,}); {sizes.started} starts; median of {sizes.rounds} rounds",
    }


def _rate(rounds: Sequence[float]) -> str:
    return f"{statistics.median(rounds):,.0f}" if rounds else "–"


def _share(rounds: Sequence[float], bare: Sequence[float]) -> str:
    """Return the median of the rounds' ratios; neighbours in time share the machine's mood."""
    ratios = [ours / theirs for ours, theirs in zip(rounds, bare, strict=bool(bare))]
    return f"{statistics.median(ratios):.0%}" if ratios else "–"


def _say(name: str) -> None:
    print(f"measuring {name} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
