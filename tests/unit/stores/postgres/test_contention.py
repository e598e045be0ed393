"""Many hands at once: nothing twice, nothing lost, no deadlock that anybody hears of."""

import asyncio
import contextlib
import random  # noqa: TID251 - seeded
from collections import Counter
from collections.abc import Sequence

from stoker.core.clock import SystemClock
from stoker.core.job import JobSpec, Outcome, SessionSpec, Settled, Settlement
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.core.retry import RetryPolicy
from stoker.stores.postgres import PostgresStore
from tests.servers.postgres import Postgres

HANDLES = 8
CLOCK = SystemClock()
QUEUES = {"default": 1_000}


async def deadlocks(server: Postgres) -> int:
    """Return how many deadlocks the server has found since it was started."""
    with server.connect() as db:
        db.execute("SELECT pg_stat_clear_snapshot()")
        row = db.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'"
        ).fetchone()
    assert row is not None
    return int(str(row[0]))


async def test_eight_handles_that_lease_take_each_job_once(server: Postgres, url: str) -> None:
    total = 4_000
    before = await deadlocks(server)
    async with PostgresStore(url) as store:
        specs = [JobSpec(id=CLOCK.new_id(), task="work") for _ in range(total)]
        await store.submit(specs)
        taken = await asyncio.gather(*(drain(url, f"w{n}") for n in range(HANDLES)))
        leased = Counter(job_id for part in taken for job_id in part)
        assert set(leased.values()) == {1}
        assert leased.keys() == {spec.id for spec in specs}
        counts = {t.state: t.count for t in (await store.counts()).tallies}
    assert counts == {State.COMPLETED: total}
    assert await deadlocks(server) == before


async def drain(url: str, session: str) -> list[str]:
    """Lease and settle until nothing is left; return the ids."""
    ids: list[str] = []
    async with PostgresStore(url) as store:
        await store.beat(SessionSpec(id=session, name=session), [], ttl=60.0)
        told: list[Settlement] = []
        while True:
            answer = await store.exchange(
                session, told, queues=QUEUES, want=25, nonce=CLOCK.new_nonce(), aged=3
            )
            assert set(answer.settled) <= {Settled.OK}
            ids += [lease.id for lease in answer.leased]
            told = [
                Settlement(lease.id, lease.epoch, lease.nonce, Outcome.COMPLETED, ran_for=0.1)
                for lease in answer.leased
            ]
            if not told:
                return ids


async def test_the_same_keys_in_every_order_wait_and_never_lock_each_other_out(
    server: Postgres, url: str
) -> None:
    keys = [f"key {n}" for n in range(60)]
    before = await deadlocks(server)
    async with contextlib.AsyncExitStack() as open_stores:
        stores = [await open_stores.enter_async_context(PostgresStore(url)) for _ in range(6)]
        for turn in range(25):
            task = f"turn {turn}"
            answers = await asyncio.gather(
                *(
                    store.submit(shuffled(keys, task, turn * 10 + n))
                    for n, store in enumerate(stores)
                )
            )
            assert sum(answer.created for given in answers for answer in given) == len(keys)
    assert await deadlocks(server) == before


def shuffled(keys: Sequence[str], task: str, seed: int) -> list[JobSpec]:
    """Return a job for each key, in an order of its own."""
    mixed = random.Random(seed).sample(keys, len(keys))
    return [JobSpec(id=CLOCK.new_id(), task=task, unique_key=key) for key in mixed]


async def test_the_order_of_keys_is_not_the_order_of_jobs(url: str) -> None:
    async with PostgresStore(url) as store:
        keys: list[str | None] = ["c", None, "a", "b", None]
        specs = [JobSpec(id=CLOCK.new_id(), task="work", unique_key=key) for key in keys]
        await store.submit(specs)
        await store.beat(SessionSpec(id="w", name="w"), [], ttl=60.0)
        answer = await store.exchange(
            "w", [], queues=QUEUES, want=9, nonce=CLOCK.new_nonce(), aged=0
        )
        assert [lease.id for lease in answer.leased] == [spec.id for spec in specs]


async def test_operators_and_workers_on_one_graph_come_to_an_end(
    server: Postgres, url: str
) -> None:
    """Workers fail and complete overlapping parents while people cancel, requeue and reap."""
    before = await deadlocks(server)
    async with PostgresStore(url) as store:
        specs = graph()
        answers = await store.submit(specs)
        assert all(answer.created for answer in answers)
        working = [asyncio.create_task(work(url, f"w{n}")) for n in range(4)]  # noqa: TID251 - ended below
        for turn in range(12):
            some = tuple(spec.id for spec in specs[turn::7])
            await asyncio.gather(
                store.cancel(JobQuery(ids=some[:20])),
                store.requeue(JobQuery(ids=some), downstream=turn % 2 == 0),
                store.reap(),
            )
        await asyncio.gather(*working)
        jobs = [job for job in await store.get([spec.id for spec in specs]) if job is not None]
        assert len(jobs) == len(specs)
        tallies = Counter({t.state: t.count for t in (await store.counts()).tallies})
        assert tallies == Counter(job.state for job in jobs)
    assert await deadlocks(server) - before <= 2


def graph() -> list[JobSpec]:
    """Return layers of jobs, each waiting for several of the layer before."""
    layers: list[list[str]] = [[CLOCK.new_id() for _ in range(40)] for _ in range(5)]
    specs: list[JobSpec] = []
    for depth, layer in enumerate(layers):
        above = layers[depth - 1] if depth else []
        for n, job_id in enumerate(layer):
            parents = tuple(above[(n + k) % len(above)] for k in (0, 1, 5)) if above else ()
            specs.append(
                JobSpec(id=job_id, task="work", parents=parents, retry=RetryPolicy(0), max_lost=9)
            )
    return specs


async def work(url: str, session: str) -> None:
    """Lease, and settle by turns well and badly, until nothing comes any more."""
    async with PostgresStore(url) as store:
        await store.beat(SessionSpec(id=session, name=session), [], ttl=60.0)
        told: list[Settlement] = []
        number = empty = 0
        while empty < 20:
            answer = await store.exchange(
                session, told, queues=QUEUES, want=15, nonce=CLOCK.new_nonce()
            )
            told = []
            for lease in answer.leased:
                number += 1
                outcome = Outcome.FAILED if number % 10 == 0 else Outcome.COMPLETED
                told.append(Settlement(lease.id, lease.epoch, lease.nonce, outcome))
            empty = 0 if told else empty + 1
