"""The dashboard in a real browser, against a real system; see `dashboard/browser/`."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.postgres import shared_schemas

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "dashboard"
DEADLINE = 540.0

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(DEADLINE + 30)]


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/stoker.db"
        return
    with shared_schemas().borrow() as url:
        yield url


def test_every_screen_and_action_in_a_browser(store: str) -> None:
    node = shutil.which("node")
    assert node, "the tests in a browser need Node 20.19 or newer: scripts/dashboard"
    environment = {
        "DASHBOARD_TEST_STORE": store,
        "DASHBOARD_TEST_PYTHON": sys.executable,
        "DASHBOARD_TEST_APP": str(Path(__file__).parent),
    }
    done = subprocess.run(
        [
            "/usr/bin/env",
            *(f"{name}={value}" for name, value in environment.items()),
            *(node, "--test", "--test-reporter=spec", "--test-concurrency=1"),
            *sorted(str(file) for file in (DASHBOARD / "browser").glob("*.test.mjs")),
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
