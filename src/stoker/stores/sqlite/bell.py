"""Who waits for what in this process, and how he is woken.

Three things wake a waiter, each alone enough: a commit of this process; a message from another
one (see `doorbell`); and, for processes that share the file and not the folder of sockets, a look
at ``PRAGMA data_version`` ten times a second, which costs microseconds. A job that becomes due
makes no noise, so the clock is asked too.

A waiter for queues is not believed on hearsay: it looks whether there is a job to be leased, and
sleeps on if another worker was faster. It looks before it sleeps, too: a job that came between
the caller's last exchange and this wait is not missed.
"""

import asyncio
import contextlib
import socket
from collections.abc import Collection, Sequence

import apsw
import msgspec

from stoker.core.clock import Clock
from stoker.stores.sqlite.doorbell import Doorbell, names_in
from stoker.stores.sqlite.phrases import phrase
from stoker.stores.sqlite.reader import Reader
from stoker.stores.sqlite.records import changes
from stoker.stores.sqlite.transaction import Ledger, to_json

SLICE = 0.05
"""Seconds between two looks at the clock: an injected one may jump, and nobody tells."""
VERSION_EVERY = 0.1
"""Seconds between two looks at the file's version."""

_READY = phrase("""
    SELECT json_array(
        EXISTS (
            SELECT 1 FROM json_each(?1) AS q
            LEFT JOIN queues AS r
              ON r.name = q.value AND (r.paused OR r.lease_limit IS NOT NULL)
            WHERE NOT coalesce(r.paused, 0)
              AND (r.lease_limit IS NULL OR r.lease_limit > (
                    SELECT coalesce(sum(n), 0) FROM tallies
                    WHERE queue = q.value AND state IN (3, 4)))
              AND EXISTS (
                    SELECT 1 FROM jobs WHERE {queued} AND queue = q.value
                      AND (expires_at IS NULL OR expires_at >= ?2))),
        (SELECT min(due_at) FROM jobs WHERE {due}))""")
_ALL_ENDED = phrase("""
    SELECT NOT EXISTS (
        SELECT 1 FROM json_each(?) AS w LEFT JOIN jobs AS j ON j.id = w.value
        WHERE j.seq IS NULL OR j.{live})""")


class _Look(msgspec.Struct, gc=False):
    """What a waiter saw of the file."""

    version: int
    ready: bool
    next_due_at: float | None
    changes: str
    all_ended: bool


