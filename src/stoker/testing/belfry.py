"""A broker inside the process: the reference of the contract, and a broker that misbehaves by plan.

::

    belfry = Belfry()                     # the server
    async with LocalBroker(belfry) as one, LocalBroker(belfry) as two: ...
    belfry.copies = 3                     # every ring arrives three times
    belfry.shuffle = random.Random(1)     # in any order
    belfry.loses = lambda ring: True      # and these never
    belfry.kill()                         # until belfry.start()
"""

import asyncio
import random  # noqa: TID251 - seeded by the test that shuffles
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from types import TracebackType
from typing import NamedTuple, Self

from stoker.core.broker import BrokerStatus, Delivery, Ring

OUTBOX = 1_000
"""Rings that wait for a frozen server; more are dropped."""
PREFETCH = 100
"""Rings that one handle takes ahead of its caller."""


class _Tag(NamedTuple):
    life: int
    number: int


class Belfry:
    """The server: rings by queue, that survive its death, and faults by plan."""

    def __init__(self) -> None:
        """Make a server that runs."""
        self.copies = 1
        """How often each ring is delivered."""
        self.shuffle: random.Random | None = None
        """Gives the order of deliveries, if it is not the order of rings."""
        self.loses: Callable[[Ring], bool] = lambda _: False
        """Which rings vanish on their way."""
        self.life = 1
        """Rises with each start."""
        self.is_up = True
        self.is_frozen = False
        self.rings: dict[str, deque[Ring]] = {}
        """What waits in each queue."""
        self._stirred: set[asyncio.Event] = set()

    @property
    def answers(self) -> bool:
        """Whether it runs and is not frozen."""
        return self.is_up and not self.is_frozen

    def kill(self) -> None:
        """End it at once, with all its connections."""
        self.is_up = self.is_frozen = False
        self.stir()

    def start(self) -> None:
        """Let it run, with the rings that it had."""
        self.is_up = True
        self.life += 1
        self.stir()

    def freeze(self) -> None:
        """Let it answer nothing, with its connections open."""
        self.is_frozen = True

    def thaw(self) -> None:
        """Let it go on."""
        self.is_frozen = False
        self.stir()

    def put(self, rings: Sequence[Ring]) -> None:
        """Take rings in."""
        for ring in rings:
            if not self.loses(ring):
                self.rings.setdefault(ring.queue, deque()).extend([ring] * self.copies)
        self.stir()

    def take(self, queues: Sequence[str], most: int) -> list[Ring]:
        """Give rings out, in turn."""
        taken: list[Ring] = []
        for name in queues:
            waiting = self.rings.get(name, deque())
            if self.shuffle is not None:
                self.shuffle.shuffle(waiting)
            while waiting and len(taken) < most:
                taken.append(waiting.popleft())
        return taken

    def watch(self, event: asyncio.Event) -> None:
        """Set an event whenever something changes."""
        self._stirred.add(event)

    def unwatch(self, event: asyncio.Event) -> None:
        """Do not set it any more."""
        self._stirred.discard(event)

    def stir(self) -> None:
        """Tell all who watch."""
        for event in self._stirred:
            event.set()


class LocalBroker:
    """A `stoker.core.broker.Broker` at a `Belfry`."""

    def __init__(self, belfry: Belfry) -> None:
        """Make a handle, not yet open."""
        self._belfry = belfry
        self._life = 0
        self._numbers = count()
        self._stirred = asyncio.Event()
        self._queues: tuple[str, ...] = ()
        self._outbox: list[Ring] = []
        self._arrived: list[Delivery] = []
        self._unfinished: dict[_Tag, Ring] = {}
        self._rung = self._dropped = self._heard = 0

    async def __aenter__(self) -> Self:
        """See `Broker.__aenter__`."""
        self._belfry.watch(self._stirred)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """See `Broker.__aexit__`."""
        self._send()
        self._belfry.unwatch(self._stirred)
        self._give_back(self._unfinished)

    def ring(self, rings: Sequence[Ring]) -> None:
        """See `Broker.ring`."""
        room = OUTBOX - len(self._outbox) if self._belfry.is_up else 0
        self._outbox += rings[:room]
        self._rung += len(rings[:room])
        self._dropped += len(rings[room:])
        self._send()

    async def listen(self, queues: Sequence[str], *, most: int, timeout: float) -> list[Delivery]:
        """See `Broker.listen`."""
        if tuple(queues) != self._queues:
            self._queues = tuple(queues)
            kept = [d for d in self._arrived if d.ring.queue in queues]
            self._give_back([_tag(d) for d in self._arrived if d.ring.queue not in queues])
            self._arrived = kept
        try:
            async with asyncio.timeout(timeout):
                while queues:
                    self._stirred.clear()
                    self._fetch()
                    if self._arrived:
                        break
                    await self._stirred.wait()
        except TimeoutError:
            return []
        self._arrived.sort(key=lambda delivery: delivery.ring.priority.rank)
        given, self._arrived = self._arrived[:most], self._arrived[most:]
        return given

    def done(self, deliveries: Sequence[Delivery]) -> None:
        """See `Broker.done`."""
        for delivery in deliveries:
            self._unfinished.pop(_tag(delivery), None)
        # There is room for more.
        self._stirred.set()

    def status(self) -> BrokerStatus:
        """See `Broker.status`."""
        self._fetch()
        return BrokerStatus(
            scheme="local",
            connected=self._belfry.is_up,
            server="Belfry 1" if self._life else "",
            error="" if self._belfry.is_up else "the belfry is down",
            rung=self._rung,
            dropped=self._dropped,
            heard=self._heard,
        )

    def _fetch(self) -> None:
        """Notice a server that was started anew, and take what there is for us."""
        belfry = self._belfry
        if not belfry.answers:
            return
        if self._life != belfry.life:
            self._give_back(self._unfinished)
            self._arrived.clear()
            self._life = belfry.life
        self._send()
        for ring in belfry.take(self._queues, PREFETCH - len(self._unfinished)):
            tag = _Tag(self._life, next(self._numbers))
            self._unfinished[tag] = ring
            self._arrived.append(Delivery(ring, tag))
            self._heard += 1

    def _send(self) -> None:
        if self._belfry.answers and self._outbox:
            sent, self._outbox = self._outbox, []
            self._belfry.put(sent)

    def _give_back(self, tags: Sequence[_Tag] | dict[_Tag, Ring]) -> None:
        for tag in list(tags):
            ring = self._unfinished.pop(tag, None)
            if ring is not None:
                self._belfry.rings.setdefault(ring.queue, deque()).append(ring)
        self._belfry.stir()


def _tag(delivery: Delivery) -> _Tag:
    if not isinstance(delivery.tag, _Tag):
        raise TypeError(f"the tag {delivery.tag!r} is not of this broker")
    return delivery.tag
