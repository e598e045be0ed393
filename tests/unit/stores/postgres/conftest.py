"""Stores on the real server that all tests of this process share."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from stoker.core.clock import SystemClock
from stoker.stores.postgres import PostgresStore
from stoker.testing.clock import FakeClock
from stoker.testing.conformance.hand import Hand
from tests.servers.postgres import Postgres, shared_schemas, shared_server


@pytest.fixture
def server() -> Postgres:
    """The server that nobody kills."""
    return shared_server()


@pytest.fixture
def url() -> Iterator[str]:
    """The URL of an empty store."""
    with shared_schemas().borrow() as url:
        yield url


@pytest.fixture
def fresh_url(server: Postgres) -> Iterator[str]:
    """The URL of a schema that nobody made yet."""
    name = f"fresh_{SystemClock().new_nonce()}"
    yield server.url(name)
    server.drop(name)


@pytest_asyncio.fixture
async def store(url: str, fake_clock: FakeClock) -> AsyncIterator[PostgresStore]:
    """An empty store that lives by the test's clock."""
    async with PostgresStore(url, clock=fake_clock) as store:
        yield store


@pytest.fixture
def hand(store: PostgresStore, fake_clock: FakeClock) -> Hand:
    """A hand on it."""
    return Hand(store, fake_clock)
