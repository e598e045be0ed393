"""The gateway on TCP: takes connections, bounds their number, and ends them together."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Collection, Sequence
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
ACCEPT_PAUSE = 0.1
"""Seconds of rest when the machine gives no more connections."""
GRACE = 10.0
"""Seconds that requests under way may take when the gateway stops."""

log = logging.getLogger(__name__)


def check_exposed(
    settings: GatewaySettings,
    addresses: Sequence[str],
    *,
    insecure: bool = False,
    has_keys: bool = False,
) -> None:
    """Refuse to listen where other machines come, without a proof of who they are.

    Args:
        settings: Of the gateway.
        addresses: Where it listens.
        insecure: Whether that was asked for in so many words.
        has_keys: Whether the store has API keys, which are asked for then.

    Raises:
        InvalidOption: It would be open to everybody, or readable on the way.
        InvalidConfig: The clients make no sense.
    """
    is_open = Authority(settings).is_open and not has_keys
    if insecure or all(ipaddress.ip_address(ip).is_loopback for ip in addresses):
        return
    lacking = [
        what
        for what, lacks in (
            ("TLS (gateway.certificate)", settings.certificate is None),
            ("a token, a key (stoker keys create) or client certificates", is_open),
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
    return make_tls(
        settings.certificate, settings.key, client_ca=settings.client_ca, section="gateway"
    )


def make_tls(
    certificate: str | None, key: str | None, *, client_ca: str | None = None, section: str
) -> ssl.SSLContext | None:
    """Return how a listener speaks TLS, 1.2 or newer; None when it has no certificate.

    Args:
        certificate: File with the chain (PEM).
        key: File with the private key; the certificate's file if not given.
        client_ca: File with the authorities of the clients, who then must have a certificate.
        section: Of the settings, for errors.

    Raises:
        InvalidConfig: A file cannot be used.
    """
    if certificate is None:
        if key is not None or client_ca is not None:
            also = "" if client_ca is None else f" and {section}.client_ca"
            raise InvalidConfig(f"{section}.key{also} need {section}.certificate")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise InvalidConfig(
            f"the certificate of the {section} cannot be used: {error}; expected PEM files in "
            f"{section}.certificate ({certificate}), {section}.key"
            f"{f' and {section}.client_ca' if client_ca else ''}"
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
        self._accepting: list[asyncio.Task[None]] = []
        self._open: dict[asyncio.Task[None], Connection | None] = {}
        self._unknown: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        # Kept and awaited by `__aexit__`: a task group would need somebody who stays inside it.
        loop = asyncio.get_running_loop()
        self._accepting = [loop.create_task(self._accept(one)) for one in self._sockets]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take nobody new, answer what is under way, and hang up."""
        await _end(self._accepting)
        for one in self._sockets:
            one.close()
        for task, connection in self._open.items():
            if connection is None:
                task.cancel()
            else:
                connection.stop()
        if self._open:
            _, late = await asyncio.wait(self._open, timeout=self._grace)
            await _end(late)

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._open)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, (address, *_) = await loop.sock_accept(listening)
            except OSError as error:
                # Out of descriptors, most likely: those who are here go on.
                log.warning("the gateway cannot take a connection: %s", error)
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            # Counted here, before TLS: a handshake that never ends takes a place, too.
            if self._is_full(address):
                self._turn_away(accepted)
                continue
            self._unknown[address] += 1
            task = loop.create_task(self._take(accepted, address))
            self._open[task] = None
            task.add_done_callback(self._open.pop)

    async def _take(self, accepted: socket.socket, address: str) -> None:
        task = asyncio.current_task()
        known = False

        def on_known() -> None:
            nonlocal known
            known = True
            self._forget_stranger(address)

        try:
            reader, writer = await _streams(accepted, self._tls)
            connection = Connection(reader, writer, self._desk, self._limits, on_known=on_known)
            if task is not None:
                self._open[task] = connection
            await connection.run()
        except (OSError, TimeoutError) as error:
            log.info("the connection from %s is no TLS that can be used: %s", address, error)
        finally:
            if not known:
                self._forget_stranger(address)

    def _forget_stranger(self, address: str) -> None:
        self._unknown[address] -= 1
        if self._unknown[address] <= 0:
            del self._unknown[address]

    def _is_full(self, address: str) -> bool:
        return len(self._open) >= self._most or self._unknown[address] >= UNKNOWN_EACH

    def _turn_away(self, accepted: socket.socket) -> None:
        """Say why, if it fits into the socket's buffer, and hang up."""
        error = Unavailable("the gateway has as many connections as it takes; try again later")
        with accepted, contextlib.suppress(OSError):
            accepted.setblocking(False)  # noqa: FBT003 - the socket's own word
            if self._tls is None:
                accepted.send(pack(write(Response(CONNECTION, error=error_body(error)))))


async def _streams(
    accepted: socket.socket, tls: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=CHUNK)
    protocol = asyncio.StreamReaderProtocol(reader)
    try:
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            accepted,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else HANDSHAKE_SECONDS,
        )
    except BaseException:
        accepted.close()
        raise
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
