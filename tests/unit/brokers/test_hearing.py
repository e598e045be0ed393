"""What a ringing store hears, and whom it wakes."""

import asyncio
import random  # noqa: TID251 - seeded
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from stoker.brokers import ears
from stoker.brokers.ringing import RingingStore
from stoker.core.broker import Ring
from stoker.core.errors import Unavailable
from stoker.core.job import Exchanged, Priority
from stoker.stores.memory import MemoryStore
from stoker.testing import Before, FakeClock, LocalBroker, wait_until
from stoker.testing.conformance.hand import Hand
from tests.unit.brokers.kit import DeafStore, Tower

SOON = 20.0


@pytest.fixture
def tower() -> Tower:
    return Tower()


@pytest.fixture
def deaf(fake_clock: FakeClock) -> DeafStore:
    return DeafStore(MemoryStore(clock=fake_clock))


@pytest_asyncio.fixture
async def store(tower: Tower, deaf: DeafStore) -> AsyncIterator[RingingStore]:
    async with tower.ringing(deaf) as store:
        yield store


@pytest_asyncio.fixture
async def voice(tower: Tower) -> AsyncIterator[LocalBroker]:
    """Rings whatever a test wants."""
    async with LocalBroker(tower.belfry) as broker:
        yield broker


@pytest.fixture
def hand(store: RingingStore, fake_clock: FakeClock) -> Hand:
    return Hand(store, fake_clock)


def ring(store: RingingStore, *ids: str, queue: str = "default") -> Ring:
    return Ring(store.info.id, queue, Priority.MEDIUM, ids)


async def exchange(hand: Hand, want: int, *queues: str) -> Exchanged:
    await hand.beat("w1")
    return await hand.store.exchange(
        "w1",
        [],
        queues=dict.fromkeys(queues or ("default",), want),
        want=want,
        nonce=hand.clock.new_nonce(),
    )


async def hears(store: RingingStore, *queues: str) -> bool:
    return await store.wait(queues or ("default",), timeout=SOON)


async def arrived(store: RingingStore, count: int) -> None:
    await wait_until(lambda: store.broker_status().heard >= count, f"{count} rings arrived")
    # The listener takes them in its next step.
    for _ in range(5):
        await asyncio.sleep(0)


class TestWaking:
    async def test_a_ring_wakes_whoever_waits_for_its_queue(
        self, store: RingingStore, hand: Hand
    ) -> None:
        async with asyncio.timeout(SOON / 2), asyncio.TaskGroup() as group:
            task = group.create_task(hears(store, "other", "default"))
            await asyncio.sleep(0)
            await hand.put()
        assert task.result()

    async def test_a_ring_wakes_all_who_wait_in_this_process(
        self, store: RingingStore, hand: Hand
    ) -> None:
        async with asyncio.timeout(SOON / 2), asyncio.TaskGroup() as group:
            tasks = [group.create_task(hears(store)) for _ in range(5)]
            await asyncio.sleep(0)
            await hand.put()
        assert all(task.result() for task in tasks)

    async def test_a_ring_that_came_between_two_waits_wakes_the_second(
        self, store: RingingStore, hand: Hand
    ) -> None:
        await store.wait(("default",), timeout=0.01)
        await hand.put()
        await arrived(store, 1)
        async with asyncio.timeout(SOON / 2):
            assert await hears(store)

    async def test_a_ring_wakes_once(self, store: RingingStore, hand: Hand) -> None:
        await store.wait(("default",), timeout=0.01)
        await hand.put()
        await arrived(store, 1)
        assert await hears(store)
        assert not await store.wait(("default",), timeout=0.05)

    async def test_a_wait_for_a_new_queue_is_listened_to_at_once(
        self, store: RingingStore, hand: Hand, deaf: DeafStore
    ) -> None:
        async with asyncio.timeout(SOON / 2), asyncio.TaskGroup() as group:
            first = group.create_task(hears(store, "a"))
            await wait_until(lambda: deaf.calls["wait"] == 1, "the first waits")
            second = group.create_task(hears(store, "b"))
            await wait_until(lambda: deaf.calls["wait"] == 2, "the second waits")
            await hand.put(queue="b")
            assert await second
            await hand.put(queue="a")
        assert first.result()

    async def test_the_stores_own_bell_wakes_with_a_dead_broker(
        self, tower: Tower, fake_clock: FakeClock
    ) -> None:
        tower.belfry.kill()
        async with (
            asyncio.timeout(SOON / 2),
            tower.ringing(MemoryStore(clock=fake_clock)) as store,
            asyncio.TaskGroup() as group,
        ):
            task = group.create_task(hears(store))
            await asyncio.sleep(0)
            await Hand(store, fake_clock).put()
            assert await task

    async def test_an_error_of_the_store_reaches_whoever_waits(
        self, tower: Tower, fake_clock: FakeClock
    ) -> None:
        inner = DeafStore(MemoryStore(clock=fake_clock))
        async with tower.ringing(inner) as store:
            inner.wait = broken_wait  # type: ignore[method-assign]
            with pytest.raises(Unavailable):
                await hears(store)


