"""Stores with a broker in front, against every promise of stores: nothing may be different.

The broker of these tests is the one inside the process. It delivers everything twice and in any
order, or is dead for good. `test_rabbitmq.py` has the same with real servers.
"""

import random  # noqa: TID251 - seeded
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from stoker.brokers.ringing import RingingStore
from stoker.core.clock import Clock
from stoker.core.store import Store
from stoker.stores.memory import MemoryStore
from stoker.testing import Belfry, LocalBroker
from stoker.testing.conformance import Capabilities, StoreConformance


def behind(store: Store) -> MemoryStore:
    """Return the store behind the broker."""
    assert isinstance(store, RingingStore)
    assert isinstance(store.inner, MemoryStore)
    return store.inner


class TestMemoryWithBroker(StoreConformance):
    """Each of the two hands is a process with a connection to the broker of its own."""

    capabilities = Capabilities(durable=False)
    belfries: dict[int, Belfry] = {}  # noqa: RUF012 - of all tests, by their worlds

    def belfry(self) -> Belfry:
        belfry = Belfry()
        belfry.copies, belfry.shuffle = 2, random.Random(1)
        return belfry

    @asynccontextmanager
    async def open_store(self, clock: Clock) -> AsyncIterator[Store]:
        belfry = self.belfry()
        async with RingingStore(MemoryStore(clock=clock), LocalBroker(belfry)) as store:
            self.belfries[id(behind(store).world)] = belfry
            yield store

    @asynccontextmanager
    async def open_second(self, store: Store, clock: Clock) -> AsyncIterator[Store]:
        world = behind(store).world
        broker = LocalBroker(self.belfries[id(world)])
        async with RingingStore(MemoryStore(clock=clock, world=world), broker) as second:
            yield second


@pytest.mark.engine("none")
class TestMemoryWithDeadBroker(TestMemoryWithBroker):
    """The broker is never there."""

    def belfry(self) -> Belfry:
        belfry = Belfry()
        belfry.kill()
        return belfry
