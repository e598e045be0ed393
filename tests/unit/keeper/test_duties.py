"""Duties in the moment at which their keeper stops leading, and with more work than one batch."""

from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest

from stoker.connect import open_store
from stoker.core.job import JobSpec, Submitted
from stoker.core.lifecycle import State
from stoker.core.records import MAX_PAGE, Firing, JobQuery
from stoker.keeper import duties
from stoker.keeper.duties import Fire, Purge, Reap, Turn
from stoker.keeper.schedules import make_schedule
from stoker.settings import KeeperSettings, Seconds
from stoker.testing import FakeClock, FaultyStore

TEMPLATE = JobSpec(id="template", task="report")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(clock: FakeClock) -> AsyncIterator[FaultyStore]:
    async with FaultyStore(open_store("memory://", clock=clock)) as opened:
        yield opened


def turn(clock: FakeClock, *, leads: bool = True) -> Turn:
    return Turn(now=clock.now, may_bury=True, elected_at=1.0, may_go_on=lambda: leads)


async def submit_many(store: FaultyStore, clock: FakeClock, count: int, **options: float) -> None:
    specs = [JobSpec(id=clock.new_id(), task="t", **options) for _ in range(count)]  # type: ignore[arg-type]
    await store.submit(specs)


async def queued(store: FaultyStore) -> int:
    tallies = (await store.counts()).tallies
    return sum(tally.count for tally in tallies if tally.state is State.QUEUED)


async def test_one_pass_promotes_more_than_one_batch(store: FaultyStore, clock: FakeClock) -> None:
    await submit_many(store, clock, MAX_PAGE + 500, delay=5.0)
    clock.advance(6)
    await Reap(store, actor="k").run(turn(clock))
    assert await queued(store) == MAX_PAGE + 500


async def test_a_reaper_that_lost_the_lead_stops_after_its_batch(
    store: FaultyStore, clock: FakeClock
) -> None:
    await submit_many(store, clock, MAX_PAGE + 500, delay=5.0)
    clock.advance(6)
    await Reap(store, actor="k").run(turn(clock, leads=False))
    assert store.calls["reap"] == 1


async def test_a_pass_reaps_a_bounded_number_of_batches(
    store: FaultyStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duties, "SLICES", 2)
    await submit_many(store, clock, 3 * MAX_PAGE, delay=5.0)
    clock.advance(6)
    await Reap(store, actor="k").run(turn(clock))
    assert store.calls["reap"] == 2


async def test_schedules_do_not_fire_once_the_lead_is_lost(
    store: FaultyStore, clock: FakeClock
) -> None:
    await store.put_schedules([make_schedule("x", "every 1s", TEMPLATE, now=clock.now())])
    clock.advance(1)
    assert await Fire(store, actor="k").run(turn(clock, leads=False)) is None
    assert store.calls["fire"] == 0


async def test_a_refused_job_of_a_schedule_is_told(
    store: FaultyStore, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    spec = make_schedule("x", "every 1s", TEMPLATE, now=clock.now())
    orphan = msgspec.structs.replace(spec.job, parents=("nobody",))
    await store.put_schedules([msgspec.structs.replace(spec, job=orphan)])
    clock.advance(1)
    await Fire(store, actor="k").run(turn(clock))
    (line,) = caplog.records
    assert "schedule 'x' fired, and its job was refused" in line.getMessage()


class Refusing(FaultyStore):
    """A store in which another keeper is always faster."""

    async def fire(
        self, firings: Sequence[Firing], *, actor: str = "system"
    ) -> list[Submitted | None]:
        return [None for _ in firings]


async def test_a_faster_keeper_is_no_error(clock: FakeClock) -> None:
    async with Refusing(open_store("memory://", clock=clock)) as store:
        await store.put_schedules([make_schedule("x", "every 1s", TEMPLATE, now=clock.now())])
        clock.advance(1)
        assert await Fire(store, actor="k").run(turn(clock)) == 1.0


async def test_without_schedules_nothing_is_waited_for(
    store: FaultyStore, clock: FakeClock
) -> None:
    assert await Fire(store, actor="k").run(turn(clock)) is None


async def test_a_purge_that_lost_the_lead_goes_on_in_the_next_pass(
    store: FaultyStore, clock: FakeClock
) -> None:
    purge = Purge(store, settings=KeeperSettings(), clock=clock, actor="k")
    assert await purge.run(turn(clock, leads=False)) is None
    assert store.calls["purge"] == 0
    assert await purge.run(turn(clock)) == 60.0
    assert await purge.run(turn(clock)) == 60.0
    assert store.calls["purge"] == 4


async def test_a_purge_with_more_than_its_share_goes_on_in_the_next_pass(
    store: FaultyStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duties, "SLICES", 2)
    monkeypatch.setattr(duties, "MAX_PAGE", 10)
    await submit_many(store, clock, 50)
    await store.cancel(JobQuery())
    settings = KeeperSettings(keep_cancelled=Seconds(0))
    purge = Purge(store, settings=settings, clock=clock, actor="k")
    clock.advance(1)
    assert await purge.run(turn(clock)) is None
    assert len((await store.find(JobQuery())).jobs) == 30
    await purge.run(turn(clock))
    assert await purge.run(turn(clock)) == 60.0
    assert (await store.find(JobQuery())).jobs == []
