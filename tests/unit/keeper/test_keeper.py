"""The keeper and its duties on a store, with time in the test's hands."""

import asyncio
import logging
from collections.abc import AsyncIterator

import msgspec
import pytest

from stoker.connect import open_store
from stoker.core.events import Kind
from stoker.core.job import JobSpec, Leased, Outcome, SessionSpec, SessionState, Settlement
from stoker.core.lifecycle import State
from stoker.core.records import CatchUp, EventQuery, JobQuery, ScheduleInfo
from stoker.keeper.keeper import Keeper
from stoker.keeper.schedules import job_id, make_schedule, paused
from stoker.settings import KeeperSettings, Seconds
from stoker.testing import After, Before, FakeClock, FaultyStore, wait_until

LEASE = 30.0
SETTINGS = KeeperSettings()
TEMPLATE = JobSpec(id="template", task="report")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(clock: FakeClock) -> AsyncIterator[FaultyStore]:
    async with FaultyStore(open_store("memory://", clock=clock)) as opened:
        yield opened


class House:
    """A keeper, a worker's session and a clock that moves with the passes."""

    def __init__(
        self, store: FaultyStore, clock: FakeClock, settings: KeeperSettings = SETTINGS
    ) -> None:
        self.store = store
        self.clock = clock
        self.keeper = Keeper(store, settings=settings, lease=LEASE, clock=clock, name="k")
        self.session = SessionSpec(id="s-1", name="w-1")

    async def passes(self, seconds: float, *, beat: bool = False) -> None:
        """Let time go by in the keeper's own steps."""
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until:
            if beat:
                await self.beat()
            wait = await self.keeper.tick()
            self.clock.advance(min(wait, until - self.clock.monotonic()))
        await self.keeper.tick()

    async def beat(self, *, ttl: float = LEASE) -> None:
        reply = await self.store.beat(self.session, [], ttl=ttl)
        assert reply.alive

    async def lease_one(self) -> Leased:
        await self.store.submit([JobSpec(id=self.clock.new_id(), task="t")])
        nonce = self.clock.new_nonce()
        answer = await self.store.exchange(
            self.session.id, [], queues={"default": 1}, want=1, nonce=nonce
        )
        return answer.leased[0]

    async def state_of_session(self) -> SessionState:
        (info,) = await self.store.sessions(ended=True)
        return info.state

    async def put(self, rule: str, *, catch_up: CatchUp = "last", name: str = "x") -> None:
        spec = make_schedule(name, rule, TEMPLATE, now=self.clock.now(), catch_up=catch_up)
        await self.store.put_schedules([spec])

    async def schedule(self, name: str = "x") -> ScheduleInfo:
        (info,) = await self.store.schedules([name])
        return info

    async def fired(self, name: str = "x") -> list[str]:
        page = await self.store.find(JobQuery(schedule=name), limit=1000)
        return sorted(job.id for job in page.jobs)


@pytest.fixture
def house(store: FaultyStore, clock: FakeClock) -> House:
    return House(store, clock)


async def test_a_silent_worker_is_declared_dead_after_its_lease(house: House) -> None:
    await house.passes(LEASE + 1)
    await house.beat()
    job = await house.lease_one()
    await house.passes(LEASE - 2)
    assert await house.state_of_session() is SessionState.ALIVE
    await house.passes(4)
    assert await house.state_of_session() is SessionState.DEAD
    (record,) = await house.store.get([job.id])
    assert record is not None
    assert (record.state, record.lost) == (State.QUEUED, 1)


async def test_a_new_keeper_waits_one_lease_before_it_declares_anybody_dead(house: House) -> None:
    await house.beat()
    house.clock.advance(10 * LEASE)
    await house.passes(LEASE - 2)
    assert await house.state_of_session() is SessionState.ALIVE
    await house.passes(4)
    assert await house.state_of_session() is SessionState.DEAD


async def test_a_worker_that_beats_within_the_grace_lives_on(house: House) -> None:
    await house.beat()
    house.clock.advance(10 * LEASE)
    await house.passes(LEASE / 2)
    await house.beat()
    await house.passes(LEASE - 1)
    assert await house.state_of_session() is SessionState.ALIVE


async def test_an_outage_longer_than_the_lease_kills_nobody_who_comes_back(house: House) -> None:
    await house.passes(LEASE + 1, beat=True)
    house.store.rule = lambda _verb: Before()
    await house.passes(5 * LEASE)
    house.store.rule = lambda _verb: None
    await house.passes(LEASE - 5)
    await house.beat()
    await house.passes(LEASE - 1)
    assert await house.state_of_session() is SessionState.ALIVE


async def test_a_store_clock_that_jumps_ahead_kills_nobody(house: House) -> None:
    await house.passes(LEASE + 1, beat=True)
    house.clock.step(3600)
    await house.passes(LEASE - 5)
    assert await house.state_of_session() is SessionState.ALIVE


async def test_a_worker_with_a_longer_lease_is_given_that_long(house: House) -> None:
    await house.beat(ttl=10 * LEASE)
    house.clock.advance(20 * LEASE)
    await house.passes(9 * LEASE)
    assert await house.state_of_session() is SessionState.ALIVE
    await house.passes(2 * LEASE)
    assert await house.state_of_session() is SessionState.DEAD


