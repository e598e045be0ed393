"""Workers that RabbitMQ wakes, or does not."""

import asyncio
from collections.abc import Callable

import msgspec
from aiormq.abc import AbstractChannel, ChannelFrame
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from stoker.brokers.rabbitmq import RabbitBroker
from stoker.brokers.ringing import RingingStore
from stoker.core.broker import Ring
from stoker.core.clock import SystemClock
from stoker.core.job import Priority
from stoker.core.lifecycle import State
from stoker.core.store import Store
from stoker.core.task import Registry, Task, TaskOptions
from stoker.settings import Seconds
from stoker.stores.memory import MemoryStore
from stoker.testing import wait_until
from stoker.testing.conformance.brokers import connected, rings_until_heard
from tests.rabbitmq.conftest import CONSUMER_TIMEOUT, length, raw
from tests.servers.rabbitmq import RabbitMQ
from tests.unit.brokers.kit import DeafStore
from tests.unit.worker.kit import bench

SOON = 60.0
STALE = 100_000
NEVER = Seconds(600)
"""A worker with this poll interval does not look by itself within a test."""

Make = Callable[[], RabbitBroker]


async def takes_long(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


def registry() -> Registry:
    found = Registry()
    for fn in (takes_long, noop):
        found.add(Task(fn, name=fn.__name__, options=TaskOptions.make(run_in="async")))
    return found


async def noop() -> None:
    pass


def deaf(make: Make, clock: SystemClock, inner: MemoryStore | None = None) -> RingingStore:
    return RingingStore(DeafStore(inner or MemoryStore(clock=clock)), make())


async def is_connected(store: Store) -> None:
    assert isinstance(store, RingingStore)
    await wait_until(lambda: store.broker_status().connected, "it is connected", timeout=SOON)


async def test_rings_wake_a_worker_that_does_not_look_by_itself(
    server: RabbitMQ, make: Make
) -> None:
    clock = SystemClock()
    world = MemoryStore(clock=clock)
    async with bench(
        store=deaf(make, clock, world), tasks=registry(), isolated=False, poll=NEVER
    ) as worker:
        await is_connected(worker.store)
        # Somebody else's process: it shares the jobs and the broker, and nothing more.
        other = MemoryStore(clock=clock, world=world.world)
        async with RingingStore(other, make()) as submitter:
            await is_connected(submitter)
            worker_side, worker.store = worker.store, submitter
            for _ in range(20):
                await worker.ended(await worker.submit("noop"))
            worker.store = worker_side


async def test_every_job_is_done_with_the_broker_dead_for_the_whole_run(
    server: RabbitMQ, make: Make
) -> None:
    await asyncio.to_thread(server.kill)
    clock = SystemClock()
    async with bench(store=deaf(make, clock), tasks=registry(), isolated=False) as worker:
        jobs = [await worker.submit("noop") for _ in range(200)]
        for job in jobs:
            assert (await worker.ended(job)).state is State.COMPLETED
        assert isinstance(worker.store, RingingStore)
        assert worker.store.broker_status().rung < 200
    await asyncio.to_thread(server.start)


async def test_a_broker_that_dies_in_the_middle_loses_no_job(server: RabbitMQ, make: Make) -> None:
    clock = SystemClock()
    async with bench(store=deaf(make, clock), tasks=registry(), isolated=False) as worker:
        await is_connected(worker.store)
        jobs = [await worker.submit("noop") for _ in range(50)]
        await asyncio.to_thread(server.kill)
        jobs += [await worker.submit("noop") for _ in range(50)]
        await asyncio.to_thread(server.start)
        jobs += [await worker.submit("noop") for _ in range(50)]
        records = [await worker.ended(job) for job in jobs]
    assert {record.state for record in records} == {State.COMPLETED}
    assert {record.attempt for record in records} == {1}


async def test_a_job_three_times_longer_than_the_consumer_timeout_runs_once(
    server: RabbitMQ, make: Make
) -> None:
    clock = SystemClock()
    seconds = 3 * CONSUMER_TIMEOUT / 1_000
    async with bench(
        store=deaf(make, clock), tasks=registry(), isolated=False, poll=NEVER, concurrency=1
    ) as worker:
        await is_connected(worker.store)
        await worker.submit("noop")
        job = await worker.submit("takes_long", {"seconds": seconds}, timeout=60.0)
        # More rings while the only slot is full.
        waiting = [await worker.submit("noop") for _ in range(20)]
        record = await worker.ended(job)
        assert (record.state, record.attempt, record.lost) == (State.COMPLETED, 1, 0)
        for other in waiting:
            assert (await worker.ended(other)).attempt == 1
        assert isinstance(worker.store, RingingStore)
        assert worker.store.broker_status().connected
    assert "PRECONDITION_FAILED" not in server.log_tail(1_000_000)


async def test_a_backlog_of_stale_rings_is_drained_without_one_execution(
    server: RabbitMQ, make: Make, namespace: str
) -> None:
    clock = SystemClock()
    store = deaf(make, clock)
    name = f"{namespace}.default.medium"
    async with raw(server) as channel:
        # Without the limits of our own queues, which would not let it come so far.
        await channel.queue_declare(name, durable=True)
        async with bench(store=store, tasks=registry(), isolated=False, start=False) as worker:
            body = msgspec.json.encode(
                Ring(store.info.id, "default", Priority.MEDIUM, ("gone-long-ago",))
            )
            await publish(channel, name, body, STALE)
            await wait_until(lambda: _count(channel, name, STALE), "all are there", timeout=SOON)
            worker.start()
            await wait_until(lambda: _count(channel, name, 0), "all are drained", timeout=SOON)
            assert worker.worker.finished == 0
            # A ring that means something still gets through.
            await worker.ended(await worker.submit("noop"))
            assert isinstance(store.inner, DeafStore)
            # One look for each full buffer, not one for each ring.
            assert store.inner.calls["exchange"] < STALE / 100


async def publish(channel: AbstractChannel, name: str, body: bytes, times: int) -> None:
    """Send one message again and again, encoded once."""
    frames: list[Frame | ContentHeader | ContentBody | Heartbeat] = [
        Basic.Publish(routing_key=name),
        ContentHeader(body_size=len(body), properties=Basic.Properties(delivery_mode=1)),
        ContentBody(body),
    ]
    once = ChannelFrame.marshall(channel.number, frames).payload
    for _ in range(times // 1_000):
        await channel.connection.write_queue.put(ChannelFrame(once * 1_000, should_close=False))


async def _count(channel: AbstractChannel, name: str, wanted: int) -> bool:
    found = await length(channel, name)
    return found >= wanted if wanted else found == 0


async def test_a_handle_rings_and_hears_through_a_whole_life(make: Make) -> None:
    async with make() as broker:
        await connected(broker)
        await rings_until_heard(broker)
