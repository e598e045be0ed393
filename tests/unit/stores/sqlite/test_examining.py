"""What `stoker doctor` finds about files."""

import asyncio
from pathlib import Path

import apsw
import pytest

from stoker.connect import examine_store
from stoker.core.errors import NotAStore
from stoker.core.finding import Finding
from stoker.stores.sqlite import SQLiteStore, examining, schema
from stoker.stores.sqlite.examining import judge_place, judge_space, judge_version
from stoker.testing.clock import FakeClock


def look(path: Path, query: str = "") -> dict[str, Finding]:
    found = asyncio.run(examine_store(f"sqlite:///{path}{query}"))
    return {finding.check: finding for finding in found}


def make(path: Path) -> None:
    async def work() -> None:
        async with SQLiteStore(str(path), clock=FakeClock()):
            pass

    asyncio.run(work())


def change(path: Path, pragma: str, value: object) -> None:
    db = apsw.Connection(str(path))
    db.pragma(pragma, value)
    db.close()


def test_a_store_in_its_own_folder_is_left_in_peace(db_path: Path) -> None:
    make(db_path)
    db_path.chmod(0o600)
    found = look(db_path)
    assert [f for f in found.values() if f.verdict == "problem"] == []
    assert found["layout"].found == f"version {schema.latest()}, the newest"
    assert found["permissions"].verdict == "ok"


def test_nothing_is_made_by_looking(db_path: Path) -> None:
    assert look(db_path)["layout"].verdict == "ok"
    assert not db_path.exists()
    missing = db_path.parent / "missing" / "jobs.db"
    assert look(missing)["layout"].verdict == "problem"
    assert not missing.parent.exists()


def test_the_layout_is_found_old_new_or_strange(db_path: Path) -> None:
    make(db_path)
    change(db_path, "user_version", schema.latest() + 1)
    assert "newer Stoker" in look(db_path)["layout"].found
    change(db_path, "application_id", 7)
    strange = look(db_path)["layout"]
    assert (strange.verdict, strange.code) == ("problem", "not_a_store")


def test_a_file_that_is_no_database_is_an_error(db_path: Path) -> None:
    db_path.write_text("this is no database\n" * 100)
    with pytest.raises(NotAStore):
        look(db_path)


def test_a_durability_that_was_chosen_is_a_warning(db_path: Path) -> None:
    found = look(db_path, "?durability=fast")["durability"]
    assert found.verdict == "warning"
    assert "power failure" in found.found
    assert "durability=fast" in found.fix


def test_a_file_that_everybody_may_change_is_a_warning(db_path: Path) -> None:
    make(db_path)
    for mode, verdict in ((0o606, "warning"), (0o604, "note"), (0o660, "ok")):
        db_path.chmod(mode)
        assert look(db_path)["permissions"].verdict == verdict


def test_another_journal_mode_and_a_long_log_are_warnings(
    db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(db_path)
    change(db_path, "journal_mode", "delete")
    assert look(db_path)["journal mode"].verdict == "warning"
    make(db_path)
    monkeypatch.setattr(examining, "LONG_LOG", 0)
    # The last connection to close would take the log along.
    db = apsw.Connection(str(db_path))
    db.execute("CREATE TABLE later (a)")
    assert look(db_path)["log size"].verdict == "warning"
    db.close()


@pytest.mark.parametrize(
    ("finding", "verdict"),
    [
        (judge_version("3.40.1"), "problem"),
        (judge_version("3.51.3"), "ok"),
        (judge_place(Path("/srv"), "nfs4"), "problem"),
        (judge_place(Path("/srv"), "overlay"), "warning"),
        (judge_place(Path("/srv"), "ext4"), "ok"),
        (judge_place(Path("/srv"), ""), "ok"),
        (judge_space(Path("/srv"), 50 << 20), "problem"),
        (judge_space(Path("/srv"), 500 << 20), "warning"),
        (judge_space(Path("/srv"), 5 << 30), "ok"),
    ],
)
def test_versions_places_and_space_are_judged(finding: Finding, verdict: str) -> None:
    assert finding.verdict == verdict
    assert bool(finding.risk) == bool(finding.fix) == (verdict != "ok")
