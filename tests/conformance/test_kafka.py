"""Kafka, against every promise of brokers, and a store behind it, against every promise of stores.

A real server, which the tests kill and freeze.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest

from stoker.brokers.kafka import KafkaBroker
from stoker.brokers.ringing import RingingStore
from stoker.core.broker import Broker
from stoker.core.clock import Clock
from stoker.core.store import Store
from stoker.stores.memory import MemoryStore
from stoker.testing.conformance import (
    BrokerConformance,
    BrokerWorld,
    Capabilities,
    StoreConformance,
)
from tests.servers.kafka import KafkaServer, shared_server

_numbers = itertools.count()
pytestmark = pytest.mark.timeout(300)  # a killed server needs its time to come back


class KafkaWorld:
    """Topics and a group that nobody else uses."""

    def __init__(self, server: KafkaServer) -> None:
        self._server = server
        self._url = f"{server.url}?namespace=world{next(_numbers)}&partitions=2"

    def handle(self) -> Broker:
        return KafkaBroker(self._url, linger=0.5)

    async def kill(self) -> None:
        await asyncio.to_thread(self._server.kill)

    async def start(self) -> None:
        await asyncio.to_thread(self._server.restart)

    async def freeze(self) -> None:
        self._server.pause()

    async def thaw(self) -> None:
        self._server.resume()


@pytest.mark.engine("kafka")
class TestKafka(BrokerConformance):
    """One server for all."""

    server: ClassVar[KafkaServer]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _server(cls) -> Iterator[None]:
        cls.server = KafkaServer()
        cls.server.start()
        try:
            yield
        finally:
            cls.server.close()

    @asynccontextmanager
    async def open_world(self) -> AsyncIterator[BrokerWorld]:
        yield KafkaWorld(self.server)


class TestMemoryWithKafka(StoreConformance):
    """Each of the two hands is a process with clients of its own. All tests share the topics and
    the group, so each hears rings from the stores of those before it.
    """

    capabilities = Capabilities(durable=False)

    def broker(self) -> Broker:
        return KafkaBroker(f"{shared_server().url}?namespace=stores&partitions=2")

    @asynccontextmanager
    async def open_store(self, clock: Clock) -> AsyncIterator[Store]:
        async with RingingStore(MemoryStore(clock=clock), self.broker()) as store:
            yield store

    @asynccontextmanager
    async def open_second(self, store: Store, clock: Clock) -> AsyncIterator[Store]:
        assert isinstance(store, RingingStore)
        assert isinstance(store.inner, MemoryStore)
        inner = MemoryStore(clock=clock, world=store.inner.world)
        async with RingingStore(inner, self.broker()) as second:
            yield second
