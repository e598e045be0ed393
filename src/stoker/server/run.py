"""Running the server inside a loop that somebody else owns.

The socket is bound before anything is opened, so a port in use is told before there is anything
to tidy up. Signals belong to whoever runs the loop: `serve` ends when its ``stop`` is set.
"""

import asyncio
import errno
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from stoker.app.stoker import Stoker
from stoker.core.errors import InvalidOption, PortInUse, Refused
from stoker.core.store import Store
from stoker.server.gateway.listener import Gateway, check_exposed, make_tls, server_tls
from stoker.server.guard import LOOPBACK
from stoker.server.http import make_server_app
from stoker.server.protocol import BoundedProtocol
from stoker.settings import GatewaySettings, ServerSettings

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


def listen(
    host: str,
    port: int,
    *,
    insecure: bool = False,
    secured: bool = False,
    option: str = "--port",
) -> Listener:
    """Bind an address.

    Args:
        host: A name or an address.
        port: 0 for any free one.
        insecure: Listen beyond this machine without TLS, and without keys while there are none.
        secured: Whether the server speaks TLS there.
        option: What sets the port, for errors.

    Raises:
        PortInUse: Somebody listens there already.
        InvalidOption: No such address here, no right to that port, or an address that other
            machines reach, without TLS or ``insecure``.
    """
    addresses = _addresses(host, port)
    if not insecure and not secured and _is_exposed(ip for _, ip in addresses):
        raise InvalidOption(
            f"the server would listen on {host}, where everybody between could read keys and "
            "payloads. Give it a certificate (server.certificate, --certificate), listen on "
            "127.0.0.1 behind a proxy that speaks TLS, or allow it with insecure=True "
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
    scheme = "https" if secured else "http"
    return Listener(host, sockets[0].getsockname()[1], sockets, scheme=scheme)


def listen_gateway(settings: GatewaySettings, *, insecure: bool = False) -> Listener | None:
    """Bind the gateway's address; None when it has no port.

    Whether somebody has to prove who he is there is looked at by `serve`, which knows the keys.

    Raises:
        PortInUse, InvalidOption: It cannot be bound, or other machines reach it without TLS and
            without ``insecure``.
        InvalidConfig: Its clients or certificates make no sense.
    """
    if settings.port is None:
        return None
    addresses = [ip for _, ip in _addresses(settings.host, settings.port)]
    check_exposed(settings, addresses, insecure=insecure, has_keys=True)
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
    tls = tls_of(wanted)
    bound = listener or listen(
        wanted.host if host is None else host,
        wanted.port if port is None else port,
        insecure=insecure,
        secured=tls is not None,
    )
    async with AsyncExitStack() as stack:
        stack.callback(bound.close)
        if gateway is not None:
            stack.callback(gateway.close)
        if not app.is_open:
            await stack.enter_async_context(app)
        await app.sync_schedules()
        exposed = _is_exposed(_ips(bound))
        api = make_server_app(
            app,
            hosts=None if exposed else LOOPBACK | {bound.host},
            anonymous=insecure or not exposed,
        )
        has_keys = await app.arun(_has_valid_key)
        if exposed and not insecure:
            _check_closed(api, bound, has_keys=has_keys)
        if gateway is not None:
            settings = app.settings.gateway
            check_exposed(settings, _ips(gateway), insecure=insecure, has_keys=has_keys)
            entrance = Gateway(api.state.gateway, gateway.sockets, settings=settings)
            await stack.enter_async_context(entrance)
        await _run(api, bound, tls=tls, stop=stop or asyncio.Event(), started=started, grace=grace)


async def _run(
    api: FastAPI,
    bound: Listener,
    *,
    tls: ssl.SSLContext | None,
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
        ssl_context_factory=None if tls is None else lambda _config, _usual: tls,
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


def tls_of(settings: ServerSettings) -> ssl.SSLContext | None:
    """Return how the server speaks TLS; None when it has no certificate.

    Raises:
        InvalidConfig: A file cannot be used.
    """
    return make_tls(settings.certificate, settings.key, section="server")


def _ips(bound: Listener) -> list[str]:
    return [one.getsockname()[0] for one in bound.sockets]


def _is_exposed(ips: Iterable[str]) -> bool:
    """Whether other machines reach one of these addresses."""
    return not all(ipaddress.ip_address(ip).is_loopback for ip in ips)


async def _has_valid_key(store: Store) -> bool:
    now = (await store.counts()).now.timestamp()
    return any(key.is_valid(now) for key in await store.keys())


def _check_closed(api: FastAPI, bound: Listener, *, has_keys: bool) -> None:
    """Refuse to serve other machines while nobody could prove who he is.

    Raises:
        InvalidOption: Nobody could.
    """
    if has_keys or not api.state.gateway.authority.is_open:
        return
    raise InvalidOption(
        f"the server would listen on {bound.host}, where other machines reach it, and the store "
        "has no API key, so that nobody could use it. Make one with: stoker keys create NAME "
        "--scope admin; or let everybody in with --insecure where the network itself can be "
        "trusted",
        host=bound.host,
    )


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
