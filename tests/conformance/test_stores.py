"""Every store, against every promise."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stoker.core.clock import Clock
from stoker.core.store import Store
from stoker.stores.memory import MemoryStore
from stoker.testing.conformance import Capabilities, StoreConformance


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
