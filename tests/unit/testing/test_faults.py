"""The store that fails by plan."""

import asyncio
import inspect

import pytest

from stoker.core.errors import OutcomeUnknown, StoreFull, Unavailable
from stoker.core.job import JobSpec
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.core.store import Store
from stoker.stores.memory import MemoryStore
from stoker.testing import After, Before, Delay, FakeClock, FaultyStore

JOB = JobSpec(id="j1", task="work")


async def test_without_a_plan_every_call_goes_through(fake_clock: FakeClock) -> None:
    async with FaultyStore(MemoryStore(clock=fake_clock)) as store:
        await store.submit([JOB])
        assert (await store.get(["j1"]))[0] is not None
        assert store.info == store.inner.info
        assert store.calls == {"submit": 1, "get": 1}


async def test_a_planned_call_fails_before_the_write(fake_clock: FakeClock) -> None:
    async with FaultyStore(MemoryStore(clock=fake_clock)) as store:
        store.plan("submit", Before(), Before(StoreFull))
        with pytest.raises(Unavailable):
            await store.submit([JOB])
        with pytest.raises(StoreFull):
            await store.submit([JOB])
        assert await store.get(["j1"]) == [None]
        assert (await store.submit([JOB]))[0].created


async def test_a_planned_call_fails_after_the_write(fake_clock: FakeClock) -> None:
    async with FaultyStore(MemoryStore(clock=fake_clock)) as store:
        store.plan("submit", None, After())
        await store.submit([])
        with pytest.raises(OutcomeUnknown):
            await store.submit([JOB])
        assert (await store.get(["j1"]))[0] is not None


async def test_a_held_call_waits_for_its_release(fake_clock: FakeClock) -> None:
    async with FaultyStore(MemoryStore(clock=fake_clock)) as store:
        hold = store.hold("submit")
        async with asyncio.TaskGroup() as group, asyncio.timeout(10):
            task = group.create_task(store.submit([JOB]))
            await hold.reached.wait()
            assert await store.get(["j1"]) == [None]
            hold.release()
            assert (await task)[0].created


async def test_a_delayed_call_is_carried_out(fake_clock: FakeClock) -> None:
    async with FaultyStore(MemoryStore(clock=fake_clock)) as store:
        store.plan("submit", Delay(0.001))
        assert (await store.submit([JOB]))[0].state is State.QUEUED


async def test_a_rule_is_asked_for_calls_without_a_plan(fake_clock: FakeClock) -> None:
    async with FaultyStore(MemoryStore(clock=fake_clock)) as store:
        store.rule = lambda verb: Before() if verb == "find" else None
        store.plan("find", None)
        await store.find(JobQuery())
        with pytest.raises(Unavailable):
            await store.find(JobQuery())
        await store.counts()


@pytest.mark.parametrize("verb", ["sumbit", "__aenter__", "_call", "close"])
def test_a_plan_for_a_verb_that_does_not_exist_is_refused(fake_clock: FakeClock, verb: str) -> None:
    with pytest.raises(ValueError, match="has no verb"):
        FaultyStore(MemoryStore(clock=fake_clock)).plan(verb, Before())


def test_every_verb_of_a_store_can_fail() -> None:
    verbs = [name for name in vars(Store) if not name.startswith("_")]
    assert len(verbs) > 20
    for verb in verbs:
        wanted = inspect.getattr_static(Store, verb)
        given = inspect.getattr_static(FaultyStore, verb)
        if inspect.isfunction(wanted):
            assert inspect.signature(given) == inspect.signature(wanted), verb
