"""The supervisor with real processes and a store in memory."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import pytest

from stoker.connect import open_store
from stoker.core.clock import SystemClock
from stoker.core.errors import InvalidOption
from stoker.core.events import EventRecord, Kind
from stoker.core.job import Command, SessionSpec, SessionState
from stoker.core.records import EventQuery
from stoker.fleet.identity import Identity
from stoker.fleet.reporter import HOST
from stoker.fleet.supervisor import Supervisor, WorkerProcess
from stoker.settings import FleetSettings, Seconds
from stoker.testing import Before, FaultyStore, wait_until
from tests.unit.fleet.children import DIES, DRAINS, STUBBORN, command

SETTINGS = FleetSettings(name="w", backoff=Seconds(0.01), backoff_cap=Seconds(0.1))


class Scene:
    """A fleet at work."""

    def __init__(
        self, store: FaultyStore, program: str, *, workers: int, drain: float = 30.0
    ) -> None:
        self.store = store
        self.clock = SystemClock()
        self.lines: list[tuple[str, bytes]] = []
        self.supervisor = Supervisor(
            store,
            command=command(program, "{name}"),
            settings=SETTINGS,
            clock=self.clock,
            workers=workers,
            drain=drain,
            sink=lambda name, line: self.lines.append((name, line)),
        )

    @property
    def workers(self) -> Sequence[WorkerProcess]:
        return self.supervisor.workers

    async def ready(self, count: int) -> list[int]:
        """Wait until so many children have said that they are ready; return the running pids."""
        await wait_until(lambda: len(self.said(b"ready")) >= count, f"{count} children are ready")
        return [worker.pid for worker in self.workers if worker.pid is not None]

    def said(self, word: bytes) -> list[str]:
        return [name for name, line in self.lines if line.startswith(word)]

    async def beat(self, pid: int, name: str = "w-1") -> str:
        spec = SessionSpec(id=self.clock.new_id(), name=name, host=HOST, pid=pid)
        await self.store.beat(spec, [], ttl=30)
        return spec.id

    async def events(self, kind: Kind) -> list[EventRecord]:
        return await self.store.inner.events(EventQuery(after=0, kinds=(kind,)))

    async def session_ends(self, session_id: str, state: SessionState) -> bool:
        async def has_ended() -> bool:
            infos = await self.store.inner.sessions(ended=True)
            return any(info.id == session_id and info.state is state for info in infos)

        return await wait_until(has_ended, f"the session is {state}")


@pytest.fixture
async def store() -> AsyncIterator[FaultyStore]:
    async with FaultyStore(open_store("memory://")) as opened:
        yield opened


@asynccontextmanager
async def fleet(
    store: FaultyStore, program: str = DRAINS, *, workers: int = 1, drain: float = 30.0
) -> AsyncIterator[Scene]:
    scene = Scene(store, program, workers=workers, drain=drain)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.supervisor.run())
        try:
            yield scene
        finally:
            scene.supervisor.stop()
            if not running.done():
                scene.supervisor.stop()


async def test_a_fleet_starts_its_workers_by_name(store: FaultyStore) -> None:
    async with fleet(store, workers=3) as scene:
        await scene.ready(3)
        names = sorted(line.decode() for _, line in scene.lines)
        assert names == ["ready w-1", "ready w-2", "ready w-3"]
        assert [worker.phase for worker in scene.workers] == ["running"] * 3
        (event,) = await scene.events(Kind.FLEET_STARTED)
        assert (event.actor, event.details["workers"]) == ("fleet:w", 3)


async def test_a_killed_worker_is_replaced_and_its_session_declared_dead(
    store: FaultyStore,
) -> None:
    async with fleet(store) as scene:
        (pid,) = await scene.ready(1)
        session = await scene.beat(pid)
        os.kill(pid, signal.SIGKILL)
        assert await scene.session_ends(session, SessionState.DEAD)
        (replacement,) = await scene.ready(2)
        assert replacement != pid
        (event,) = await scene.events(Kind.FLEET_RESTARTED_WORKER)
        assert (event.worker, event.details["exit"]) == ("w-1", "was killed by SIGKILL")
        (worker,) = scene.workers
        assert (worker.restarts, worker.last_exit) == (1, "was killed by SIGKILL")


async def test_a_death_is_reported_even_if_the_store_was_away(store: FaultyStore) -> None:
    async with fleet(store) as scene:
        (pid,) = await scene.ready(1)
        session = await scene.beat(pid)
        store.plan("sessions", Before(), Before())
        os.kill(pid, signal.SIGKILL)
        assert await scene.session_ends(session, SessionState.DEAD)


async def test_a_worker_that_left_on_a_signal_by_hand_is_replaced(store: FaultyStore) -> None:
    async with fleet(store) as scene:
        (pid,) = await scene.ready(1)
        await scene.beat(pid)
        os.kill(pid, signal.SIGTERM)
        (replacement,) = await scene.ready(2)
        assert replacement != pid


async def test_a_worker_that_an_operator_sent_away_is_not_replaced(store: FaultyStore) -> None:
    async with fleet(store, workers=2) as scene:
        pids = await scene.ready(2)
        session = await scene.beat(pids[0])
        await store.set_session([session], Command.DRAIN)
        os.kill(pids[0], signal.SIGTERM)
        await wait_until(lambda: len(scene.workers) == 1, "the place was given up")
        assert [worker.name for worker in scene.workers] == ["w-2"]
        # The supervisor lets go of the place first and writes it down afterwards.
        scaled = partial(scene.events, Kind.FLEET_SCALED)
        (event,) = await wait_until(scaled, "the audit trail says so")
        assert (event.details["before"], event.details["workers"]) == (2, 1)


async def test_a_worker_that_cannot_run_is_tried_with_growing_waits(store: FaultyStore) -> None:
    async with fleet(store, DIES) as scene:
        await wait_until(lambda: scene.workers[0].quick_deaths >= 5, "five quick deaths")
        waits = [event.details["wait"] for event in await scene.events(Kind.FLEET_RESTARTED_WORKER)]
        assert waits[:4] == [0.01, 0.02, 0.04, 0.08]
        assert scene.workers[0].last_exit == "ended with exit code 3"


async def test_scaling_up_and_down_starts_and_drains(store: FaultyStore) -> None:
    async with fleet(store) as scene:
        await scene.ready(1)
        scene.supervisor.scale(3, actor="cli:me")
        await scene.ready(3)
        scene.supervisor.scale(1)
        await wait_until(lambda: len(scene.workers) == 1, "two have left")
        assert sorted(scene.said(b"leaving")) == ["w-2", "w-3"]
        events = await scene.events(Kind.FLEET_SCALED)
        told = [(e.details.get("by"), e.details["before"], e.details["workers"]) for e in events]
        assert told == [("cli:me", 1, 3), (None, 3, 1)]
        assert {event.actor for event in events} == {"fleet:w"}


@pytest.mark.parametrize("count", [-1, 1001, True, "two", 1.5])
async def test_a_number_of_workers_that_is_none_is_refused(
    store: FaultyStore, count: object
) -> None:
    async with fleet(store, workers=0) as scene:
        with pytest.raises(InvalidOption, match="the number of workers is"):
            scene.supervisor.scale(count)  # type: ignore[arg-type]


async def test_stopping_drains_everybody(store: FaultyStore) -> None:
    scene = Scene(store, DRAINS, workers=2)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(scene.supervisor.run())
        await scene.ready(2)
        scene.supervisor.stop()
    assert sorted(scene.said(b"leaving")) == ["w-1", "w-2"]
    assert scene.workers == []
    assert len(await scene.events(Kind.FLEET_STOPPED)) == 1


async def test_a_second_stop_kills(store: FaultyStore) -> None:
    scene = Scene(store, STUBBORN, workers=1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(scene.supervisor.run())
        (pid,) = await scene.ready(1)
        session = await scene.beat(pid)
        child = Identity.of(pid)
        scene.supervisor.stop()
        await wait_until(lambda: scene.workers[0].phase == "draining", "it was asked to drain")
        scene.supervisor.stop()
    assert not child.is_alive()
    assert await scene.session_ends(session, SessionState.DEAD)


async def test_whoever_does_not_drain_in_time_is_killed(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.fleet.supervisor._AFTER_DRAIN", 0.05)
    scene = Scene(store, STUBBORN, workers=1, drain=0.05)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(scene.supervisor.run())
        await scene.ready(1)
        scene.supervisor.stop()
    assert scene.workers == []


async def test_a_cancelled_supervisor_leaves_nobody_behind(store: FaultyStore) -> None:
    scene = Scene(store, STUBBORN, workers=2)
    running = asyncio.get_running_loop().create_task(scene.supervisor.run())
    pids = await scene.ready(2)
    children = [Identity.of(pid) for pid in pids]
    session = await scene.beat(pids[0])
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    assert not any(child.is_alive() for child in children)
    assert await scene.session_ends(session, SessionState.DEAD)


async def test_a_fleet_without_a_store_still_starts_drains_and_stops(store: FaultyStore) -> None:
    store.rule = lambda _verb: Before()
    async with fleet(store) as scene:
        (pid,) = await scene.ready(1)
        os.kill(pid, signal.SIGKILL)
        await scene.ready(2)


async def test_whoever_watches_is_told_of_each_change(store: FaultyStore) -> None:
    seen: list[list[str]] = []
    supervisor = Supervisor(
        store,
        command=command(DRAINS),
        settings=SETTINGS,
        clock=SystemClock(),
        workers=1,
        on_change=lambda: seen.append([worker.phase for worker in supervisor.workers]),
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(supervisor.run())
        await wait_until(lambda: ["running"] in seen, "it runs")
        supervisor.stop()
    assert seen[-1] == []


async def test_spared_workers_retire_without_a_limit_and_the_trail_says_why(
    store: FaultyStore,
) -> None:
    async with fleet(store, workers=3, drain=0.0) as scene:
        await scene.ready(3)
        scene.supervisor.spare(1, ["w-2", "w-3"], reason="calm")
        await wait_until(lambda: len(scene.said(b"leaving")) == 2, "two have left")
        assert sorted(scene.said(b"leaving")) == ["w-2", "w-3"]
        assert scene.supervisor.size == 1
        [event] = await wait_until(lambda: scene.events(Kind.FLEET_SCALED), "the trail says so")
        assert event.details == {"before": 3, "workers": 1, "reason": "calm", "fleet": "w"}


async def test_whoever_is_spared_after_the_named_ones_goes_in_the_same_line_of_the_trail(
    store: FaultyStore,
) -> None:
    async with fleet(store, workers=3, drain=0.0) as scene:
        await scene.ready(3)
        scene.supervisor.spare(1, ["w-1"], then=["w-1", "w-2", "w-3"], reason="the night")
        await wait_until(lambda: len(scene.said(b"leaving")) == 2, "two have left")
        assert sorted(scene.said(b"leaving")) == ["w-1", "w-3"]
        await wait_until(lambda: scene.events(Kind.FLEET_SCALED), "the trail says so")
    [event] = await scene.events(Kind.FLEET_SCALED)
    assert (event.details["before"], event.details["workers"]) == (3, 1)


async def test_renewal_replaces_workers_one_by_one(store: FaultyStore) -> None:
    async with fleet(store, workers=2) as scene:
        before = await scene.ready(2)
        renewal = asyncio.ensure_future(scene.supervisor.renew())  # noqa: TID251 - watched below
        await wait_until(lambda: len(scene.said(b"ready")) == 3, "the first is replaced")
        assert len(scene.said(b"leaving")) == 1, "the second waits for the first beat"
        [fresh] = {w.pid for w in scene.workers} - set(before)
        assert fresh is not None
        await scene.beat(fresh)
        await wait_until(lambda: len(scene.said(b"ready")) == 4, "the second is replaced")
        await scene.beat(next(w.pid for w in scene.workers if w.name == "w-2") or 0, "w-2")
        await renewal
        assert not {w.pid for w in scene.workers} & set(before)
        assert len(await scene.events(Kind.FLEET_RENEWED_WORKER)) == 2
