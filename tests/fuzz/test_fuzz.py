"""The fuzzer of the gateway's parsers still runs, and finds nothing in its first moments."""

import re
import subprocess
import sys
from pathlib import Path

from tests.measured import measured

FUZZER = Path(__file__).parent / "fuzz_frames.py"


def test_a_short_run_finds_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        measured([sys.executable, FUZZER, "-runs=20000", "-rss_limit_mb=512", "-seed=1", tmp_path]),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    [covered] = re.findall(r"DONE\s+cov: (\d+)", done.stderr)
    assert int(covered) > 100, "the fuzzer does not reach the parsers"
    assert any(tmp_path.iterdir()), "nothing that it tried was new"
