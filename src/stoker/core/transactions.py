"""Commands inside a transaction that is the caller's: rolled back with it, visible with it.

A store that keeps its jobs where its users keep their rows can take a job in the same commit. It
then works on a connection that somebody else opened, and neither begins nor ends anything there.
`Store.transactions` says whether a store can.

A connection is reached through as little as possible: one statement with parameters in, rows out.
Whoever recognises drivers gives that; stores need not know them. Errors of the caller's own
connection reach him as they are: his code knows when to try his transaction again.
"""

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from stoker.core.job import JobSpec, Submitted

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


class Transactions(Protocol):
    """What a store does inside a transaction of the caller. May be used from any thread."""

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
        """Wake whoever waits for these queues; called on the store's event loop, after a commit."""
        ...
