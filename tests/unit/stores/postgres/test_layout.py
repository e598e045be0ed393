"""How a schema becomes a store, and what is refused."""

import asyncio

import pytest
from click.testing import CliRunner
from psycopg import sql

from stoker.cli.main import cli
from stoker.core.errors import NotAStore, SchemaMismatch, Unsupported
from stoker.stores.postgres import PostgresStore
from stoker.stores.postgres.schema import latest, migrations
from stoker.testing.clock import FakeClock
from stoker.testing.conformance.hand import Hand
from tests.servers.postgres import Postgres


def schema_of(url: str) -> str:
    """Return the schema that a URL names."""
    return url.rpartition("schema=")[2]


async def test_a_schema_that_is_not_there_is_made_at_the_first_opening(fresh_url: str) -> None:
    async with PostgresStore(fresh_url) as store:
        status = await store.migrate(dry_run=True)
    assert (status.current, status.pending) == (latest(schema_of(fresh_url)), ())


async def test_many_that_open_at_once_make_it_once(fresh_url: str) -> None:
    stores = [PostgresStore(fresh_url) for _ in range(8)]
    await asyncio.gather(*(store.__aenter__() for store in stores))
    counts = await asyncio.gather(*(store.counts() for store in stores))
    await asyncio.gather(*(store.__aexit__(None, None, None) for store in stores))
    assert all(count.tallies == [] for count in counts)


async def test_nobody_ever_sees_half_of_what_is_made_from_nothing(
    server: Postgres, fresh_url: str
) -> None:
    """A program that opened the store between two steps took it for an old layout."""
    name = schema_of(fresh_url)
    await PostgresStore(fresh_url).migrate()
    table = sql.Identifier(name, "layout")
    with server.connect() as db:
        made_by = db.execute(sql.SQL("SELECT DISTINCT xmin::text FROM {}").format(table)).fetchall()
    assert len(made_by) == 1


async def test_the_layout_goes_down_step_by_step_and_up_again(
    fresh_url: str, fake_clock: FakeClock
) -> None:
    async with PostgresStore(fresh_url, clock=fake_clock):
        pass
    closed = PostgresStore(fresh_url)
    for number in reversed(range(latest(schema_of(fresh_url)))):
        assert (await closed.migrate(to=number)).current == number
    for number in range(1, latest(schema_of(fresh_url)) + 1):
        assert (await closed.migrate(to=number)).current == number
    async with PostgresStore(fresh_url, clock=fake_clock) as store:
        hand = Hand(store, fake_clock)
        await hand.finish(await hand.put())


async def test_going_down_leaves_nothing_behind(server: Postgres, fresh_url: str) -> None:
    name = schema_of(fresh_url)
    closed = PostgresStore(fresh_url)
    await closed.migrate()
    await closed.migrate(to=0)
    with server.connect() as db:
        left = db.execute(
            """SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%(name)s)
            UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace(%(name)s)
            UNION ALL SELECT typname FROM pg_type WHERE typnamespace = to_regnamespace(%(name)s)""",
            {"name": name},
        ).fetchall()
    assert left == []


async def test_an_older_layout_is_not_opened_until_it_was_migrated(fresh_url: str) -> None:
    closed = PostgresStore(fresh_url)
    await closed.migrate(to=1)
    with pytest.raises(SchemaMismatch, match="stoker db migrate"):
        await PostgresStore(fresh_url).__aenter__()
    assert [m.number for m in (await closed.migrate(dry_run=True)).applied] == [1]
    await closed.migrate()
    async with PostgresStore(fresh_url) as store:
        await store.counts()


async def test_indexes_that_were_built_beforehand_stay(server: Postgres, fresh_url: str) -> None:
    """So that nobody who writes waits for them: CONCURRENTLY, which no migration can."""
    name = schema_of(fresh_url)
    closed = PostgresStore(fresh_url)
    await closed.migrate(to=5)
    with server.connect() as db:
        db.execute(
            sql.SQL("CREATE INDEX CONCURRENTLY ended_lanes ON {} (task, queue)").format(
                sql.Identifier(name, "ended")
            )
        )
        look = "SELECT to_regclass(%s)::oid"
        before = db.execute(look, (f"{name}.ended_lanes",)).fetchone()
        await closed.migrate()
        assert db.execute(look, (f"{name}.ended_lanes",)).fetchone() == before
    async with PostgresStore(fresh_url) as store:
        await store.counts()


