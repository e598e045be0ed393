"""Who is ready, and who never becomes so. Time is made up, processes are not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from stoker.connect import open_store
from stoker.core.clock import SystemClock
from stoker.core.events import EventRecord, Kind
from stoker.core.fleets import FleetWorkerState
from stoker.core.job import SessionSpec
from stoker.core.records import EventQuery
from stoker.core.store import Store
from stoker.fleet.readiness import Readiness
from stoker.fleet.reporter import HOST
from stoker.fleet.supervisor import Supervisor
from stoker.settings import FleetSettings, Seconds
from stoker.testing import FakeClock, wait_until
from tests.unit.fleet.children import DRAINS, command

SETTINGS = FleetSettings(name="w", backoff=Seconds(0.01), backoff_cap=Seconds(0.1))
WITHIN = 60.0


class Scene:
    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.supervisor = Supervisor(
            store, command=command(DRAINS), settings=SETTINGS, clock=SystemClock(), workers=1
        )
        self.readiness = Readiness(self.supervisor, within=WITHIN, clock=clock)

    @property
    def state(self) -> FleetWorkerState:
        return self.supervisor.workers[0].state

    @property
    def pid(self) -> int | None:
        return self.supervisor.workers[0].pid

    async def look(self) -> None:
        self.readiness.look(await self.store.sessions())

    async def beat(self) -> None:
        spec = SessionSpec(id=self.clock.new_id(), name="w-1", host=HOST, pid=self.pid or 0)
        await self.store.beat(spec, [], ttl=1e6)

    async def given_up(self) -> list[EventRecord]:
        query = EventQuery(after=0, kinds=(Kind.FLEET_GAVE_UP_WORKER,))
        return await self.store.events(query)


@pytest.fixture
async def scene(fake_clock: FakeClock) -> AsyncIterator[Scene]:
    async with open_store("memory://") as store, at_work(Scene(store, fake_clock)) as scene:
        yield scene


@asynccontextmanager
async def at_work(scene: Scene) -> AsyncIterator[Scene]:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(scene.supervisor.run())
        try:
            await wait_until(lambda: scene.pid is not None, "it runs")
            yield scene
        finally:
            scene.supervisor.stop()


async def test_a_worker_is_ready_once_it_has_beaten(scene: Scene) -> None:
    states = []
    for act in (scene.look, scene.beat, scene.look):
        await act()
        states.append(str(scene.state))
    assert states == ["starting", "starting", "ready"]


async def test_one_that_never_beats_is_replaced_and_the_trail_says_why(scene: Scene) -> None:
    before = scene.pid
    await scene.look()
    scene.clock.advance(WITHIN - 1)
    await scene.look()
    assert scene.pid == before
    scene.clock.advance(2)
    await scene.look()
    await wait_until(lambda: scene.pid not in {None, before}, "it is replaced")
    [event] = await wait_until(scene.given_up, "the trail says so")
    assert (event.worker, event.details["pid"]) == ("w-1", before)
    assert "not beaten within 60 s" in event.details["reason"]
    assert scene.supervisor.workers[0].quick_deaths == 1
    assert scene.supervisor.workers[0].last_exit == "was killed by SIGKILL"


async def test_time_without_the_store_does_not_count(scene: Scene) -> None:
    before = scene.pid
    await scene.look()
    scene.clock.advance(WITHIN + 1)
    scene.readiness.blind()
    await scene.look()
    scene.clock.advance(WITHIN - 1)
    await scene.look()
    assert scene.pid == before
    assert await scene.given_up() == []


async def test_one_that_was_ready_is_left_alone(scene: Scene) -> None:
    await scene.beat()
    await scene.look()
    scene.clock.advance(WITHIN * 2)
    scene.readiness.look([])
    assert scene.state is FleetWorkerState.READY
    assert await scene.given_up() == []
