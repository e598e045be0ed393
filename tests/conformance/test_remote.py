"""Stores behind the gateway, against every promise: each verb goes over a real socket."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from stoker.core.clock import Clock
from stoker.core.store import Store
from stoker.settings import GatewayClient, GatewaySettings
from stoker.stores.memory import MemoryStore
from stoker.stores.remote import RemoteStore
from stoker.stores.sqlite import SQLiteStore
from stoker.testing.conformance import Capabilities, StoreConformance
from tests.gateway.certificates import LOCAL, Office
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


@pytest.mark.engine("tls")
class TestRemoteOverTls(StoreConformance):
    """A worker behind TLS that shows a certificate, with the reference store behind the server."""

    capabilities = Capabilities(durable=False)
    settings: ClassVar[GatewaySettings]
    options: ClassVar[str]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _certificates(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        office = Office(tmp_path_factory.mktemp("certificates"))
        server, client = office.vouch("server", LOCAL), office.vouch("worker.example")
        cls.settings = GatewaySettings(
            certificate=str(server.certificate),
            key=str(server.key),
            client_ca=str(office.file),
            clients={"worker.example": GatewayClient(scope="full")},
        )
        cls.options = f"?ca={office.file}&cert={client.certificate}&key={client.key}"

    @asynccontextmanager
    async def open_store(self, clock: Clock) -> AsyncIterator[Store]:
        async with (
            MemoryStore(clock=clock) as behind,
            tcp_site(behind, settings=self.settings) as site,
            RemoteStore(f"tls://localhost:{site.port}{self.options}", clock=clock) as store,
        ):
            yield store

    def open_second(self, store: Store, clock: Clock) -> AbstractAsyncContextManager[Store]:
        return RemoteStore(store.info.url.partition("?")[0] + self.options, clock=clock)


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
