"""Who waits for what, and how he is woken.

Notifications never go out with the command that causes them: PostgreSQL lets notifying commits
through one at a time, over all databases of a server. What commands change is gathered, and one
connection tells it, at most once in `PACE` seconds, in a transaction that waits for no disk. A
message names queues, and jobs by a number that is theirs and now and then another one's too.

Hearing takes a connection of its own (`ear`). While messages arrive, waiters look into the store by
themselves seldom, else often. A job that becomes due makes no noise, so the clock is asked too.

A waiter for queues is not believed on hearsay: it looks whether there is a job to be leased, and
sleeps on if another worker was faster.
"""

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Sequence
from zlib import crc32

import msgspec

from stoker.core.clock import Clock
from stoker.core.errors import StokerError
from stoker.stores.postgres.address import Address
from stoker.stores.postgres.ear import Ear
from stoker.stores.postgres.lines import Lines
from stoker.stores.postgres.phrases import Names, clean

PACE = 0.01
"""Seconds between two notifications of one handle, at the least."""
POLL = 2.0
"""Seconds between two looks of a waiter that can be told."""
DEAF_POLL = 0.2
"""Seconds between two looks of one that cannot."""
CLOCK_POLL = 0.05
"""Seconds between two looks at an injected clock, which may jump, and nobody tells."""
_MOST_JOBS = 400
_MOST_BYTES = 7_000
_ANYTHING: tuple[None, None] = (None, None)

_NOTIFY = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)"
_LOOK = "SELECT ready, next_due_at, now, changes, all_ended FROM @look($1, $2, $3)"


class _Look(msgspec.Struct, array_like=True, gc=False):
    """What a waiter saw of the store."""

    looked_at: float
    ready: bool
    next_due_at: float | None
    now: float
    changes: str | None
    all_ended: bool


class Waiter:
    """One caller of `Store.wait`."""

    __slots__ = ("closed", "event", "ids", "queues", "rung")

    def __init__(self, queues: Collection[str], ids: Collection[str]) -> None:
        """Make a waiter that nobody woke yet."""
        self.queues = frozenset(queues)
        self.ids = frozenset(number_of(job_id) for job_id in ids)
        self.event = asyncio.Event()
        self.rung = False
        self.closed = False

    def hear(self, queues: Collection[str] | None, ids: Collection[int] | None) -> None:
        """Listen to news; None stands for anything."""
        if self.ids and (ids is None or not self.ids.isdisjoint(ids)):
            self.rung = True
            self.event.set()
        elif self.queues and (queues is None or not self.queues.isdisjoint(queues)):
            self.event.set()


