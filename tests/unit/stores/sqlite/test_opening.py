"""What is opened, what is refused, and with which words."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from stoker.core.errors import (
    InvalidConfig,
    NotAStore,
    NotOpen,
    SchemaMismatch,
    Unavailable,
    Unsupported,
)
from stoker.core.job import JobSpec
from stoker.core.records import JobQuery
from stoker.stores.sqlite import SQLiteStore, connection, schema
from stoker.testing import FakeClock
from tests.unit.stores.sqlite.conftest import Child, Rows, line


def write(path: str, data: bytes) -> None:
    Path(path).write_bytes(data)


def folder_of(path: str) -> dict[str, bytes]:
    """Return all that is in the folder of a store."""
    return {file.name: file.read_bytes() for file in Path(path).parent.iterdir()}


def make_read_only(folder: Path) -> None:
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)


async def refused(path: str, clock: FakeClock, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        async with SQLiteStore(path, clock=clock):
            raise AssertionError("it was opened")
    assert path in str(caught.value)


async def test_what_was_submitted_is_there_when_opened_again(
    path: str, fake_clock: FakeClock
) -> None:
    store = SQLiteStore(path, clock=fake_clock)
    async with store:
        await store.submit([JobSpec(id="a", task="work")])
    with pytest.raises(NotOpen, match="async with"):
        await store.get(["a"])
    async with store:
        [job] = await store.get(["a"])
        assert job is not None
        with pytest.raises(NotOpen, match="second handle"):
            await store.__aenter__()


async def test_an_empty_file_becomes_a_store(path: str, fake_clock: FakeClock) -> None:
    write(path, b"")
    async with SQLiteStore(path, clock=fake_clock) as store:
        assert (await store.migrate(dry_run=True)).pending == ()


async def test_a_missing_folder_is_named(tmp_path: Path, fake_clock: FakeClock) -> None:
    await refused(str(tmp_path / "no" / "x.db"), fake_clock, Unavailable, "does not exist; make it")


async def test_a_folder_is_no_store(tmp_path: Path, fake_clock: FakeClock) -> None:
    await refused(str(tmp_path), fake_clock, NotAStore, "is a folder")


async def test_a_file_that_is_no_database_stays_as_it_is(path: str, fake_clock: FakeClock) -> None:
    text = b"some notes of somebody\n" * 100
    write(path, text)
    await refused(path, fake_clock, NotAStore, "not an SQLite database")
    assert folder_of(path) == {"stoker.db": text}


async def test_a_database_of_another_program_stays_as_it_is(
    path: str, fake_clock: FakeClock
) -> None:
    other = apsw.Connection(path)
    other.execute("CREATE TABLE contacts (name)")
    other.close()
    before = folder_of(path)
    await refused(path, fake_clock, NotAStore, "of another program")
    assert folder_of(path) == before


async def test_a_newer_layout_is_refused(path: str, fake_clock: FakeClock) -> None:
    async with SQLiteStore(path, clock=fake_clock):
        pass
    newer = apsw.Connection(path)
    newer.pragma("user_version", schema.latest() + 1)
    newer.close()
    await refused(path, fake_clock, SchemaMismatch, "Upgrade Stoker here")


async def test_a_new_file_is_marked_as_a_store_of_this_layout(
    path: str, fake_clock: FakeClock, rows: Rows
) -> None:
    async with SQLiteStore(path, clock=fake_clock):
        assert rows("PRAGMA user_version") == [(schema.latest(),)]
        assert rows("PRAGMA application_id") == [(schema.APPLICATION_ID,)]


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


async def test_a_read_only_folder_is_told_apart(public: Path, child: Child) -> None:
    make_read_only(public)
    async with child("open_as_nobody", str(public / "x.db")) as process:
        said = await line(process)
    assert said.startswith("read_only ")
    assert "x.db" in said
    assert "Grant write permission" in said


async def test_a_read_only_file_is_told_apart(
    public: Path, fake_clock: FakeClock, child: Child
) -> None:
    path = str(public / "x.db")
    async with SQLiteStore(path, clock=fake_clock):
        pass
    make_read_only(public)
    async with child("open_as_nobody", path) as process:
        assert (await line(process)).startswith("read_only ")


async def test_a_network_filesystem_is_refused(
    path: str, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "filesystem", lambda _: "nfs4")
    await refused(path, fake_clock, Unsupported, "network filesystem .nfs4.")
    assert folder_of(path) == {}


def test_the_filesystem_of_a_folder_is_read_from_the_kernel(tmp_path: Path) -> None:
    assert connection.filesystem(Path("/proc")) == "proc"
    assert connection.filesystem(tmp_path) not in {"", "proc"}
    assert connection.filesystem(tmp_path / "missing") == ""


def test_an_unknown_durability_is_refused(path: str, fake_clock: FakeClock) -> None:
    with pytest.raises(InvalidConfig, match="'full' or 'fast'"):
        SQLiteStore(path, durability="most", clock=fake_clock)


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("fast", 1)])
async def test_each_durability_sets_how_commits_reach_the_disk(
    path: str, fake_clock: FakeClock, durability: str, level: int
) -> None:
    async with SQLiteStore(path, durability=durability, clock=fake_clock) as store:
        assert store.info.durability == durability
        assert store._handle is not None
        found = await store._handle.writer.run(lambda tx: tx.db.execute("PRAGMA synchronous").get)
        mode = await store._handle.writer.run(lambda tx: tx.db.execute("PRAGMA journal_mode").get)
    assert (found, mode) == (level, "wal")


async def test_readers_cannot_write(store: SQLiteStore) -> None:
    assert store._handle is not None
    with pytest.raises(Exception, match="cannot be written"):
        await store._handle.reader.run(lambda db: db.execute("DELETE FROM jobs").fetchall())


async def test_every_verb_of_a_closed_store_says_so(path: str, fake_clock: FakeClock) -> None:
    store = SQLiteStore(path, clock=fake_clock)
    calls = [
        store.submit([]),
        store.find(JobQuery()),
        store.wait(["default"], timeout=1),
        store.migrate(),
        store.counts(),
    ]
    for call in calls:
        with pytest.raises(NotOpen):
            await call


async def test_a_store_is_refused_after_a_fork(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: mine + 1)
    with pytest.raises(NotOpen, match="forked"):
        await store.submit([JobSpec(id="a", task="work")])
    monkeypatch.undo()
    await store.submit([JobSpec(id="a", task="work")])
