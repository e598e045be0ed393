"""Connections of other libraries, recognised without importing any of them.

A user hands over what he has: a connection of a driver, or one of SQLAlchemy or Django. It is told
by the package that its class comes from, so nobody pays for a library that he does not use, and
whoever handed a connection over has its library loaded.

Nothing here begins or ends a transaction, with one exception: the drivers that begin one at the
first write by themselves are made to begin it before our first read.
"""

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from stoker.core.errors import InvalidOption, UsageError
from stoker.core.transactions import Awaiting, Blocking, Rows

POSTGRES = "postgresql"
SQLITE = "sqlite"
_IDLE = 0
"""psycopg's transaction status of a connection on which nothing is open."""
_STYLES = {"numeric_dollar": "$", "format": "%s", "pyformat": "%s", "qmark": "?"}
_PLACE = re.compile(r"\$\d+")


class Joined:
    """A connection whose transaction a submit joins: blocking, or for asynchronous code."""

    def __init__(
        self,
        *,
        blocking: Blocking | None = None,
        awaiting: Awaiting | None = None,
        run_sync: Callable[..., Any] | None = None,
        on_commit: Callable[[Callable[[], object]], object] | None = None,
    ) -> None:
        """Wrap one of the three ways to reach a connection.

        Args:
            blocking: For a connection of blocking code.
            awaiting: For one of asynchronous code.
            run_sync: SQLAlchemy's way to run blocking code on an asynchronous connection.
            on_commit: Calls back once the transaction committed, where a library can tell.
        """
        self.blocking = blocking
        self.awaiting = awaiting
        self.run_sync = run_sync
        self.on_commit = on_commit

    def plain(self) -> Blocking:
        """Return the connection for blocking code.

        Raises:
            UsageError: It is one of asynchronous code.
        """
        if self.blocking is None:
            raise UsageError(
                "the connection is one of asynchronous code; use the async twin with an 'a' "
                "before its name: asubmit, asubmit_many"
            )
        return self.blocking


def recognise(connection: Any) -> Joined:
    """Find out what a connection is, and whether a transaction is open on it.

    Raises:
        InvalidOption: It is nothing that is known, or nothing is open on it.
    """
    kind = type(connection)
    known = {cls.__module__.partition(".")[0] for cls in kind.__mro__}
    for package, look in _LIBRARIES.items():
        if package in known:
            found: Joined = look(connection)
            return found
    raise InvalidOption(
        f"connection is a {kind.__module__}.{kind.__qualname__}; expected a connection of psycopg, "
        "asyncpg, sqlite3 or apsw, a connection or session of SQLAlchemy, or "
        "django.db.connection"
    )


class Psycopg:
    """A `psycopg.Connection`."""

    engine = POSTGRES

    def __init__(self, connection: Any) -> None:
        """Take a connection on which a transaction is open or will be."""
        self._connection = connection

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """See `Blocking.run`."""
        # A plain cursor: the connection's own may make rows that are no tuples.
        with sys.modules["psycopg"].Cursor(self._connection, row_factory=_tuples) as cursor:
            cursor.execute(_PLACE.sub("%s", statement), parameters)
            return _rows(cursor.fetchall())


