"""A transaction for a running task, in which its own rows and its job's completion commit.

It holds the lock of the file from beginning to end, as every writer does: nobody else writes
meanwhile, the worker's own beats included. A savepoint marks it: a task that commits by itself
would tear apart what belongs together, and is told so.
"""

import asyncio
import contextlib
from typing import Any

import apsw

from stoker.core.clock import Clock
from stoker.core.errors import LeaseLost, UsageError
from stoker.core.job import Leased, Outcome, Settled, Settlement
from stoker.stores.sqlite.connection import open_writer
from stoker.stores.sqlite.faults import cannot_open, translate
from stoker.stores.sqlite.lock import WriteLock
from stoker.stores.sqlite.phrases import phrase
from stoker.stores.sqlite.settling import Told, settle
from stoker.stores.sqlite.transaction import Transaction

_HOLDS = phrase("""
    SELECT EXISTS (SELECT 1 FROM jobs WHERE id = ? AND epoch = ? AND nonce = ? AND {leased})""")


class Owned:
    """See `stoker.core.transactions.Completing`."""

    def __init__(self, path: str, durability: str, clock: Clock, leased: Leased) -> None:
        """Wait for the lock, and begin.

        Args:
            path: The store's file.
            durability: See `SQLiteStore`.
            clock: Time.
            leased: The job and its fence.
        """
        self._path = path
        self._clock = clock
        self._leased = leased
        try:
            self._lock = WriteLock(path)
        except OSError as error:
            raise cannot_open(path) from error
        self.connection: apsw.Connection
        try:
            self._lock.acquire()
            self.connection = open_writer(path, durability)
            self.connection.execute("BEGIN IMMEDIATE; SAVEPOINT stoker_job")
        except apsw.Error as error:
            self.abandon()
            raise translate(error, path) from error
        except BaseException:
            self.abandon()
            raise
        self.check()

    def check(self) -> None:
        """See `stoker.core.transactions.Completing.check`."""
        fence = (self._leased.id, self._leased.epoch, self._leased.nonce)
        try:
            holds = self.connection.execute(_HOLDS, fence).get
        except apsw.Error as error:
            self.abandon()
            raise translate(error, self._path) from error
        if not holds:
            raise self._lost()

    def complete(self, result: bytes, *, ran_for: float | None) -> None:
        """See `stoker.core.transactions.Completing.complete`."""
        try:
            self._release_mark()
            self._settle(result, ran_for)
            self._commit()
        except apsw.ConstraintError:
            # A constraint of the task's own rows that is checked at the commit.
            raise
        except apsw.Error as error:
            raise translate(error, self._path) from error
        finally:
            self.abandon()

    def abandon(self) -> None:
        """See `stoker.core.transactions.Completing.abandon`."""
        with contextlib.suppress(apsw.Error, AttributeError):
            self.connection.close()
        with contextlib.suppress(OSError):
            self._lock.close()

    def _release_mark(self) -> None:
        try:
            self.connection.execute("RELEASE stoker_job")
        except apsw.SQLError:
            raise UsageError(
                "the task committed or rolled back the transaction of its job by itself; leave "
                "that to the end of the task, and use savepoints inside"
            ) from None

    def _settle(self, result: bytes, ran_for: float | None) -> None:
        leased = self._leased
        told = Settlement(
            id=leased.id,
            epoch=leased.epoch,
            nonce=leased.nonce,
            outcome=Outcome.COMPLETED,
            result=result,
            ran_for=ran_for,
        )
        tx = Transaction(self.connection, self._clock)
        tx.begin()
        if settle(tx, Told([told], {}), "system") != [Settled.OK]:
            raise self._lost()
        tx.keep()
        tx.write_books()

    def _commit(self) -> None:
        try:
            self.connection.execute("COMMIT")
        except apsw.ConstraintError:
            raise
        except apsw.Error as error:
            raise translate(error, self._path, committing=True) from error

    def _lost(self) -> LeaseLost:
        self.abandon()
        return LeaseLost(
            f"job {self._leased.id} was taken back from this worker; its transaction was rolled "
            "back",
            job_id=self._leased.id,
        )


class AsyncOwned:
    """See `stoker.core.transactions.AsyncCompleting`: waiting is done in threads."""

    def __init__(self, owned: Owned) -> None:
        """Wrap a transaction; use `begin`."""
        self._owned = owned
        self.connection = owned.connection

    @classmethod
    async def begin(cls, *what: Any) -> "AsyncOwned":
        """Wait for the lock, and begin; see `Owned`."""
        return cls(await asyncio.to_thread(Owned, *what))

    async def check(self) -> None:
        """See `stoker.core.transactions.Completing.check`."""
        self._owned.check()

    async def complete(self, result: bytes, *, ran_for: float | None) -> None:
        """See `stoker.core.transactions.Completing.complete`."""
        await asyncio.to_thread(self._owned.complete, result, ran_for=ran_for)

    async def abandon(self) -> None:
        """See `stoker.core.transactions.Completing.abandon`."""
        self._owned.abandon()
