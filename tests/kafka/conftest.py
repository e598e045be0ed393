"""One server for all tests of this folder that do it no harm, and a namespace for each of them."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest

from stoker.brokers.kafka import KafkaBroker
from stoker.brokers.kafka.line import Line
from stoker.core.broker import Delivery, Ring
from stoker.core.job import Priority
from stoker.testing import wait_until
from tests.servers.kafka import KafkaServer, shared_server

_numbers = itertools.count()
SLOW = 60.0
"""Seconds for what a server of a busy machine may take."""


@pytest.fixture(scope="session")
def server() -> KafkaServer:
    """A server that no test stops."""
    return shared_server()


@pytest.fixture
def own_server() -> Iterator[KafkaServer]:
    """A server that the test may do to what it likes."""
    own = KafkaServer()
    own.start()
    yield own
    own.close()


@pytest.fixture(params=["classic", "consumer"])
def url(request: pytest.FixtureRequest, server: KafkaServer) -> str:
    """Topics and a group of its own on the common server, by each protocol of groups."""
    return fresh_url(server, group__protocol=request.param)


def fresh_url(server: KafkaServer, **options: object) -> str:
    """Return the URL of topics that nobody else uses."""
    given = {"partitions": 4, **options}
    more = "&".join(f"{name.replace('__', '.')}={value}" for name, value in given.items())
    return f"{server.url}?namespace=test{next(_numbers)}&{more}"


def namespace_of(url: str) -> str:
    """Return what the names of the topics begin with."""
    return parse_qs(urlsplit(url).query)["namespace"][0]


@asynccontextmanager
async def listening(
    url: str, *queues: str, linger: float = 0.3, timeout: float = SLOW
) -> AsyncIterator[KafkaBroker]:
    """Open a broker whose listener has its partitions."""
    async with KafkaBroker(url, linger=linger) as broker:
        await attend(broker, *queues, timeout=timeout)
        yield broker


async def attend(broker: KafkaBroker, *queues: str, timeout: float = SLOW) -> None:
    """Subscribe, and wait until rings arrive here."""
    await broker.listen(queues or ("default",), most=1, timeout=0)
    await connected(broker, timeout=timeout)


async def connected(broker: KafkaBroker, *, timeout: float = SLOW) -> None:
    """Wait until rings leave and arrive."""

    def is_connected() -> bool:
        state = broker.status()
        return state.connected

    await wait_until(is_connected, f"connected: {broker.status()}", timeout=timeout)


def ring(*ids: object, queue: str = "default", priority: Priority = Priority.MEDIUM) -> Ring:
    """Return a ring for some jobs."""
    return Ring(store="store", queue=queue, priority=priority, ids=tuple(map(str, ids)))


async def hear(
    broker: KafkaBroker, count: int, *queues: str, timeout: float = SLOW, done: bool = True
) -> list[Delivery]:
    """Listen until so many rings arrived."""
    found: list[Delivery] = []

    async def enough() -> bool:
        more = await broker.listen(queues or ("default",), most=100, timeout=0.5)
        if done:
            broker.done(more)
        found.extend(more)
        return len(found) >= count

    await wait_until(enough, f"{count} rings arrived", timeout=timeout)
    return found


def ids_of(deliveries: list[Delivery]) -> list[str]:
    """Return the jobs that were rung for, in the order of arrival."""
    return [job for delivery in deliveries for job in delivery.ring.ids]


def line_of(broker: KafkaBroker) -> Line:
    """Return what is behind an open broker."""
    assert broker._line is not None
    return broker._line
