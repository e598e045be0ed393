"""Rings that come in: consumers for each queue and priority, a buffer, and what is done with it.

*Prefetch* is bounded for the whole process, so that nobody hoards rings, and so is memory.
*Priority* is strict with an escape: of what has arrived the urgent goes first, and one in `ESCAPE`
goes by age alone. *Acknowledging* is done in runs: one frame for all deliveries up to the first
that is not done yet. A *backlog* of rings from a time in which nobody was idle is thrown away.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from stoker.brokers.rabbitmq.address import Address
from stoker.brokers.rabbitmq.queues import Declaring
from stoker.core.broker import MAX_IDS, Delivery, Ring
from stoker.core.job import PRIORITIES

PREFETCH = 6_000
"""The most deliveries that are not done in this process, over all its queues."""
PREFETCH_LEAST = 20
"""The least for one queue and priority, however many there are."""
BACKLOG = 2_000
"""More rings than this in a queue to which nobody listened are thrown away for one look: whoever
becomes idle looks by himself, so they would wake somebody for what he has seen."""
ESCAPE = 8
"""One delivery in so many goes by age alone."""

_decode = msgspec.json.Decoder(Ring).decode


class _Tag(NamedTuple):
    life: int
    """Which channel of this process delivered it."""
    number: int


class Hearing:
    """Hears rings over one channel at a time."""

    def __init__(self, address: Address, declaring: Declaring) -> None:
        """Prepare to listen; a `Line` calls `use`."""
        self._address = address
        self._declaring = declaring
        self._queues: frozenset[str] = frozenset()
        self._life = 0
        self._lanes: tuple[deque[Delivery], ...] = tuple(deque() for _ in PRIORITIES)
        self._arrived = asyncio.Event()
        self._changed = asyncio.Event()
        self._tidy = asyncio.Event()
        self._tidy.set()
        self._unfinished: dict[int, None] = {}
        self._finished: set[int] = set()
        self._refused: list[int] = []
        self._consumers: dict[str, str] = {}
        self._taken = 0
        self.heard = 0

    async def listen(self, queues: Sequence[str], *, most: int, timeout: float) -> list[Delivery]:
        """See `Broker.listen`."""
        if self._queues != frozenset(queues):
            self._queues = frozenset(queues)
            self._give_back_others()
            self._changed.set()
        if not queues:
            return []
        try:
            async with asyncio.timeout(timeout):
                while not any(self._lanes):
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            return []
        return self._take(most)

    def done(self, deliveries: Iterable[Delivery]) -> None:
        """See `Broker.done`."""
        for delivery in deliveries:
            tag = delivery.tag
            if isinstance(tag, _Tag) and tag.life == self._life and tag.number in self._unfinished:
                self._finished.add(tag.number)
        if self._finished:
            self._tidy.clear()
            self._changed.set()

    async def until_finished(self, timeout: float) -> None:
        """Wait until what is done is acknowledged."""
        try:
            async with asyncio.timeout(timeout):
                await self._tidy.wait()
        except TimeoutError:
            return

    async def use(self, channel: AbstractChannel) -> None:
        """Hear what is rung, for as long as the channel lives."""
        self._begin()
        channel.on_consumer_cancel_callbacks.add(self._cancelled)
        while True:
            self._changed.clear()
            await self._subscribe(channel)
            await self._finish(channel)
            await self._changed.wait()

    def _begin(self) -> None:
        """Forget the channel before, with all that it delivered: it comes again."""
        self._life += 1
        self._unfinished.clear()
        self._finished.clear()
        self._refused.clear()
        self._consumers.clear()
        self._tidy.set()
        for lane in self._lanes:
            lane.clear()

    async def _subscribe(self, channel: AbstractChannel) -> None:
        wanted = {
            self._address.queue(name, priority) for name in self._queues for priority in PRIORITIES
        }
        for name in self._consumers.keys() - wanted:
            await channel.basic_cancel(self._consumers.pop(name))
        new = sorted(wanted - self._consumers.keys())
        if new:
            most = max(PREFETCH_LEAST, PREFETCH // len(wanted))
            await channel.basic_qos(prefetch_count=most)
        for name in new:
            state = await self._declaring.declare(channel, name)
            if (state.message_count or 0) > BACKLOG and not state.consumer_count:
                await self._throw_away(channel, name)
            answer = await channel.basic_consume(name, self._hear)
            self._consumers[name] = answer.consumer_tag or ""
        # What was on its way while consumers were cancelled.
        self._give_back_others()

    async def _throw_away(self, channel: AbstractChannel, name: str) -> None:
        """Look once instead of hearing thousands of rings that nobody was idle to hear."""
        last = await channel.basic_get(name, no_ack=True)
        await channel.queue_purge(name)
        ring = _read(last.body)
        if ring is not None:
            look = msgspec.structs.replace(ring, ids=())
            self._lanes[ring.priority.rank].append(Delivery(look, _Tag(0, 0)))
            self.heard += 1
            self._arrived.set()

    async def _finish(self, channel: AbstractChannel) -> None:
        """Acknowledge what is done, in runs, and return what nobody here wants."""
        for number in self._refused:
            if self._unfinished.pop(number, self) is None:
                await channel.basic_reject(number, requeue=True, wait=False)
        self._refused.clear()
        last = 0
        for number in list(self._unfinished):
            if number not in self._finished:
                break
            del self._unfinished[number]
            self._finished.discard(number)
            last = number
        apart = sorted(self._finished)
        self._finished.clear()
        if last:
            await channel.basic_ack(last, multiple=True)
        for number in apart:
            del self._unfinished[number]
            await channel.basic_ack(number)
        if not self._finished:
            self._tidy.set()

    async def _hear(self, message: DeliveredMessage) -> None:
        number = message.delivery_tag or 0
        self._unfinished[number] = None
        ring = _read(message.body)
        if ring is None:
            # Not from us: nobody can use it, and it must not come again.
            self._finished.add(number)
            self._changed.set()
            return
        self.heard += 1
        self._lanes[ring.priority.rank].append(Delivery(ring, _Tag(self._life, number)))
        if ring.queue not in self._queues:
            self._changed.set()
        self._arrived.set()

    def _take(self, most: int) -> list[Delivery]:
        taken: list[Delivery] = []
        while len(taken) < most and any(self._lanes):
            self._taken += 1
            full = [lane for lane in self._lanes if lane]
            lane = min(full, key=_age) if self._taken % ESCAPE == 0 else full[0]
            taken.append(lane.popleft())
        return taken

    def _give_back_others(self) -> None:
        """Return what arrived for queues that are not listened to any more."""
        for lane in self._lanes:
            for delivery in [d for d in lane if d.ring.queue not in self._queues]:
                lane.remove(delivery)
                self._refused.append(_number(delivery))

    async def _cancelled(self, frame: Basic.Cancel) -> None:
        """The server ended a consumer: its queue was deleted. It is made again."""
        for name, tag in list(self._consumers.items()):
            if tag == frame.consumer_tag:
                del self._consumers[name]
        self._changed.set()


def _read(body: bytes) -> Ring | None:
    """Return the ring in a message; None if it is none of ours."""
    try:
        ring = _decode(body)
    except msgspec.MsgspecError:
        return None
    return ring if len(ring.ids) <= MAX_IDS else None


def _number(delivery: Delivery) -> int:
    return delivery.tag.number if isinstance(delivery.tag, _Tag) else 0


def _age(lane: deque[Delivery]) -> int:
    return _number(lane[0])
