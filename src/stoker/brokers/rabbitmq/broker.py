"""`RabbitBroker`: a `stoker.core.broker.Broker` at a RabbitMQ server, 3.10 or newer.

Two connections with one channel each, because a server that is short of memory stops to read from
every connection that publishes, acknowledgements included. A process that never listens has one.
"""

import asyncio
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from stoker.brokers.rabbitmq.address import parse
from stoker.brokers.rabbitmq.hearing import Hearing
from stoker.brokers.rabbitmq.line import Line, Use
from stoker.brokers.rabbitmq.queues import Declaring
from stoker.brokers.rabbitmq.voice import BLOCKED, Voice
from stoker.core.broker import BrokerStatus, Delivery, Ring
from stoker.core.clock import Clock

FAREWELL = 2.0
"""Seconds for the last rings when a broker is closed."""

SILENCE = 60.0
"""Seconds between two outages that are logged: a connection that comes and goes is one trouble."""

log = logging.getLogger(__name__)


class RabbitBroker:
    """Rings and listens at one RabbitMQ server."""

    def __init__(self, url: str, *, clock: Clock) -> None:
        """Prepare a broker; nothing is connected yet.

        Args:
            url: ``amqp://user:password@host:5672/vhost?namespace=stoker``, or ``amqps://`` with
                ``?ca=FILE``.
            clock: Chance, for the pauses between tries to connect.

        Raises:
            InvalidConfig: Not such a URL, or a certificate cannot be used.
        """
        self._address = parse(url)
        self._address.tls()
        declaring = Declaring()
        self._voice = Voice(self._address, declaring)
        self._hearing = Hearing(self._address, declaring)
        self._outgoing = self._line("stoker rings", self._voice.use, clock)
        self._incoming = self._line("stoker listens", self._hearing.use, clock)
        self._tasks: list[asyncio.Task[None]] = []
        self._is_open = False
        self._was_told = False
        self._silent_until = float("-inf")
        self._clock = clock

    async def __aenter__(self) -> Self:
        """See `Broker.__aenter__`."""
        self._is_open = True
        self._start(self._outgoing)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """See `Broker.__aexit__`."""
        await self._voice.until_sent(FAREWELL)
        if self._incoming.connected:
            await self._hearing.until_finished(FAREWELL)
        self._is_open = False
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for ending in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ending, Exception):
                log.error("a connection to RabbitMQ had ended", exc_info=ending)

    def ring(self, rings: Sequence[Ring]) -> None:
        """See `Broker.ring`."""
        is_away = not self._is_open or bool(self._outgoing.error)
        self._voice.ring(rings, is_away=is_away)

    async def listen(self, queues: Sequence[str], *, most: int, timeout: float) -> list[Delivery]:
        """See `Broker.listen`."""
        if queues and self._is_open and len(self._tasks) == 1:
            self._start(self._incoming)
        return await self._hearing.listen(queues, most=most, timeout=timeout)

    def done(self, deliveries: Sequence[Delivery]) -> None:
        """See `Broker.done`."""
        self._hearing.done(deliveries)

    def status(self) -> BrokerStatus:
        """See `Broker.status`."""
        lines = [self._outgoing, self._incoming][: max(1, len(self._tasks))]
        error = next((line.error for line in lines if line.error), "")
        return BrokerStatus(
            scheme="amqp",
            connected=self._is_open and all(line.connected for line in lines),
            server=self._outgoing.server,
            error=error or (BLOCKED if self._voice.is_blocked else ""),
            fault=next((line.fault for line in lines if line.fault), ""),
            rung=self._voice.rung,
            dropped=self._voice.dropped,
            heard=self._hearing.heard,
        )

    def _line(self, name: str, use: Use, clock: Clock) -> Line:
        return Line(self._address, clock=clock, name=name, use=use, changed=self._changed)

    def _start(self, line: Line) -> None:
        # They live as long as the broker is open: kept, and awaited when it closes.
        self._tasks.append(asyncio.create_task(line.run(), name="stoker-rabbitmq"))  # noqa: TID251

    def _changed(self) -> None:
        """Tell of an outage once, and of its end."""
        status = self.status()
        if not self._is_open:
            return
        if self._outgoing.error:
            self._voice.give_up()
        if status.error and not status.connected and not self._was_told:
            self._was_told = True
            now = self._clock.monotonic()
            if now < self._silent_until:
                return
            self._silent_until = now + SILENCE
            log.warning(
                "no broker, workers look by themselves: %s; it is tried again", status.error
            )
        elif status.connected and self._was_told:
            self._was_told = False
            log.info("the broker is back: %s", status.server)
