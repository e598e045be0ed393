"""The PostgreSQL store, against every promise, on a real server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from stoker.core.clock import Clock
from stoker.core.store import Store
from stoker.stores.postgres import PostgresStore
from stoker.testing.conformance import Capabilities, StoreConformance
from tests.servers.postgres import least_schemas


@pytest.mark.engine("postgresql")
class TestPostgres(StoreConformance):
    """A schema of its own for each test. Its second hand has connections of its own.

    The role is the one of a deployment, which may change jobs and nothing else: that it is enough
    for every promise is proved here.
    """

    capabilities = Capabilities(transactions=True)

    @asynccontextmanager
    async def open_store(self, clock: Clock) -> AsyncIterator[Store]:
        with least_schemas().borrow() as url:
            self.urls[id(clock)] = url
            async with PostgresStore(url, clock=clock) as store:
                yield store

    @asynccontextmanager
    async def open_second(self, store: Store, clock: Clock) -> AsyncIterator[Store]:
        async with PostgresStore(self.urls[id(clock)], clock=clock) as second:
            yield second

    urls: dict[int, str] = {}  # noqa: RUF012 - of all tests, by their clocks
