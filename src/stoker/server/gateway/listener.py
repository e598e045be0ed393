"""The gateway on TCP: takes connections, bounds their number, and ends them together."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from stoker.core.errors import InvalidConfig, InvalidOption, Unavailable
from stoker.core.wire.frames import pack
from stoker.core.wire.messages import CONNECTION, Response, error_body, write
from stoker.server.gateway.authority import Authority
from stoker.server.gateway.connection import CHUNK, Connection, Limits
from stoker.server.gateway.desk import Desk
from stoker.settings import GatewaySettings

HANDSHAKE_SECONDS = 10.0
UNKNOWN_EACH = 64
"""Connections from one address that have not yet said who they are."""
GRACE = 10.0
"""Seconds that requests under way may take when the gateway stops."""

log = logging.getLogger(__name__)


def check_exposed(
    settings: GatewaySettings, addresses: Sequence[str], *, insecure: bool = False
) -> None:
    """Refuse to listen where other machines come, without a proof of who they are.

    Args:
        settings: Of the gateway.
        addresses: Where it listens.
        insecure: Whether that was asked for in so many words.

    Raises:
        InvalidOption: It would be open to everybody, or readable on the way.
        InvalidConfig: The clients make no sense.
    """
    is_open = Authority(settings).is_open
    if insecure or all(ipaddress.ip_address(ip).is_loopback for ip in addresses):
        return
    lacking = [
        what
        for what, lacks in (
            ("TLS (gateway.certificate)", settings.certificate is None),
            ("a token or client certificates (gateway.clients, gateway.worker_token)", is_open),
        )
        if lacks
    ]
    if lacking:
        raise InvalidOption(
            f"the gateway would listen on {settings.host}, where other machines reach it, without "
            f"{' and without '.join(lacking)}. Listen on 127.0.0.1, set what is missing, or allow "
            "it with --insecure where the network itself can be trusted",
            host=settings.host,
        )


def server_tls(settings: GatewaySettings) -> ssl.SSLContext | None:
    """Return how the gateway speaks TLS; None when it has no certificate.

    Raises:
        InvalidConfig: A file cannot be used.
    """
    if settings.certificate is None:
        if settings.key is not None or settings.client_ca is not None:
            raise InvalidConfig("gateway.key and gateway.client_ca need gateway.certificate")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key)
        if settings.client_ca is not None:
            context.load_verify_locations(settings.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise InvalidConfig(
            f"the gateway's certificate cannot be used: {error}; expected PEM files in "
            f"gateway.certificate ({settings.certificate}), gateway.key and gateway.client_ca"
        ) from None
    return context


class Gateway:
    """Listens while it is entered; leaving it ends every connection."""

    def __init__(
        self,
        desk: Desk,
        sockets: Sequence[socket.socket],
        *,
        settings: GatewaySettings,
        limits: Limits | None = None,
        grace: float = GRACE,
    ) -> None:
        """Prepare to listen.

        Args:
            desk: Carries out the requests.
            sockets: Bound and listening; closed at the end.
            settings: TLS, and the most connections.
            limits: How patient connections are.
            grace: Seconds that requests under way may take at the end.

        Raises:
            InvalidConfig: The certificate cannot be used.
        """
        self._desk = desk
        self._sockets = sockets
        self._tls = server_tls(settings)
        self._most = settings.connections
        self._limits = limits or Limits()
        self._grace = grace
        self._servers: list[asyncio.Server] = []
        self._open: dict[Connection, asyncio.Task[None]] = {}
        self._unknown: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        for one in self._sockets:
            server = await asyncio.start_server(
                self._take,
                sock=one,
                limit=CHUNK,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else HANDSHAKE_SECONDS,
            )
            self._servers.append(server)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take nobody new, answer what is under way, and hang up."""
        for server in self._servers:
            server.close()
        for connection in self._open:
            connection.stop()
        tasks = list(self._open.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._open)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, self._desk, self._limits)
        task = asyncio.current_task()
        address = connection.peer.rpartition(":")[0]
        if task is None or self._is_full(address):
            await _turn_away(writer)
            return
        self._open[connection] = task
        connection.on_known = lambda: self._known(address)
        self._unknown[address] += 1
        try:
            await connection.run()
        finally:
            if not connection.is_known:
                self._known(address)
            del self._open[connection]

    def _known(self, address: str) -> None:
        self._unknown[address] -= 1
        if self._unknown[address] <= 0:
            del self._unknown[address]

    def _is_full(self, address: str) -> bool:
        return len(self._open) >= self._most or self._unknown[address] >= UNKNOWN_EACH


async def _turn_away(writer: asyncio.StreamWriter) -> None:
    error = Unavailable("the gateway has as many connections as it takes; try again later")
    writer.write(pack(write(Response(CONNECTION, error=error_body(error)))))
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1.0):
            await writer.wait_closed()
