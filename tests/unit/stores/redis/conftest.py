"""One server for all tests of this folder, and a namespace for each."""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from stoker.stores.redis import RedisStore
from stoker.testing import FakeClock
from stoker.testing.conformance.hand import Hand
from tests.servers.redis import RedisServer

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[RedisServer]:
    """A server that no test stops."""
    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest.fixture
def make_server() -> Iterator[Callable[..., RedisServer]]:
    """Start servers that belong to the test, which may do to them what it likes."""
    servers: list[RedisServer] = []

    def make(*options: str, fsync: str = "everysec", password: str = "") -> RedisServer:
        servers.append(RedisServer(*options, fsync=fsync, password=password))
        servers[-1].start()
        return servers[-1]

    yield make
    for one in servers:
        one.close()


@pytest.fixture
def url(server: RedisServer) -> str:
    """A namespace of its own on the common server."""
    return f"{server.url}?namespace=unit-{next(_numbers)}"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest_asyncio.fixture
async def store(url: str, clock: FakeClock) -> AsyncIterator[RedisStore]:
    async with RedisStore(url, clock=clock) as store:
        yield store


@pytest.fixture
def hand(store: RedisStore, clock: FakeClock) -> Hand:
    return Hand(store, clock)


@pytest_asyncio.fixture
async def client(server: RedisServer) -> AsyncIterator[Redis]:
    """The server itself, without a store in between."""
    async with Redis.from_url(server.url, decode_responses=True) as client:
        yield client
