"""Telling the store who died, whatever the store does meanwhile."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from stoker.connect import open_store
from stoker.core.errors import Forbidden
from stoker.core.events import Event, Kind
from stoker.core.job import Command, JobSpec, SessionSpec, SessionState
from stoker.core.lifecycle import State
from stoker.core.records import EventQuery
from stoker.fleet.reporter import HOST, Reporter
from stoker.testing import After, Before, FakeClock, FaultyStore, wait_until

STARTED = Event(kind=Kind.FLEET_STARTED, actor="fleet:w")


class Scene:
    """A reporter at work, and sessions in its store."""

    def __init__(self, store: FaultyStore, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.living: set[int] = set()
        self.reporter = Reporter(
            store, actor="fleet:w", clock=clock, is_alive=lambda pid: pid in self.living
        )

    async def join(self, pid: int, *, host: str = HOST, jobs: int = 0) -> str:
        """Let a worker join and lease jobs."""
        spec = SessionSpec(id=self.clock.new_id(), name=f"w-{pid}", host=host, pid=pid)
        await self.store.beat(spec, [], ttl=30)
        ids = [self.clock.new_id() for _ in range(jobs)]
        for start in range(0, jobs, 500):
            await self.store.submit(
                [JobSpec(id=job_id, task="t") for job_id in ids[start : start + 500]]
            )
        if jobs:
            await self.store.exchange(
                spec.id, [], queues={"default": jobs}, want=jobs, nonce=self.clock.new_nonce()
            )
        return spec.id

    async def state(self, session_id: str) -> SessionState:
        infos = await self.store.inner.sessions(ended=True)
        return next(info.state for info in infos if info.id == session_id)

    async def dies(self, session_id: str) -> bool:
        async def is_dead() -> bool:
            return await self.state(session_id) is SessionState.DEAD

        return await wait_until(is_dead, "the session is dead")

    async def were_told(self, *kinds: Kind) -> bool:
        async def are_there() -> bool:
            told = [kind for kind in await self.events() if kind in kinds]
            return told == list(kinds)

        return await wait_until(are_there, f"{kinds} are in the audit trail")

    async def are_queued(self, count: int) -> bool:
        async def are_all() -> bool:
            counts = await self.store.inner.counts()
            return {(t.state, t.count) for t in counts.tallies} == {(State.QUEUED, count)}

        return await wait_until(are_all, "all jobs are queued again")

    async def events(self) -> list[Kind]:
        return [event.kind for event in await self.store.inner.events(EventQuery(after=0))]


@pytest.fixture
async def store() -> AsyncIterator[FaultyStore]:
    async with FaultyStore(open_store("memory://", clock=FakeClock())) as opened:
        yield opened


@pytest.fixture
async def scene(store: FaultyStore) -> AsyncIterator[Scene]:
    scene = Scene(store, FakeClock(seed=1))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(scene.reporter.run())
        yield scene
        scene.reporter.close()


async def test_a_death_takes_the_workers_jobs_back(scene: Scene) -> None:
    dead, alive = await scene.join(11, jobs=2), await scene.join(12, jobs=2)
    scene.reporter.report_death(11)
    assert await scene.dies(dead)
    assert await scene.state(alive) is SessionState.ALIVE
    counts = await scene.store.counts()
    assert {(t.state, t.count) for t in counts.tallies} == {(State.QUEUED, 2), (State.ASSIGNED, 2)}


async def test_a_death_on_this_machine_is_none_on_another(scene: Scene) -> None:
    here, there = await scene.join(11), await scene.join(11, host="elsewhere")
    scene.reporter.report_death(11)
    await scene.dies(here)
    assert await scene.state(there) is SessionState.ALIVE


async def test_a_death_declares_nobody_dead_who_is_only_silent(
    scene: Scene, store: FaultyStore
) -> None:
    silent = await scene.join(12)
    dead = await scene.join(11)
    assert isinstance(store, FaultyStore)
    store.inner.world.clock.advance(1000)  # type: ignore[attr-defined]
    scene.reporter.report_death(11)
    assert await scene.dies(dead)
    assert await scene.state(silent) is SessionState.ALIVE


async def test_a_worker_with_more_jobs_than_one_call_takes_loses_them_all(scene: Scene) -> None:
    await scene.join(11, jobs=2500)
    scene.reporter.report_death(11)
    assert await scene.are_queued(2500)


async def test_a_death_is_reported_until_the_store_takes_it(scene: Scene) -> None:
    dead = await scene.join(11)
    scene.store.plan("sessions", Before(), Before())
    scene.store.plan("reap", Before(), After())
    scene.reporter.report_death(11)
    assert await scene.dies(dead)


async def test_a_late_report_does_not_hit_who_got_the_same_pid_since(scene: Scene) -> None:
    await scene.join(11)
    scene.store.plan("sessions", Before())
    scene.reporter.report_death(11)
    await wait_until(lambda: scene.store.calls["sessions"] == 1, "the first try failed")
    scene.living.add(11)
    successor = await scene.join(11)
    scene.reporter.report(STARTED)
    assert await scene.were_told(Kind.FLEET_STARTED)
    assert await scene.state(successor) is SessionState.ALIVE


async def test_lines_of_the_audit_trail_survive_an_outage_in_order(scene: Scene) -> None:
    scene.store.plan("record", Before(), Before())
    scene.reporter.report(STARTED)
    scene.reporter.report(Event(kind=Kind.FLEET_SCALED))
    assert await scene.were_told(Kind.FLEET_STARTED, Kind.FLEET_SCALED)


async def test_a_line_that_may_be_written_is_not_written_again(scene: Scene) -> None:
    scene.store.plan("record", After())
    scene.reporter.report(STARTED)
    await wait_until(lambda: scene.store.calls["record"] == 1, "the line was sent")
    scene.reporter.close()
    await wait_until(lambda: scene.store.calls["record"] == 1, "nothing was sent again")
    assert (await scene.events()).count(Kind.FLEET_STARTED) == 1


async def test_closing_tells_what_is_left(store: FaultyStore) -> None:
    scene = Scene(store, FakeClock(seed=1))
    dead = await scene.join(11)
    scene.reporter.report_death(11)
    scene.reporter.report(STARTED)
    scene.reporter.close()
    await scene.reporter.run()
    assert await scene.state(dead) is SessionState.DEAD
    assert Kind.FLEET_STARTED in await scene.events()


async def test_closing_does_not_wait_for_a_store_that_is_away(store: FaultyStore) -> None:
    store.rule = lambda _verb: Before()
    reporter = Reporter(store, actor="x", clock=FakeClock(), is_alive=lambda _pid: False)
    reporter.report(STARTED)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reporter.run())
        await wait_until(lambda: store.calls["record"] >= 1, "the store was asked")
        reporter.close()


async def test_a_worker_that_an_operator_sent_away_is_known(scene: Scene) -> None:
    sent = await scene.join(11)
    await scene.join(12)
    await scene.store.set_session([sent], Command.DRAIN)
    assert await scene.reporter.was_dismissed(11)
    assert not await scene.reporter.was_dismissed(12)
    assert not await scene.reporter.was_dismissed(13)


async def test_without_an_answer_nobody_counts_as_sent_away(scene: Scene) -> None:
    sent = await scene.join(11)
    await scene.store.set_session([sent], Command.DRAIN)
    scene.store.plan("sessions", Before())
    assert not await scene.reporter.was_dismissed(11)


async def test_what_is_refused_is_let_go_and_the_rest_is_told(scene: Scene) -> None:
    session = await scene.join(7)
    scene.store.plan("record", Before(Forbidden))
    scene.store.plan("reap", Before(Forbidden))
    scene.reporter.report_death(7)
    scene.reporter.report(STARTED)
    await wait_until(lambda: scene.store.calls["record"] == 1, "both were refused")
    stopped = Event(kind=Kind.FLEET_STOPPED, actor="fleet:w")
    scene.reporter.report(stopped)
    assert await scene.were_told(Kind.FLEET_STOPPED)
    assert await scene.state(session) is SessionState.ALIVE
