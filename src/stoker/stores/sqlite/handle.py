"""An open store: its file, its threads and its bell, from opening to closing."""

import asyncio
import os
from collections.abc import Iterable
from typing import NamedTuple

import apsw

from stoker.core.clock import Clock
from stoker.stores.sqlite import schema
from stoker.stores.sqlite.bell import Bell
from stoker.stores.sqlite.connection import open_reader, open_writer, use_log
from stoker.stores.sqlite.faults import cannot_open, translate
from stoker.stores.sqlite.leasing import Pick
from stoker.stores.sqlite.ledger import Ledger
from stoker.stores.sqlite.lock import WriteLock
from stoker.stores.sqlite.reader import Reader
from stoker.stores.sqlite.transactions import Transactions
from stoker.stores.sqlite.writer import Writer

_REMEMBERED = 100_000


class _Opened(NamedTuple):
    """What a store's file and its lock give."""

    lock: WriteLock
    writing: apsw.Connection
    reading: tuple[apsw.Connection, apsw.Connection]
    identity: str
    durability: str


class Handle:
    """Everything that an open store holds. Belongs to one process and one event loop."""

    def __init__(self, path: str, clock: Clock, opened: _Opened) -> None:
        """Start the threads; use `open`."""
        self.identity = opened.identity
        self.process = os.getpid()
        self.known_queues: set[str] = set()
        """Queues that have a row for sure."""
        self.idle_nonces: dict[str, str] = {}
        """See `exchanging.exchange`."""
        self.given: dict[str, Pick] = {}
        """Leases that this handle gave and that end plainly, by the ids of their jobs: a memory, no
        authority."""
        self.reader = Reader(opened.reading[0], path)
        self._watcher = Reader(opened.reading[1], path)
        self.bell = Bell(path, self._watcher, clock)
        self.transactions = Transactions(path, opened.durability, clock)
        self.writer = Writer(
            opened.writing, opened.lock, clock, path=path, committed=self._committed
        )
        for thread in (self.reader, self._watcher, self.writer):
            thread.start()

    @classmethod
    async def open(cls, path: str, durability: str, clock: Clock) -> "Handle":
        """Open the file, make or bring up its layout, and start the threads.

        Raises:
            Unavailable, NotAStore, ReadOnlyStore, SchemaMismatch, Unsupported: It cannot serve.
        """
        return cls(path, clock, await asyncio.to_thread(_open_all, path, durability))

    def remember(self, picks: Iterable[Pick]) -> None:
        """Keep leases that went out, to settle them without a second look."""
        if len(self.given) >= _REMEMBERED:
            self.given.clear()
        self.given.update([(pick.id, pick) for pick in picks if pick.is_plain])

    async def close(self) -> None:
        """Finish what is under way and let go of the file."""
        await self.bell.dismiss()
        await self._watcher.close()
        await self.reader.close()
        await self.writer.close()
        self.bell.close()

    def _committed(self, books: Ledger) -> None:
        self.known_queues |= books.queues
        self.bell.announce(books)


def _open_all(file: str, durability: str) -> _Opened:
    writing = open_writer(file, durability)
    opened = [writing]
    lock: WriteLock | None = None
    try:
        # Whose file it is, is looked at before anything beside it is made.
        schema.version(writing, file)
        lock = WriteLock(file)
        with lock.held():
            if schema.version(writing, file) < schema.latest():
                use_log(writing)
                schema.bring_to(writing, file, schema.latest())
            schema.refuse_newer(schema.version(writing, file), file)
            use_log(writing)
        opened += [open_reader(file), open_reader(file)]
        identity = str(writing.execute("SELECT id FROM identity").get)
    except BaseException as error:
        for db in opened:
            db.close()
        if lock is not None:
            lock.close()
        if isinstance(error, apsw.Error):
            raise translate(error, file) from error
        if isinstance(error, OSError):
            raise cannot_open(file) from error
        raise
    return _Opened(lock, writing, (opened[1], opened[2]), identity, durability)
