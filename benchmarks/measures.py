"""The measurements: how fast jobs go in, how fast they are run, how soon an idle system starts."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from benchmarks.tasks import nothing
from stoker import JobQuery, State, Stoker
from stoker.core.lifecycle import LIVE
from stoker.core.records import MAX_PAGE, Page

LOOK_EVERY = 0.1
"""Seconds between two looks at a queue that is being drained."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    one_by_one: int = 1_000
    batched: int = 20_000
    drained: int = 20_000
    started: int = 200
    rounds: int = 3
    batch: int = 100
    """Jobs in one call of submit."""
    bare_batch: int = 1_000
    """Jobs that the bare loop leases at once: as many as a busy worker, or more."""
    concurrency: int = 100

    @classmethod
    def tiny(cls) -> "Sizes":
        """Return the sizes that only show that everything runs."""
        return cls(one_by_one=3, batched=200, drained=200, started=3, rounds=1)


async def submit_one_by_one(app: Stoker, sizes: Sizes) -> float:
    """Return jobs a second, each submitted in a call and a commit of its own."""

    async def work() -> None:
        for number in range(sizes.one_by_one):
            await nothing.options().asubmit(number)

    return sizes.one_by_one / await _seconds(app, work)


async def submit_batched(app: Stoker, sizes: Sizes, *, count: int) -> float:
    """Return jobs a second, submitted a batch a call."""

    async def work() -> None:
        for start in range(0, count, sizes.batch):
            numbers = range(start, min(start + sizes.batch, count))
            await app.asubmit_many([nothing.call(number) for number in numbers])

    return count / await _seconds(app, work)


async def drain(app: Stoker, sizes: Sizes) -> float:
    """Return jobs a second that the workers, already there, run from a full queue.

    Counted from the moment the queue opens to the last job's recorded end, so that looking for
    the end now and then, which costs the store something too, does not blur it.
    """
    await _clear(app)
    await _set_paused(app, paused=True)
    await submit_batched(app, sizes, count=sizes.drained)
    opened_at = app.clock.now()
    await _set_paused(app, paused=False)
    while await app.afind(JobQuery(states=tuple(LIVE)), limit=1):
        await asyncio.sleep(LOOK_EVERY)
    return sizes.drained / (max(await _ends(app)) - opened_at)


async def start_latency(sizes: Sizes) -> list[float]:
    """Return, sorted, the seconds from submit to start of jobs that find idle workers."""
    waits: list[float] = []
    for number in range(sizes.started):
        job = await nothing.asubmit(number)
        record = await job.await_end(60)
        if record.started_at is None:
            raise RuntimeError(
                f"job {record.id} is {record.state} and has no start: {record.error}"
            )
        waits.append((record.started_at - record.submitted_at).total_seconds())
    return sorted(waits)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of the sorted values lies."""
    return values[min(len(values) - 1, int(share * len(values)))]


async def _ends(app: Stoker) -> list[float]:
    """Return when each job ended.

    Raises:
        RuntimeError: One ended in another way than it should; the figures mean nothing.
    """
    ended: list[float] = []
    cursor: str | None = None
    while True:
        page = await _page(app, cursor)
        for job in page.jobs:
            if job.state is not State.COMPLETED or job.finished_at is None:
                raise RuntimeError(f"job {job.id} is {job.state}: {job.error}")
            ended.append(job.finished_at.timestamp())
        cursor = page.next_cursor
        if cursor is None:
            return ended


async def _page(app: Stoker, cursor: str | None) -> Page:
    return await app.arun(lambda store: store.find(JobQuery(), cursor=cursor, limit=MAX_PAGE))


async def _clear(app: Stoker) -> None:
    while await app.arun(lambda store: store.purge(JobQuery(), limit=MAX_PAGE)):
        pass


async def _set_paused(app: Stoker, *, paused: bool) -> None:
    await app.arun(lambda store: store.set_queue("default", paused=paused))


async def _seconds(app: Stoker, work: Callable[[], Awaitable[None]]) -> float:
    began = app.clock.monotonic()
    await work()
    return max(app.clock.monotonic() - began, 1e-9)
