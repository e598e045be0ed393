"""What `stoker doctor` finds on real PostgreSQL servers with settings that are wrong on purpose."""

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import msgspec
import psycopg
import pytest
from psycopg import sql

from stoker.connect import examine_store
from stoker.core.errors import InvalidConfig, StokerError, Unavailable
from stoker.core.finding import Finding
from stoker.stores.postgres import PostgresStore
from stoker.stores.postgres.address import parse
from stoker.stores.postgres.judging import Facts, Rights, judge
from stoker.testing.clock import FakeClock
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PASSWORD, Postgres
from tests.servers.server import free_port

Findings = dict[str, Finding]


async def look(url: str, *, processes: int = 3) -> Findings:
    return {f.check: f for f in await examine_store(url, processes=processes)}


@pytest.fixture(scope="module")
def careless() -> Iterator[Postgres]:
    """A server on which everything is wrong that can be at once."""
    server = Postgres(
        durable=False,
        autovacuum="off",
        max_connections="25",
        default_transaction_isolation="serializable",
    )
    server.start()
    yield server
    server.close()


@pytest.fixture
def make_role(server: Postgres) -> Iterator[Callable[..., str]]:
    """Make roles; return the URL of a store with one of them."""
    made: list[str] = []

    def make(url: str, *statements: str, options: str = "") -> str:
        role = f"role_{urlsplit(url).query.rpartition('schema=')[2]}"
        schema = url.rpartition("schema=")[2]
        with server.connect() as db:
            db.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'guest' {options}".encode())
            made.append(role)
            for statement in statements:
                db.execute(statement.format(role=role, schema=schema).encode())
        return url.replace("stoker:in%20tests%20only", f"{role}:guest")

    yield make
    with server.connect() as db:
        for role in made:
            db.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
            db.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


async def test_a_server_with_careless_settings_is_told_each_of_them(careless: Postgres) -> None:
    found = await look(careless.url())
    problems = {check for check, f in found.items() if f.verdict == "problem"}
    assert problems == {"fsync", "full_page_writes", "connections"}
    warnings = {check for check, f in found.items() if f.verdict == "warning"}
    assert warnings == {"synchronous_commit", "durability", "autovacuum", "permissions"}
    assert "isolation" in await look(f"{careless.url()}&prepare=off")
    assert "power failure" in found["fsync"].risk
    assert "ALTER SYSTEM SET fsync = on" in found["fsync"].fix
    assert "of 22 connections" in found["connections"].found
    assert all(f.risk and f.fix for f in found.values() if f.verdict != "ok")


async def test_a_careful_server_is_left_in_peace() -> None:
    server = Postgres(durable=True)
    try:
        server.start()
        found = await look(server.url())
    finally:
        server.close()
    assert {check for check, f in found.items() if f.verdict in {"warning", "problem"}} == {
        "permissions"  # the tests' role is a superuser
    }
    assert found["durability"].found.startswith("full; can be lost: nothing")
    assert found["notifications"].found == "LISTEN hears; no pooler is between"
    assert found["encryption"].verdict == found["clock"].verdict == "ok"


async def test_the_layout_is_found_missing_old_new_or_strange(
    server: Postgres, fresh_url: str
) -> None:
    schema = fresh_url.rpartition("schema=")[2]
    assert (await look(fresh_url))["layout"].found.endswith("the first opening makes the layout")
    with server.connect() as db:
        assert db.execute("SELECT to_regnamespace(%s)", (schema,)).fetchone() == (None,)
    async with PostgresStore(fresh_url) as store:
        latest = (await store.migrate(dry_run=True)).latest
    assert (await look(fresh_url))["layout"].verdict == "ok"
    await PostgresStore(fresh_url).migrate(to=latest - 1)
    old = (await look(fresh_url))["layout"]
    assert (old.verdict, old.fix) == ("problem", "stoker db migrate")
    await PostgresStore(fresh_url).migrate()
    with server.connect() as db:
        table = sql.Identifier(schema, "layout")
        db.execute(sql.SQL("INSERT INTO {} VALUES (999, 'future')").format(table))
    new = (await look(fresh_url))["layout"]
    assert new.verdict == "problem"
    assert "newer Stoker" in new.found
    assert "upgrade" in new.fix
    server.drop(schema)
    with server.connect() as db:
        db.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        db.execute(sql.SQL("CREATE TABLE {} (a int)").format(sql.Identifier(schema, "mine")))
    strange = (await look(fresh_url))["layout"]
    assert (strange.verdict, strange.code) == ("problem", "not_a_store")


async def test_a_role_is_told_what_it_lacks_and_what_it_has_too_much(
    server: Postgres, fresh_url: str, make_role: Callable[..., str]
) -> None:
    async with PostgresStore(fresh_url):
        pass
    guest = make_role(fresh_url, options="CREATEDB")
    outside = await look(guest)
    assert outside["permissions"].verdict == "problem"
    assert "lacks" in outside["permissions"].found
    assert "layout" not in outside
    with server.connect() as db:
        role, schema = urlsplit(guest).username, fresh_url.rpartition("schema=")[2]
        assert role is not None
        names = {"role": sql.Identifier(role), "schema": sql.Identifier(schema)}
        for grant in (
            "GRANT USAGE ON SCHEMA {schema} TO {role}",
            "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}",
        ):
            db.execute(sql.SQL(grant).format(**names))
    reader = await look(guest)
    assert "INSERT on" in reader["permissions"].found
    assert "deploy/postgres/roles.sql" in reader["permissions"].fix
    with server.connect() as db:
        for grant in (
            "GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
        ):
            db.execute(sql.SQL(grant).format(**names))
    assert (await look(guest))["permissions"].verdict == "warning"
    with server.connect() as db:
        db.execute(sql.SQL("ALTER ROLE {role} NOCREATEDB").format(**names))
    enough = (await look(guest))["permissions"]
    assert enough.verdict == "ok"
    assert enough.found.endswith("not the layout")


