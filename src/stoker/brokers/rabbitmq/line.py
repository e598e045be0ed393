"""One connection to the server with one channel, made again whenever it is lost.

The driver's own reconnecting, and layers above it that restore channels by themselves, acknowledge
old deliveries on new channels, which is an error that closes the new one. Here nothing survives a
connection: whoever uses a line begins anew with each channel.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiormq import Connection
from aiormq.abc import AbstractChannel
from aiormq.connection import TransportFactory
from yarl import URL

from stoker.brokers.rabbitmq.address import Address
from stoker.brokers.rabbitmq.faults import LOST, describe
from stoker.cancelling import is_cancelled
from stoker.core.clock import Clock

CONNECT = 10.0
"""Seconds that connecting may take, the login included."""
BACKOFF = 0.1
"""Seconds before the first new try, at the most; each further one waits up to twice as long."""
BACKOFF_CAP = 5.0
GOODBYE = 2.0
"""Seconds for a polite end, after which the connection is cut."""

log = logging.getLogger(__name__)

Use = Callable[[AbstractChannel], Awaitable[None]]
"""Works with a channel until it is cancelled, or until an error of the driver ends it."""

# It tells of each failed try, with tracebacks; here each outage is told once.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)


class Line:
    """Keeps one connection and hands out its channel, again and again."""

    def __init__(
        self,
        address: Address,
        *,
        clock: Clock,
        name: str,
        use: Use,
        changed: Callable[[], None],
    ) -> None:
        """Prepare a line; `run` keeps it.

        Args:
            address: Where to.
            clock: Chance, for the pauses between tries.
            name: What the server's operators see.
            use: Works with each channel.
            changed: Called when the line was made or lost.
        """
        self._address = address
        self._clock = clock
        self._name = name
        self._use = use
        self._changed = changed
        self.connected = False
        """Whether there is a channel now."""
        self.error = ""
        """Why there is none; empty while the first try is under way."""
        self.fault = ""
        """Why there was none the last time."""
        self.server = ""
        """Product and version."""

    async def run(self) -> None:
        """Keep the line; runs until it is cancelled."""
        failures = 0
        tls = self._address.tls()
        while True:
            factory = _Transport(tls)
            connection = Connection(
                self._address.url,
                transport_factory=factory,
                client_properties={"connection_name": self._name, "product": "Stoker"},
            )
            try:
                failures += 1
                await self._until_lost(connection)
            except LOST as error:
                self._lost(error)
            except Exception as error:
                log.exception("a connection to RabbitMQ failed in a way that nobody foresaw")
                self._lost(error)
            finally:
                was_connected, self.connected = self.connected, False
                await _hang_up(connection, factory)
                self._changed()
            if is_cancelled():
                return
            if was_connected:
                failures = 0
            longest = min(BACKOFF_CAP, BACKOFF * 2.0 ** min(failures, 16))
            await asyncio.sleep(longest * self._clock.random())

    async def _until_lost(self, connection: Connection) -> None:
        async with asyncio.timeout(CONNECT):
            await connection.connect()
            channel = await connection.channel(on_return_raises=True)
        properties: Any = connection.server_properties
        self.server = f"{_text(properties.get('product'))} {_text(properties.get('version'))}"
        self.connected, self.error = True, ""
        self._changed()
        ends = (connection.closing, channel.closing)
        scope = asyncio.timeout(None)
        try:
            async with scope:
                for end in ends:
                    end.add_done_callback(lambda _: _cut(scope))
                await self._use(channel)
        except LOST as error:
            # What the server said is a better reason than what the next call met.
            reasons = [end.exception() for end in ends if end.done() and not end.cancelled()]
            said = [reason for reason in reasons if reason is not None]
            self._lost(said[0] if said else None if scope.expired() else error)

    def _lost(self, error: BaseException | None) -> None:
        self.error = self.fault = describe(error, self._address)


class _Transport(TransportFactory):
    """Connects, and can cut what it connected: a frozen server answers no goodbye."""

    def __init__(self, tls: Any) -> None:
        self._tls = tls
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self._writer = await asyncio.open_connection(url.host, url.port, ssl=self._tls)
        return reader, self._writer

    def cut(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


async def _hang_up(connection: Connection, factory: _Transport) -> None:
    """Say goodbye for a bounded time, then cut the connection; leaves no task of the driver."""
    # Retrieved, or the event loop complains of an error that nobody looked at.
    connection.closing.add_done_callback(_look_at)
    tasks = [getattr(connection, name, None) for name in ("_reader_task", "_writer_task")]
    left = {task for task in tasks if task is not None}
    if left:
        # A task of its own: the driver ends its callers with a cancellation that is not ours, and
        # ours must not be lost among those.
        left.add(asyncio.create_task(_say_goodbye(connection)))  # noqa: TID251 - awaited below
    try:
        if left:
            await asyncio.wait(left, timeout=GOODBYE)
    finally:
        factory.cut()
        if left:
            await asyncio.wait(left, timeout=GOODBYE)


async def _say_goodbye(connection: Connection) -> None:
    with suppress(*LOST, asyncio.CancelledError):
        async with asyncio.timeout(GOODBYE):
            await connection.close()


def _cut(scope: asyncio.Timeout) -> None:
    if not scope.expired():
        with suppress(RuntimeError):  # the scope has ended by itself meanwhile
            scope.reschedule(asyncio.get_running_loop().time())


def _look_at(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