async def broken_wait(
    queues: Sequence[str] = (), *, ids: Sequence[str] = (), timeout: float
) -> bool:
    raise Unavailable("the store is away")


class TestStaleRings:
    async def test_a_ring_for_jobs_that_were_leased_here_wakes_nobody(
        self, store: RingingStore, hand: Hand, voice: LocalBroker
    ) -> None:
        job = await hand.put()
        await exchange(hand, 1)
        await store.wait(("default",), timeout=0.01)
        voice.ring([ring(store, job)] * 20)
        assert not await store.wait(("default",), timeout=0.2)
        assert store.broker_status().heard >= 20

    async def test_a_backlog_of_stale_rings_costs_few_looks(
        self, tower: Tower, store: RingingStore, hand: Hand, voice: LocalBroker, deaf: DeafStore
    ) -> None:
        voice.ring([ring(store, f"gone-{n}") for n in range(800)])
        looks = 0
        while tower.waiting or looks == 0:
            assert await hears(store)
            assert (await exchange(hand, 5)).leased == []
            looks += 1
        assert deaf.calls["exchange"] <= 80

    async def test_a_ring_of_another_store_is_dropped_counted_and_said_once(
        self, store: RingingStore, voice: LocalBroker, caplog: pytest.LogCaptureFixture
    ) -> None:
        stranger = Ring("f" * 32, "default", Priority.HIGH, ("x",))
        await store.wait(("default",), timeout=0.01)
        voice.ring([stranger] * 3)
        assert not await store.wait(("default",), timeout=0.2)
        assert store.broker_status().foreign == 3
        said = [r.message for r in caplog.records if "two different stores" in r.message]
        assert len(said) == 1
        assert "namespace" in said[0]


class TestFinishing:
    async def test_an_exchange_that_found_all_there_was_finishes_the_rings(
        self, tower: Tower, store: RingingStore, hand: Hand
    ) -> None:
        await store.wait(("default",), timeout=0.01)
        await hand.put_many(3)
        await arrived(store, 1)
        assert len((await exchange(hand, 9)).leased) == 3
        await nothing_is_left(tower, store)

    async def test_what_an_exchange_had_no_room_for_is_rung_again_for_others(
        self, tower: Tower, store: RingingStore, hand: Hand
    ) -> None:
        await store.wait(("default",), timeout=0.01)
        jobs = await hand.put_many(5)
        await arrived(store, 1)
        leased = {job.id for job in (await exchange(hand, 2)).leased}
        assert [set(r.ids) for r in tower.rings] == [set(jobs), set(jobs) - leased]

    async def test_a_single_job_is_rung_once(
        self, tower: Tower, store: RingingStore, hand: Hand
    ) -> None:
        await store.wait(("default",), timeout=0.01)
        for _ in range(30):
            await hand.put()
            await hears(store)
            assert len((await exchange(hand, 1)).leased) == 1
        assert len(tower.rings) == 30

    async def test_an_exchange_that_failed_keeps_its_rings(
        self, tower: Tower, store: RingingStore, hand: Hand, deaf: DeafStore
    ) -> None:
        await store.wait(("default",), timeout=0.01)
        await hand.put()
        await arrived(store, 1)
        deaf.plan("exchange", Before())
        with pytest.raises(Unavailable):
            await exchange(hand, 1)
        assert await hears(store)
        await exchange(hand, 2)
        await nothing_is_left(tower, store)

    async def test_a_process_that_waits_no_longer_keeps_no_ring(
        self, tower: Tower, store: RingingStore, hand: Hand, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ears, "LINGER", 0.1)
        await store.wait(("default",), timeout=0.01)
        job = await hand.put()
        await arrived(store, 1)
        await wait_until(lambda: tower.waiting == 1, "the ring is back")
        assert [r.ids for r in tower.of("default")] == [(job,), (job,)]
        await hand.put()
        assert tower.waiting == 2

    async def test_a_closed_process_passes_on_what_it_never_looked_for(
        self, tower: Tower, deaf: DeafStore, fake_clock: FakeClock
    ) -> None:
        async with tower.ringing(deaf) as store:
            await store.wait(("default",), timeout=0.01)
            job = await Hand(store, fake_clock).put()
            await arrived(store, 1)
        assert [r.ids for r in tower.belfry.rings["default"]] == [(job,)]


async def test_order_and_number_of_deliveries_change_nothing(
    tower: Tower, store: RingingStore, hand: Hand
) -> None:
    tower.belfry.copies = 4
    tower.belfry.shuffle = random.Random(7)
    done: list[str] = []
    jobs = [job for _ in range(20) for job in await hand.put_many(3)]
    while len(done) < len(jobs):
        await hears(store)
        done += [job.id for job in (await exchange(hand, 4)).leased]
        done += [job.id for job in (await exchange(hand, 4)).leased]
    # By age, as without a broker, and each once.
    assert done == jobs


async def nothing_is_left(tower: Tower, store: RingingStore) -> None:
    """A handle that comes later hears nothing."""
    await store.__aexit__(None, None, None)
    assert tower.waiting == 0
    await store.__aenter__()
