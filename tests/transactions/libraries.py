"""The libraries whose connections a submit can join, each driven in one and the same way."""

import asyncio
import functools
import sqlite3  # noqa: TID251 - a driver of users, who may well have it
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apsw
import asyncpg  # type: ignore[import-untyped]
import django  # type: ignore[import-untyped]
import django.conf  # type: ignore[import-untyped]
import django.db  # type: ignore[import-untyped]
import psycopg
import sqlalchemy
from django.db import transaction
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from stoker import Job, Stoker
from stoker.app.task import AppTask

_ALIAS = "shop"


class Library(ABC):
    """One connection, and a transaction on it."""

    connection: Any

    def __init__(self, place: str) -> None:
        """Take the place of a database: a conninfo without options, or the path of a file."""
        self.place = place

    @abstractmethod
    async def open(self) -> None: ...
    @abstractmethod
    async def begin(self) -> None: ...
    @abstractmethod
    async def execute(self, statement: str) -> None: ...
    @abstractmethod
    async def commit(self) -> None: ...
    @abstractmethod
    async def rollback(self) -> None: ...
    @abstractmethod
    async def close(self) -> None: ...

    async def submit(self, task: AppTask[[str], str], text: str, **options: Any) -> Job[str]:
        return task.options(connection=self.connection, **options).submit(text)

    async def submit_many(self, app: Stoker, task: AppTask[[str], str], n: int) -> list[Job[Any]]:
        calls = [task.call(str(i)) for i in range(n)]
        return app.submit_many(calls, connection=self.connection)


class Asynchronous(Library):
    """Submits by the async twins."""

    async def submit(self, task: AppTask[[str], str], text: str, **options: Any) -> Job[str]:
        return await task.options(connection=self.connection, **options).asubmit(text)

    async def submit_many(self, app: Stoker, task: AppTask[[str], str], n: int) -> list[Job[Any]]:
        calls = [task.call(str(i)) for i in range(n)]
        return await app.asubmit_many(calls, connection=self.connection)


class Psycopg(Library):
    connection: "psycopg.Connection[Any]"

    async def open(self) -> None:
        # Rows that are no tuples, and cursors with another placeholder, are the user's affair.
        self.connection = psycopg.connect(
            self.place, row_factory=dict_row, cursor_factory=psycopg.RawCursor
        )

    async def begin(self) -> None:
        pass

    async def execute(self, statement: str) -> None:
        self.connection.execute(statement.encode())

    async def commit(self) -> None:
        self.connection.commit()

    async def rollback(self) -> None:
        self.connection.rollback()

    async def close(self) -> None:
        self.connection.close()


class AsyncPsycopg(Asynchronous):
    connection: "psycopg.AsyncConnection[Any]"

    async def open(self) -> None:
        self.connection = await psycopg.AsyncConnection.connect(self.place, row_factory=dict_row)

    async def begin(self) -> None:
        pass

    async def execute(self, statement: str) -> None:
        await self.connection.execute(statement.encode())

    async def commit(self) -> None:
        await self.connection.commit()

    async def rollback(self) -> None:
        await self.connection.rollback()

    async def close(self) -> None:
        await self.connection.close()


class Asyncpg(Asynchronous):
    """A connection of a pool, which is a proxy of the real one."""

    async def open(self) -> None:
        self.pool = await asyncpg.create_pool(self.place, min_size=1, max_size=1)
        self.connection = await self.pool.acquire()

    async def begin(self) -> None:
        self.transaction = self.connection.transaction()
        await self.transaction.start()

    async def execute(self, statement: str) -> None:
        await self.connection.execute(statement)

    async def commit(self) -> None:
        await self.transaction.commit()

    async def rollback(self) -> None:
        await self.transaction.rollback()

    async def close(self) -> None:
        await self.pool.release(self.connection)
        await self.pool.close()


class AlchemyConnection(Library):
    scheme = "postgresql+psycopg://"

    def engine(self) -> sqlalchemy.Engine:
        return sqlalchemy.create_engine(url_for(self.scheme, self.place))

    async def open(self) -> None:
        self._engine = self.engine()
        self.connection = self._engine.connect()

    async def begin(self) -> None:
        pass

    async def execute(self, statement: str) -> None:
        self.connection.execute(sqlalchemy.text(statement))

    async def commit(self) -> None:
        self.connection.commit()

    async def rollback(self) -> None:
        self.connection.rollback()

    async def close(self) -> None:
        self.connection.close()
        self._engine.dispose()


class AlchemySession(AlchemyConnection):
    async def open(self) -> None:
        self._engine = self.engine()
        self.connection = Session(self._engine)


class AlchemyFile(AlchemyConnection):
    scheme = "sqlite:///"


class AlchemyFileSession(AlchemySession):
    scheme = "sqlite:///"


