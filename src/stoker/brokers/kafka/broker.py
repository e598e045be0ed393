"""The broker: what the event loop sees of Kafka."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from stoker.brokers.kafka.address import parse
from stoker.brokers.kafka.line import LINGER, Line
from stoker.core.broker import BrokerStatus, Delivery, Ring
from stoker.core.clock import Clock, SystemClock

CLOSE_WITHIN = 8.0
"""Seconds that closing may take; what hangs then is left behind."""
_log = logging.getLogger(__name__)


class KafkaBroker:
    """See `stoker.core.broker.Broker`, and `stoker.brokers.kafka` for how Kafka is used."""

    def __init__(self, url: str, *, clock: Clock | None = None, linger: float = LINGER) -> None:
        """Name the servers; nothing is connected yet.

        Args:
            url: ``kafka://host:9092`` or ``kafkas://``; the guide to brokers has its options.
            clock: Time; the system's if not given.
            linger: Seconds that whoever stopped listening stays in the group.

        Raises:
            InvalidConfig: Not a URL of Kafka.
        """
        self._address = parse(url)
        self._clock = clock or SystemClock()
        self._linger = linger
        self._line: Line | None = None
        self._arrived = asyncio.Event()
        self._ended = asyncio.Event()
        self._last = BrokerStatus(scheme="kafka", connected=False, error="it is not open")

    async def __aenter__(self) -> Self:
        """See `Broker.__aenter__`."""
        loop = asyncio.get_running_loop()

        def tell(event: asyncio.Event) -> None:
            # The loop may be gone before the thread is.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(event.set)

        self._ended.clear()
        self._line = Line(
            self._address,
            self._clock,
            linger=self._linger,
            on_arrival=lambda: tell(self._arrived),
            on_end=lambda: tell(self._ended),
        )
        self._line.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """See `Broker.__aexit__`."""
        line, self._line = self._line, None
        if line is None:
            return
        line.close()
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                await self._ended.wait()
        except TimeoutError:
            _log.warning("the broker did not close within %g seconds; left behind", CLOSE_WITHIN)
        closed = line.status()
        self._last = BrokerStatus(
            scheme="kafka",
            connected=False,
            server=closed.server,
            error="it is not open",
            rung=closed.rung,
            dropped=closed.dropped,
            heard=closed.heard,
        )

    def ring(self, rings: Sequence[Ring]) -> None:
        """See `Broker.ring`."""
        if self._line is not None:
            self._line.ring(rings)

    async def listen(self, queues: Sequence[str], *, most: int, timeout: float) -> list[Delivery]:
        """See `Broker.listen`.

        Without queues the process stays in the group for a while, and its partitions with it:
        leaving and coming back with each full worker would move partitions all the time.
        """
        line = self._line
        if line is None:
            return []
        line.attend(queues)
        if not queues:
            return []
        end = asyncio.get_running_loop().time() + timeout
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                while True:
                    self._arrived.clear()
                    found = line.take(most)
                    if found:
                        return found
                    await self._arrived.wait()
        return []

    def done(self, deliveries: Sequence[Delivery]) -> None:
        """See `Broker.done`."""
        if self._line is not None:
            self._line.done(deliveries)

    def status(self) -> BrokerStatus:
        """See `Broker.status`."""
        return self._last if self._line is None else self._line.status()
