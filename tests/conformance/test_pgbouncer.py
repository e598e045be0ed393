"""The PostgreSQL store behind a pooler that gives each transaction another connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from stoker.core.clock import Clock
from stoker.core.store import Store
from stoker.stores.postgres import PostgresStore
from stoker.testing.conformance import Capabilities, StoreConformance
from tests.servers.pgbouncer import shared_pooler
from tests.servers.postgres import shared_schemas


@pytest.mark.engine("postgresql behind pgbouncer")
class TestPostgresBehindPgBouncer(StoreConformance):
    """Nothing that it says is heard, nothing that it prepares is found again, and yet it works."""

    capabilities = Capabilities(transactions=True)

    @asynccontextmanager
    async def open_store(self, clock: Clock) -> AsyncIterator[Store]:
        with shared_schemas().borrow() as url:
            self.urls[id(clock)] = shared_pooler().url(url.rpartition("schema=")[2])
            async with PostgresStore(self.urls[id(clock)], clock=clock) as store:
                yield store

    @asynccontextmanager
    async def open_second(self, store: Store, clock: Clock) -> AsyncIterator[Store]:
        async with PostgresStore(self.urls[id(clock)], clock=clock) as second:
            yield second

    urls: dict[int, str] = {}  # noqa: RUF012 - of all tests, by their clocks
