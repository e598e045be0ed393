"""The benchmark of engines runs; what it measures is nobody's business here."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.servers
@pytest.mark.timeout(300)
def test_the_benchmark_of_engines_measures_every_part() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.engines", "--tiny"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("|")]
    names = {row[0].strip() for row in rows}
    assert {"sqlite", "postgresql", "drain", "1: 1,000 jobs run", "3: purged"} <= names
    assert {"no tenant", "a tenant each"} <= names
    assert all(cell.strip() for row in rows for cell in row[1:])
    assert "an exchange of 100, in turns: " in done.stdout
    assert "purge: " in done.stdout
