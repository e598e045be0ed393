"""I8: duties are right whoever does them at the same time. Here everybody leads.

Election only saves work. So three keepers are told that they lead, each with its own handle of
one store, and pass at the same time, over and over.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from stoker.connect import open_store
from stoker.core.events import Kind
from stoker.core.job import JobSpec, Outcome, SessionSpec, Settlement
from stoker.core.records import EventQuery, JobQuery, Term
from stoker.keeper.keeper import Keeper
from stoker.keeper.schedules import job_id, make_schedule
from stoker.settings import KeeperSettings, Seconds
from stoker.testing import After, FakeClock, FaultyStore

LEASE = 30.0
TEMPLATE = JobSpec(id="template", task="report")
WORKER = SessionSpec(id="s-1", name="w-1")


class EverybodyLeads(FaultyStore):
    """A store that tells each candidate that it leads."""

    async def lead(self, name: str, holder: str, *, ttl: float) -> Term | None:
        return await self.inner.lead(f"{name}/{holder}", holder, ttl=ttl)


class Parliament:
    """Three keepers that all lead."""

    def __init__(self, stores: list[EverybodyLeads], clock: FakeClock) -> None:
        self.stores = stores
        self.store = stores[0]
        self.clock = clock
        self.keepers = self.elect(KeeperSettings())

    def elect(self, settings: KeeperSettings) -> list[Keeper]:
        self.keepers = [
            Keeper(store, settings=settings, lease=LEASE, clock=self.clock, name=f"k-{number}")
            for number, store in enumerate(self.stores)
        ]
        return self.keepers

    async def passes(self, count: int, *, step: float = 1.0) -> None:
        for _ in range(count):
            await asyncio.gather(*(keeper.tick() for keeper in self.keepers))
            assert all(keeper.is_leading for keeper in self.keepers)
            self.clock.advance(step)

    async def put(self, name: str, rule: str) -> None:
        spec = make_schedule(name, rule, TEMPLATE, now=self.clock.now(), catch_up="all")
        await self.store.put_schedules([spec])

    async def fired(self, name: str) -> list[str]:
        page = await self.store.find(JobQuery(schedule=name), limit=1000)
        return sorted(job.id for job in page.jobs)

    async def count(self, kind: Kind) -> int:
        return len(await self.store.events(EventQuery(after=0, kinds=(kind,)), limit=1000))


@pytest.fixture(params=["memory", "sqlite"])
async def parliament(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Parliament]:
    clock = FakeClock()
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            one = await stack.enter_async_context(open_store("memory://", clock=clock))
            stores = [EverybodyLeads(one) for _ in range(3)]
        else:
            url = f"sqlite:///{tmp_path}/jobs.db?durability=fast"
            stores = [
                EverybodyLeads(await stack.enter_async_context(open_store(url, clock=clock)))
                for _ in range(3)
            ]
        yield Parliament(stores, clock)


async def test_each_instant_of_a_schedule_fires_once(parliament: Parliament) -> None:
    begin = parliament.clock.now()
    await parliament.put("minutes", "* * * * *")
    await parliament.put("sevens", "every 7s")
    await parliament.passes(125)
    assert await parliament.fired("minutes") == [job_id("minutes", begin + n) for n in (60, 120)]
    assert await parliament.fired("sevens") == [
        job_id("sevens", begin + 7 * n) for n in range(1, 18)
    ]
    infos = await parliament.store.schedules()
    assert [info.fired for info in infos] == [2, 17]
    assert await parliament.count(Kind.SCHEDULE_FIRED) == 19


async def test_a_long_outage_is_caught_up_once(parliament: Parliament) -> None:
    begin = parliament.clock.now()
    await parliament.put("minutes", "* * * * *")
    parliament.clock.advance(250 * 60)
    await parliament.passes(5)
    assert await parliament.fired("minutes") == [
        job_id("minutes", begin + 60 * n) for n in range(1, 251)
    ]


async def test_firings_whose_answers_are_lost_are_not_fired_again(parliament: Parliament) -> None:
    begin = parliament.clock.now()
    await parliament.put("sevens", "every 7s")
    for store in parliament.stores:
        store.plan("fire", *(After() for _ in range(20)))
    await parliament.passes(60)
    assert await parliament.fired("sevens") == [
        job_id("sevens", begin + 7 * n) for n in range(1, 9)
    ]
    (info,) = await parliament.store.schedules()
    assert info.fired == 8


async def test_each_lost_job_is_taken_back_once(parliament: Parliament) -> None:
    store, clock = parliament.store, parliament.clock
    await store.beat(WORKER, [], ttl=LEASE)
    specs = [JobSpec(id=clock.new_id(), task="t") for _ in range(20)]
    await store.submit(specs)
    await store.exchange(WORKER.id, [], queues={"default": 20}, want=20, nonce=clock.new_nonce())
    await parliament.passes(40, step=LEASE / 10)
    records = await store.get([spec.id for spec in specs])
    assert [record.lost for record in records if record is not None] == [1] * 20
    assert await parliament.count(Kind.WORKER_DIED) == 1
    assert await parliament.count(Kind.JOB_LOST) == 20


async def test_what_is_kept_is_kept(parliament: Parliament) -> None:
    store, clock = parliament.store, parliament.clock
    parliament.elect(KeeperSettings(keep_most=4, purge_interval=Seconds(3)))
    await store.beat(WORKER, [], ttl=1000)
    ids: list[str] = []
    for _ in range(10):
        job = JobSpec(id=clock.new_id(), task="t")
        await store.submit([job])
        nonce = clock.new_nonce()
        answer = await store.exchange(WORKER.id, [], queues={"default": 1}, want=1, nonce=nonce)
        (leased,) = answer.leased
        done = Settlement(leased.id, leased.epoch, leased.nonce, Outcome.COMPLETED)
        await store.exchange(WORKER.id, [done], queues={}, want=0, nonce=clock.new_nonce())
        ids.append(job.id)
        clock.advance(1)
    await parliament.passes(10)
    kept = [record.id for record in await store.get(ids) if record is not None]
    assert kept == ids[6:]
