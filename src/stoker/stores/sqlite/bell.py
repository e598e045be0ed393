"""Who waits for what in this process, and how he is woken.

Three things wake a waiter, each alone enough: a commit of this process; a message from another
one (see `doorbell`); and, for processes that share the file and not the folder of sockets, a look
at ``PRAGMA data_version`` ten times a second, which costs microseconds. A job that becomes due
makes no noise, so the clock is asked too.

However many wait, one watch looks for all of them, and only while somebody waits. It does not
believe hearsay about queues: it looks whether there is a job to be leased, and lets those sleep on
whose job another worker has taken. Each waiter looks once itself before it sleeps: a job that came
between its caller's last exchange and this wait is not missed.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Collection, Sequence

import apsw
import msgspec

from stoker.core.clock import Clock
from stoker.core.errors import StokerError
from stoker.stores.sqlite.doorbell import Doorbell, names_in
from stoker.stores.sqlite.ledger import Ledger
from stoker.stores.sqlite.phrases import phrase
from stoker.stores.sqlite.reader import Reader
from stoker.stores.sqlite.records import Marks, marks_of
from stoker.stores.sqlite.transaction import to_json

TICK = 0.1
"""Seconds between two looks at the file's version."""
CLOCK_TICK = 0.05
"""Seconds between two looks at the clock while a job is due later: an injected one may jump."""

_READY = phrase("""
    SELECT json_array(
        json((SELECT json_group_array(q.value) FROM json_each(?1) AS q
            LEFT JOIN queues AS r
              ON r.name = q.value AND (r.paused OR r.lease_limit IS NOT NULL)
            WHERE NOT coalesce(r.paused, 0)
              AND (r.lease_limit IS NULL OR r.lease_limit > (
                    SELECT coalesce(sum(n), 0) FROM tallies
                    WHERE queue = q.value AND {leased}))
              AND EXISTS (
                    SELECT 1 FROM jobs INDEXED BY jobs_ready WHERE {queued} AND queue = q.value
                      AND (expires_at IS NULL OR expires_at >= ?2)))),
        (SELECT min(due_at) FROM jobs INDEXED BY jobs_due WHERE {due}))""")
_ALL_ENDED = phrase("""
    SELECT NOT EXISTS (
        SELECT 1 FROM json_each(?) AS w LEFT JOIN jobs AS j ON j.id = w.value
        WHERE j.seq IS NULL OR j.{live})""")


class _Ready(msgspec.Struct, array_like=True, gc=False):
    queues: list[str]
    next_due_at: float | None


class _Sight(msgspec.Struct, gc=False):
    """What a look at the file showed."""

    version: int
    ready: frozenset[str]
    """Queues with a job that may be leased."""
    next_due_at: float | None
    marks: Marks | None = None
    all_ended: bool = False


_read_ready = msgspec.json.Decoder(_Ready).decode


class Waiter:
    """One caller of `Store.wait`."""

    __slots__ = ("event", "ids", "marks", "queues", "rung")

    def __init__(self, queues: Collection[str], ids: Collection[str]) -> None:
        """Make a waiter that nobody woke yet."""
        self.queues = frozenset(queues)
        self.ids = frozenset(ids)
        self.marks: Marks | None = None
        """What its jobs looked like when it began to wait."""
        self.event = asyncio.Event()
        self.rung = False

    def ring(self) -> None:
        """End the wait: something happened."""
        self.rung = True
        self.event.set()

    def see(self, sight: _Sight | None, *, due: bool) -> None:
        """End the wait if what was seen concerns it."""
        if due and self.queues:
            self.ring()
        if sight is None:
            return
        if not self.queues.isdisjoint(sight.ready):
            self.ring()
        known, marks = self.marks, sight.marks
        if (
            marks is not None
            and known is not None
            and any(known.get(i) != marks.get(i) for i in self.ids)
        ):
            self.ring()