class AsyncPsycopg:
    """A `psycopg.AsyncConnection`."""

    engine = POSTGRES

    def __init__(self, connection: Any) -> None:
        """Take a connection on which a transaction is open or will be."""
        self._connection = connection

    async def run(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """See `Blocking.run`."""
        psycopg = sys.modules["psycopg"]
        async with psycopg.AsyncCursor(self._connection, row_factory=_tuples) as cursor:
            await cursor.execute(_PLACE.sub("%s", statement), parameters)
            return _rows(await cursor.fetchall())


class Asyncpg:
    """A connection of asyncpg, its own or one of its pools'."""

    engine = POSTGRES

    def __init__(self, connection: Any) -> None:
        """Take a connection on which a transaction is open."""
        self._connection = connection

    async def run(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """See `Blocking.run`."""
        return _rows(await self._connection.fetch(statement, *parameters))


class Sqlite3:
    """A connection of the standard library's ``sqlite3``."""

    engine = SQLITE

    def __init__(self, connection: Any) -> None:
        """Take a connection on which a transaction is open."""
        self._connection = connection

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """See `Blocking.run`."""
        cursor = self._connection.cursor()
        cursor.row_factory = None
        return _rows(cursor.execute(statement, parameters).fetchall())


class Apsw:
    """An `apsw.Connection`."""

    engine = SQLITE

    def __init__(self, connection: Any) -> None:
        """Take a connection on which a transaction is open."""
        self._connection = connection

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """See `Blocking.run`."""
        cursor = self._connection.cursor()
        cursor.row_trace = lambda _, row: row
        return _rows(cursor.execute(statement, tuple(parameters)).fetchall())


class SqlAlchemy:
    """A `sqlalchemy.Connection`, whatever the driver under it."""

    def __init__(self, connection: Any) -> None:
        """Take a connection on which a transaction is open or will be."""
        self._connection = connection
        self._style = _STYLES.get(connection.dialect.paramstyle, "?")
        self.engine = str(connection.dialect.name)

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """See `Blocking.run`."""
        if self.engine == POSTGRES and self._style != "$":
            statement = _PLACE.sub(self._style, statement)
        found = self._connection.exec_driver_sql(statement, tuple(parameters) or None)
        return _rows(found.fetchall()) if found.returns_rows else []


def _psycopg(connection: Any) -> Joined:
    if connection.autocommit and connection.info.transaction_status == _IDLE:
        raise _nothing_open("with conn.transaction():")
    if hasattr(connection, "__aenter__"):
        return Joined(awaiting=AsyncPsycopg(connection))
    return Joined(blocking=Psycopg(connection))


def _asyncpg(connection: Any) -> Joined:
    if not connection.is_in_transaction():
        raise _nothing_open("async with conn.transaction():")
    return Joined(awaiting=Asyncpg(connection))


def _sqlite3(connection: Any) -> Joined:
    joined = Sqlite3(connection)
    if not connection.in_transaction:
        if connection.isolation_level is None or getattr(connection, "autocommit", None) is True:
            raise _nothing_open('conn.execute("BEGIN IMMEDIATE")')
        # The driver would begin one at the first INSERT; what is read before belongs to it too.
        joined.run("BEGIN IMMEDIATE")
    return Joined(blocking=joined)


def _apsw(connection: Any) -> Joined:
    if not connection.in_transaction:
        raise _nothing_open('conn.execute("BEGIN IMMEDIATE")')
    return Joined(blocking=Apsw(connection))


def _django(connection: Any) -> Joined:
    if connection.get_autocommit():
        raise _nothing_open("with transaction.atomic():")
    connection.validate_no_broken_transaction()
    connection.ensure_connection()
    joined = recognise(connection.connection)
    # Who turned autocommit off by hand manages his transactions alone, and Django tells nobody.
    on_commit = connection.on_commit if connection.in_atomic_block else None
    return Joined(blocking=joined.plain(), on_commit=on_commit)


def _sqlalchemy(connection: Any) -> Joined:
    if hasattr(connection, "run_sync"):
        return Joined(run_sync=connection.run_sync)
    if not callable(getattr(connection, "connection", None)):
        return Joined(blocking=_begun(connection))

    def on_commit(call: Callable[[], object]) -> None:
        sys.modules["sqlalchemy"].event.listen(
            connection, "after_commit", lambda _: call(), once=True
        )

    return Joined(blocking=_begun(connection.connection()), on_commit=on_commit)


def _begun(connection: Any) -> SqlAlchemy:
    """Return a connection of SQLAlchemy with its transaction begun, down to the driver."""
    joined = SqlAlchemy(connection)
    if not connection.in_transaction():
        connection.begin()
    if getattr(connection.connection.dbapi_connection, "autocommit", False) is True:
        raise _nothing_open("with engine.begin() as conn: (and no isolation level AUTOCOMMIT)")
    if joined.engine == SQLITE:
        driver = connection.connection.driver_connection
        if not driver.in_transaction:
            if driver.isolation_level is None:
                raise _nothing_open('conn.exec_driver_sql("BEGIN IMMEDIATE")')
            joined.run("BEGIN IMMEDIATE")
    return joined


def _nothing_open(how: str) -> InvalidOption:
    return InvalidOption(
        "no transaction is open on the connection, and it commits each statement by itself; begin "
        f"one first, such as: {how}  Or submit without a connection"
    )


def _tuples(_cursor: Any) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    return tuple


def _rows(found: Any) -> Rows:
    return [tuple(row.values() if isinstance(row, dict) else row) for row in found]


_LIBRARIES: dict[str, Callable[[Any], Joined]] = {
    "psycopg": _psycopg,
    "asyncpg": _asyncpg,
    "sqlite3": _sqlite3,
    "apsw": _apsw,
    "django": _django,
    "sqlalchemy": _sqlalchemy,
}
