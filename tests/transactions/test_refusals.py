"""Connections in whose transaction nothing can be submitted: each gets a clear error."""

import sqlite3  # noqa: TID251 - a driver of users, who may well have it
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import asyncpg  # type: ignore[import-untyped]
import psycopg
import pytest
import sqlalchemy
from psycopg import sql

from stoker import Stoker
from stoker.app.connections import recognise
from stoker.core.errors import InvalidOption, ReadOnlyStore, Unsupported
from stoker.settings import Settings
from stoker.stores.sqlite import transactions
from tests.servers.postgres import shared_server
from tests.transactions.conftest import Shop

NOTHING_OPEN = "no transaction is open on the connection"


@pytest.mark.parametrize("thing", [object(), "postgresql://host/db", 7])
def test_what_is_no_connection_is_named(open_file: Shop, thing: object) -> None:
    with pytest.raises(InvalidOption, match=rf"connection is a builtins\.{type(thing).__name__}"):
        open_file.task().options(connection=thing).submit("x")


@pytest.mark.parametrize("url", ["memory://"])
def test_a_store_that_cannot_says_so(url: str) -> None:
    app = Stoker(settings=Settings(store=url))
    try:
        task = app.task("ship")(_ship)
        with (
            sqlite3.connect(":memory:") as db,
            pytest.raises(Unsupported, match="only PostgreSQL and SQLite"),
        ):
            task.options(connection=db).submit("x")
        db.close()
    finally:
        app.close()


class TestPostgres:
    def test_a_connection_to_another_engine(self, open_postgres: Shop) -> None:
        db = apsw.Connection(":memory:")
        db.execute("BEGIN")
        with pytest.raises(InvalidOption, match="leads to a database of sqlite"):
            open_postgres.task().options(connection=db).submit("x")
        db.close()

    def test_a_connection_to_another_database(self, open_postgres: Shop) -> None:
        other = shared_server().connect()
        other.execute("DROP DATABASE IF EXISTS elsewhere")
        other.execute("CREATE DATABASE elsewhere")
        place = open_postgres.place.replace("/postgres", "/elsewhere")
        with psycopg.connect(place) as db:
            with pytest.raises(InvalidOption, match="another database than the store"):
                open_postgres.task().options(connection=db).submit("x")
            # The transaction that it was is not spoiled.
            assert db.execute("SELECT 1").fetchone() == (1,)
        other.execute("DROP DATABASE elsewhere WITH (FORCE)")
        other.close()

    def test_a_store_whose_schema_was_made_anew(self, open_postgres: Shop) -> None:
        schema = open_postgres.url.rpartition("schema=")[2]
        with psycopg.connect(open_postgres.place) as db:
            db.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
            with pytest.raises(InvalidOption, match="it was made anew"):
                open_postgres.task().options(connection=db).submit("x")
            db.rollback()

    @pytest.mark.parametrize("begin", [None, "BEGIN"])
    def test_autocommit_needs_an_open_transaction(
        self, open_postgres: Shop, begin: str | None
    ) -> None:
        task = open_postgres.task()
        with psycopg.connect(open_postgres.place, autocommit=True) as db:
            if begin is None:
                with pytest.raises(InvalidOption, match=NOTHING_OPEN):
                    task.options(connection=db).submit("x")
                return
            db.execute(begin.encode())
            job = task.options(connection=db).submit("x")
            db.execute("COMMIT")
        assert job.record().id == job.id

    async def test_asyncpg_needs_an_open_transaction(self, open_postgres: Shop) -> None:
        db = await asyncpg.connect(open_postgres.place)
        with pytest.raises(InvalidOption, match=NOTHING_OPEN):
            await open_postgres.task().options(connection=db).asubmit("x")
        await db.close()

    def test_sqlalchemy_needs_an_open_transaction(self, open_postgres: Shop) -> None:
        url = open_postgres.place.replace("postgresql://", "postgresql+psycopg://")
        engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as db, pytest.raises(InvalidOption, match=NOTHING_OPEN):
            open_postgres.task().options(connection=db).submit("x")
        engine.dispose()

    def test_a_read_only_transaction(self, open_postgres: Shop) -> None:
        with psycopg.connect(open_postgres.place) as db:
            db.execute("SET TRANSACTION READ ONLY")
            with pytest.raises(ReadOnlyStore, match="read-only"):
                open_postgres.task().options(connection=db).submit("x")

    def test_errors_of_the_own_connection_stay_what_they_are(self, open_postgres: Shop) -> None:
        with psycopg.connect(open_postgres.place) as db:
            with pytest.raises(psycopg.errors.UndefinedTable):
                db.execute("SELECT * FROM nothing_of_this_name")
            with pytest.raises(psycopg.errors.InFailedSqlTransaction):
                open_postgres.task().options(connection=db).submit("x")


