"""RabbitMQ, against every promise of brokers, on a real server."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import ClassVar
from urllib.parse import quote

import pytest

from stoker.brokers.rabbitmq import RabbitBroker
from stoker.core.broker import Broker
from stoker.core.clock import SystemClock
from stoker.testing.conformance import BrokerCapabilities, BrokerConformance, BrokerWorld
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