async def test_a_role_that_may_not_make_the_layout_is_told_who_may(
    fresh_url: str, make_role: Callable[..., str]
) -> None:
    found = (await look(make_role(fresh_url)))["layout"]
    assert found.verdict == "problem"
    assert "may not make it" in found.found


async def test_a_role_with_few_connections_is_told(
    fresh_url: str, make_role: Callable[..., str]
) -> None:
    url = make_role(fresh_url, options="CONNECTION LIMIT 14")
    found = (await look(url, processes=1))["connections"]
    assert (found.verdict, "of 14 connections" in found.found) == ("warning", True)


async def test_a_pooler_by_transaction_is_seen_and_told_how_to_be_used(server: Postgres) -> None:
    pooler = PgBouncer(server, pool_mode="transaction", connections=1)
    try:
        pooler.start()
        untold = pooler.left_behind()
        url = server.url().replace(f":{server.port}/", f":{pooler.port}/")
        found = await look(url)
        careful = await look(f"{url}&prepare=off")
        assert pooler.left_behind() == untold
    finally:
        pooler.close()
    assert found["pooler"].verdict == "problem"
    assert "?prepare=off" in found["pooler"].fix
    assert careful["notifications"].verdict == "note"
    assert "a pooler is between" in careful["notifications"].found


async def test_a_pooler_by_session_is_seen_and_does_no_harm(server: Postgres) -> None:
    pooler = PgBouncer(server, pool_mode="session")
    try:
        pooler.start()
        url = server.url().replace(f":{server.port}/", f":{pooler.port}/")
        found = (await look(url))["notifications"]
    finally:
        pooler.close()
    assert (found.verdict, found.found) == ("ok", "LISTEN hears; a pooler is between")


async def test_a_clock_that_differs_is_told(url: str) -> None:
    [found] = [
        f
        for f in await examine_store(url, clock=FakeClock(start=1_000_000.0))
        if f.check == "clock"
    ]
    assert found.verdict == "warning"
    assert "NTP" in found.fix


async def test_a_server_that_is_not_there_or_does_not_let_us_in_is_an_error(
    server: Postgres,
) -> None:
    with pytest.raises(Unavailable):
        await examine_store(f"postgresql://eve:secret@127.0.0.1:{free_port()}/jobs")
    with pytest.raises(StokerError) as refused:
        await examine_store(server.url(password="wrong"))
    assert not refused.value.retryable
    with pytest.raises(InvalidConfig):
        await examine_store(server.url().replace("/postgres?", "/nowhere?"))


FACTS = Facts(
    version="15.9",
    number=150_009,
    standby=False,
    closed=False,
    encoding="UTF8",
    isolation="read committed",
    fsync=True,
    full_page_writes=True,
    commit="on",
    standbys="",
    checksums=True,
    vacuums=True,
    replicas=0,
    limit=97,
    used=1,
    role="jobs",
    powers=[],
    encrypted=False,
    pid=1,
    now=0.0,
    oldest=0.0,
)
RIGHTS = Rights(exists=True, makes=False, owns=False, enters=True, lacks=[])


@pytest.mark.parametrize(
    ("change", "check", "verdict"),
    [
        ({"version": "13.4", "number": 130_004}, "server", "problem"),
        ({"version": "14.2", "number": 140_002}, "server", "warning"),
        ({"standby": True}, "primary", "problem"),
        ({"encoding": "LATIN1"}, "encoding", "problem"),
        ({"replicas": 2}, "replicas", "warning"),
        ({"checksums": False}, "checksums", "note"),
        ({"oldest": 7_200.0}, "long transactions", "warning"),
        ({}, "encryption", "warning"),
    ],
)
def test_what_no_server_here_shows_is_judged_too(
    change: dict[str, object], check: str, verdict: str
) -> None:
    facts = msgspec.structs.replace(FACTS, **change)
    address = parse("postgresql://jobs@db.example.com/jobs")
    found = judge(facts, RIGHTS, None, address=address, skew=0.0, hears=True, processes=3)
    [one] = [f for f in found if f.check == check]
    assert one.verdict == verdict
    assert one.risk
    assert one.fix


@pytest.mark.parametrize(
    ("query", "encrypted", "verdict"),
    [("", True, "warning"), ("?sslmode=verify-full", True, "ok"), ("", False, "warning")],
)
def test_tls_counts_when_the_certificate_is_checked(
    query: str, *, encrypted: bool, verdict: str
) -> None:
    facts = Facts(
        **{**{f: getattr(FACTS, f) for f in Facts.__struct_fields__}, "encrypted": encrypted}
    )
    address = parse(f"postgresql://jobs@db.example.com/jobs{query}")
    found = judge(facts, RIGHTS, None, address=address, skew=0.0, hears=True, processes=3)
    assert [f.verdict for f in found if f.check == "encryption"] == [verdict]


async def test_nothing_that_is_found_names_the_password(server: Postgres) -> None:
    found = await examine_store(server.url())
    assert PASSWORD not in repr(found)
    assert psycopg.__name__ not in repr(found)
