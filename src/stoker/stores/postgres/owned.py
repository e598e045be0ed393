"""A transaction for a running task, in which its own rows and its job's completion commit.

It runs on a connection of its own, for as long as the task needs it; psycopg's, so that the task
can use it like any other. Its session carries a mark that lives as long as the transaction: a task
that commits by itself would tear apart what belongs together, and is told so.
"""

import contextlib
from collections.abc import Callable, Collection
from typing import Any

import msgspec
import psycopg
from psycopg.rows import tuple_row

from stoker.core.errors import LeaseLost, StokerError, UsageError
from stoker.core.job import Leased
from stoker.stores.postgres.address import Address
from stoker.stores.postgres.faults import cannot_connect, translate
from stoker.stores.postgres.phrases import Names

_HOLDS = """EXISTS (SELECT 1 FROM @live
    WHERE id = $1 AND epoch = $2 AND nonce = $3 AND state BETWEEN 3 AND 4)"""
_BEGIN = f"SELECT {_HOLDS}, set_config('stoker.transaction', $4, true)"
_CHECK = f"SELECT {_HOLDS}, current_setting('stoker.transaction', true)"
_COMPLETE = "SELECT @complete_foreign($1, $2, $3, $4, $5, $6)"
_read_news = msgspec.json.Decoder(tuple[list[str], list[str]]).decode


class Talk:
    """What is said on such a connection, and what the answers mean."""

    def __init__(
        self,
        address: Address,
        names: Names,
        leased: Leased,
        *,
        now: Callable[[], float] | None,
        tell: Callable[[Collection[str], Collection[str]], None],
    ) -> None:
        """Take a job and its fence.

        Args:
            address: Where the store is.
            names: Fills in its schema.
            leased: The job.
            now: The injected clock, if there is one.
            tell: Rings for queues and jobs.
        """
        self.address = address
        self.begin = names.fill(_BEGIN)
        self.look = names.fill(_CHECK)
        self.finish = names.fill(_COMPLETE)
        self.options: dict[str, Any] = {
            "conninfo": address.conninfo,
            "prepare_threshold": 5 if address.prepare else None,
        }
        self._leased = leased
        self._now = now
        self._tell = tell

    @property
    def fence(self) -> tuple[Any, ...]:
        """The parameters of ``look``; with the mark, those of ``begin``."""
        return self._leased.id, self._leased.epoch, self._leased.nonce

    @property
    def mark(self) -> str:
        """What the transaction carries."""
        return f"{self._leased.epoch} {self._leased.nonce}"

    def ending(self, result: bytes, ran_for: float | None) -> tuple[Any, ...]:
        """Return the parameters of ``finish``."""
        now = None if self._now is None else self._now()
        return (now, *self.fence, result, ran_for)

    def judge(self, row: tuple[Any, ...] | None) -> None:
        """Judge the answer to ``begin`` or ``look``.

        Raises:
            LeaseLost, UsageError: As `stoker.core.transactions.Completing` says.
        """
        holds, mark = row or (False, self.mark)
        if mark != self.mark:
            raise UsageError(
                "the task committed or rolled back the transaction of its job by itself; leave "
                "that to the end of the task, and use conn.transaction() for savepoints"
            )
        if not holds:
            raise self.lost()

    def news(self, row: tuple[Any, ...] | None) -> tuple[list[str], list[str]]:
        """Judge the answer to ``finish``; return the queues and jobs that it changed.

        Raises:
            LeaseLost: The job was not completed.
        """
        if row is None or row[0] is None:
            raise self.lost()
        return _read_news(row[0])

    def announce(self, news: tuple[list[str], list[str]]) -> None:
        """Ring, after the commit."""
        queues, ids = news
        self._tell(queues, [*ids, self._leased.id])

    def lost(self) -> LeaseLost:
        """Return the error of a lease that is somebody else's."""
        return LeaseLost(
            f"job {self._leased.id} was taken back from this worker; its transaction was rolled "
            "back",
            job_id=self._leased.id,
        )

    def fault(self, error: psycopg.Error, *, broken: bool) -> Exception:
        """Return what an error of our own statements, or of the commit, means."""
        if isinstance(error, psycopg.IntegrityError):
            # A constraint of the task's own rows that is checked at the commit.
            return error
        return translate(error, self.address, reading=False, broken=broken)


