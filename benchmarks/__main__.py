"""``make bench``: rates, latency and memory of Stoker on this machine, as one table.

Every figure is measured in this run; a rate is the median of its rounds. The bare loop beside the
stores is the same machine, the same SQLite, the same durability and the same batches without a
queue around them, so a ratio means something where a rate depends on the machine.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
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
    """What was measured with one store; None where it does not apply."""

    one_by_one: float | None = None
    batched: float | None = None
    drained: float | None = None
    drained_by_two: float | None = None
    latency: Sequence[float] = ()
    peak: int = 0

    def column(self, bare: "Figures") -> list[str]:
        """Return the cells of the table, in the order of `ROWS`."""
        waits = [percentile(self.latency, p) for p in (0.5, 0.95, 0.99)] if self.latency else []
        return [
            _rate(self.one_by_one),
            _rate(self.batched),
            _share(self.batched, bare.batched),
            _rate(self.drained),
            _share(self.drained, bare.drained),
            _rate(self.drained_by_two),
            *([f"{wait * 1000:.1f}" for wait in waits] or ["–"] * 3),
            f"{self.peak / MEGABYTE:.0f}" if self.peak else "–",
        ]


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="only show that everything runs")
    sizes = Sizes.tiny() if parser.parse_args().tiny else Sizes()
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder:
        asyncio.run(_bench(Path(folder), sizes))
    return 0


async def _bench(folder: Path, sizes: Sizes) -> None:
    bare = await _measure_bare(folder, sizes)
    columns = {"bare loop": bare}
    for name, query in (("sqlite", ""), ("sqlite, fast", "?durability=fast")):
        _say(name)
        columns[name] = await _measure_sqlite(folder / name.replace(", ", "-"), query, sizes)
    _say("memory")
    columns["memory"] = await _measure_memory(sizes)
    for fact, value in report.facts(**_settings(sizes)).items():
        print(f"{fact}: {value}")
    cells = [figures.column(bare) for figures in columns.values()]
    rows = [(name, [column[place] for column in cells]) for place, name in enumerate(ROWS)]
    print(f"\n{report.markdown(['', *columns], rows)}")


async def _measure_bare(folder: Path, sizes: Sizes) -> Figures:
    clock = SystemClock()
    submitted, drained = [], []
    for number in range(sizes.rounds):
        bare = Bare(folder / f"bare-{number}.db", clock=clock)
        began = clock.monotonic()
        bare.submit(sizes.drained, batch=sizes.batch)
        middle = clock.monotonic()
        await bare.drain(batch=sizes.bare_batch)
        submitted.append(sizes.drained / (middle - began))
        drained.append(sizes.drained / (clock.monotonic() - middle))
        bare.close()
    return Figures(batched=measures.middle(submitted), drained=measures.middle(drained))


async def _measure_sqlite(folder: Path, query: str, sizes: Sizes) -> Figures:
    folder.mkdir()
    figures = Figures()
    async with _opened(f"sqlite:///{folder / 'submit.db'}{query}"):
        await _measure_submits(figures, sizes)
    async with _opened(f"sqlite:///{folder / 'run.db'}{query}"):
        async with workers.processes(app, 1, concurrency=sizes.concurrency) as crew:
            figures.latency = await measures.start_latency(sizes)
            figures.drained = await measures.median(sizes, lambda: measures.drain(app, sizes))
        figures.peak = crew.peak
        async with workers.processes(app, 2, concurrency=sizes.concurrency):
            figures.drained_by_two = await measures.median(
                sizes, lambda: measures.drain(app, sizes)
            )
    return figures


async def _measure_memory(sizes: Sizes) -> Figures:
    figures = Figures()
    async with _opened("memory://"):
        await _measure_submits(figures, sizes)
    async with _opened("memory://"):
        async with workers.in_this_process(app, concurrency=sizes.concurrency) as crew:
            figures.latency = await measures.start_latency(sizes)
            figures.drained = await measures.median(sizes, lambda: measures.drain(app, sizes))
        figures.peak = crew.peak
    return figures


async def _measure_submits(figures: Figures, sizes: Sizes) -> None:
    figures.one_by_one = await measures.median(
        sizes, lambda: measures.submit_one_by_one(app, sizes)
    )
    figures.batched = await measures.median(
        sizes, lambda: measures.submit_batched(app, sizes, count=sizes.batched)
    )


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


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _share(value: float | None, whole: float | None) -> str:
    return "–" if value is None or whole is None else f"{value / whole:.0%}"


def _say(name: str) -> None:
    print(f"measuring {name} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
