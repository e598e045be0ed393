"""``python -m benchmarks.engines``: the engines side by side, in one run on one machine.

The servers are those of the tests, started for this run with full durability; the gateway stands
before a SQLite file. What is compared is measured in turns, a step here and a step there: a machine
that others use changes its mood from minute to minute, and neighbours in time share it.
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import measures, report, workers
from benchmarks.measures import Sizes
from benchmarks.tasks import app
from stoker.connect import open_store
from stoker.core.clock import SystemClock
from stoker.core.job import JobSpec, Leased, Outcome, SessionSpec, Settlement
from stoker.core.lifecycle import State
from stoker.core.records import MAX_PAGE, JobQuery
from stoker.core.store import Store
from stoker.stores.postgres.schema import migrations
from tests.integration.combinations.site import TOKEN, Gateway
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer

FEW = 1_000
CYCLES = 3
KEEP_HOUSE = 20
"""Exchanges between two looks of the keeper."""
WARM_UP = 5
"""Exchanges that are not counted."""
MILLISECOND = 1e-3
_TABLES = """
    SELECT relname, n_live_tup, n_dead_tup, pg_total_relation_size(relid), autovacuum_count
    FROM pg_stat_user_tables WHERE schemaname = %s AND relname IN ('live', 'ended', 'deltas')
    ORDER BY relname"""


@dataclass(frozen=True)
class Much:
    """How much is measured besides `Sizes`."""

    many: int = 1_000_000
    """Jobs in the big backlog."""
    turns: int = 60
    """Exchanges with each backlog."""
    churned: int = 30_000
    """Jobs that go all the way through one PostgreSQL store, in each of the cycles."""
    batch: int = 100

    @classmethod
    def tiny(cls) -> "Much":
        """Return the sizes that only show that everything runs."""
        return cls(many=2_000, turns=3, churned=1_000)


class Hand:
    """One session that settles what it holds and leases as much again."""

    def __init__(self, store: Store, batch: int, *, tenant: str | None = None) -> None:
        self.store = store
        self._batch = batch
        self._tenant = tenant
        self._clock = SystemClock()
        self._session = SessionSpec(id=self._clock.new_id(), name="bench")
        self._held: list[Leased] = []

    async def begin(self) -> None:
        """Make the session."""
        await self.store.beat(self._session, (), ttl=86_400)

    async def fill(self, count: int) -> None:
        """Submit so many jobs."""
        for start in range(0, count, MAX_PAGE):
            size = min(MAX_PAGE, count - start)
            await self.store.submit(
                [
                    JobSpec(id=self._clock.new_id(), task="nothing", tenant=self._tenant)
                    for _ in range(size)
                ]
            )

    async def turn(self) -> float:
        """Settle and lease in one exchange; return its seconds."""
        done = [
            Settlement(
                id=job.id,
                epoch=job.epoch,
                nonce=job.nonce,
                outcome=Outcome.COMPLETED,
                result=b"null",
                ran_for=0.0,
            )
            for job in self._held
        ]
        began = self._clock.monotonic()
        given = await self.store.exchange(
            self._session.id,
            done,
            queues={"default": self._batch},
            want=self._batch,
            nonce=self._clock.new_nonce(),
        )
        taken = self._clock.monotonic() - began
        self._held = given.leased
        if len(given.leased) != self._batch:
            raise RuntimeError(f"{len(given.leased)} leases instead of {self._batch}")
        return taken

    async def list(self) -> float:
        """List a page of what is queued; return the seconds."""
        began = self._clock.monotonic()
        await self.store.find(JobQuery(states=(State.QUEUED,)), limit=100)
        return self._clock.monotonic() - began


async def backlog(few: str, many: str, much: Much) -> list[str]:
    """Compare leasing from a big backlog with leasing from a small one, exchange by exchange."""
    async with open_store(few) as small, open_store(many) as big:
        hands = [Hand(small, much.batch), Hand(big, much.batch)]
        for hand, count in zip(hands, (FEW, much.many), strict=True):
            await hand.begin()
            await hand.fill(count)
        times = await _in_turns(hands, much)
        page = statistics.median([await hands[1].list() for _ in range(much.turns)])
    few_ms, many_ms = (statistics.median(kept) / MILLISECOND for kept in times)
    return [
        f"{few_ms:.1f}",
        f"{many_ms:.1f}",
        f"{many_ms / few_ms:.2f}",
        f"{page / MILLISECOND:.1f}",
    ]


async def churn(
    used: str, fresh: str, server: Postgres, much: Much
) -> tuple[list[list[str]], list[str]]:
    """Send jobs through a store and purge them, several times; then compare it with a fresh one."""
    rows: list[list[str]] = []
    seconds, deleted, batches = 0.0, 0, 0
    async with open_store(used) as old, open_store(fresh) as new:
        hands = [Hand(old, much.batch), Hand(new, much.batch)]
        for hand in hands:
            await hand.begin()
            await hand.fill(FEW)
        for cycle in range(1, CYCLES + 1):
            for turn in range(much.churned // much.batch):
                await hands[0].fill(much.batch)
                await hands[0].turn()
                if turn % KEEP_HOUSE == 0:
                    # As a keeper does all the time.
                    await old.reap()
            rows += _look(server, used, f"{cycle}: {much.churned:,} jobs run")
            taken, count, calls = await _purge(old)
            seconds, deleted, batches = seconds + taken, deleted + count, batches + calls
            rows += _look(server, used, f"{cycle}: purged")
        times = await _in_turns(hands, much)
    old_ms, new_ms = (statistics.median(kept) / MILLISECOND for kept in times)
    speed = (
        f"an exchange of {much.batch}, in turns: {old_ms:.1f} ms after all that, {new_ms:.1f} ms "
        f"on a fresh store ({old_ms / new_ms:.2f})"
    )
    purged = (
        f"purge: {deleted / seconds:,.0f} jobs a second, {batches} batches of at most "
        f"{MAX_PAGE:,}, {seconds / max(batches, 1) / MILLISECOND:.0f} ms each"
    )
    return rows, [speed, purged]


async def searches(server: Postgres, much: Much, tenant: str | None) -> list[str]:
    """Submit and exchange with and without the indexes for searches, in turns."""
    names = [f"{name}_{tenant or 'none'}" for name in ("without", "with")]
    async with open_store(server.url(names[0])) as bare, open_store(server.url(names[1])) as whole:
        with server.connect() as db:
            # The last steps of the layout, and it goes on without them: nothing else needs them.
            [down] = [step.down for step in migrations(names[0]) if step.name == "searches"]
            db.execute(f"BEGIN; {down} COMMIT".encode())
        hands = [Hand(store, much.batch, tenant=tenant) for store in (bare, whole)]
        for hand in hands:
            await hand.begin()
            await hand.fill(much.batch * CYCLES)
        submits: list[list[float]] = [[], []]
        exchanges = await _in_turns(hands, much, submits)
    told: list[str] = []
    for times in (submits, exchanges):
        without, having = (statistics.median(kept) / MILLISECOND for kept in times)
        told += [f"{without:.1f}", f"{having:.1f}", f"{having / without:.2f}"]
    return told


async def _in_turns(
    hands: Sequence[Hand], much: Much, submits: Sequence[list[float]] | None = None
) -> list[list[float]]:
    """Exchange with each hand in turn; return the seconds of each, warmed up.

    Args:
        hands: Each on a store of its own.
        much: How often.
        submits: Takes the seconds of each hand's submits.
    """
    clock = SystemClock()
    times: list[list[float]] = [[] for _ in hands]
    for turn in range(much.turns + WARM_UP):
        for hand, kept, filled in zip(hands, times, submits or times, strict=True):
            taken = await hand.turn()
            began = clock.monotonic()
            await hand.fill(much.batch)
            if turn >= WARM_UP:
                kept.append(taken)
                if submits is not None:
                    filled.append(clock.monotonic() - began)
    return times


async def _purge(store: Store) -> tuple[float, int, int]:
    """Delete what has ended; return the seconds, how many jobs, and in how many batches."""
    clock = SystemClock()
    began, deleted, batches = clock.monotonic(), 0, 0
    while count := await store.purge(JobQuery(), limit=MAX_PAGE):
        deleted, batches = deleted + count, batches + 1
    return clock.monotonic() - began, deleted, batches


def _look(server: Postgres, url: str, when: str) -> list[list[str]]:
    schema = url.rpartition("schema=")[2]
    with server.connect() as db:
        db.execute("SELECT pg_stat_clear_snapshot()")
        found = db.execute(_TABLES, (schema,)).fetchall()
    return [
        [when, str(name), f"{live:,}", f"{dead:,}", f"{_number(size) / 2**20:.0f}", str(vacuums)]
        for name, live, dead, size, vacuums in found
    ]


def _number(value: Any) -> float:
    return float(value)


async def drains(urls: Sequence[str], sizes: Sizes) -> list[str]:
    """Drain with two worker processes on each store, in turns; return the medians."""
    rates: list[list[float]] = [[] for _ in urls]
    for _ in range(sizes.rounds):
        for kept, url in zip(rates, urls, strict=True):
            app.configure(msgspec.structs.replace(app.settings, store=url))
            async with app, workers.processes(app, 2, concurrency=sizes.concurrency):
                kept.append(await measures.drain(app, sizes))
    return [f"{statistics.median(kept):,.0f}" for kept in rates]


@contextlib.asynccontextmanager
async def stores() -> AsyncIterator[tuple[Postgres, Path]]:
    """Start a durable PostgreSQL, and make a folder for files."""
    server = Postgres(durable=True)
    try:
        await asyncio.to_thread(server.start)
        with tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder:
            yield server, Path(folder)
    finally:
        server.close()


@contextlib.contextmanager
def others(folder: Path) -> Iterator[dict[str, str]]:
    """Start a durable Redis, and a gateway before a file; return URLs by engine."""
    with RedisServer(fsync="always") as redis:
        gateway = Gateway(f"sqlite:///{folder}/behind.db")
        try:
            gateway.start()
            yield {"redis": redis.url, "tcp:// over sqlite": gateway.url(TOKEN, folder)}
        finally:
            gateway.close()


async def _prices(server: Postgres, much: Much) -> str:
    step = f"{much.batch} jobs, ms"
    head = [
        "",
        *(f"submit {step}, bare", "with indexes for searches", "ratio"),
        *(f"exchange {step}, bare", "with them", "ratio"),
    ]
    rows = [
        (name, await searches(server, much, tenant))
        for name, tenant in (("no tenant", None), ("a tenant each", "some"))
    ]
    return report.markdown(head, rows)


async def run(sizes: Sizes, much: Much, parts: Iterable[str]) -> None:
    """Measure and print the parts that are asked for."""
    async with stores() as (server, folder):
        if "backlog" in parts:
            print(f"\n{await _backlogs(server, folder, much)}")
        if "searches" in parts:
            print(f"\n{await _prices(server, much)}")
        if "drain" in parts:
            with others(folder) as more:
                urls = {
                    "sqlite": f"sqlite:///{folder}/drain.db",
                    "postgresql": server.url("drain"),
                    **more,
                }
                rates = await drains([*urls.values()], sizes)
            print(f"\n{report.markdown(['', *urls], [('drain', rates)])}")
        if "churn" in parts:
            rows_of, facts = await churn(server.url("used"), server.url("fresh"), server, much)
            head = ["", "table", "live", "dead", "MB", "autovacuums"]
            print(f"\n{report.markdown(head, [(row[0], row[1:]) for row in rows_of])}")
            print("\n".join(facts))


async def _backlogs(server: Postgres, folder: Path, much: Much) -> str:
    """Return the table of the backlogs of each durable store."""
    with RedisServer(fsync="always") as redis:
        pairs = {
            "sqlite": [f"sqlite:///{folder}/{name}.db" for name in ("few", "many")],
            "postgresql": [server.url(name) for name in ("few", "many")],
            "redis": [f"{redis.url}?namespace={name}" for name in ("few", "many")],
        }
        rows = [(name, await backlog(few, many, much)) for name, (few, many) in pairs.items()]
    lease = f"exchange of {much.batch}, ms"
    head = ["", f"{lease}, {FEW:,} queued", f"{much.many:,} queued", "ratio", "a page, ms"]
    return report.markdown(head, rows)


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="only show that everything runs")
    parts = ("backlog", "searches", "drain", "churn")
    parser.add_argument("parts", nargs="*", default=parts, help=f"some of {', '.join(parts)}")
    given = parser.parse_args()
    sizes = Sizes.tiny() if given.tiny else Sizes()
    asyncio.run(run(sizes, Much.tiny() if given.tiny else Much(), given.parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