class Waiter:
    """One caller of `Store.wait`."""

    __slots__ = ("closed", "event", "ids", "queues", "rung")

    def __init__(self, queues: Collection[str], ids: Collection[str]) -> None:
        """Make a waiter that nobody woke yet."""
        self.queues = frozenset(queues)
        self.ids = frozenset(ids)
        self.event = asyncio.Event()
        self.rung = False
        self.closed = False

    @property
    def is_done(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.rung or self.closed

    def hear(self, queues: Collection[str] | None, ids: Collection[str] | None) -> None:
        """Listen to news; None stands for anything."""
        if self.ids and (ids is None or not self.ids.isdisjoint(ids)):
            self.rung = True
            self.event.set()
        elif self.queues and (queues is None or not self.queues.isdisjoint(queues)):
            self.event.set()


class Bell:
    """The waiters of one handle."""

    def __init__(self, path: str, reader: Reader, clock: Clock) -> None:
        """Make a bell for a database; it looks into it by the reader."""
        self._doorbell = Doorbell(path)
        self._reader = reader
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiters: set[Waiter] = set()
        self._ears: dict[str, socket.socket] = {}
        self._version = 0
        self._version_at = float("-inf")

    def announce(self, books: Ledger) -> None:
        """Tell everybody what a commit changed. In the writer's thread."""
        if self._waiters:
            # The loop is closed only after the waiters are gone, unless it was torn down.
            with contextlib.suppress(RuntimeError):
                news = (books.rung, frozenset(books.changed))
                self._loop.call_soon_threadsafe(self._spread, *news)
        self._doorbell.ring("q", books.rung)
        self._doorbell.ring("j", books.changed)

    def dismiss(self) -> None:
        """Send everybody home who waits here."""
        for ear in self._ears.values():
            self._loop.remove_reader(ear)
            ear.close()
        self._ears.clear()
        for waiter in self._waiters:
            waiter.closed = True
            waiter.event.set()

    def close(self) -> None:
        """Take the sockets away, once the writer rings no more."""
        self._doorbell.close()

    async def wait(self, queues: Sequence[str], ids: Sequence[str], timeout: float) -> bool:
        """See `Store.wait`."""
        end = self._loop.time() + timeout
        waiter = Waiter(queues, ids)
        self._waiters.add(waiter)
        try:
            if queues:
                self._listen("q")
            if ids:
                self._listen("j")
            return await self._watch(waiter, end)
        finally:
            self._waiters.discard(waiter)

    async def _watch(self, waiter: Waiter, end: float) -> bool:
        first = look = await self._look(waiter)
        while not (look.ready or look.all_ended or look.changes != first.changes):
            if not await self._sleep(waiter, look, end):
                return False
            if waiter.is_done or self._is_due(waiter, look):
                break
            look = await self._look(waiter)
        return not waiter.closed

    async def _sleep(self, waiter: Waiter, look: _Look, end: float) -> bool:
        """Sleep until there is a reason to look again; False when the time is over."""
        while not (waiter.event.is_set() or self._is_due(waiter, look)):
            left = end - self._loop.time()
            if left <= 0:
                return False
            await _nap(waiter.event, min(left, SLICE if look.next_due_at else VERSION_EVERY))
            if not waiter.event.is_set() and await self._version_now() != look.version:
                return True
        waiter.event.clear()
        return True

    def _is_due(self, waiter: Waiter, look: _Look) -> bool:
        due_at = look.next_due_at
        return bool(waiter.queues) and due_at is not None and due_at <= self._clock.now()

    async def _look(self, waiter: Waiter) -> _Look:
        queues, ids = to_json(list(waiter.queues)), list(waiter.ids)
        now = self._clock.now()

        def look(db: apsw.Connection) -> _Look:
            version = _version_of(db)
            ready, next_due_at = False, None
            if waiter.queues:
                found = msgspec.json.decode(db.execute(_READY, (queues, now)).get)
                ready, next_due_at = bool(found[0]), found[1]
            if not ids:
                return _Look(version, ready, next_due_at, "", all_ended=False)
            over = not waiter.queues and bool(db.execute(_ALL_ENDED, (to_json(ids),)).get)
            return _Look(version, ready, next_due_at, changes(db, ids), all_ended=over)

        return await self._reader.run(look)

    async def _version_now(self) -> int:
        """Return the file's version, asked for at most ten times a second for all waiters."""
        now = self._loop.time()
        if now - self._version_at >= VERSION_EVERY * 0.9:
            self._version_at = now
            self._version = await self._reader.run(_version_of)
        return self._version

    def _spread(self, queues: Collection[str] | None, ids: Collection[str] | None) -> None:
        for waiter in self._waiters:
            waiter.hear(queues, ids)

    def _listen(self, kind: str) -> None:
        if kind in self._ears:
            return
        ear = self._doorbell.listen(kind)
        if ear is not None:
            self._ears[kind] = ear
            self._loop.add_reader(ear, self._hear, ear, kind)

    def _hear(self, ear: socket.socket, kind: str) -> None:
        for message in _messages(ear):
            names = names_in(message)
            if kind == "q":
                self._spread(names, ())
            else:
                self._spread((), names)


def _messages(ear: socket.socket) -> list[bytes]:
    found: list[bytes] = []
    with contextlib.suppress(OSError):
        while True:
            found.append(ear.recv(8_192))
    return found


def _version_of(db: apsw.Connection) -> int:
    version: int = db.execute("PRAGMA data_version").get
    return version


async def _nap(event: asyncio.Event, longest: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(longest):
            await event.wait()
