"""What every part of the suite shares: how a store is opened, its fixtures, its hygiene."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar

import pytest
import pytest_asyncio

from stoker.core.clock import Clock
from stoker.core.store import Store
from stoker.testing.clock import FakeClock
from stoker.testing.conformance.hand import Hand
from stoker.testing.conformance.hygiene import check_hygiene


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a store can do besides the protocol. Each no is itself looked at."""

    second_handle: bool = True
    """Several handles can be open onto the same data. If not, both hands share one handle."""
    durable: bool = True
    """What was accepted is there again after the last handle was closed. If not, the store says
    so itself: ``info.durability == "none"``."""
    transactions: bool = False
    """Jobs can be submitted inside a transaction of the caller: `Store.transactions`."""


class StoreSuite:
    """The ground of `StoreConformance`: subclass that one."""

    capabilities: ClassVar[Capabilities] = Capabilities()

    def open_store(self, clock: Clock) -> AbstractAsyncContextManager[Store]:
        """Open a store that is empty and nobody else's; closing it tidies up behind it."""
        raise NotImplementedError("give open_store(clock): see stoker.testing.conformance")

    def open_second(self, store: Store, clock: Clock) -> AbstractAsyncContextManager[Store]:
        """Open another handle onto the data of a store that `open_store` gave."""
        raise NotImplementedError("give open_second(store, clock), or say second_handle=False")

    @pytest.fixture
    def clock(self) -> FakeClock:
        """The clock of the store and of the test."""
        return FakeClock()

    @pytest_asyncio.fixture
    async def store(self, clock: FakeClock) -> AsyncIterator[Store]:
        """An empty store. After the test it must agree with itself and leave no task behind."""
        before = asyncio.all_tasks()
        async with self.open_store(clock) as store:
            yield store
            await check_hygiene(store)
        mine = {*before, asyncio.current_task()}
        left = [task for task in asyncio.all_tasks() - mine if not task.done()]
        assert not left, f"the closed store left tasks behind: {left}"

    @pytest_asyncio.fixture
    async def second(self, store: Store, clock: FakeClock) -> AsyncIterator[Store]:
        """Another handle onto the same data, as another process would have."""
        if not self.capabilities.second_handle:
            yield store
            return
        async with self.open_second(store, clock) as second:
            yield second

    @pytest.fixture
    def hand(self, store: Store, clock: FakeClock) -> Hand:
        """The first hand on the store."""
        return Hand(store, clock)

    @pytest.fixture
    def other(self, second: Store, clock: FakeClock) -> Hand:
        """The second hand on the same data."""
        return Hand(second, clock)
