"""A fleet that looks at a store in memory, and the upkeep of its workers."""

import os
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime

import msgspec
import pytest

from stoker.connect import open_store
from stoker.core.job import JobSpec, SessionSpec
from stoker.core.store import Store
from stoker.fleet.reporter import HOST
from stoker.fleet.scaling import Scaling
from stoker.fleet.supervisor import Supervisor, WorkerProcess
from stoker.fleet.upkeep import Upkeep, resident
from stoker.settings import Bytes, FleetSettings, Seconds
from stoker.testing import FakeClock, FaultyStore

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

    def spare(
        self,
        count: int,
        names: Collection[str],
        *,
        then: Collection[str] = (),
        actor: str | None = None,
        reason: str = "",
    ) -> None:
        self.spared = [*names, *(name for name in then if name not in names)]
        super().scale(count, actor=actor, reason=reason)

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


async def test_other_bounds_hold_at_once_and_until_they_are_reset(scene: Scene) -> None:
    await scene.beat("w-1", 101)
    scene.scaling.bound(3, 6, actor="cli:me", reason="a sale")
    assert (scene.workers.size, scene.scaling.is_changed) == (3, True)
    await scene.submit(40)
    await scene.scaling.step()
    assert scene.workers.size == 6
    scene.scaling.reset()
    assert (scene.scaling.bounds.most, scene.scaling.is_changed) == (4, False)


async def test_fewer_workers_retire_the_idle_ones_first(scene: Scene) -> None:
    for number in (1, 2, 3):
        await scene.beat(f"w-{number}", 100 + number)
    scene.workers.scale(3)
    scene.scaling.bound(1, 2, ["w-2"])
    assert (scene.workers.size, scene.workers.spared) == (2, ["w-2", "w-1", "w-3"])


async def test_a_kind_whose_workers_cannot_run_does_not_grow(scene: Scene) -> None:
    now = datetime.fromtimestamp(scene.clock.now(), UTC)
    scene.workers.run_one("w-1", 101, now)
    scene.workers.given[0] = msgspec.structs.replace(scene.workers.given[0], quick_deaths=3)
    await scene.submit(40)
    await scene.scaling.step()
    assert scene.scaling.is_failing
    assert scene.workers.size == 1
    assert "die as soon as they start" in scene.scaling.reason


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
