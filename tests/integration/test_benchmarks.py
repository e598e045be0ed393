"""The benchmark runs; what it measures is nobody's business here."""

import subprocess
import sys
from pathlib import Path

from benchmarks import keys, million, watchers
from benchmarks.__main__ import ROWS

ROOT = Path(__file__).resolve().parents[2]


def test_the_benchmark_measures_every_row_for_every_store() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--tiny"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    columns = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    assert columns[0] == ["", "bare loop", "sqlite", "sqlite, fast", "memory"]
    assert [row[0] for row in columns[2:]] == list(ROWS)
    assert all(row[2] not in {"", "–", "0"} for row in columns[2:])
    for fact in ("stoker", "python", "sqlite", "machine", "durability", "sizes"):
        assert f"\n{fact}: " in f"\n{done.stdout}"


async def test_the_cost_of_a_key_is_measured_for_every_kind_of_caller() -> None:
    found = await keys.measure("memory://", rounds=1, requests=keys.AT_ONCE)
    assert all(seconds for kinds in found.values() for seconds in kinds.values())
    table = keys.table(found, keys.AT_ONCE)
    assert all(f"POST /api/v1/jobs, {kind} " in table for kind in keys.KINDS)


async def test_what_watchers_cost_is_measured_with_and_without_them(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'watched.db'}"
    found = await watchers.measure(store, streams=2, rounds=2, drained=20)
    assert len(found.alone) == len(found.watched) == 2
    assert found.frames >= 4
    assert "drain, 2 streams (jobs/s)" in watchers.table(found, 2)


async def test_every_page_is_measured_on_a_store_that_is_filled() -> None:
    total, found = await million.measure("memory://", jobs=300, rounds=1)
    # The nodes of the workflow and the rare ones come on top.
    assert total == 300 + 300 + million.RARE
    names = [one.name for one in found]
    assert len(names) == len(set(names))
    for name in ("GET /api/v1/overview", "GET /api/v1/jobs task:rare", "GET /api/v1/workflows"):
        assert name in names
    assert "POST /api/v1/jobs/bulk cancel task:rare" in million.table(found)
