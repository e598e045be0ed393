"""What a broker costs: the same store without one, with one that is away, and with one.

``python -m benchmarks.brokers [URL]``. Each round submits to each store in turn, so that whatever
else the machine does meets all of them; what is shown are medians of the rounds' ratios. Then an
idle worker gets jobs one by one, and what is shown is how long they waited for it.
"""

import asyncio
import statistics
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from benchmarks.measures import Sizes, percentile, start_latency
from benchmarks.report import markdown
from benchmarks.tasks import app
from benchmarks.workers import in_this_process
from stoker.connect import open_store
from stoker.core.broker import Rung
from stoker.core.clock import Clock, SystemClock
from stoker.core.job import JobSpec
from stoker.core.store import Store

AWAY = "amqp://nobody:nothing@127.0.0.1:9"
"""Nothing listens on the port of ``discard``."""
ROUNDS = 15
JOBS = 200
STARTS = 100


async def measure(url: str | None) -> dict[str, tuple[list[float], list[float]]]:
    """Return, by kind of broker, the seconds of each round: one by one, and as one batch."""
    clock = SystemClock()
    kinds: dict[str, str | None] = {"none": None, "away": AWAY}
    if url is not None:
        kinds["there"] = url
    found: dict[str, tuple[list[float], list[float]]] = {kind: ([], []) for kind in kinds}
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stores = {
            kind: await stack.enter_async_context(
                open_store(f"sqlite:///{Path(folder) / kind}.db", broker=broker, clock=clock)
            )
            for kind, broker in kinds.items()
        }
        for store in stores.values():
            await _known(store)
        for _ in range(ROUNDS):
            for kind, store in stores.items():
                single, batch = found[kind]
                single.append(await _one_by_one(store, clock))
                batch.append(await _at_once(store, clock))
    return found


async def start_delays(broker: str | None) -> list[float]:
    """Return, sorted, the seconds for which jobs waited for an idle worker."""
    with tempfile.TemporaryDirectory() as folder:
        app.settings = msgspec.structs.replace(
            app.settings, store=f"sqlite:///{Path(folder) / 'jobs.db'}", broker=broker
        )
        async with app, in_this_process(app, concurrency=4):
            return await start_latency(Sizes(started=STARTS))


async def _known(store: Store) -> None:
    if isinstance(store, Rung):
        while not (status := store.broker_status()).connected and not status.error:
            await asyncio.sleep(0.05)


async def _one_by_one(store: Store, clock: Clock) -> float:
    began = clock.monotonic()
    for _ in range(JOBS):
        await store.submit([JobSpec(id=clock.new_id(), task="nothing")])
    return clock.monotonic() - began


async def _at_once(store: Store, clock: Clock) -> float:
    jobs = [JobSpec(id=clock.new_id(), task="nothing") for _ in range(JOBS * 10)]
    began = clock.monotonic()
    await store.submit(jobs)
    return clock.monotonic() - began


def main() -> None:
    """Measure, and print one table."""
    found = asyncio.run(measure(sys.argv[1] if len(sys.argv) > 1 else None))
    rows = []
    for kind, rounds in found.items():
        ratios = [
            statistics.median(own / plain for own, plain in zip(mine, none, strict=True))
            for mine, none in zip(rounds, found["none"], strict=True)
        ]
        rows.append((kind, [f"{ratio:.2f}" for ratio in ratios]))
    print(markdown(("broker", f"{JOBS} jobs one by one", f"{JOBS * 10} jobs at once"), rows))
    urls = {"none": None, "away": AWAY, "there": sys.argv[1] if len(sys.argv) > 1 else None}
    delays = {kind: asyncio.run(start_delays(urls[kind])) for kind in found}
    shown = [
        (kind, [f"{percentile(values, share) * 1000:.1f}" for share in (0.5, 0.95, 1.0)])
        for kind, values in delays.items()
    ]
    print(markdown(("broker", "start delay p50, ms", "p95", "longest"), shown))


if __name__ == "__main__":
    main()
