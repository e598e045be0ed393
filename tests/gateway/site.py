"""A gateway for tests: in this process, on a free loopback port, before a store of the test."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from stoker.core.clock import Clock, SystemClock
from stoker.core.store import Store
from stoker.server.gateway.connection import Limits
from stoker.server.gateway.desk import Desk
from stoker.server.gateway.http import PATHS, HttpGateway
from stoker.server.gateway.listener import Gateway
from stoker.server.guard import LOOPBACK, Guard
from stoker.server.protocol import BoundedProtocol
from stoker.settings import GatewaySettings, LimitSettings


@dataclass
class Site:
    """A running gateway."""

    port: int
    store: Store
    desk: Desk
    gateway: Gateway | None = None

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"


def make_desk(
    store: Store, settings: GatewaySettings | None = None, clock: Clock | None = None
) -> Desk:
    async def run(work: Callable[[Store], Awaitable[Any]]) -> Any:
        return await work(store)

    return Desk(
        run,
        settings=settings or GatewaySettings(),
        limits=LimitSettings(),
        clock=clock or SystemClock(),
    )


def bound(port: int = 0) -> socket.socket:
    # Named, or asyncio would leave the algorithm of Nagle on: 40 ms an answer.
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("127.0.0.1", port))
    one.listen(128)
    one.setblocking(False)  # noqa: FBT003 - the socket's own word
    return one


@asynccontextmanager
async def tcp_site(
    store: Store,
    *,
    settings: GatewaySettings | None = None,
    limits: Limits | None = None,
    port: int = 0,
    grace: float = 5.0,
) -> AsyncIterator[Site]:
    """Serve a store over TCP."""
    chosen = settings or GatewaySettings()
    desk = make_desk(store, chosen)
    with bound(port) as one:
        async with Gateway(desk, [one], settings=chosen, limits=limits, grace=grace) as gateway:
            yield Site(one.getsockname()[1], store, desk, gateway)


@asynccontextmanager
async def http_site(
    store: Store, *, settings: GatewaySettings | None = None
) -> AsyncIterator[Site]:
    """Serve a store over HTTP, with the guard and the protocol of the real server."""
    desk = make_desk(store, settings)
    app = Guard(HttpGateway(desk), hosts=LOOPBACK, bulk_paths=PATHS)
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = _Quiet(config)
    one = bound()
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[one]))
        await server.ready.wait()
        try:
            yield Site(one.getsockname()[1], store, desk)
        finally:
            server.should_exit = True
            await serving


class _Quiet(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()
