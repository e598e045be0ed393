"""What the reference store promises besides the protocol."""

import asyncio

import pytest

from stoker.core.errors import InvalidOption, NotOpen, SchemaMismatch
from stoker.core.job import JobSpec, SessionSpec
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.stores.memory import MemoryStore
from stoker.testing import FakeClock, wait_until


def job(number: int = 0, **changes: object) -> JobSpec:
    return JobSpec(id=f"j{number}", task="work", **changes)  # type: ignore[arg-type]


async def test_two_stores_share_nothing_unless_they_share_a_world(fake_clock: FakeClock) -> None:
    async with MemoryStore(clock=fake_clock) as one, MemoryStore(clock=fake_clock) as two:
        await one.submit([job()])
        assert await two.get(["j0"]) == [None]
        async with MemoryStore(clock=fake_clock, world=one.world) as twin:
            assert (await twin.get(["j0"]))[0] is not None


async def test_a_store_opened_again_has_what_it_had(fake_clock: FakeClock) -> None:
    store = MemoryStore(clock=fake_clock)
    async with store:
        await store.submit([job()])
    with pytest.raises(NotOpen, match="async with"):
        await store.get(["j0"])
    async with store:
        assert (await store.get(["j0"]))[0] is not None


async def test_closing_a_handle_ends_its_own_waits_only(fake_clock: FakeClock) -> None:
    store = MemoryStore(clock=fake_clock)
    async with MemoryStore(clock=fake_clock, world=store.world) as stays:
        async with asyncio.TaskGroup() as group, asyncio.timeout(10):
            async with store:
                closed = group.create_task(store.wait(["default"], timeout=60))
                woken = group.create_task(stays.wait(["default"], timeout=60))
                await asyncio.sleep(0)
            await wait_until(closed.done, "the wait of the closed handle ended")
            assert not closed.result()
            assert not woken.done()
            await stays.submit([job()])
        assert woken.result()


async def test_a_wait_leaves_nothing_behind(fake_clock: FakeClock) -> None:
    async with MemoryStore(clock=fake_clock) as store:
        for _ in range(3):
            await store.wait(["a", "b", "a"], ids=["x", "x"], timeout=0.001)
        assert vars(store.world.bell) == {"_queues": {}, "_jobs": {}}


async def test_a_busy_caller_does_not_starve_the_loop(fake_clock: FakeClock) -> None:
    turns: list[str] = []

    async def busy(store: MemoryStore, name: str) -> None:
        for _ in range(3):
            await store.counts()
            turns.append(name)

    async with MemoryStore(clock=fake_clock) as store:
        await asyncio.gather(busy(store, "a"), busy(store, "b"))
    assert turns == ["a", "b"] * 3


async def test_a_call_that_is_cancelled_before_its_turn_changes_nothing(
    fake_clock: FakeClock,
) -> None:
    async with MemoryStore(clock=fake_clock) as store:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(store.submit([job()]))
            await asyncio.sleep(0)
            task.cancel()
        assert await store.get(["j0"]) == [None]


async def test_jobs_that_are_gone_do_not_stay_in_the_order(fake_clock: FakeClock) -> None:
    async with MemoryStore(clock=fake_clock) as store:
        await store.submit([job(n) for n in range(100)])
        await store.cancel(JobQuery(queues=("default",)))
        await store.beat(SessionSpec(id="w", name="w"), [], ttl=30)
        answer = await store.exchange("w", [], queues={"default": 9}, want=9, nonce="n")
        assert answer.leased == []
        assert [len(heap) for heap in store.world.lines["default"].ready] == [0, 0, 0]


async def test_a_deleted_job_leaves_no_trace_in_the_indexes(fake_clock: FakeClock) -> None:
    async with MemoryStore(clock=fake_clock) as store:
        specs = [
            job(1, unique_key="k", expires=9.0, workflow_id="f"),
            job(2, parents=("j1",), workflow_id="f"),
        ]
        await store.submit(specs)
        await store.cancel(JobQuery(ids=("j1",)))
        fake_clock.advance(1)
        assert await store.purge(JobQuery(states=(State.CANCELLED,))) == 2
        world = store.world
        indexes = (world.jobs, world.unique, world.children, world.members, world.expiring)
        assert [dict(index) for index in indexes] == [{}] * 5


async def test_activity_older_than_a_day_is_forgotten(fake_clock: FakeClock) -> None:
    async with MemoryStore(clock=fake_clock) as store:
        for number in range(5):
            await store.submit([job(number)])
            fake_clock.advance(50_000)
        assert len(store.world.minutes) == 2
        assert (await store.counts()).totals == {"submitted": 5}


async def test_a_negative_limit_is_refused(fake_clock: FakeClock) -> None:
    async with MemoryStore(clock=fake_clock) as store:
        with pytest.raises(InvalidOption, match="expected 0 or more"):
            await store.set_queue("default", limit=-1)
        assert await store.queues() == []


async def test_there_is_one_layout(fake_clock: FakeClock) -> None:
    async with MemoryStore(clock=fake_clock) as store:
        assert (await store.migrate(to=1)).current == 1
        with pytest.raises(SchemaMismatch, match="version 2"):
            await store.migrate(to=2)


async def test_a_clock_that_stepped_back_does_no_harm(fake_clock: FakeClock) -> None:
    async with MemoryStore(clock=fake_clock) as store:
        await store.submit([job(1), job(2, delay=10.0)])
        await store.beat(SessionSpec(id="w", name="w"), [], ttl=30)
        fake_clock.step(-3_600)
        reaped = await store.reap()
        assert (reaped.sessions, reaped.promoted) == ((), 0)
        answer = await store.exchange("w", [], queues={"default": 9}, want=9, nonce="n")
        assert [lease.id for lease in answer.leased] == ["j1"]
