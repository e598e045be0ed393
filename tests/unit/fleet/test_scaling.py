"""A fleet that looks at a store in memory, and the upkeep of its workers."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest

from stoker.connect import open_store
from stoker.core.job import JobSpec, SessionSpec
from stoker.core.store import Store
from stoker.fleet.reporter import HOST
from stoker.fleet.scaling import Scaling
from stoker.fleet.supervisor import Supervisor, WorkerProcess
from stoker.fleet.upkeep import Upkeep, resident
from stoker.settings import Bytes, FleetSettings, Seconds
from stoker.testing import FakeClock, FaultyStore, wait_until
from stoker.testing.faults import Before

SETTINGS = FleetSettings(name="w", min=1, max=4, cooldown=Seconds(10))


class Workers(Supervisor):
    """A supervisor whose processes are made up."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        super().__init__(store, command=["true"], settings=SETTINGS, clock=clock)
        self.given: list[WorkerProcess] = []
        self.spared: list[str] = []
        self.replaced: list[tuple[str, str]] = []

    @property
    def workers(self) -> list[WorkerProcess]:
        return self.given

    def run_one(self, name: str, pid: int, started_at: datetime) -> None:
        self.given.append(
            WorkerProcess(
                name=name,
                phase="running",
                pid=pid,
                started_at=started_at,
                restarts=0,
                quick_deaths=0,
                last_exit=None,
            )
        )

    def spare(self, count: int, names: Sequence[str], *, reason: str = "") -> None:  # type: ignore[override]
        self.spared = list(names)
        super().scale(count, reason=reason)

    def replace(self, name: str, *, reason: str) -> None:
        self.replaced.append((name, reason))


class Scene:
    def __init__(self, store: FaultyStore, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.workers = Workers(store, clock)
        self.scaling = Scaling(
            store,
            self.workers,
            settings=SETTINGS,
            slots=2,
            queues=["default"],
            clock=clock,
            look=0.001,
        )

    async def beat(self, name: str, pid: int, *, mine: bool = True) -> str:
        now = datetime.fromtimestamp(self.clock.now(), UTC)
        if mine:
            self.workers.run_one(name, pid, now)
        spec = SessionSpec(
            id=self.clock.new_id(),
            name=name,
            host=HOST,
            pid=pid,
            concurrency=2,
            queues=("default",),
        )
        await self.store.beat(spec, [], ttl=1e6)
        return spec.id

    async def submit(self, count: int) -> None:
        await self.store.submit([JobSpec(id=self.clock.new_id(), task="t") for _ in range(count)])


@pytest.fixture
async def scene(fake_clock: FakeClock) -> AsyncIterator[Scene]:
    async with FaultyStore(open_store("memory://", clock=fake_clock)) as store:
        yield Scene(store, fake_clock)


async def test_jobs_without_a_known_length_get_a_slot_each(scene: Scene) -> None:
    await scene.beat("w-1", 101)
    await scene.submit(5)
    await scene.scaling.step()
    assert scene.workers.size == 3


async def test_jobs_of_other_queues_do_not_matter(scene: Scene) -> None:
    await scene.beat("w-1", 101)
    await scene.store.submit([JobSpec(id=scene.clock.new_id(), task="t", queue="other")] * 50)
    await scene.scaling.step()
    assert scene.workers.size == 1


async def test_another_fleet_takes_its_share(scene: Scene) -> None:
    await scene.beat("w-1", 101)
    await scene.beat("x-1", 201, mine=False)
    await scene.submit(8)
    await scene.scaling.step()
    assert scene.workers.size == 2


async def test_after_the_cooldown_only_idle_workers_are_spared(scene: Scene) -> None:
    busy = await scene.beat("w-1", 101)
    await scene.beat("w-2", 102)
    await scene.submit(1)
    await scene.store.exchange(
        busy, [], queues={"default": 1}, want=1, nonce=scene.clock.new_nonce()
    )
    scene.workers.scale(2)
    for _ in range(11):
        await scene.scaling.step()
        scene.clock.advance(1)
    assert scene.workers.spared == ["w-2"]
    assert scene.workers.size == 1


async def test_a_store_that_is_away_changes_nothing_and_is_asked_again(scene: Scene) -> None:
    await scene.beat("w-1", 101)
    await scene.submit(5)
    scene.store.plan("counts", Before(), Before())
    async with asyncio.TaskGroup() as group:
        running = group.create_task(scene.scaling.run())
        await wait_until(lambda: scene.workers.size == 3, "it has grown after all")
        running.cancel()


def test_an_old_worker_is_replaced_and_only_one_at_a_time(
    fake_clock: FakeClock, scene: Scene
) -> None:
    started = datetime.fromtimestamp(fake_clock.now(), UTC)
    scene.workers.run_one("w-1", 101, started)
    scene.workers.run_one("w-2", 102, started)
    upkeep = Upkeep(
        scene.workers, settings=FleetSettings(max_age=Seconds(60)), clock=fake_clock, look=1.0
    )
    upkeep.step()
    assert scene.workers.replaced == []
    fake_clock.advance(61)
    upkeep.step()
    [(name, reason)] = scene.workers.replaced
    assert name == "w-1"
    assert "61 s old" in reason


def test_a_big_worker_is_replaced(fake_clock: FakeClock, scene: Scene) -> None:
    scene.workers.run_one("w-1", os.getpid(), datetime.fromtimestamp(fake_clock.now(), UTC))
    small = Upkeep(
        scene.workers, settings=FleetSettings(max_memory=Bytes(2**40)), clock=fake_clock, look=1.0
    )
    small.step()
    assert scene.workers.replaced == []
    large = Upkeep(
        scene.workers, settings=FleetSettings(max_memory=Bytes(1_000)), clock=fake_clock, look=1.0
    )
    large.step()
    assert [name for name, _ in scene.workers.replaced] == ["w-1"]


def test_the_memory_of_a_process_that_is_gone_is_nothing() -> None:
    assert resident(os.getpid()) > 1_000_000
    assert resident(2**30) == 0
