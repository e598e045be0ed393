"""What a ringing store rings for, and when it does not."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from stoker.brokers import ringer
from stoker.brokers.ringing import RingingStore
from stoker.core.broker import Ring, Rung
from stoker.core.job import Outcome, Priority, SessionState, WorkflowSpec
from stoker.core.records import Firing, JobQuery, ScheduleSpec
from stoker.stores.memory import MemoryStore
from stoker.testing import FakeClock, wait_until
from stoker.testing.conformance.hand import Hand, session_spec, settlement
from tests.unit.brokers.kit import Tower


@pytest.fixture
def tower() -> Tower:
    return Tower()


@pytest_asyncio.fixture
async def store(tower: Tower, fake_clock: FakeClock) -> AsyncIterator[RingingStore]:
    async with tower.ringing(MemoryStore(clock=fake_clock)) as store:
        yield store


@pytest.fixture
def hand(store: RingingStore, fake_clock: FakeClock) -> Hand:
    return Hand(store, fake_clock)


async def rung(tower: Tower, queue: str) -> list[Ring]:
    return await wait_until(lambda: tower.of(queue), f"{queue} is rung")


class TestNamingJobs:
    async def test_a_submit_rings_once_for_each_queue_and_priority(
        self, hand: Hand, tower: Tower, store: RingingStore
    ) -> None:
        specs = [
            hand.spec(queue=queue, priority=priority)
            for queue in ("a", "b")
            for priority in (Priority.HIGH, Priority.LOW)
            for _ in range(3)
        ]
        await store.submit(specs)
        assert len(tower.rings) == 4
        assert {ring.store for ring in tower.rings} == {store.info.id}
        for ring in tower.rings:
            fits = {s.id for s in specs if (s.queue, s.priority) == (ring.queue, ring.priority)}
            assert set(ring.ids) == fits

    async def test_many_jobs_are_several_rings(self, hand: Hand, tower: Tower) -> None:
        jobs = await hand.put_many(ringer.IDS * 2 + 1)
        assert [len(ring.ids) for ring in tower.rings] == [ringer.IDS, ringer.IDS, 1]
        assert tower.ids() == set(jobs)

    async def test_only_what_is_new_and_ready_is_rung(self, hand: Hand, tower: Tower) -> None:
        spec = hand.spec(unique_key="k")
        await hand.store.submit([spec])
        await hand.put(delay=60)
        await hand.put(parents=(spec.id,))
        await hand.store.submit([spec, hand.spec(unique_key="k")])
        await hand.store.submit([hand.spec(parents=("nobody",))])
        assert [ring.ids for ring in tower.rings] == [(spec.id,)]

    async def test_a_workflow_rings_for_its_roots(self, hand: Hand, tower: Tower) -> None:
        root = hand.spec(workflow_id="flow", queue="roots")
        leaf = hand.spec(workflow_id="flow", queue="leaves", parents=(root.id,))
        await hand.store.submit([leaf, root], workflow=WorkflowSpec(id="flow", name="flow"))
        assert [(ring.queue, ring.ids) for ring in tower.rings] == [("roots", (root.id,))]

    async def test_a_schedule_that_fires_rings(self, hand: Hand, tower: Tower) -> None:
        now = hand.clock.now()
        rule = ScheduleSpec(name="s", job=hand.spec(queue="cron"), every=60.0, next_at=now)
        await hand.store.put_schedules([rule])
        job = hand.spec(queue="cron", schedule="s")
        late = Firing(name="s", at=now, expect=now, next_at=now + 60, job=job)
        await hand.store.fire([late, late])
        assert [(ring.queue, ring.ids) for ring in tower.rings] == [("cron", (job.id,))]


class TestLooking:
    @pytest.mark.parametrize(
        ("outcome", "retry_in"),
        [
            (Outcome.RELEASED, None),
            (Outcome.CRASHED, None),
            (Outcome.FAILED, 0.0),
            (Outcome.SNOOZED, 0.0),
        ],
    )
    async def test_a_job_that_is_ready_again_rings_its_queue(
        self, hand: Hand, tower: Tower, outcome: Outcome, retry_in: float | None
    ) -> None:
        lease = await hand.take(await hand.put(queue="again"))
        tower.rings.clear()
        await hand.settle(lease, outcome, retry_in=retry_in)
        assert [(ring.queue, ring.ids) for ring in tower.rings] == [("again", ())]

    async def test_a_job_that_the_same_exchange_leases_again_rings_nobody(
        self, hand: Hand, tower: Tower
    ) -> None:
        lease = await hand.take(await hand.put())
        tower.rings.clear()
        answer = await hand.store.exchange(
            "w1",
            [settlement(lease, Outcome.RELEASED)],
            queues={"default": 9},
            want=9,
            nonce=hand.clock.new_nonce(),
        )
        assert [job.id for job in answer.leased] == [lease.id]
        assert tower.rings == []

    async def test_a_retry_that_is_due_at_once_rings_though_its_exchange_saw_all_that_was_ready(
        self, hand: Hand, tower: Tower
    ) -> None:
        lease = await hand.take(await hand.put())
        tower.rings.clear()
        answer = await hand.store.exchange(
            "w1",
            [settlement(lease, Outcome.FAILED, retry_in=0.0)],
            queues={"default": 9},
            want=9,
            nonce=hand.clock.new_nonce(),
        )
        assert not answer.leased
        assert [(ring.queue, ring.ids) for ring in tower.rings] == [("default", ())]

    async def test_a_retry_that_is_due_later_rings_nobody_yet(
        self, hand: Hand, tower: Tower
    ) -> None:
        lease = await hand.take(await hand.put())
        tower.rings.clear()
        await hand.settle(lease, Outcome.FAILED, retry_in=30.0)
        assert tower.rings == []

    async def test_a_child_in_another_queue_rings_that_queue(
        self, hand: Hand, tower: Tower
    ) -> None:
        root = hand.spec(workflow_id="flow", queue="roots")
        leaf = hand.spec(workflow_id="flow", queue="leaves", parents=(root.id,))
        await hand.store.submit([root, leaf], workflow=WorkflowSpec(id="flow", name="flow"))
        await hand.settle(await hand.take(root.id), Outcome.COMPLETED, result=b"1")
        await rung(tower, "leaves")

    async def test_a_promoted_job_rings_its_queue(self, hand: Hand, tower: Tower) -> None:
        await hand.put(queue="later", delay=60)
        hand.clock.advance(61)
        assert tower.of("later") == []
        await hand.store.reap()
        await rung(tower, "later")

    async def test_the_jobs_of_a_dead_session_ring_their_queue(
        self, hand: Hand, tower: Tower
    ) -> None:
        await hand.take(await hand.put(queue="orphans"))
        tower.rings.clear()
        await hand.store.reap(sessions=["w1"])
        await rung(tower, "orphans")

    async def test_the_jobs_of_a_session_that_leaves_ring_their_queue(
        self, hand: Hand, tower: Tower
    ) -> None:
        await hand.take(await hand.put(queue="left"))
        tower.rings.clear()
        await hand.store.beat(session_spec("w1", state=SessionState.LEFT), [], ttl=30.0)
        await rung(tower, "left")

    async def test_a_requeued_job_rings_its_queue(self, hand: Hand, tower: Tower) -> None:
        lease = await hand.take(await hand.put(queue="back"))
        await hand.settle(lease, Outcome.COMPLETED, result=b"1")
        tower.rings.clear()
        await hand.store.requeue(JobQuery(ids=(lease.id,)))
        await rung(tower, "back")

    async def test_a_cancelled_job_rings_for_its_children(self, hand: Hand, tower: Tower) -> None:
        parent = await hand.put(queue="parents", delay=60)
        await hand.put(queue="children", parents=(parent,), on_parent_failure="run")
        assert tower.rings == []
        await hand.store.cancel(JobQuery(ids=(parent,)))
        await rung(tower, "children")

    async def test_a_resumed_queue_is_rung_and_a_paused_one_is_not(
        self, hand: Hand, tower: Tower
    ) -> None:
        await hand.store.set_queue("q", paused=True)
        assert tower.rings == []
        await hand.store.set_queue("q", paused=False)
        assert [(ring.queue, ring.ids) for ring in tower.rings] == [("q", ())]

    async def test_whoever_reaps_rings_again_for_what_waits_too_long(
        self, hand: Hand, tower: Tower
    ) -> None:
        await hand.put(queue="forgotten")
        tower.rings.clear()
        hand.clock.advance(ringer.TOO_LONG + 1)
        await hand.store.reap()
        await rung(tower, "forgotten")
        assert [ring.ids for ring in tower.of("forgotten")] == [()]


class TestTheBound:
    async def test_rings_that_nobody_ordered_are_paid_from_a_purse(
        self, hand: Hand, tower: Tower
    ) -> None:
        jobs = 400
        await hand.put_many(jobs)
        named = len(tower.rings)
        for lease in await hand.lease(jobs):
            await hand.settle(lease, Outcome.FAILED, retry_in=0.0)
            await hand.store.exchange(
                "w1", [], queues={"default": 1}, want=1, nonce=hand.clock.new_nonce()
            )
        # Each job became ready twice, and was leased twice.
        assert named == jobs / ringer.IDS
        assert len(tower.rings) <= 1.1 * 2 * jobs + ringer.FIRST

    async def test_a_broker_of_nobody_is_rung_no_more_than_there_are_jobs(
        self, hand: Hand, tower: Tower
    ) -> None:
        for _ in range(50):
            await hand.put()
        assert len(tower.rings) == 50


async def test_a_ringing_store_tells_how_its_broker_does(store: RingingStore) -> None:
    assert isinstance(store, Rung)
    assert not isinstance(store.inner, Rung)
    assert store.broker_status().scheme == "local"


async def test_nothing_is_rung_for_a_command_that_failed(
    fake_clock: FakeClock, tower: Tower
) -> None:
    store = tower.ringing(MemoryStore(clock=fake_clock))
    hand = Hand(store, fake_clock)
    async with store:
        pass
    with pytest.raises(Exception, match="open"):
        await hand.put()
    assert tower.rings == []