class TestSQLite:
    def test_a_connection_to_another_file(self, open_file: Shop, tmp_path: Path) -> None:
        for place in (str(tmp_path / "other.db"), ":memory:"):
            db = sqlite3.connect(place)
            with pytest.raises(InvalidOption, match="and the store is"):
                open_file.task().options(connection=db).submit("x")
            db.close()

    def test_the_same_file_by_another_path(self, open_file: Shop, tmp_path: Path) -> None:
        link = tmp_path / "link.db"
        link.symlink_to(open_file.place)
        db = sqlite3.connect(link)
        job = open_file.task().options(connection=db).submit("x")
        db.commit()
        db.close()
        assert job.record().id == job.id

    async def test_a_connection_to_another_engine(
        self, open_file: Shop, open_postgres: Shop
    ) -> None:
        with (
            psycopg.connect(open_postgres.place) as db,
            pytest.raises(InvalidOption, match="leads to a database of postgresql"),
        ):
            open_file.task().options(connection=db).submit("x")
        awaiting = await psycopg.AsyncConnection.connect(open_postgres.place)
        with pytest.raises(InvalidOption, match="leads to a database of postgresql"):
            await open_file.task().options(connection=awaiting).asubmit("x")
        await awaiting.close()

    @pytest.mark.parametrize("connect", [apsw.Connection, None])
    def test_autocommit_needs_an_open_transaction(
        self, open_file: Shop, connect: Callable[[str], Any] | None
    ) -> None:
        db = connect(open_file.place) if connect else sqlite3.connect(open_file.place)
        if not connect:
            db.isolation_level = None
        with pytest.raises(InvalidOption, match=NOTHING_OPEN):
            open_file.task().options(connection=db).submit("x")
        db.close()

    def test_an_old_sqlite(self, open_file: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transactions, "_OLDEST", (99, 0, 0))
        db = sqlite3.connect(open_file.place)
        with pytest.raises(Unsupported, match=r"expected 3\.38 or newer"):
            open_file.task().options(connection=db).submit("x")
        db.close()

    def test_a_driver_with_the_flaw_of_the_log_makes_no_checkpoints(self, open_file: Shop) -> None:
        db = sqlite3.connect(open_file.place)
        open_file.task().options(connection=db).submit("x")
        expected = 0 if sqlite3.sqlite_version_info < (3, 51, 3) else 1000
        assert db.execute("PRAGMA wal_autocheckpoint").fetchone() == (expected,)
        db.rollback()
        db.close()

    def test_a_busy_file_is_the_drivers_error(self, open_file: Shop) -> None:
        holder, db = sqlite3.connect(open_file.place), sqlite3.connect(open_file.place, timeout=0)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            open_file.task().options(connection=db).submit("x")
        holder.close()
        db.close()


def test_a_failed_write_leaves_nothing_of_the_jobs(open_file: Shop) -> None:
    db = apsw.Connection(open_file.place)
    db.execute("CREATE TABLE mine (n)")
    db.execute("BEGIN IMMEDIATE; INSERT INTO mine VALUES (1)")
    db.set_authorizer(lambda op, *_: apsw.SQLITE_DENY if _[0] == "totals" else apsw.SQLITE_OK)
    with pytest.raises(apsw.AuthError):
        open_file.task().options(connection=db).submit("x")
    db.set_authorizer(None)
    assert db.in_transaction
    assert db.execute("SELECT count(*) FROM jobs").get == 0
    db.execute("COMMIT")
    assert db.execute("SELECT count(*) FROM mine").get == 1
    db.close()


def test_a_connection_is_told_by_its_package_not_by_its_name() -> None:
    class Connection:
        """Named like one of theirs."""

    with pytest.raises(InvalidOption, match="expected a connection of psycopg"):
        recognise(Connection())


def _ship(order: str) -> str:
    return order
