"""Every store with every broker, said by two URLs: work flows on the rings alone.

What brokers promise is in their conformance, what a combination keeps while its servers are killed
is in `combinations`. Here is that none of the pairs is a special case: the stores' own bells are
deaf and no worker looks by itself, so each job of these tests was leased because of a ring.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stoker.brokers.ringing import RingingStore
from stoker.connect import open_store
from stoker.core.clock import SystemClock
from stoker.core.context import current_job
from stoker.core.job import JobRecord, JobSpec, WorkflowSpec
from stoker.core.lifecycle import TERMINAL, State
from stoker.core.retry import RetryPolicy
from stoker.core.store import Store
from stoker.core.task import Registry, Task, TaskOptions
from stoker.settings import LimitSettings, Seconds, WorkerSettings
from stoker.stores.sqlite import SQLiteStore
from stoker.testing import wait_until
from stoker.worker.worker import Worker
from tests.gateway.site import tcp_site
from tests.servers import kafka, postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.redis import RedisServer, ValkeyServer
from tests.unit.brokers.kit import DeafStore

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(300)]
SOON = 60.0
ONE_BY_ONE = 10
AT_ONCE = RetryPolicy(3, base=0.0)
NEVER = Seconds(3_600)
"""An interval at which no worker looks by itself while a test runs."""
_numbers = itertools.count()
BROKERS = ("amqp", "kafka")


@pytest.fixture(scope="module")
def rabbit() -> Iterator[RabbitMQ]:
    with RabbitMQ() as server:
        yield server


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> str:
    """The URL of a broker of which nobody else uses the namespace."""
    own = f"namespace=pair{next(_numbers)}"
    if request.param == "kafka":
        return f"{kafka.shared_server().url}?{own}&partitions=2"
    server: RabbitMQ = request.getfixturevalue("rabbit")
    return server.url_of(options=own)


@asynccontextmanager
async def memory_url(_folder: Path) -> AsyncIterator[str]:
    yield "memory://"


@asynccontextmanager
async def sqlite_url(folder: Path) -> AsyncIterator[str]:
    yield f"sqlite:///{folder}/jobs.db"


@asynccontextmanager
async def postgres_url(_folder: Path) -> AsyncIterator[str]:
    with postgres.shared_schemas().borrow() as url:
        yield url


@asynccontextmanager
async def redis_url(_folder: Path, *, program: type[RedisServer]) -> AsyncIterator[str]:
    with program() as server:
        yield server.url


@asynccontextmanager
async def remote_url(folder: Path) -> AsyncIterator[str]:
    async with (
        SQLiteStore(f"{folder}/jobs.db", clock=SystemClock()) as behind,
        tcp_site(behind) as site,
    ):
        yield site.url


STORES: dict[str, Callable[[Path], AbstractAsyncContextManager[str]]] = {
    "memory": memory_url,
    "sqlite": sqlite_url,
    "postgresql": postgres_url,
    "redis": partial(redis_url, program=RedisServer),
    "valkey": partial(redis_url, program=ValkeyServer),
    "tcp": remote_url,
}


async def echo(value: int) -> int:
    return value


async def fails_once() -> int:
    if current_job().attempt == 1:
        raise ValueError("not yet")
    return current_job().attempt


def registry() -> Registry:
    found = Registry()
    options = TaskOptions.make(run_in="async")
    for fn in (echo, fails_once):
        found.add(Task(fn, name=fn.__name__, options=options))
    return found


class Pair:
    """A store and a broker as two URLs; every handle is one as a process of its own has it."""

    def __init__(self, store: str, broker: str) -> None:
        self.clock = SystemClock()
        self._urls = (store, broker)
        self._memory = self._open() if store.startswith("memory") else None

    def open(self) -> RingingStore:
        """Return a handle whose store rings no bell. That of a store in memory is the same one."""
        return self._memory or self._open()

    def _open(self) -> RingingStore:
        store, broker = self._urls
        opened = open_store(store, broker=broker, clock=self.clock)
        assert isinstance(opened, RingingStore)
        opened.inner = DeafStore(opened.inner)
        return opened

    @asynccontextmanager
    async def hands(self) -> AsyncIterator[tuple[RingingStore, RingingStore]]:
        """Open a handle for whoever submits and one for the worker."""
        async with self.open() as one:
            if self._memory:
                yield one, one
                return
            async with self.open() as other:
                yield one, other

    def spec(self, task: str, value: int | None = None, **more: Any) -> JobSpec:
        """Return a job, with a retry at once."""
        payload = msgspec.json.encode({} if value is None else {"value": value})
        return JobSpec(id=self.clock.new_id(), task=task, payload=payload, retry=AT_ONCE, **more)


@asynccontextmanager
async def at_work(pair: Pair) -> AsyncIterator[RingingStore]:
    """Run a worker that only rings wake, and wait until they do; yield the hand that submits."""
    async with pair.hands() as (store, behind):
        worker = Worker(
            behind,
            registry(),
            settings=WorkerSettings(poll=NEVER, concurrency=4, queues={"default": 0}),
            limits=LimitSettings(),
            clock=pair.clock,
            name="worker",
        )
        async with asyncio.TaskGroup() as group:
            running = group.create_task(worker.run())
            try:
                await is_heard(pair, store, behind)
                yield store
            finally:
                worker.drain()
                await running


async def is_heard(pair: Pair, store: RingingStore, behind: RingingStore) -> None:
    """Submit until a ring arrives: before a broker has its listener, rings are nobody's."""

    async def rung() -> bool:
        await store.submit([pair.spec("echo", 0)])
        return behind.broker_status().heard > 0

    await wait_until(rung, "a ring arrived", timeout=SOON)


async def ended(store: Store, jobs: Sequence[JobSpec]) -> list[JobRecord]:
    """Wait until these jobs have ended."""
    found: list[JobRecord] = []

    async def all_ended() -> bool:
        records = await store.get([job.id for job in jobs])
        found[:] = [record for record in records if record and record.state in TERMINAL]
        return len(found) == len(jobs)

    await wait_until(all_ended, f"{len(jobs)} jobs ended", timeout=SOON)
    return found


@pytest.mark.parametrize("kind", STORES)
async def test_work_flows_on_rings_alone(kind: str, broker: str, tmp_path: Path) -> None:
    async with STORES[kind](tmp_path) as url:
        pair = Pair(url, broker)
        async with at_work(pair) as store:
            for number in range(ONE_BY_ONE):
                job = pair.spec("echo", number)
                await store.submit([job])
                [record] = await ended(store, [job])
                assert record.state is State.COMPLETED, record
                assert msgspec.json.decode(record.result or b"") == number

            again = [pair.spec("fails_once") for _ in range(ONE_BY_ONE)]
            await store.submit(again)
            records = await ended(store, again)
            assert {(one.state, one.attempt) for one in records} == {(State.COMPLETED, 2)}

            flow = family(pair)
            await store.submit(flow, workflow=WorkflowSpec(id=flow[0].workflow_id or "", name="f"))
            records = await ended(store, flow)
            assert {one.state for one in records} == {State.COMPLETED}


def family(pair: Pair) -> list[JobSpec]:
    """Return a workflow: one, then three after it, then one after those."""
    flow = pair.clock.new_id()
    first = pair.spec("echo", 1, workflow_id=flow, node="first")
    middle = [
        pair.spec("echo", n, workflow_id=flow, node=f"middle-{n}", parents=(first.id,))
        for n in range(3)
    ]
    parents = tuple(job.id for job in middle)
    return [first, *middle, pair.spec("echo", 2, workflow_id=flow, node="last", parents=parents)]