class Bell:
    """The waiters of one handle, its voice and its ear."""

    def __init__(self, address: Address, names: Names, lines: Lines, clock: Clock | None) -> None:
        """Make a bell.

        Args:
            address: Where the store is.
            names: Fills in its schema.
            lines: To look into the store.
            clock: The injected one, if there is one.
        """
        self._address = address
        self._statement = names.fill(_LOOK)
        self._lines = lines
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiters: set[Waiter] = set()
        self._ear = Ear(address, say=self._say, heard=self._hear, changed=self._look_again)
        self._voice: asyncio.Task[None] | None = None
        self._queues: set[str] = set()
        self._ids: set[int] = set()

    async def start(self) -> None:
        """Begin to listen, before anybody waits.

        What happens between the call of `wait` and its first look can only be heard. Where nobody
        may listen (see `pooling`) a first look must at least not have to connect first.
        """
        if self._address.prepare:
            self._ear.start()
        else:
            await self._look(Waiter((), ()), ())

    def announce(self, queues: Iterable[str], ids: Iterable[str]) -> None:
        """Tell everybody what a commit changed."""
        told, numbers = set(queues), {number_of(job_id) for job_id in ids}
        if not (told or numbers):
            return
        for waiter in self._waiters:
            waiter.hear(told, numbers)
        self._queues |= told
        self._ids |= numbers
        if self._voice is None:
            # No command waits for it; close awaits it.
            self._voice = asyncio.create_task(self._speak())  # noqa: TID251 - see above

    def announce_from_thread(self, queues: Iterable[str], ids: Iterable[str]) -> None:
        """Do the same from another thread; once the loop is gone nobody waits any more."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.announce, list(queues), list(ids))

    async def close(self) -> None:
        """Send everybody home, and say what is to be said."""
        for waiter in self._waiters:
            waiter.closed = True
            waiter.event.set()
        await self._ear.close()
        if self._voice is not None:
            await asyncio.wait([self._voice])

    async def wait(self, queues: Sequence[str], ids: Sequence[str], timeout: float) -> bool:
        """See `Store.wait`."""
        end = self._loop.time() + timeout
        waiter = Waiter([clean(name) for name in queues], ids)
        wanted = [clean(job_id) for job_id in dict.fromkeys(ids)]
        self._waiters.add(waiter)
        try:
            return await self._watch(waiter, wanted, end)
        finally:
            self._waiters.discard(waiter)

    async def _watch(self, waiter: Waiter, ids: Sequence[str], end: float) -> bool:
        first = look = await self._look(waiter, ids)
        while not (look.ready or look.changes != first.changes or _is_over(waiter, ids, look)):
            if not await self._sleep(waiter, look, end):
                return False
            if waiter.rung or waiter.closed or self._is_due(waiter, look):
                break
            look = await self._look(waiter, ids)
        return not waiter.closed

    async def _sleep(self, waiter: Waiter, look: _Look, end: float) -> bool:
        """Sleep until there is a reason to look again; False when the time is over."""
        poll_at = self._loop.time() + (POLL if self._ear.hears else DEAF_POLL)
        while not (waiter.event.is_set() or self._is_due(waiter, look)):
            now = self._loop.time()
            if now >= end:
                return False
            if now >= poll_at:
                return True
            await _nap(waiter.event, self._longest(waiter, look, min(end, poll_at) - now))
        waiter.event.clear()
        return True

    def _longest(self, waiter: Waiter, look: _Look, left: float) -> float:
        if not waiter.queues or look.next_due_at is None:
            return left
        if self._clock is not None:
            return min(left, CLOCK_POLL)
        due_in = look.looked_at + look.next_due_at - look.now - self._loop.time()
        return max(0.0, min(left, due_in))

    def _is_due(self, waiter: Waiter, look: _Look) -> bool:
        if not waiter.queues or look.next_due_at is None:
            return False
        if self._clock is not None:
            return look.next_due_at <= self._clock.now()
        return look.next_due_at - look.now <= self._loop.time() - look.looked_at

    async def _look(self, waiter: Waiter, ids: Sequence[str]) -> _Look:
        now = None if self._clock is None else self._clock.now()
        looked_at = self._loop.time()
        rows = await self._lines.call(self._statement, (now, list(waiter.queues), list(ids)))
        return _Look(looked_at, *rows[0])

    async def _speak(self) -> None:
        try:
            while self._queues or self._ids:
                message = _message(self._queues, self._ids)
                self._queues, self._ids = set(), set()
                # A message that is lost costs the listeners a moment: they look by themselves.
                with contextlib.suppress(StokerError):
                    await self._say(message)
                await asyncio.sleep(PACE)
        finally:
            self._voice = None

    async def _say(self, message: str) -> None:
        await self._lines.call(_NOTIFY, (self._address.channel, message))

    def _hear(self, message: str) -> None:
        queues, ids = _heard(message)
        for waiter in self._waiters:
            waiter.hear(queues, ids)

    def _look_again(self) -> None:
        for waiter in self._waiters:
            waiter.event.set()


def number_of(job_id: str) -> int:
    """Return the number by which notifications name a job."""
    return crc32(job_id.encode("utf-8", "replace"))


def _is_over(waiter: Waiter, ids: Sequence[str], look: _Look) -> bool:
    return bool(ids) and not waiter.queues and look.all_ended


def _message(queues: Collection[str], ids: Collection[int]) -> str:
    numbers = sorted(ids) if len(ids) <= _MOST_JOBS else None
    text = msgspec.json.encode((sorted(queues), numbers)).decode()
    if len(text.encode()) > _MOST_BYTES:
        text = msgspec.json.encode((None, numbers)).decode()
    return text


def _heard(text: str) -> tuple[list[str] | None, list[int] | None]:
    try:
        return msgspec.json.decode(text, type=tuple[list[str] | None, list[int] | None])
    except msgspec.MsgspecError:
        return _ANYTHING


async def _nap(event: asyncio.Event, longest: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(longest):
            await event.wait()