async def test_due_jobs_are_promoted_even_while_nobody_may_be_declared_dead(house: House) -> None:
    spec = JobSpec(id=house.clock.new_id(), task="t", delay=2.0)
    await house.store.submit([spec])
    await house.passes(3)
    (record,) = await house.store.get([spec.id])
    assert record is not None
    assert record.state is State.QUEUED


async def test_a_follower_does_no_duty(store: FaultyStore, clock: FakeClock) -> None:
    leading, following = House(store, clock), House(store, clock)
    assert await leading.keeper.tick() == SETTINGS.interval
    before = dict(store.calls)
    assert await following.keeper.tick() == SETTINGS.term / 3
    assert {verb: n for verb, n in store.calls.items() if n != before.get(verb, 0)} == {"lead": 2}
    assert leading.keeper.is_leading
    assert not following.keeper.is_leading


async def test_a_follower_takes_over_when_the_leader_is_silent(
    store: FaultyStore, clock: FakeClock
) -> None:
    leading, following = House(store, clock), House(store, clock)
    await leading.keeper.tick()
    await following.passes(SETTINGS.term + SETTINGS.term / 3)
    assert following.keeper.is_leading
    await leading.keeper.tick()
    assert not leading.keeper.is_leading


async def test_a_schedule_fires_at_its_instant(house: House) -> None:
    await house.put("*/1 * * * *")
    begin = house.clock.now()
    await house.passes(59.5)
    assert await house.fired() == []
    await house.passes(1)
    assert await house.fired() == [job_id("x", begin + 60)]
    info = await house.schedule()
    assert (info.last_at, info.spec.next_at) == (begin + 60, begin + 120)


async def test_the_keeper_wakes_for_a_schedule_that_is_due_before_its_next_pass(
    house: House,
) -> None:
    spec = make_schedule("x", "every 1s", TEMPLATE, now=house.clock.now() - 0.75)
    await house.store.put_schedules([spec])
    assert await house.keeper.tick() == pytest.approx(0.25)


@pytest.mark.parametrize(("catch_up", "count"), [("skip", 0), ("last", 1), ("all", 72)])
async def test_three_days_without_a_keeper_are_caught_up_by_policy(
    house: House, catch_up: CatchUp, count: int
) -> None:
    await house.put("@hourly", catch_up=catch_up)
    begin = house.clock.now()
    house.clock.advance(72 * 3600 + 1800)
    await house.passes(3)
    fired = await house.fired()
    assert len(fired) == count
    assert fired == [job_id("x", begin + n * 3600) for n in range(73 - count, 73)]
    assert (await house.schedule()).spec.next_at == begin + 73 * 3600


async def test_a_catch_up_of_many_goes_on_in_the_next_passes(house: House) -> None:
    await house.put("* * * * *", catch_up="all")
    house.clock.advance(250 * 60)
    await house.keeper.tick()
    assert len(await house.fired()) == 100
    await house.keeper.tick()
    await house.keeper.tick()
    assert len(await house.fired()) == 250


async def test_a_firing_whose_answer_is_lost_is_not_fired_twice(house: House) -> None:
    await house.put("* * * * *")
    house.store.plan("fire", After())
    await house.passes(62)
    assert len(await house.fired()) == 1
    assert (await house.schedule()).fired == 1


async def test_a_firing_that_was_not_carried_out_is_made_up_for(house: House) -> None:
    await house.put("* * * * *")
    house.store.plan("fire", Before(), Before())
    await house.passes(65)
    assert len(await house.fired()) == 1


async def test_a_paused_schedule_does_not_fire_nor_wake_the_keeper(house: House) -> None:
    await house.put("* * * * *")
    await house.store.put_schedules([paused(await house.schedule())])
    house.clock.advance(300)
    assert await house.keeper.tick() == SETTINGS.interval
    assert await house.fired() == []