class Owned:
    """See `stoker.core.transactions.Completing`."""

    def __init__(self, talk: Talk) -> None:
        """Connect, and begin."""
        self._talk = talk
        try:
            self.connection = psycopg.Connection.connect(**talk.options)
        except (psycopg.Error, OSError) as error:
            raise cannot_connect(error, talk.address, opening=False) from error
        self._ask(talk.begin, (*talk.fence, talk.mark), talk.judge)

    def check(self) -> None:
        """See `stoker.core.transactions.Completing.check`."""
        self._ask(self._talk.look, self._talk.fence, self._talk.judge)

    def complete(self, result: bytes, *, ran_for: float | None) -> None:
        """See `stoker.core.transactions.Completing.complete`."""
        talk = self._talk
        self.check()
        news = self._ask(talk.finish, talk.ending(result, ran_for), talk.news)
        try:
            self.connection.commit()
        except psycopg.Error as error:
            raise talk.fault(error, broken=self.connection.broken) from error
        finally:
            self.abandon()
        talk.announce(news)

    def abandon(self) -> None:
        """See `stoker.core.transactions.Completing.abandon`."""
        with contextlib.suppress(psycopg.Error, OSError):
            self.connection.close()

    def _ask(self, statement: str, sent: tuple[Any, ...], judge: Callable[[Any], Any]) -> Any:
        try:
            with psycopg.RawCursor(self.connection, row_factory=tuple_row) as cursor:
                cursor.execute(statement.encode(), sent)
                return judge(cursor.fetchone())
        except psycopg.Error as error:
            broken = self.connection.broken
            self.abandon()
            raise self._talk.fault(error, broken=broken) from error
        except StokerError:
            self.abandon()
            raise


class AsyncOwned:
    """See `stoker.core.transactions.AsyncCompleting`."""

    def __init__(self, talk: Talk, connection: "psycopg.AsyncConnection[Any]") -> None:
        """Take a connection on which nothing is open; use `begin`."""
        self._talk = talk
        self.connection = connection

    @classmethod
    async def begin(cls, talk: Talk) -> "AsyncOwned":
        """Connect, and begin."""
        try:
            connection = await psycopg.AsyncConnection.connect(**talk.options)
        except (psycopg.Error, OSError) as error:
            raise cannot_connect(error, talk.address, opening=False) from error
        owned = cls(talk, connection)
        await owned._ask(talk.begin, (*talk.fence, talk.mark), talk.judge)
        return owned

    async def check(self) -> None:
        """See `stoker.core.transactions.Completing.check`."""
        await self._ask(self._talk.look, self._talk.fence, self._talk.judge)

    async def complete(self, result: bytes, *, ran_for: float | None) -> None:
        """See `stoker.core.transactions.Completing.complete`."""
        talk = self._talk
        await self.check()
        news = await self._ask(talk.finish, talk.ending(result, ran_for), talk.news)
        try:
            await self.connection.commit()
        except psycopg.Error as error:
            raise talk.fault(error, broken=self.connection.broken) from error
        finally:
            await self.abandon()
        talk.announce(news)

    async def abandon(self) -> None:
        """See `stoker.core.transactions.Completing.abandon`."""
        with contextlib.suppress(psycopg.Error, OSError):
            await self.connection.close()

    async def _ask(self, statement: str, sent: tuple[Any, ...], judge: Callable[[Any], Any]) -> Any:
        try:
            async with psycopg.AsyncRawCursor(self.connection, row_factory=tuple_row) as cursor:
                await cursor.execute(statement.encode(), sent)
                return judge(await cursor.fetchone())
        except psycopg.Error as error:
            broken = self.connection.broken
            await self.abandon()
            raise self._talk.fault(error, broken=broken) from error
        except StokerError:
            await self.abandon()
            raise
