"""What a caller is told when the server refuses."""

import socket

import psycopg
import pytest
from psycopg import sql

from stoker.core.errors import (
    InvalidConfig,
    NotOpen,
    ReadOnlyStore,
    StokerError,
    StoreFull,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from stoker.stores.postgres import PostgresStore
from stoker.stores.postgres.address import parse
from stoker.stores.postgres.faults import translate
from stoker.testing.clock import FakeClock
from stoker.testing.conformance.hand import Hand
from tests.servers.postgres import Postgres
from tests.servers.server import free_port


async def opening(url: str) -> StokerError:
    """Return the error with which a store does not open."""
    with pytest.raises(StokerError) as caught:
        await PostgresStore(url).__aenter__()
    return caught.value


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    port = free_port()
    error = await opening(f"postgresql://eve:secret@127.0.0.1:{port}/jobs")
    assert type(error) is Unavailable
    assert f"127.0.0.1:{port}" in error.message
    assert "secret" not in error.message


async def test_a_host_that_nobody_knows_is_unavailable() -> None:
    error = await opening("postgresql://eve:secret@host.invalid/jobs?connect_timeout=5")
    assert type(error) is Unavailable
    assert "host.invalid" in error.message


async def test_a_server_that_accepts_and_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        error = await opening(f"postgresql://eve@127.0.0.1:{port}/jobs?timeout=1")
    assert type(error) is Unavailable


@pytest.mark.parametrize(
    ("change", "expected", "advice"),
    [
        (("stoker:", "nobody:"), Unauthenticated, "password"),
        (("in%20tests", "wrong"), Unauthenticated, "password"),
        (("/postgres?", "/nowhere?"), InvalidConfig, "createdb"),
    ],
)
async def test_what_a_person_must_mend_is_said_at_the_opening(
    server: Postgres, change: tuple[str, str], expected: type[StokerError], advice: str
) -> None:
    error = await opening(server.url().replace(*change))
    assert type(error) is expected
    assert advice in error.message
    assert "wrong only" not in error.message


async def test_a_closed_store_tells_so_and_opens_again(url: str) -> None:
    store = PostgresStore(url)
    async with store:
        with pytest.raises(NotOpen, match="open already"):
            await store.__aenter__()
    with pytest.raises(NotOpen):
        await store.wait(("default",), timeout=0.1)
    async with store:
        assert (await store.counts()).tallies == []


async def test_a_role_without_rights_is_told_which_it_lacks(
    server: Postgres, url: str, fake_clock: FakeClock
) -> None:
    async with PostgresStore(url, clock=fake_clock):
        pass
    name = url.rpartition("schema=")[2]
    role = f"{name}_guest"
    with server.connect() as db:
        db.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(role)))
        try:
            guest = f"postgresql://{role}:x@127.0.0.1:{server.port}/postgres?schema={name}"
            error = await opening(guest)
        finally:
            db.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
    assert type(error) is ReadOnlyStore
    assert "USAGE" in error.message


async def test_a_server_that_takes_no_writes_is_refused(server: Postgres, url: str) -> None:
    with server.connect() as db:
        db.execute("CREATE ROLE reader LOGIN PASSWORD 'x'")
        try:
            db.execute("ALTER ROLE reader SET default_transaction_read_only = on")
            error = await opening(url.replace("stoker:in%20tests%20only", "reader:x"))
        finally:
            db.execute("DROP ROLE reader")
    assert type(error) is ReadOnlyStore
    assert "target_session_attrs" in error.message


async def test_a_database_that_cannot_hold_all_texts_is_refused(server: Postgres) -> None:
    with server.connect() as db:
        db.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        try:
            error = await opening(server.url().replace("/postgres?", "/latin?"))
        finally:
            db.execute("DROP DATABASE latin WITH (FORCE)")
    assert type(error) is Unsupported
    assert "LATIN1" in error.message


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        ("53100", StoreFull),
        ("53300", Unavailable),
        ("25006", ReadOnlyStore),
        ("57014", Unavailable),
        ("40P01", Unavailable),
    ],
)
def test_a_state_of_the_server_has_its_own_error(
    sqlstate: str, expected: type[StokerError]
) -> None:
    error = psycopg.errors.lookup(sqlstate)("it failed")
    told = translate(error, parse("postgresql://h/d"), reading=False, broken=False)
    assert type(told) is expected
    assert "it failed" in told.message


async def test_a_store_that_lost_its_tables_says_what_to_do(
    server: Postgres, fresh_url: str, fake_clock: FakeClock
) -> None:
    async with PostgresStore(fresh_url, clock=fake_clock) as store:
        hand = Hand(store, fake_clock)
        await hand.put()
        server.drop(fresh_url.rpartition("schema=")[2])
        with pytest.raises(StokerError, match="stoker db migrate"):
            await hand.put()


async def test_what_a_store_can_lose_is_what_the_server_says(url: str) -> None:
    async with PostgresStore(url) as store:
        info = store.info
    assert (info.engine, info.durability, info.details["fsync"]) == ("postgresql", "fast", False)
    assert "power failure" in info.can_lose
    assert "in tests" not in info.url
