"""The layout: from nothing up, down again, and never with somebody else's data lost."""

import apsw
import pytest

from stoker.core.errors import SchemaMismatch, Unsupported
from stoker.core.job import JobSpec
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.stores.sqlite import SQLiteStore, schema
from stoker.stores.sqlite.phrases import CODES, STATES, TALLIED
from stoker.testing import FakeClock
from tests.unit.stores.sqlite.conftest import Rows


async def test_a_dry_run_tells_and_does_nothing(store: SQLiteStore, rows: Rows) -> None:
    await store.migrate(to=0)
    told = await store.migrate(dry_run=True)
    assert (told.current, told.latest) == (0, schema.latest())
    assert [m.number for m in told.pending] == list(range(1, schema.latest() + 1))
    assert told.applied == ()
    assert "CREATE TABLE jobs" in told.pending[0].up
    assert "DROP TABLE jobs" in told.pending[0].down
    assert rows("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'") == []


async def test_down_and_up_again_gives_an_empty_store_of_the_same_layout(
    store: SQLiteStore, rows: Rows
) -> None:
    layout = "SELECT type, name, sql FROM sqlite_schema ORDER BY name"
    before = rows(layout)
    await store.submit([JobSpec(id="a", task="work")])
    assert (await store.migrate(to=0)).current == 0
    assert rows("PRAGMA application_id") == [(0,)]
    assert (await store.migrate()).pending == ()
    assert rows(layout) == before
    await store.submit([JobSpec(id="b", task="work")])
    assert [job.id for job in (await store.find(JobQuery())).jobs] == ["b"]


async def test_verbs_on_an_absent_layout_say_what_to_do(store: SQLiteStore) -> None:
    await store.migrate(to=0)
    with pytest.raises(SchemaMismatch, match="stoker db migrate"):
        await store.submit([JobSpec(id="a", task="work")])
    with pytest.raises(SchemaMismatch, match="stoker db migrate"):
        await store.counts()


async def test_an_unknown_version_is_refused(store: SQLiteStore) -> None:
    with pytest.raises(Unsupported, match="no layout 99"):
        await store.migrate(to=99)
    with pytest.raises(Unsupported, match="no layout -1"):
        await store.migrate(to=-1)


async def test_migrating_a_newer_layout_is_refused(store: SQLiteStore, rows: Rows) -> None:
    rows(f"PRAGMA user_version = {schema.latest() + 1}")
    with pytest.raises(SchemaMismatch, match="Upgrade Stoker"):
        await store.migrate()


async def test_a_step_that_fails_leaves_the_version_before_it(
    path: str, fake_clock: FakeClock
) -> None:
    db = apsw.Connection(path)
    with pytest.raises(apsw.SQLError):
        schema._apply(db, "CREATE TABLE one (x); CREATE TABLE one (x)", 1)
    assert schema.version(db, path) == 0
    assert db.execute("SELECT count(*) FROM sqlite_schema").get == 0
    db.close()


def test_every_state_has_its_number_and_its_tally() -> None:
    assert len(STATES) == len(TALLIED) == len(State)
    assert {CODES[state] for state in State} == set(range(len(State)))


def test_migrations_are_numbered_without_gaps() -> None:
    assert [m.number for m in schema.migrations()] == list(range(1, schema.latest() + 1))
