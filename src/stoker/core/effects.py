"""``current_job().transaction()``: the task's own rows and its job's completion in one commit.

The block of ``with`` is where the task writes. The commit comes with the end of the task, because
only then there is a result, and only then the job is completed: a task that raises after the block
has its rows undone like one that raised inside it. The end of the block looks whether the lease
still holds, so that a task that lost it learns of it there.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Any

from stoker.core.errors import Unsupported, UsageError
from stoker.core.job import Leased
from stoker.core.transactions import AsyncCompleting, Completing, Transactions

Find = Callable[[], Transactions | None]
"""Gives what the store does inside transactions; None: nothing."""


class JobTransaction:
    """What ``transaction()`` gives: ``with`` in plain tasks, ``async with`` in async ones."""

    def __init__(self, leased: Leased, find: Find, *, is_async: bool) -> None:
        """Make one for a running attempt; done by its context.

        Args:
            leased: The job and its fence.
            find: Gives what the store can do.
            is_async: Whether the task is a coroutine function.
        """
        self._leased = leased
        self._find = find
        self._is_async = is_async
        self._plain: Completing | None = None
        self._awaiting: AsyncCompleting | None = None

    @property
    def is_open(self) -> bool:
        """Whether it was begun and not yet ended."""
        return self._plain is not None or self._awaiting is not None

    def __enter__(self) -> Any:
        """Begin, and return the connection.

        Raises:
            LeaseLost: Somebody else owns the job.
            Unavailable: The store cannot be reached.
            Unsupported: The store has no transactions.
            UsageError: The task is async, or has begun one already.
        """
        self._check(is_async=False)
        self._plain = self._transactions().begin(self._leased)
        return self._plain.connection

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the commit to the end of the task; undo everything if the block failed.

        Raises:
            LeaseLost: Somebody else owns the job; everything is undone.
        """
        if exc is not None:
            self.abandon()
        elif self._plain is not None:
            self._plain.check()

    async def __aenter__(self) -> Any:
        """See `__enter__`."""
        self._check(is_async=True)
        self._awaiting = await self._transactions().abegin(self._leased)
        return self._awaiting.connection

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """See `__exit__`."""
        if exc is not None:
            await self.aabandon()
        elif self._awaiting is not None:
            await self._awaiting.check()

    def complete(self, result: bytes, *, ran_for: float | None) -> None:
        """Complete the job and commit; done by the worker when the task has returned.

        Raises:
            StokerError: As `Completing.complete` says.
        """
        open_, self._plain = self._plain, None
        if open_ is not None:
            open_.complete(result, ran_for=ran_for)

    async def acomplete(self, result: bytes, *, ran_for: float | None) -> None:
        """See `complete`."""
        open_, self._awaiting = self._awaiting, None
        if open_ is not None:
            await open_.complete(result, ran_for=ran_for)

    def abandon(self) -> None:
        """Undo everything."""
        open_, self._plain = self._plain, None
        if open_ is not None:
            open_.abandon()

    async def aabandon(self) -> None:
        """See `abandon`."""
        open_, self._awaiting = self._awaiting, None
        if open_ is not None:
            await open_.abandon()

    def _check(self, *, is_async: bool) -> None:
        if is_async != self._is_async:
            right = "async with" if self._is_async else "with"
            kind = "async" if self._is_async else "plain"
            raise UsageError(f"this task is {kind}; write: {right} current_job().transaction()")
        if self.is_open:
            raise UsageError("the task has begun the transaction of its job already")

    def _transactions(self) -> Transactions:
        found = self._find()
        if found is None:
            raise Unsupported(
                "the store of this worker cannot commit a task's own rows with its job; only "
                "PostgreSQL and SQLite stores can, opened by their own URL. Use the idempotency "
                "key or the fence instead"
            )
        return found
