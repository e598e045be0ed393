"""The fuzzers of the plugins' readers still run, and find nothing in their first moments.

For longer: ``make -C workers/c plugin-fuzzers``, then ``workers/c/build/fuzz/fuzz_image`` with a
folder for the corpus and ``-max_total_time=600``.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.measured import measured
from tests.unit.tasks.pictures import Shape, hostile_pngs, hostile_ppms, png_of, raw_of
from tests.workers_c.program import FOLDER, ROOT, build

pytestmark = pytest.mark.timeout(600)

LARGE = 1 << 15


def seeds(folder: Path, kind: str) -> None:
    folder.mkdir()
    if kind == "csv":
        tables = [b'a,b\n1,"x ""y""\nz"\n', b"\xef\xbb\xbfn\r\n1e308\r-5\n", b"a\n\n.5,\n"]
    else:
        shapes = [Shape(9, 7, depth, colour, 1) for depth, colour in [(1, 0), (4, 3), (8, 6)]]
        plain = [
            png_of(s, raw_of(s, b"xyz", b"\0\1\2\3\4"), palette=b"abcdef" * (s.colour == 3))
            for s in shapes
        ]
        tables = [
            b"\0" + file for file in (*plain, *hostile_pngs().values(), *hostile_ppms().values())
        ]
        tables.append(b"\1" + bytes([9, 7, 8, 2, 0, 0, 0]) + bytes(range(256)))
    for number, data in enumerate(tables):
        if len(data) < LARGE:
            (folder / str(number)).write_bytes(data)


@pytest.mark.parametrize("kind", ["image", "csv"])
def test_a_short_run_finds_nothing(tmp_path: Path, kind: str) -> None:
    build("plugin-fuzzers")
    seeds(tmp_path / "seeds", kind)
    found = tmp_path / "found"
    found.mkdir()
    done = subprocess.run(
        measured(
            [
                FOLDER / "build" / "fuzz" / f"fuzz_{kind}",
                *("-runs=20000", "-seed=1", "-max_len=4096", "-rss_limit_mb=1024", "-timeout=20"),
                *(found, tmp_path / "seeds"),
            ]
        ),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    [covered] = re.findall(r"DONE\s+cov: (\d+)", done.stderr)
    assert int(covered) > 100, "the fuzzer does not reach the reader"
    assert any(found.iterdir()), "nothing that it tried was new"


def test_the_benchmark_of_the_plugins_measures_every_part() -> None:
    for target in ("programs", "plugins", "plugin-bench"):
        build(target)  # one process at a time; what the benchmark makes is there then
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.plugins", "--tiny", "--rounds", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("|")]
    names = {row[0].strip() for row in rows}
    assert {"read PNG", "write PNG", "blur, radius 20", "resize to 50 %, box"} <= names
    assert all(cell.strip() for row in rows for cell in row[1:])
