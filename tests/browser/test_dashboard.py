"""The dashboard in a real browser, against a real system; see `dashboard/browser/`.

What a screen shows and does is looked at on both engines; what no store can change, the frame
around the screens and what becomes of markup, on one. Each file has a store of its own.
"""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import page as benchmark
from stoker.connect import open_store
from stoker.core.clock import SystemClock
from stoker.core.lifecycle import State
from tests.servers.postgres import shared_schemas

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "dashboard"
BROWSER = DASHBOARD / "browser"
DEADLINE = 300.0
EVERY = ("fleets", "jobs", "keys", "operations")
ONCE = ("frame", "safety")

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(DEADLINE + 30)]


@pytest.mark.parametrize("name", EVERY + ONCE)
def test_the_page_on_sqlite(name: str, tmp_path: Path) -> None:
    drive(name, f"sqlite:///{tmp_path}/stoker.db")


@pytest.mark.parametrize("name", EVERY)
def test_the_page_on_postgresql(name: str) -> None:
    with shared_schemas().borrow() as store:
        drive(name, store)


async def test_how_soon_the_page_answers_is_measured(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/stoker.db"
    async with open_store(url) as store:
        await benchmark.fill(store, SystemClock(), 8_000)
        counts = await store.counts()
    states = {tally.state for tally in counts.tallies if tally.count}
    assert states >= {State.QUEUED, State.SCHEDULED, State.COMPLETED, State.DEAD_LETTER}
    figures = await asyncio.to_thread(benchmark.measure, url, 1)
    table = benchmark.table(figures, figures)
    assert all(f"| {what}" in table for what in ("overview: first paint", "filter", "open a job"))
    assert all(figure.median > 0 for figure in figures)


def test_no_file_of_the_browser_is_left_out() -> None:
    files = {file.name.removesuffix(".test.mjs") for file in BROWSER.glob("*.test.mjs")}
    assert files == {*EVERY, *ONCE}


def drive(name: str, store: str) -> None:
    """Run one of the files in `dashboard/browser/` against a system on a store."""
    environment = {
        "DASHBOARD_TEST_STORE": store,
        "DASHBOARD_TEST_PYTHON": sys.executable,
        "DASHBOARD_TEST_APP": str(Path(__file__).parent),
    }
    done = subprocess.run(
        [
            "/usr/bin/env",
            *(f"{key}={value}" for key, value in environment.items()),
            *(
                str(ROOT / "scripts" / "node"),
                "--test",
                "--test-reporter=spec",
                "--test-concurrency=1",
            ),
            str(BROWSER / f"{name}.test.mjs"),
        ],
        cwd=DASHBOARD,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert re.search(r"fail 0$", done.stdout, re.MULTILINE)
    assert re.search(r"skipped 0$", done.stdout, re.MULTILINE)
