"""Running the server inside a loop that somebody else owns.

The socket is bound before anything is opened, so a port in use is told before there is anything
to tidy up. Signals belong to whoever runs the loop: `serve` ends when its ``stop`` is set.
"""

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from stoker.app.stoker import Stoker
from stoker.core.errors import InvalidOption, PortInUse, Refused
from stoker.server.gateway.listener import Gateway, check_exposed, server_tls
from stoker.server.guard import LOOPBACK
from stoker.server.http import make_server_app
from stoker.server.protocol import BoundedProtocol
from stoker.settings import GatewaySettings

BACKLOG = 2048
KEEP_ALIVE = 30
"""Seconds for which an idle connection stays open."""
GRACE = 10
"""Seconds for which open requests may go on after the stop."""


class Listener:
    """A bound address, listening.

    Attributes:
        host: As it was asked for.
        port: The real one, also when 0 was asked for.
        sockets: One for each address behind the name.
    """

    def __init__(
        self, host: str, port: int, sockets: list[socket.socket], *, scheme: str = "http"
    ) -> None:
        """Hold sockets; users call `listen`."""
        self._scheme = scheme
        self.host = host
        self.port = port
        self.sockets = sockets

    @property
    def url(self) -> str:
        """Where this machine finds the server."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        shown = f"[{host}]" if ":" in host else host
        return f"{self._scheme}://{shown}:{self.port}"

    def close(self) -> None:
        """Give the address back."""
        for one in self.sockets:
            one.close()


def listen(host: str, port: int, *, insecure: bool = False, option: str = "--port") -> Listener:
    """Bind an address.

    Args:
        host: A name or an address.
        port: 0 for any free one.
        insecure: Listen beyond this machine although everybody may then do everything.
        option: What sets the port, for errors.

    Raises:
        PortInUse: Somebody listens there already.
        InvalidOption: No such address here, no right to that port, or an address that other
            machines reach, without ``insecure``.
    """
    addresses = _addresses(host, port)
    if not insecure and not all(ipaddress.ip_address(ip).is_loopback for _, ip in addresses):
        raise InvalidOption(
            f"the server would listen on {host}, where everybody who reaches this machine could "
            "submit, read and delete jobs: this version has no API keys. Listen on 127.0.0.1 and "
            "put a proxy that authenticates before it, or allow it with insecure=True "
            "(--insecure) where the network itself can be trusted",
            host=host,
        )
    sockets: list[socket.socket] = []
    try:
        for family, ip in addresses:
            # With port 0 the first address chooses, the others follow.
            chosen = sockets[0].getsockname()[1] if sockets else port
            _bind(sockets, family, ip, chosen, option)
    except BaseException:
        for one in sockets:
            one.close()
        raise
    return Listener(host, sockets[0].getsockname()[1], sockets)


def listen_gateway(settings: GatewaySettings, *, insecure: bool = False) -> Listener | None:
    """Bind the gateway's address; None when it has no port.

    Raises:
        PortInUse, InvalidOption: It cannot be bound, or other machines reach it and nobody would
            have to prove anything, without ``insecure``.
        InvalidConfig: Its clients or certificates make no sense.
    """
    if settings.port is None:
        return None
    addresses = [ip for _, ip in _addresses(settings.host, settings.port)]
    check_exposed(settings, addresses, insecure=insecure)
    scheme = "tcp" if server_tls(settings) is None else "tls"
    bound = listen(settings.host, settings.port, insecure=True, option="--gateway-port")
    return Listener(bound.host, bound.port, bound.sockets, scheme=scheme)


async def serve(
    app: Stoker,
    host: str | None = None,
    port: int | None = None,
    *,
    insecure: bool = False,
    listener: Listener | None = None,
    gateway: Listener | None = None,
    stop: asyncio.Event | None = None,
    started: Callable[[Listener], None] | None = None,
    grace: int = GRACE,
) -> None:
    """Serve the HTTP API of an app until ``stop`` is set.

    Opens the app's store, unless the caller has opened it.

    Args:
        app: The app.
        host: Where to listen; the setting ``server.host`` if not given.
        port: Likewise; 0 for any free one.
        insecure: See `listen`.
        listener: An address that is bound already; instead of ``host`` and ``port``.
        gateway: An address of `listen_gateway`; without it remote workers have HTTP only.
        stop: Set it to end: no new request is taken, open ones may go on for a while.
        started: Called when requests are answered.
        grace: Seconds for which open requests may go on after the stop.

    Raises:
        PortInUse, InvalidOption: See `listen`.
        BackendError: The store cannot be opened.
        Refused: The server ended by itself, which it should not.
    """
    wanted = app.settings.server
    bound = listener or listen(
        wanted.host if host is None else host,
        wanted.port if port is None else port,
        insecure=insecure,
    )
    async with AsyncExitStack() as stack:
        stack.callback(bound.close)
        if gateway is not None:
            stack.callback(gateway.close)
        if not app.is_open:
            await stack.enter_async_context(app)
        await app.sync_schedules()
        api = make_server_app(app, hosts=_hosts(bound))
        if gateway is not None:
            settings = app.settings.gateway
            entrance = Gateway(api.state.gateway, gateway.sockets, settings=settings)
            await stack.enter_async_context(entrance)
        await _run(api, bound, stop=stop or asyncio.Event(), started=started, grace=grace)


async def _run(
    api: FastAPI,
    bound: Listener,
    *,
    stop: asyncio.Event,
    started: Callable[[Listener], None] | None,
    grace: int,
) -> None:
    config = uvicorn.Config(
        api,
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        # Believing X-Forwarded-For would let any local program write another name into the
        # audit trail.
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=grace,
    )
    server = _Server(config, bound, started)

    # In a task of its own, so that a cancelled caller still lets open requests end.
    serving = asyncio.create_task(server.serve(sockets=bound.sockets))  # noqa: TID251
    stopping = asyncio.create_task(stop.wait())  # noqa: TID251 - likewise awaited below
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        api.state.streams.close()
        server.should_exit = True
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
        await serving
    if not stop.is_set():
        raise Refused("the HTTP server ended by itself; its log says why")


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        bound: Listener,
        started: Callable[[Listener], None] | None,
    ) -> None:
        super().__init__(config)
        self._bound = bound
        self._tell = started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to whoever runs the loop."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._tell is not None:
            self._tell(self._bound)


def _hosts(bound: Listener) -> frozenset[str] | None:
    """Return the names that requests may use: any, for a server that others reach."""
    is_loopback = all(
        ipaddress.ip_address(one.getsockname()[0]).is_loopback for one in bound.sockets
    )
    return LOOPBACK | {bound.host} if is_loopback else None


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    if not 0 <= port <= 65_535:  # noqa: PLR2004 - what TCP has
        raise InvalidOption(f"the port is {port}; expected 0 to 65535")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InvalidOption(f"the host {host!r} is no address of this machine: {error}") from None
    unique = dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found)
    return [(family, ip.partition("%")[0]) for family, ip in unique]


def _bind(
    sockets: list[socket.socket], family: socket.AddressFamily, ip: str, port: int, option: str
) -> None:
    one: Any = None
    try:
        # asyncio switches Nagle's algorithm off only for sockets that name TCP: without it each
        # answer waits 40 ms for the client's delayed acknowledgement.
        one = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((ip, port))
        # Listening at once, not when the server starts: two that bound the same port with
        # SO_REUSEADDR would both believe to have it.
        one.listen(BACKLOG)
        one.settimeout(0)
    except OSError as error:
        if one is not None:
            one.close()
        if sockets and error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
            # A name with an IPv6 address on a machine without IPv6: the other address serves.
            return
        raise _explained(error, ip, port, option) from None
    sockets.append(one)


def _explained(error: OSError, ip: str, port: int, option: str) -> PortInUse | InvalidOption:
    where = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
    if error.errno == errno.EADDRINUSE:
        return PortInUse(
            f"somebody else listens on {where} already, perhaps another stoker server; stop it, "
            f"or choose another port with {option} (0 for any free one)",
            host=ip,
            port=port,
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return InvalidOption(f"this user may not listen on {where}; choose a port from 1024 on")
    return InvalidOption(f"cannot listen on {where}: {error.strerror or error}")
