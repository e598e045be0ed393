"""A pooler between: what it does to whoever takes a connection for his own, and how it is found.

A pooler that gives each transaction another of the server's connections (PgBouncer's mode
``transaction``) hands on whatever the last one left on it. What was prepared is missing or is
somebody else's; a setting goes on for the next one. Worst is ``LISTEN``: the server tells a message
to whoever has that connection then. Where clients had listened, PgBouncer 1.18 was seen to hand the
answer to its own check of a connection (``server_check_query``) to the next client, as the answer
to his statement; where none had, never. So nothing that outlives a transaction may be sent before
it is known who is on the other side.
"""

import asyncio
import contextlib

import psycopg
from psycopg.rows import TupleRow

from stoker.core.errors import Unsupported
from stoker.stores.postgres.address import Address

Connection = psycopg.AsyncConnection[TupleRow]

_PID = "SELECT pg_backend_pid()"
_TRIES = 3
_WITHIN = 5.0
"""Seconds to find it out. A pooler of sessions that has none left would keep the second one
waiting, and is none of transactions."""


async def dial(address: Address) -> Connection:
    """Make a connection that commits by itself and was told nothing yet.

    Raises:
        psycopg.Error, OSError: It did not come about.
    """
    return await psycopg.AsyncConnection.connect(
        address.conninfo,
        autocommit=True,
        prepare_threshold=1 if address.prepare else None,
        cursor_factory=psycopg.AsyncRawCursor,
    )


async def refuse_shared(line: Connection, address: Address) -> None:
    """Check that a connection may be set up: no pooler is between that the URL does not tell of.

    Raises:
        Unsupported: There is one.
    """
    if address.prepare and await is_shared(line, address):
        raise undeclared(address)


async def is_shared(line: Connection, address: Address) -> bool:
    """Whether a connection is another one of the server's for each transaction.

    True is proven: while somebody else had a transaction on it, or between two statements, the
    server's connection behind ``line`` was another one. Costs one small question where no pooler is
    between. Leaves nothing behind.

    Args:
        line: Made by `dial`.
        address: To make a second connection to.

    Raises:
        psycopg.Error, OSError: A connection broke, or did not come about.
    """
    pid = await _pid(line)
    if pid == line.pgconn.backend_pid:
        return False
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_WITHIN), await dial(address) as other:
            for _ in range(_TRIES):
                # A pooler gives what was let go last, so this is it unless others are quicker.
                async with other.transaction():
                    taken = await _pid(other)
                before, pid = pid, await _pid(line)
                if before == taken or before != pid:
                    return True
    return False


def undeclared(address: Address) -> Unsupported:
    """Return the error of a URL that does not tell of such a pooler."""
    return Unsupported(
        f"PostgreSQL ({address.place}) is behind a pooler that gives each transaction another "
        "connection; nothing was written. Say so in the store's URL: add prepare=off to its "
        "options",
        url=address.url,
    )


async def _pid(line: Connection) -> int:
    cursor = await line.execute(_PID, prepare=False)
    [[pid]] = await cursor.fetchall()
    return int(pid)
