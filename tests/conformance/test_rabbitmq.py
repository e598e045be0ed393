"""RabbitMQ, against every promise of brokers, and a store behind it against every one of stores."""

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import pytest

from stoker.brokers.rabbitmq import RabbitBroker
from stoker.brokers.ringing import RingingStore
from stoker.core.broker import Broker
from stoker.core.clock import Clock, SystemClock
from stoker.core.store import Store
from stoker.stores.sqlite import SQLiteStore
from stoker.testing.conformance import (
    BrokerCapabilities,
    BrokerConformance,
    BrokerWorld,
    Capabilities,
    StoreConformance,
)
from tests.servers.rabbitmq import PASSWORD, RabbitMQ

_numbers = itertools.count()


class RabbitWorld:
    """A namespace of its own on a server."""

    def __init__(self, server: RabbitMQ) -> None:
        self._server = server
        self._namespace = f"test-{next(_numbers)}"

    def handle(self) -> Broker:
        url = self._server.url_of(options=f"namespace={self._namespace}")
        return RabbitBroker(url, clock=SystemClock())

    async def kill(self) -> None:
        await asyncio.to_thread(self._server.kill)

    async def start(self) -> None:
        await asyncio.to_thread(self._server.start)

    async def freeze(self) -> None:
        self._server.pause()

    async def thaw(self) -> None:
        self._server.resume()


@pytest.mark.engine("amqp")
class TestRabbitMQ(BrokerConformance):
    """A namespace for each test, on one server for all."""

    capabilities = BrokerCapabilities(hidden=(PASSWORD, quote(PASSWORD, safe="")))
    server: ClassVar[RabbitMQ]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _server(cls) -> Iterator[None]:
        cls.server = RabbitMQ()
        try:
            cls.server.start()
            yield
        finally:
            cls.server.close()

    @asynccontextmanager
    async def open_world(self) -> AsyncIterator[BrokerWorld]:
        yield RabbitWorld(self.server)


@pytest.mark.timeout(600)  # each story of the model opens connections of its own
class TestSQLiteWithRabbitMQ(StoreConformance):
    """The default store, rung for through a real server: nothing may be different."""

    capabilities = Capabilities(transactions=True)

    server: ClassVar[RabbitMQ]
    worlds: ClassVar[dict[str, RabbitWorld]] = {}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _server(cls) -> Iterator[None]:
        cls.server = RabbitMQ()
        try:
            cls.server.start()
            yield
        finally:
            cls.server.close()

    @asynccontextmanager
    async def open_store(self, clock: Clock) -> AsyncIterator[Store]:
        world = RabbitWorld(self.server)
        with tempfile.TemporaryDirectory() as folder:
            inner = SQLiteStore(str(Path(folder) / "stoker.db"), clock=clock)
            async with RingingStore(inner, world.handle()) as store:
                self.worlds[store.info.id] = world
                yield store

    @asynccontextmanager
    async def open_second(self, store: Store, clock: Clock) -> AsyncIterator[Store]:
        inner = SQLiteStore(store.info.details["path"], clock=clock)
        async with RingingStore(inner, self.worlds[store.info.id].handle()) as second:
            yield second
