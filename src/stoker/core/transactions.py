"""Commands inside a transaction that is the caller's: rolled back with it, visible with it.

A store that keeps its jobs where its users keep their rows can take a job in the same commit. It
then works on a connection that somebody else opened, and neither begins nor ends anything there.
`Store.transactions` says whether a store can.

A connection is reached through as little as possible: one statement with parameters in, rows out.
Whoever recognises drivers gives that; stores need not know them. Errors of the caller's own
connection reach him as they are: his code knows when to try his transaction again.

The other direction is a transaction that the store opens for a running task, on a connection of
its own: what the task writes there and the completion of its job are one commit (`Completing`).
"""

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from stoker.core.job import JobSpec, Leased, Submitted

Rows = list[tuple[Any, ...]]


class Blocking(Protocol):
    """A connection of the caller's, inside a transaction."""

    @property
    def engine(self) -> str:
        """The database behind it, as `StoreInfo.engine` names it."""
        ...

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """Carry out one statement, written with the store's own placeholders; return its rows.

        Args:
            statement: With ``$1``, ``$2`` ... in order for PostgreSQL, with ``?`` for SQLite.
            parameters: Texts and numbers only: each driver has its own idea of the rest.
        """
        ...


class Awaiting(Protocol):
    """The same for a connection of asynchronous code."""

    @property
    def engine(self) -> str:
        """See `Blocking.engine`."""
        ...

    async def run(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """See `Blocking.run`."""
        ...


class Completing(Protocol):
    """A transaction in which a task writes its own rows, and its job is completed.

    Attributes:
        connection: The driver's connection, for the task.
    """

    connection: Any

    def check(self) -> None:
        """Look whether the lease still holds; if not, undo everything.

        Raises:
            LeaseLost: Somebody else owns the job.
        """
        ...

    def complete(self, result: bytes, *, ran_for: float | None) -> None:
        """Complete the job under its fence, commit, and close the connection in any case.

        Args:
            result: JSON.
            ran_for: Seconds since the handler began.

        Raises:
            LeaseLost: Somebody else owns the job; nothing was committed.
            UsageError: The task ended the transaction by itself; the job was not completed.
            Unavailable: Nothing was committed.
            OutcomeUnknown: It may have been committed. The fence decides: settling the attempt
                otherwise has an effect only if it was not.
        """
        ...

    def abandon(self) -> None:
        """Undo everything, and close the connection. Safe to call twice; never raises."""
        ...


class AsyncCompleting(Protocol):
    """The same for asynchronous code."""

    connection: Any

    async def check(self) -> None:
        """See `Completing.check`."""
        ...

    async def complete(self, result: bytes, *, ran_for: float | None) -> None:
        """See `Completing.complete`."""
        ...

    async def abandon(self) -> None:
        """See `Completing.abandon`."""
        ...


class Transactions(Protocol):
    """What a store does inside a transaction besides its own. May be used from any thread."""

    @property
    def address(self) -> str:
        """The store's URL, with its password: for another process of this worker. Never log it."""
        ...

    def submit(
        self, connection: Blocking, jobs: Sequence[JobSpec], *, actor: str
    ) -> list[Submitted]:
        """Accept jobs as `Store.submit` does; they exist once the caller's transaction commits.

        Nobody is woken: a bell that rings before the commit calls for nothing, so workers find
        the jobs by looking, or the caller rings by `ring` once he has committed.

        Raises:
            InvalidOption: The connection leads to another database than this store.
            ReadOnlyStore: The transaction may not write.
            Unsupported: The connection or a job's option does not allow it.
        """
        ...

    async def asubmit(
        self, connection: Awaiting, jobs: Sequence[JobSpec], *, actor: str
    ) -> list[Submitted]:
        """See `submit`."""
        ...

    def ring(self, queues: Collection[str]) -> None:
        """Wake whoever waits for these queues; called after a commit."""
        ...

    def begin(self, leased: Leased) -> Completing:
        """Open a transaction for a running task.

        Raises:
            LeaseLost: Somebody else owns the job.
            Unavailable: The store cannot be reached.
        """
        ...

    async def abegin(self, leased: Leased) -> AsyncCompleting:
        """See `begin`."""
        ...
