"""The broker inside the process, against every promise of brokers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stoker.core.broker import Broker
from stoker.testing import Belfry, LocalBroker
from stoker.testing.conformance import BrokerConformance, BrokerWorld


class LocalWorld:
    """A belfry of its own."""

    def __init__(self) -> None:
        self.belfry = Belfry()

    def handle(self) -> Broker:
        return LocalBroker(self.belfry)

    async def kill(self) -> None:
        self.belfry.kill()

    async def start(self) -> None:
        self.belfry.start()

    async def freeze(self) -> None:
        self.belfry.freeze()

    async def thaw(self) -> None:
        self.belfry.thaw()


class TestLocalBroker(BrokerConformance):
    """The reference."""

    @asynccontextmanager
    async def open_world(self) -> AsyncIterator[BrokerWorld]:
        yield LocalWorld()
