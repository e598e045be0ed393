"""The PostgreSQL store: for several machines, on a server that one trusts already.

Every command is one call of a function in the database: one round trip and one transaction,
whatever it does. The functions stand in ``migrations``, with the order of locks that keeps them
out of each other's way. On this side, ``store`` has the verbs; ``submitting``, ``exchanging``,
``caring`` and ``planning`` turn their arguments into parameters and rows into answers; ``lines``
keeps the connections, ``batching`` lets submits travel together; ``bell`` and ``ear`` wake those
who wait; ``reading``, ``matching`` and ``records`` are the views; ``schema`` is the layout,
``address`` the URL, and ``faults`` the one place that knows the driver's errors.
"""

from stoker.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
