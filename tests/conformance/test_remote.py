"""Stores behind the gateway, against every promise: each verb goes over a real socket."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from stoker.core.clock import Clock
from stoker.core.store import Store
from stoker.stores.memory import MemoryStore
from stoker.stores.remote import RemoteStore
from stoker.stores.sqlite import SQLiteStore
from stoker.testing.conformance import Capabilities, StoreConformance
from tests.gateway.site import http_site, tcp_site


@pytest.mark.engine("tcp")
class TestRemoteOverSQLite(StoreConformance):
    """A worker behind TCP, with the default store behind the server; its clock is the store's."""

    @asynccontextmanager
    async def open_store(self, clock: Clock) -> AsyncIterator[Store]:
        with tempfile.TemporaryDirectory() as folder:
            async with (
                SQLiteStore(str(Path(folder) / "stoker.db"), clock=clock) as behind,
                tcp_site(behind) as site,
                RemoteStore(site.url, clock=clock) as store,
            ):
                yield store

    def open_second(self, store: Store, clock: Clock) -> AbstractAsyncContextManager[Store]:
        return RemoteStore(store.info.url, clock=clock)


@pytest.mark.engine("http")
@pytest.mark.timeout(300)  # a story is thousands of requests
class TestRemoteOverHttp(StoreConformance):
    """A worker behind HTTP, with the reference store behind the server."""

    capabilities = Capabilities(durable=False)

    @asynccontextmanager
    async def open_store(self, clock: Clock) -> AsyncIterator[Store]:
        async with (
            MemoryStore(clock=clock) as behind,
            http_site(behind) as site,
            RemoteStore(f"http://127.0.0.1:{site.port}", clock=clock) as store,
        ):
            yield store

    def open_second(self, store: Store, clock: Clock) -> AbstractAsyncContextManager[Store]:
        return RemoteStore(store.info.url, clock=clock)