async def test_a_schedule_that_cannot_be_read_hurts_no_other_and_is_told_once(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    await house.put("* * * * *", name="good")
    good = (await house.schedule("good")).spec
    bad = msgspec.structs.replace(good, name="bad", timezone="Mars/Base")
    await house.store.put_schedules([bad])
    with caplog.at_level(logging.ERROR, "stoker.keeper"):
        await house.passes(70)
    assert len(await house.fired("good")) == 1
    assert len(await house.fired("bad")) == 0
    (line,) = caplog.records
    assert "schedule 'bad' cannot fire" in line.getMessage()
    assert await house.keeper.tick() == SETTINGS.interval


async def test_an_instant_of_outdated_zone_data_is_corrected_when_a_term_begins(
    house: House,
) -> None:
    await house.put("0 9 * * *")
    spec = (await house.schedule()).spec
    assert spec.next_at is not None
    await house.store.put_schedules([msgspec.structs.replace(spec, next_at=spec.next_at + 3600)])
    await house.keeper.tick()
    info = await house.schedule()
    assert (info.spec.next_at, info.fired) == (spec.next_at, 0)


async def finish(house: House, outcome: Outcome, count: int = 1) -> list[str]:
    """Run so many jobs to an end; the clock moves a second for each."""
    await house.beat()
    ids: list[str] = []
    for _ in range(count):
        job = await house.lease_one()
        done = Settlement(job.id, job.epoch, job.nonce, outcome)
        await house.store.exchange(
            house.session.id, [done], queues={}, want=0, nonce=house.clock.new_nonce()
        )
        ids.append(job.id)
        house.clock.advance(1)
        await house.beat()
    return ids


async def kept(house: House, ids: list[str]) -> list[str]:
    return [record.id for record in await house.store.get(ids) if record is not None]


async def test_ended_jobs_go_when_their_state_is_kept_no_longer(
    store: FaultyStore, clock: FakeClock
) -> None:
    settings = KeeperSettings(
        keep_completed=Seconds(100), keep_cancelled=Seconds(200), keep_dead=Seconds(300)
    )
    house = House(store, clock, settings)
    completed = await finish(house, Outcome.COMPLETED)
    cancelled = await finish(house, Outcome.CANCELLED)
    dead = await finish(house, Outcome.FAILED)
    everything = completed + cancelled + dead
    await house.passes(80)
    assert await kept(house, everything) == everything
    await house.passes(100)
    assert await kept(house, everything) == cancelled + dead
    await house.passes(100)
    assert await kept(house, everything) == dead
    await house.passes(100)
    assert await kept(house, everything) == []


async def test_the_newest_ended_jobs_are_kept_up_to_a_number(
    store: FaultyStore, clock: FakeClock
) -> None:
    house = House(store, clock, KeeperSettings(keep_most=3))
    ids = await finish(house, Outcome.COMPLETED, 5)
    await house.keeper.tick()
    assert await kept(house, ids) == ids[2:]


async def test_purging_waits_for_its_interval(house: House) -> None:
    await house.keeper.tick()
    first = house.store.calls["purge"]
    await house.passes(SETTINGS.purge_interval - 2)
    assert house.store.calls["purge"] == first
    await house.passes(3)
    assert house.store.calls["purge"] == 2 * first


async def test_a_purge_that_failed_is_tried_again_in_the_next_pass(house: House) -> None:
    house.store.plan("purge", Before())
    await house.keeper.tick()
    assert house.store.calls["purge"] == 1
    await house.keeper.tick()
    assert house.store.calls["purge"] == 5


async def test_a_failing_duty_is_told_once_and_ends_nobody(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    await house.put("* * * * *")
    house.store.rule = lambda verb: Before() if verb == "reap" else None
    with caplog.at_level(logging.INFO, "stoker.keeper.keeper"):
        await house.passes(70)
        house.store.rule = lambda _verb: None
        await house.passes(2)
    assert len(await house.fired()) == 1
    told = [r.getMessage() for r in caplog.records if "reap" in r.getMessage()]
    assert len(told) == 2
    assert "reap failed and is tried again" in told[0]
    assert "reap works again after" in told[1]


async def test_a_mistake_inside_a_duty_ends_neither_the_keeper_nor_other_duties(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(**_options: object) -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(house.store, "reap", broken)
    await house.put("* * * * *")
    await house.passes(62)
    assert len(await house.fired()) == 1
    (line,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert line.exc_info is not None


async def test_a_keeper_without_a_store_tries_again_each_pass(house: House) -> None:
    house.store.plan("lead", Before())
    assert await house.keeper.tick() == SETTINGS.interval
    assert not house.keeper.is_leading
    await house.keeper.tick()
    assert house.keeper.is_leading


async def test_passes_come_often_enough_to_keep_a_short_term(
    store: FaultyStore, clock: FakeClock
) -> None:
    house = House(store, clock, KeeperSettings(interval=Seconds(10), term=Seconds(3)))
    await house.passes(60)
    events = await store.events(EventQuery(kinds=(Kind.KEEPER_ELECTED,)))
    assert len(events) == 1


async def test_stopping_resigns_so_that_the_next_one_leads_at_once(
    store: FaultyStore, clock: FakeClock
) -> None:
    house, other = House(store, clock), House(store, clock)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(house.keeper.run())
        await wait_until(lambda: house.keeper.is_leading, "the keeper leads")
        house.keeper.stop()
    assert running.done()
    await other.keeper.tick()
    assert other.keeper.is_leading


async def test_a_keeper_that_is_cancelled_resigns_too(store: FaultyStore, clock: FakeClock) -> None:
    house, other = House(store, clock), House(store, clock)
    running = asyncio.get_running_loop().create_task(house.keeper.run())
    await wait_until(lambda: house.keeper.is_leading, "the keeper leads")
    running.cancel()
    await asyncio.wait({running})
    await other.keeper.tick()
    assert other.keeper.is_leading


async def test_stopping_does_not_fail_without_the_store(house: House) -> None:
    house.store.plan("resign", Before())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(house.keeper.run())
        await wait_until(lambda: house.keeper.is_leading, "the keeper leads")
        house.keeper.stop()
    assert house.store.calls["resign"] == 1
