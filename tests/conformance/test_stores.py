"""Every store, against every promise."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stoker.core.clock import Clock
from stoker.core.store import Store
from stoker.stores.memory import MemoryStore
from stoker.stores.sqlite import SQLiteStore
from stoker.testing import FaultyStore
from stoker.testing.conformance import Capabilities, StoreConformance
from stoker.testing.conformance.faults import Faults
from stoker.testing.conformance.two_hands import Keeping, TwoHands


@pytest.mark.engine("memory")
class TestMemory(StoreConformance):
    """The reference store."""

    capabilities = Capabilities(durable=False)

    @asynccontextmanager
    async def open_store(self, clock: Clock) -> AsyncIterator[Store]:
        async with MemoryStore(clock=clock) as store:
            yield store

    @asynccontextmanager
    async def open_second(self, store: Store, clock: Clock) -> AsyncIterator[Store]:
        assert isinstance(store, MemoryStore)
        async with MemoryStore(clock=clock, world=store.world) as second:
            yield second


class TestWrappedMemoryWithOneHandle(TwoHands, Keeping, Faults):
    """A store that says that it has one handle only, behind a wrapper without a plan."""

    capabilities = Capabilities(second_handle=False, durable=False)

    @asynccontextmanager
    async def open_store(self, clock: Clock) -> AsyncIterator[Store]:
        async with FaultyStore(MemoryStore(clock=clock)) as store:
            yield store


@pytest.mark.engine("sqlite")
class TestSQLite(StoreConformance):
    """The default store, in a file. Its second hand is another connection to that file."""

    capabilities = Capabilities(transactions=True)

    @asynccontextmanager
    async def open_store(self, clock: Clock) -> AsyncIterator[Store]:
        with tempfile.TemporaryDirectory() as folder:
            async with SQLiteStore(str(Path(folder) / "stoker.db"), clock=clock) as store:
                yield store

    @asynccontextmanager
    async def open_second(self, store: Store, clock: Clock) -> AsyncIterator[Store]:
        async with SQLiteStore(store.info.details["path"], clock=clock) as second:
            yield second