class AsyncAlchemy(Asynchronous):
    scheme = "postgresql+psycopg://"

    def engine(self) -> AsyncEngine:
        return create_async_engine(url_for(self.scheme, self.place))

    async def open(self) -> None:
        self._engine = self.engine()
        self.connection = await self._engine.connect()

    async def begin(self) -> None:
        pass

    async def execute(self, statement: str) -> None:
        await self.connection.execute(sqlalchemy.text(statement))

    async def commit(self) -> None:
        await self.connection.commit()

    async def rollback(self) -> None:
        await self.connection.rollback()

    async def close(self) -> None:
        await self.connection.close()
        await self._engine.dispose()


class AsyncAlchemyAsyncpg(AsyncAlchemy):
    scheme = "postgresql+asyncpg://"


class AsyncAlchemySession(AsyncAlchemyAsyncpg):
    async def open(self) -> None:
        self._engine = self.engine()
        self.connection = AsyncSession(self._engine)


class AsyncAlchemyFile(AsyncAlchemy):
    scheme = "sqlite+aiosqlite:///"


class Django(Library):
    """``django.db.connection`` inside ``transaction.atomic()``, on a thread of its own."""

    async def open(self) -> None:
        self.thread = ThreadPoolExecutor(1)
        await self.there(self._open)

    def database(self) -> dict[str, Any]:
        known = psycopg.conninfo.conninfo_to_dict(self.place)
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": known["dbname"],
            "USER": known["user"],
            "PASSWORD": known["password"],
            "HOST": known["host"],
            "PORT": known["port"],
        }

    async def begin(self) -> None:
        self.atomic = transaction.atomic(using=_ALIAS)
        await self.there(self.atomic.__enter__)

    async def execute(self, statement: str) -> None:
        await self.there(self._execute, statement)

    async def commit(self) -> None:
        await self.there(self.atomic.__exit__, None, None, None)

    async def rollback(self) -> None:
        await self.there(self._roll_back)

    async def submit(self, task: AppTask[[str], str], text: str, **options: Any) -> Job[str]:
        bound = task.options(connection=self.connection, **options)
        job: Job[str] = await self.there(bound.submit, text)
        return job

    async def submit_many(self, app: Stoker, task: AppTask[[str], str], n: int) -> list[Job[Any]]:
        calls = [task.call(str(i)) for i in range(n)]
        submit = functools.partial(app.submit_many, calls, connection=self.connection)
        jobs: list[Job[Any]] = await self.there(submit)
        return jobs

    async def close(self) -> None:
        await self.there(self._close)
        self.thread.shutdown()

    async def there(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.thread, call, *arguments)

    def _open(self) -> None:
        if not django.conf.settings.configured:
            django.conf.settings.configure(DATABASES={"default": {}}, LOGGING_CONFIG=None)
            django.setup()
        # One more database, as if it had stood in the settings from the beginning.
        known = django.db.connections.configure_settings({"default": {}, _ALIAS: self.database()})
        django.db.connections.settings.update(known)
        self.connection = django.db.connections[_ALIAS]

    def _execute(self, statement: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)

    def _roll_back(self) -> None:
        transaction.set_rollback(True, using=_ALIAS)
        self.atomic.__exit__(None, None, None)

    def _close(self) -> None:
        self.connection.close()
        del django.db.connections[_ALIAS]


class DjangoFile(Django):
    def database(self) -> dict[str, Any]:
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": self.place}


class Sqlite3(Library):
    """As the driver comes: it begins a transaction at the first write by itself."""

    async def open(self) -> None:
        self.connection = sqlite3.connect(self.place)
        self.connection.row_factory = sqlite3.Row

    async def begin(self) -> None:
        pass

    async def execute(self, statement: str) -> None:
        self.connection.execute(statement)

    async def commit(self) -> None:
        self.connection.commit()

    async def rollback(self) -> None:
        self.connection.rollback()

    async def close(self) -> None:
        self.connection.close()


class Apsw(Library):
    connection: apsw.Connection

    async def open(self) -> None:
        self.connection = apsw.Connection(self.place)
        self.connection.row_trace = lambda cursor, row: dict(enumerate(row))

    async def begin(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    async def execute(self, statement: str) -> None:
        self.connection.execute(statement)

    async def commit(self) -> None:
        self.connection.execute("COMMIT")

    async def rollback(self) -> None:
        self.connection.execute("ROLLBACK")

    async def close(self) -> None:
        self.connection.close()


POSTGRES: tuple[type[Library], ...] = (
    Psycopg,
    AsyncPsycopg,
    Asyncpg,
    AlchemyConnection,
    AlchemySession,
    AsyncAlchemy,
    AsyncAlchemyAsyncpg,
    AsyncAlchemySession,
    Django,
)
SQLITE: tuple[type[Library], ...] = (
    Sqlite3,
    Apsw,
    AlchemyFile,
    AlchemyFileSession,
    AsyncAlchemyFile,
    DjangoFile,
)


def url_for(scheme: str, place: str) -> str:
    """Return SQLAlchemy's URL of a place."""
    return scheme + place.removeprefix("postgresql://")
