"""What a process hears: who waits for which queues, and which deliveries nobody has looked for yet.

One task listens, for all who wait in this process. It listens only while somebody waits, and
`LINGER` seconds longer: a process whose slots are full keeps no rings that would wake an idle one
elsewhere, and holds no delivery while a job runs. What it still has then is rung again.

A delivery wakes whoever waits for its queue once, and stays pending until an exchange has looked
into that queue. One that nobody needs is done at once and wakes nobody: of another store; or
naming only jobs that were leased in this process. So a stale backlog costs one exchange for each
full buffer, not one for each ring.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

from stoker.brokers.ringer import IDS, Ringer
from stoker.core.broker import Broker, Delivery, Ring
from stoker.core.job import Priority

PENDING = 6_000
"""The most deliveries that wait for an exchange."""
LINGER = 1.0
"""Seconds for which the broker is listened to after the last one who waited."""
LISTEN = 30.0
"""Seconds of one call to the broker."""

log = logging.getLogger(__name__)


class Ear:
    """One caller of `Store.wait`."""

    def __init__(self, *, rung: bool) -> None:
        """Make an ear; ``rung``: what it waits for came before it."""
        self.rung = rung
        """Whether something was heard."""
        self._scope: asyncio.Timeout | None = None

    def wakes(self, scope: asyncio.Timeout) -> None:
        """Let a ring end this scope, as if its time were over."""
        self._scope = scope

    def wake(self) -> None:
        """Something was heard."""
        if self._scope is not None and not self.rung:
            self._scope.reschedule(asyncio.get_running_loop().time())
        self.rung = True


class Ears:
    """Listens to a broker for all who wait in this process."""

    def __init__(self, broker: Broker, ringer: Ringer) -> None:
        """Prepare to listen; `run` does."""
        self.store = ""
        """The id of the store whose rings count."""
        self.foreign = 0
        """Deliveries from other stores."""
        self._broker = broker
        self._ringer = ringer
        self._waiting: dict[str, set[Ear]] = {}
        self._left_at: dict[str, float] = {}
        self._pending: dict[str, list[Delivery]] = {}
        self._fresh: set[str] = set()
        self._held = 0
        self._scope: asyncio.Timeout | None = None
        self._changed = asyncio.Event()
        self._subscribed: tuple[str, ...] = ()

    @contextmanager
    def listening(self, queues: Sequence[str]) -> Iterator[Ear]:
        """Wait for rings of queues, for as long as the block runs."""
        ear = Ear(rung=not self._fresh.isdisjoint(queues))
        self._fresh.difference_update(queues)
        is_new = False
        for name in queues:
            is_new = is_new or name not in self._subscribed
            self._waiting.setdefault(name, set()).add(ear)
        if is_new:
            self._resubscribe()
        try:
            yield ear
        finally:
            self._forget(ear, queues)

    def take(self, queues: Iterable[str]) -> list[Delivery]:
        """Take the deliveries that an exchange looks for, which is about to ask these queues."""
        if not self._pending:
            return []
        taken = [d for name in queues for d in self._pending.pop(name, ())]
        self._fresh.difference_update(queues)
        self._held -= len(taken)
        return taken

    def put_back(self, deliveries: Sequence[Delivery]) -> None:
        """Keep deliveries whose exchange was not answered."""
        for delivery in deliveries:
            self._keep(delivery)

    def looked(self, deliveries: Sequence[Delivery], dry: Collection[str]) -> None:
        """An exchange was answered: finish the deliveries that it looked for.

        Args:
            deliveries: Those that `take` gave.
            dry: The queues in which nothing was left.
        """
        left = [delivery for delivery in deliveries if delivery.ring.queue not in dry]
        if left:
            self._ringer.pass_on(self._what_is_left(left))
        self._broker.done(deliveries)
        if self._held + len(deliveries) >= PENDING:
            self._resubscribe()

    async def run(self) -> None:
        """Listen while somebody waits; runs until it is cancelled."""
        while True:
            self._changed.clear()
            queues, longest = self._wanted()
            if not queues:
                await self._hang_up()
                await self._changed.wait()
            elif self._held >= PENDING:
                # An exchange makes room. Without one, nobody waits, and the time to linger ends.
                await self._until_changed(longest)
            else:
                self._arrived(await self._listen(queues, longest))

    def close(self) -> None:
        """Pass on what was heard and never looked for."""
        left = [delivery for queue in self._pending.values() for delivery in queue]
        self._pending.clear()
        self._fresh.clear()
        self._held = 0
        if left:
            self._ringer.pass_on(self._what_is_left(left))
            self._broker.done(left)

    async def _listen(self, queues: tuple[str, ...], longest: float) -> list[Delivery]:
        """Hear what arrives, until somebody waits for another queue."""
        self._subscribed = queues
        try:
            async with asyncio.timeout(None) as self._scope:
                most = PENDING - self._held
                return await self._broker.listen(queues, most=most, timeout=longest)
        except TimeoutError:
            return []
        finally:
            self._scope = None

    async def _hang_up(self) -> None:
        self._subscribed = ()
        self.close()
        await self._broker.listen((), most=0, timeout=0)

    async def _until_changed(self, longest: float) -> None:
        try:
            async with asyncio.timeout(longest):
                await self._changed.wait()
        except TimeoutError:
            return

    def _wanted(self) -> tuple[tuple[str, ...], float]:
        """Return the queues to listen to, and for how many seconds at most."""
        now = asyncio.get_running_loop().time()
        self._left_at = {
            name: at
            for name, at in self._left_at.items()
            if at + LINGER > now and name not in self._waiting
        }
        soonest = min(self._left_at.values(), default=now + LISTEN)
        queues = tuple(sorted({*self._waiting, *self._left_at}))
        return queues, min(LISTEN, max(0.01, soonest + LINGER - now))

    def _resubscribe(self) -> None:
        self._changed.set()
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())

    def _forget(self, ear: Ear, queues: Sequence[str]) -> None:
        now = asyncio.get_running_loop().time()
        for name in set(queues):
            ears = self._waiting[name]
            ears.discard(ear)
            if not ears:
                del self._waiting[name]
                self._left_at[name] = now

    def _arrived(self, deliveries: Sequence[Delivery]) -> None:
        useless = []
        for delivery in deliveries:
            ring = delivery.ring
            if ring.store != self.store:
                self._note_foreign(ring)
                useless.append(delivery)
            elif self._is_stale(ring):
                useless.append(delivery)
            else:
                self._keep(delivery)
        if useless:
            self._broker.done(useless)

    def _keep(self, delivery: Delivery) -> None:
        queue = delivery.ring.queue
        self._pending.setdefault(queue, []).append(delivery)
        self._held += 1
        ears = self._waiting.get(queue)
        if ears:
            for ear in ears:
                ear.wake()
        else:
            self._fresh.add(queue)

    def _is_stale(self, ring: Ring) -> bool:
        mine = self._ringer.mine
        return bool(ring.ids) and all(job_id in mine for job_id in ring.ids)

    def _note_foreign(self, ring: Ring) -> None:
        self.foreign += 1
        if self.foreign == 1:
            log.warning(
                "two different stores are behind one broker: a ring came from store %s, and this "
                "is %s. Such rings are dropped, and the workers of the other store miss them; give "
                "each system a namespace of its own in the broker's URL: ?namespace=NAME",
                ring.store,
                self.store,
            )

    def _what_is_left(self, deliveries: Iterable[Delivery]) -> list[Ring]:
        """Return rings for what these rang for, without the jobs that were leased here."""
        mine = self._ringer.mine
        left: dict[tuple[str, Priority], list[str] | None] = {}
        for delivery in deliveries:
            ring = delivery.ring
            key = (ring.queue, ring.priority)
            known = left.setdefault(key, [])
            ids = [job_id for job_id in ring.ids if job_id not in mine]
            if known is None or not ring.ids or len(known) + len(ids) > IDS:
                left[key] = None
            else:
                known += ids
        return [
            Ring(self.store, queue, priority, tuple(ids or ()))
            for (queue, priority), ids in left.items()
            if ids is None or ids
        ]