async def test_a_newer_layout_is_not_touched(server: Postgres, fresh_url: str) -> None:
    await PostgresStore(fresh_url).migrate()
    with server.connect() as db:
        table = sql.Identifier(schema_of(fresh_url), "layout")
        db.execute(sql.SQL("INSERT INTO {} (number, name) VALUES (999, 'x')").format(table))
    with pytest.raises(SchemaMismatch, match="newer"):
        await PostgresStore(fresh_url).__aenter__()
    with pytest.raises(SchemaMismatch, match="newer"):
        await PostgresStore(fresh_url).migrate()


async def test_a_version_that_nobody_knows_is_refused(fresh_url: str) -> None:
    with pytest.raises(Unsupported, match="there is no layout 77"):
        await PostgresStore(fresh_url).migrate(to=77)


async def test_somebody_elses_schema_is_not_touched(server: Postgres, fresh_url: str) -> None:
    name = schema_of(fresh_url)
    with server.connect() as db:
        db.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        db.execute(sql.SQL("CREATE TABLE {} (a int)").format(sql.Identifier(name, "mine")))
        with pytest.raises(NotAStore, match=name):
            await PostgresStore(fresh_url).__aenter__()
        tables = db.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s", (name,)
        ).fetchall()
    assert tables == [("mine",)]


async def test_the_printed_statements_make_the_store_by_themselves(
    server: Postgres, fresh_url: str
) -> None:
    name = schema_of(fresh_url)
    with server.connect() as db:
        for migration in migrations(name):
            db.execute(f"BEGIN; {migration.up} COMMIT".encode())
    async with PostgresStore(fresh_url) as store:
        assert (await store.migrate(dry_run=True)).pending == ()
    with server.connect() as db:
        for migration in reversed(migrations(name)):
            db.execute(f"BEGIN; {migration.down} COMMIT".encode())
        left = db.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace(%s)", (name,)
        ).fetchone()
    assert left == (0,)


async def test_a_schema_that_an_administrator_made_is_used(
    server: Postgres, fresh_url: str
) -> None:
    """The role need not have the right to make schemas."""
    name = schema_of(fresh_url)
    role = f"{name}_role"
    with server.connect() as db:
        db.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(role)))
        try:
            db.execute(
                sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(
                    sql.Identifier(name), sql.Identifier(role)
                )
            )
            url = f"postgresql://{role}:x@127.0.0.1:{server.port}/postgres?schema={name}"
            async with PostgresStore(url) as store:
                assert (await store.counts()).tallies == []
        finally:
            server.drop(name)
            db.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_the_shell_migrates_what_cannot_be_opened(server: Postgres, fresh_url: str) -> None:
    def stoker(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["db", *words, "--store", fresh_url])
        return done.exit_code, done.output

    newest = latest("stoker")
    assert stoker("status")[0] == 1
    with server.connect() as db:
        query = "SELECT to_regnamespace(%s) IS NULL"
        assert db.execute(query, (schema_of(fresh_url),)).fetchone() == (True,), (
            "looking made something"
        )
    assert "CREATE TABLE" in stoker("sql")[1]
    assert stoker("migrate", "--to", "2")[0] == 0
    assert f"version 2 of {newest}" in stoker("status")[1]
    assert "would apply 3 caring" in stoker("migrate", "--dry-run")[1]
    assert stoker("migrate")[0] == 0
    assert stoker("status")[0] == 0
    assert "DROP FUNCTION" in stoker("sql", "--all", "--down")[1]
    assert stoker("migrate", "--to", "0", "--yes")[0] == 0
    assert stoker("status")[0] == 1