class Bell:
    """The waiters of one handle. All but `announce` belongs to the event loop."""

    def __init__(self, path: str, reader: Reader, clock: Clock) -> None:
        """Make a bell for a database; it looks into it by the reader."""
        self._doorbell = Doorbell(path)
        self._reader = reader
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiters: set[Waiter] = set()
        self._askers = 0
        """How many of them wait for jobs."""
        self._ears: dict[str, socket.socket] = {}
        self._news = asyncio.Event()
        self._version = 0
        self._next_due_at: float | None = None
        self._watch: asyncio.Task[None] | None = None

    def announce(self, books: Ledger) -> None:
        """Tell everybody what a commit changed. In the writer's thread."""
        if self._waiters:
            changed = frozenset(books.changed) if self._askers else frozenset[str]()
            # The loop is closed only after the waiters are gone, unless it was torn down.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._hear_news, books.rung, changed)
        self._doorbell.ring("q", books.rung)
        self._doorbell.ring("j", books.changed)

    async def wait(self, queues: Sequence[str], ids: Sequence[str], timeout: float) -> bool:
        """See `Store.wait`."""
        end = self._loop.time() + timeout
        waiter = Waiter(queues, ids)
        self._waiters.add(waiter)
        self._askers += bool(ids)
        try:
            if queues:
                self._listen("q")
            if ids:
                self._listen("j")
            sight = await self._reader.run(self._first_look(waiter))
            waiter.marks = sight.marks
            self._next_due_at = sight.next_due_at
            if sight.ready or sight.all_ended or (queues and self._is_due()):
                return True
            if self._watch is None or self._watch.done():
                # It serves all waiters and outlives each of them: no group of tasks fits.
                self._watch = asyncio.create_task(self._keep_watch())  # noqa: TID251
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(end):
                    await waiter.event.wait()
            return waiter.rung
        finally:
            self._waiters.discard(waiter)
            self._askers -= bool(ids)

    async def dismiss(self) -> None:
        """Send everybody home who waits here."""
        for ear in self._ears.values():
            self._loop.remove_reader(ear)
            ear.close()
        self._ears.clear()
        for waiter in self._waiters:
            waiter.event.set()
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch

    def close(self) -> None:
        """Take the sockets away, once the writer rings no more."""
        self._doorbell.close()

    async def _keep_watch(self) -> None:
        while self._waiters:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._until_next_look()):
                    await self._news.wait()
            heard = self._news.is_set()
            self._news.clear()
            waiters = list(self._waiters)
            try:
                sight = await self._reader.run(self._look_again(heard=heard))
            except StokerError:
                # Whoever waits will ask the store, and hear what is wrong with it.
                for waiter in waiters:
                    waiter.ring()
                continue
            if sight is not None:
                self._version, self._next_due_at = sight.version, sight.next_due_at
            due = self._is_due()
            for waiter in waiters:
                waiter.see(sight, due=due)

    def _until_next_look(self) -> float:
        if self._next_due_at is None:
            return TICK
        return min(CLOCK_TICK, max(0.001, self._next_due_at - self._clock.now()))

    def _is_due(self) -> bool:
        return self._next_due_at is not None and self._next_due_at <= self._clock.now()

    def _first_look(self, waiter: Waiter) -> Callable[[apsw.Connection], _Sight]:
        queues, ids = to_json(list(waiter.queues)), to_json(list(waiter.ids))
        now = self._clock.now()

        def look(db: apsw.Connection) -> _Sight:
            ready = _read_ready(db.execute(_READY, (queues, now)).get)
            if not waiter.ids:
                return _Sight(0, frozenset(ready.queues), ready.next_due_at)
            ended = not waiter.queues and bool(db.execute(_ALL_ENDED, (ids,)).get)
            marks = marks_of(db, ids)
            return _Sight(0, frozenset(ready.queues), ready.next_due_at, marks, all_ended=ended)

        return look

    def _look_again(self, *, heard: bool) -> Callable[[apsw.Connection], _Sight | None]:
        queues = to_json(list({name for waiter in self._waiters for name in waiter.queues}))
        ids = to_json(list({job_id for waiter in self._waiters for job_id in waiter.ids}))
        now, before = self._clock.now(), self._version

        def look(db: apsw.Connection) -> _Sight | None:
            version: int = db.execute("PRAGMA data_version").get
            if version == before and not heard:
                return None
            ready = _read_ready(db.execute(_READY, (queues, now)).get)
            marks = marks_of(db, ids) if version != before else None
            return _Sight(version, frozenset(ready.queues), ready.next_due_at, marks)

        return look

    def _hear_news(self, queues: Collection[str] | None, ids: Collection[str] | None) -> None:
        """Listen to what changed; None stands for anything."""
        for waiter in self._waiters:
            if waiter.ids and (ids is None or not waiter.ids.isdisjoint(ids)):
                waiter.ring()
            if waiter.queues and (queues is None or not waiter.queues.isdisjoint(queues)):
                self._news.set()

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
                self._hear_news(names, ())
            else:
                self._hear_news((), names)


def _messages(ear: socket.socket) -> list[bytes]:
    found: list[bytes] = []
    with contextlib.suppress(OSError):
        while True:
            found.append(ear.recv(8_192))
    return found
