"""Jobs flow through workers that only Kafka wakes, whatever happens to Kafka meanwhile."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from stoker.brokers.kafka import KafkaBroker
from stoker.brokers.ringing import RingingStore
from stoker.core.clock import SystemClock
from stoker.core.job import JobSpec
from stoker.core.lifecycle import State
from stoker.core.task import Registry, Task, TaskOptions
from stoker.settings import LimitSettings, Seconds, WorkerSettings
from stoker.stores.memory import MemoryStore
from stoker.testing import wait_until
from stoker.worker.worker import Worker
from tests.kafka.conftest import SLOW, attend, connected, fresh_url, line_of, ring
from tests.servers.kafka import KafkaServer
from tests.servers.server import free_port
from tests.unit.brokers.kit import DeafStore

pytestmark = pytest.mark.timeout(300)  # servers and groups are slow on a busy machine
NEVER = 3_600.0
"""An interval at which no worker looks by itself while a test runs."""


class Plant:
    """One store that many processes share, whose own bell wakes nobody, and a count of what ran."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = SystemClock()
        self.ran: Counter[str] = Counter()
        self._world = MemoryStore(clock=self.clock).world
        self._names = itertools.count()
        self._tasks = Registry()
        options = TaskOptions.make(run_in="async")
        self._tasks.add(Task(self._note, name="note", options=options))
        self._tasks.add(Task(self._dawdle, name="dawdle", options=options))

    def open(self) -> RingingStore:
        """Return the store as a process of its own has it."""
        inner = DeafStore(MemoryStore(clock=self.clock, world=self._world))
        return RingingStore(inner, KafkaBroker(self.url))

    @asynccontextmanager
    async def worker(
        self, *, poll: float = NEVER, concurrency: int = 4
    ) -> AsyncIterator[tuple[Worker, RingingStore]]:
        """Run a worker for the length of the block, and let it finish what it has."""
        settings = WorkerSettings(
            poll=Seconds(poll), concurrency=concurrency, queues={"default": 0}
        )
        async with self.open() as store:
            worker = Worker(
                store,
                self._tasks,
                settings=settings,
                limits=LimitSettings(),
                clock=self.clock,
                name=f"worker-{next(self._names)}",
            )
            running = asyncio.create_task(worker.run())  # noqa: TID251 - awaited below
            try:
                yield worker, store
            finally:
                worker.drain()
                await running

    async def submit(self, store: RingingStore, count: int = 1, task: str = "note") -> list[str]:
        """Submit jobs."""
        specs = [JobSpec(id=self.clock.new_id(), task=task) for _ in range(count)]
        specs = [
            msgspec.structs.replace(spec, payload=msgspec.json.encode({"job": spec.id}))
            for spec in specs
        ]
        answers = await store.submit(specs)
        assert all(answer.created for answer in answers)
        return [spec.id for spec in specs]

    async def all_done(self, store: RingingStore, jobs: list[str]) -> None:
        """Wait until these jobs have completed, and check that each ran once."""

        async def are_completed() -> bool:
            records = await store.get(jobs)
            return all(record and record.state is State.COMPLETED for record in records)

        await wait_until(are_completed, f"{len(jobs)} jobs", timeout=2 * SLOW)
        assert self.ran == Counter(jobs)

    async def _note(self, job: str) -> None:
        self.ran[job] += 1

    async def _dawdle(self, job: str) -> None:
        self.ran[job] += 1
        await asyncio.sleep(3.2)


async def test_an_idle_worker_is_woken_by_a_ring_and_by_nothing_else(url: str) -> None:
    plant = Plant(url)
    async with plant.worker() as (_, hearing), plant.open() as store:
        jobs: list[str] = []

        async def is_woken() -> bool:
            # What is rung before the group has its partitions is nobody's, so more than once.
            jobs.extend(await plant.submit(store))
            return hearing.broker_status().heard > 0

        await wait_until(is_woken, "a ring arrived", timeout=SLOW)
        for _ in range(20):
            jobs += await plant.submit(store)
            await plant.all_done(store, jobs)


async def test_workers_that_come_and_go_while_jobs_flow_lose_none(url: str) -> None:
    plant = Plant(url)
    jobs: list[str] = []

    async def come_and_go(rounds: int) -> None:
        for _ in range(rounds):
            async with plant.worker(poll=1) as (guest, _):
                await wait_until(lambda: guest.finished >= 3, "it had a part", timeout=SLOW)

    async with plant.worker(poll=1), plant.open() as store:
        async with asyncio.TaskGroup() as group:
            guests = [group.create_task(come_and_go(3)) for _ in range(2)]
            while not all(guest.done() for guest in guests):
                jobs.extend(await plant.submit(store, 2))
                await wait_until(lambda: len(jobs) - plant.ran.total() < 10, "they flow")
        await plant.all_done(store, jobs)


async def test_a_job_three_times_as_long_as_kafka_lets_a_consumer_be_silent_runs_once(
    server: KafkaServer,
) -> None:
    url = fresh_url(
        server, max__poll__interval__ms=1_000, session__timeout__ms=1_000,
        heartbeat__interval__ms=300,
    )  # fmt: skip
    plant = Plant(url)
    async with plant.worker(poll=1, concurrency=1), plant.open() as store:
        jobs = await plant.submit(store, 2, task="dawdle")
        await plant.all_done(store, jobs)


async def test_jobs_flow_on_while_the_server_is_killed_and_started_again(
    own_server: KafkaServer,
) -> None:
    plant = Plant(fresh_url(own_server))
    async with plant.worker(poll=0.5), plant.worker(poll=0.5), plant.open() as store:
        await wait_until(lambda: store.broker_status().connected, "connected", timeout=SLOW)
        jobs = await plant.submit(store, 20)
        await plant.all_done(store, jobs)
        own_server.kill()
        for _ in range(10):
            jobs += await plant.submit(store, 10)
            await plant.all_done(store, jobs)
        await asyncio.to_thread(own_server.restart)
        await wait_until(lambda: store.broker_status().connected, "again", timeout=SLOW)
        for _ in range(10):
            jobs += await plant.submit(store, 10)
            await plant.all_done(store, jobs)


async def test_without_a_server_all_jobs_are_done_by_looking() -> None:
    plant = Plant(f"kafka://127.0.0.1:{free_port()}/")
    async with plant.worker(poll=0.2), plant.worker(poll=0.2), plant.open() as store:
        jobs: list[str] = []
        for _ in range(30):
            jobs += await plant.submit(store, 10)
            await plant.all_done(store, jobs)
        assert not store.broker_status().connected


async def test_a_backlog_of_old_rings_runs_nothing(server: KafkaServer) -> None:
    plant = Plant(fresh_url(server))
    async with KafkaBroker(plant.url) as first:
        await attend(first)
    async with plant.open() as store, KafkaBroker(plant.url) as outside:
        await connected(outside)
        old = [
            msgspec.structs.replace(ring(*(f"{n}.{k}" for k in range(5))), store=store.info.id)
            for n in range(1_000)
        ]
        for _ in range(100):
            outside.ring(old)
            await wait_until(lambda: line_of(outside).unsent() == 0, "sent", timeout=SLOW)
        assert outside.status().rung == 100_000
        assert outside.status().dropped == 0
        async with plant.worker(poll=1) as (_, hearing):
            await wait_until(
                lambda: hearing.broker_status().heard >= 100_000,
                "all old rings were read",
                timeout=SLOW,
            )
            assert plant.ran.total() == 0
            jobs = await plant.submit(store)
            await plant.all_done(store, jobs)
