"""Rings that go out: gathered while the last ones are on their way, confirmed, awaited by nobody.

Between `Broker.ring`, which never waits, and a server that may be slow, full or frozen lie two
bounds: of rings that wait here, and of messages that are not confirmed yet. What does not fit is
dropped and counted. While there is no connection everything is, except before the first try has
failed: a program that submits one job and ends connects and rings in its last moments.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence

import msgspec
from aiormq.abc import AbstractChannel
from aiormq.exceptions import AMQPError, ChannelInvalidStateError, DeliveryError, PublishError
from pamqp.commands import Basic

from stoker.brokers.rabbitmq.address import Address
from stoker.brokers.rabbitmq.queues import Declaring
from stoker.core.broker import Ring

OUTBOX = 2_000
"""The most rings that wait."""
IN_FLIGHT = 100
"""The most messages that are not confirmed."""
BLOCKED = "RabbitMQ takes no rings at present: it is short of memory or disk space"
_TRANSIENT = 1

_encode = msgspec.json.Encoder().encode


class Voice:
    """Sends rings over one channel at a time."""

    def __init__(self, address: Address, declaring: Declaring) -> None:
        """Prepare to ring; a `Line` calls `use`."""
        self._address = address
        self._declaring = declaring
        self._waiting: deque[Ring] = deque()
        self._filled = asyncio.Event()
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._known: set[str] = set()
        self.rung = 0
        self.dropped = 0
        self.is_blocked = False
        """Whether the server asked for silence."""

    def ring(self, rings: Sequence[Ring], *, is_away: bool) -> None:
        """Send rings when it is possible; drop them when there is no room or no server."""
        room = 0 if is_away else OUTBOX - len(self._waiting)
        self._waiting.extend(rings[:room])
        self.rung += len(rings[:room])
        self.dropped += len(rings[room:])
        if self._waiting:
            self._idle.clear()
            self._filled.set()

    def give_up(self) -> None:
        """Drop what waits: the server is away."""
        self.dropped += len(self._waiting)
        self._waiting.clear()
        self._note_idle()

    async def until_sent(self, timeout: float) -> None:
        """Wait until everything is sent and confirmed, or given up."""
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            self.give_up()

    async def use(self, channel: AbstractChannel) -> None:
        """Send what is rung, for as long as the channel lives."""
        self._known.clear()
        window = asyncio.Semaphore(IN_FLIGHT)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._filled.wait()
                    self._filled.clear()
                    self.is_blocked = True
                    await channel.connection.ready()
                    self.is_blocked = False
                    while self._waiting:
                        await window.acquire()
                        self._under_way += 1
                        group.create_task(self._send(channel, self._waiting.popleft(), window))
        except BaseExceptionGroup as group_error:
            raise _first(group_error) from None
        finally:
            self.is_blocked = False
            self.dropped += self._under_way
            self._under_way = 0
            self._note_idle()

    async def _send(self, channel: AbstractChannel, ring: Ring, window: asyncio.Semaphore) -> None:
        try:
            await self._publish(channel, ring)
        except DeliveryError:
            self._under_way -= 1
            self.dropped += 1
        else:
            self._under_way -= 1
        finally:
            window.release()
            self._note_idle()

    async def _publish(self, channel: AbstractChannel, ring: Ring) -> None:
        name = self._address.queue(ring.queue, ring.priority)
        if name not in self._known:
            await self._declaring.declare(channel, name)
            self._known.add(name)
        try:
            await self._put(channel, name, ring)
        except PublishError:
            # The queue was deleted under us.
            await self._declaring.declare(channel, name)
            await self._put(channel, name, ring)

    async def _put(self, channel: AbstractChannel, name: str, ring: Ring) -> None:
        properties = Basic.Properties(delivery_mode=_TRANSIENT, content_type="application/json")
        await channel.basic_publish(
            _encode(ring), routing_key=name, properties=properties, mandatory=True
        )

    def _note_idle(self) -> None:
        if not (self._waiting or self._under_way):
            self._idle.set()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return one of the errors that ended the channel; anything else is a bug, and wins."""
    found = [error for error in _leaves(group) if not isinstance(error, asyncio.CancelledError)]
    bugs = [e for e in found if not isinstance(e, AMQPError | ChannelInvalidStateError | OSError)]
    return (bugs or found or [group])[0]


def _leaves(error: BaseException) -> Iterable[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for inner in error.exceptions:
        yield from _leaves(inner)
