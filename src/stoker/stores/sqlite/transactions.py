"""Commands inside a transaction of the caller; see `stoker.core.transactions`.

The caller's connection may be that of another driver with an older SQLite. The statements are the
store's own; where a function of theirs is newer than that SQLite, its elder twin stands in.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import apsw
import msgspec

from stoker.core.clock import Clock
from stoker.core.errors import InvalidOption, Unsupported
from stoker.core.job import JobSpec, Leased, Submitted
from stoker.core.transactions import Awaiting, Blocking, Rows
from stoker.stores.sqlite import submitting
from stoker.stores.sqlite.owned import AsyncOwned, Owned
from stoker.stores.sqlite.transaction import Transaction

ENGINE = "sqlite"
_LOOK = """
    SELECT json_array(sqlite_version(),
                      (SELECT file FROM pragma_database_list WHERE name = 'main'))"""
_OLDEST = (3, 38, 0)
"""The first with the operator ``->>``."""
_BINARY_JSON = (3, 51, 0)
"""The first with ``jsonb_each``."""
_SOUND_LOG = (3, 51, 3)
"""The first in which a checkpoint cannot meet a commit of another connection and lose pages."""


class Transactions:
    """What the store does inside a transaction of the caller. Holds no connection."""

    def __init__(self, path: str, durability: str, clock: Clock) -> None:
        """Take what an open store knows.

        Args:
            path: Its file.
            durability: See `SQLiteStore`.
            clock: Time and chance.
        """
        self._path = path
        self._durability = durability
        self._clock = clock

    @property
    def address(self) -> str:
        """See `stoker.core.transactions.Transactions.address`."""
        return f"sqlite:///{quote(self._path)}?durability={self._durability}"

    def submit(
        self, connection: Blocking, jobs: Sequence[JobSpec], *, actor: str
    ) -> list[Submitted]:
        """See `stoker.core.transactions.Transactions.submit`."""
        tx = Transaction(self._borrow(connection), self._clock)
        tx.begin()
        try:
            answers = submitting.submit(tx, jobs, None, actor, set())
            tx.total.add(tx.books)
            tx.write_books()
        except BaseException as fault:
            _undo(tx, fault)
            raise
        tx.keep()
        return answers

    async def asubmit(
        self,
        connection: Awaiting,
        jobs: Sequence[JobSpec],  # noqa: ARG002 - the protocol's
        *,
        actor: str,  # noqa: ARG002 - likewise
    ) -> list[Submitted]:
        """Refuse: SQLite has no driver that awaits; SQLAlchemy lends its blocking side."""
        raise self._elsewhere(connection.engine)

    def ring(self, queues: Collection[str]) -> None:
        """Do nothing: whoever waits looks at the file's version ten times a second."""

    def begin(self, leased: Leased) -> Owned:
        """See `stoker.core.transactions.Transactions.begin`."""
        return Owned(self._path, self._durability, self._clock, leased)

    async def abegin(self, leased: Leased) -> AsyncOwned:
        """See `begin`."""
        return await AsyncOwned.begin(self._path, self._durability, self._clock, leased)

    def _borrow(self, connection: Blocking) -> apsw.Connection:
        if connection.engine != ENGINE:
            raise self._elsewhere(connection.engine)
        told, file = msgspec.json.decode(str(connection.run(_LOOK)[0][0]))
        version = tuple(int(part) for part in told.split("."))
        if version < _OLDEST:
            raise Unsupported(
                f"the connection's driver brings SQLite {told}; expected 3.38 or newer. Use apsw, "
                "which brings its own"
            )
        if not _is_same(file, self._path):
            raise InvalidOption(
                f"the connection has {file or 'a database in memory'!r} open, and the store is "
                f"{self._path!r}; a transaction cannot reach over both. Give a connection to that "
                "file, or none"
            )
        if version < _SOUND_LOG:
            # The store's own writer checkpoints, under its lock; this one leaves it alone.
            connection.run("PRAGMA wal_autocheckpoint = 0")
        return cast("apsw.Connection", _Borrowed(connection, version))

    def _elsewhere(self, engine: str) -> InvalidOption:
        return InvalidOption(
            f"the connection leads to a database of {engine}, and the store is the SQLite file "
            f"{self._path!r}; give a connection to that file, or none"
        )


class _Borrowed:
    """So much of an `apsw.Connection` as a `Transaction` needs, on another connection."""

    def __init__(self, connection: Blocking, version: tuple[int, ...]) -> None:
        self._connection = connection
        self._plain = version < _BINARY_JSON

    def execute(self, statement: str, arguments: Sequence[Any] = ()) -> "_Found":
        if self._plain:
            statement = statement.replace("jsonb_each(", "json_each(")
        found = _Found()
        # Other drivers take one statement at a time; none of ours has a semicolon inside.
        for part in statement.split(";"):
            found.rows = self._connection.run(part.strip(), arguments)
        return found

    def changes(self) -> int:
        return int(self._connection.run("SELECT changes()")[0][0])


class _Found:
    """So much of an `apsw.Cursor`."""

    rows: Rows

    @property
    def get(self) -> Any:
        if not self.rows:
            return None
        return self.rows[0][0] if len(self.rows[0]) == 1 else self.rows[0]


def _undo(tx: Transaction, fault: BaseException) -> None:
    try:
        tx.undo()
    except Exception as second:  # noqa: BLE001 - of a driver that is not known here
        fault.add_note(f"and what was written of the jobs could not be taken back: {second}")


def _is_same(file: str | None, path: str) -> bool:
    try:
        return bool(file) and Path(file or "").samefile(path)
    except OSError:
        return False
