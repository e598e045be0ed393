"""Submitting inside a transaction of the caller: on his connection, in his thread."""

from collections.abc import Sequence
from typing import Any

from stoker.app.calls import Call
from stoker.app.connections import Joined, recognise
from stoker.core.errors import InvalidOption, Unsupported
from stoker.core.job import JobSpec, Submitted
from stoker.core.store import Store
from stoker.core.transactions import Transactions


def connection_of(calls: Sequence[Call[Any]], connection: Any = None) -> Any:
    """Return the connection that calls are to be submitted on, None for the store's own.

    Args:
        calls: Each may name one by its options.
        connection: That of the whole batch.

    Raises:
        InvalidOption: They name several.
    """
    wished = [call.options.connection for call in calls]
    if connection is not None:
        wished = [connection if each is None else each for each in wished]
    first = wished[0] if wished else None
    if any(each is not first for each in wished):
        raise InvalidOption(
            "the calls of one batch name different connections; submit those of each transaction "
            "by themselves"
        )
    return first


def refuse_connection(call: Call[Any], what: str) -> None:
    """Refuse a call that names a connection where nothing can come of it.

    Raises:
        Unsupported: It names one.
    """
    if call.options.connection is not None:
        raise Unsupported(
            f"connection= means nothing for {what}; only jobs that stand for themselves are "
            "submitted inside a transaction of yours"
        )


async def transactions_of(store: Store) -> Transactions:
    """Return what a store does inside a transaction of the caller.

    Raises:
        Unsupported: It does nothing of the kind.
    """
    found = store.transactions
    if found is None:
        raise Unsupported(
            f"the store {store.info.url!r} cannot take part in a transaction of yours; only "
            "PostgreSQL and SQLite stores can, opened by their own URL. Submit after your commit, "
            "without connection="
        )
    return found


class Joining:
    """Some jobs on their way into a transaction of the caller."""

    def __init__(self, connection: Any, specs: Sequence[JobSpec], *, actor: str) -> None:
        """Look at the connection.

        Raises:
            InvalidOption: It is unknown, or nothing is open on it.
        """
        self._joined: Joined = recognise(connection)
        self._specs = specs
        self._actor = actor

    def submit(self, transactions: Transactions) -> list[Submitted]:
        """Submit from blocking code."""
        return transactions.submit(self._joined.plain(), self._specs, actor=self._actor)

    async def asubmit(self, transactions: Transactions) -> list[Submitted]:
        """Submit from asynchronous code, on a connection of either kind."""
        joined = self._joined
        if joined.run_sync is not None:
            found: list[Submitted] = await joined.run_sync(self._submit_on, transactions)
            return found
        if joined.awaiting is not None:
            return await transactions.asubmit(joined.awaiting, self._specs, actor=self._actor)
        return self.submit(transactions)

    def ring_later(self, transactions: Transactions) -> None:
        """Have the bell rung after the commit, where the caller's library tells of it."""
        if self._joined.on_commit is not None:
            queues = {spec.queue for spec in self._specs}
            self._joined.on_commit(lambda: transactions.ring(queues))

    def _submit_on(self, connection: Any, transactions: Transactions) -> list[Submitted]:
        # SQLAlchemy gives the blocking twin of its asynchronous connection or session.
        self._joined = recognise(connection)
        return self.submit(transactions)
