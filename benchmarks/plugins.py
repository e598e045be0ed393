"""``python -m benchmarks.plugins``: the C worker's image filters beside Pillow's.

Round by round, on the same picture and in processor time: the filter in C, then Pillow's. What is
printed is the median of each and of the rounds' ratios, which mean something where the times
depend on the machine. The table of `csv.statistics` beside its twin in Python stands below.
"""

import argparse
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image, features
from PIL.Image import Resampling
from PIL.ImageFilter import BoxBlur

from benchmarks import report
from stoker.tasks.csv_statistics import csv_statistics

WORKERS = Path(__file__).resolve().parents[1] / "workers" / "c"
SIZE = (4000, 3000)
TINY = (80, 60)
MILLISECONDS = 1e3
PACKED = "size of the PNG"

Rounds = dict[str, list[tuple[float, float]]]


def picture(folder: Path, size: tuple[int, int]) -> Path:
    """Make a picture with gradients and a little noise, as a photograph has them."""
    ramp, ring = Image.linear_gradient("L"), Image.radial_gradient("L")
    bands = [band.resize(size) for band in (ramp, ring, ramp.rotate(90))]
    noise = [Image.effect_noise(size, 40) for _ in bands]
    whole = Image.merge("RGB", bands)
    file = folder / "picture.png"
    Image.blend(whole, Image.merge("RGB", noise), 0.06).save(file)
    return file


def in_c(file: Path) -> dict[str, float]:
    """Return the steps of one round in C, in milliseconds."""
    words = [str(WORKERS / "build" / "bench_filters"), str(file)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return {name: float(took) for name, took in (line.split("\t") for line in said.splitlines())}


def in_pillow(file: Path) -> dict[str, float]:
    """Return the same steps with Pillow."""
    buffer = io.BytesIO()

    def read() -> Image.Image:
        with Image.open(file) as opened:
            opened.load()
            return opened.copy()

    took: dict[str, float] = {}
    given: Image.Image = _timed(took, "read PNG", read)
    for radius in (2, 20):
        _timed(took, f"blur, radius {radius}", partial(given.filter, BoxBlur(radius)))
    for how in (Resampling.BOX, Resampling.BILINEAR):
        for share in (50, 10, 150):
            size = (given.width * share // 100, given.height * share // 100)
            name = f"resize to {share} %, {how.name.lower()}"
            _timed(took, name, partial(given.resize, size, how))
    _timed(took, "write PNG", lambda: given.save(buffer, "PNG"))
    return took | {PACKED: float(len(buffer.getvalue()))}


def _timed(took: dict[str, float], name: str, step: Callable[[], Any]) -> Any:
    start = time.process_time()
    result = step()
    took[name] = (time.process_time() - start) * MILLISECONDS
    return result


def filters(file: Path, rounds: int) -> str:
    """Measure both sides in turns and return the table."""
    found: Rounds = {}
    for _ in range(rounds):
        ours, theirs = in_c(file), in_pillow(file)
        for name, value in ours.items():
            found.setdefault(name, []).append((value, theirs[name]))
    rows = [(name, _cells(pairs)) for name, pairs in found.items()]
    return report.markdown(["", "C, ms", "Pillow, ms", "Pillow / C"], rows)


def _cells(pairs: list[tuple[float, float]]) -> list[str]:
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    return [f"{ours:,.1f}", f"{theirs:,.1f}", f"{ratio:.2f}"]


def tables(folder: Path, rows: int, rounds: int) -> str:
    """Measure csv.statistics: the C worker's whole process, and the call of its twin."""
    file = folder / "table.csv"
    lines = (f'{n},"{n * 0.37:.4f}",city {n % 97}\n' for n in range(rows))
    file.write_text("id,price,city\n" + "".join(lines))
    plugin = WORKERS / "build" / "plugins" / "csv_statistics.so"
    words = [str(WORKERS / "build" / "stoker-worker-c"), "--plugin", str(plugin)]
    pairs = []
    for _ in range(rounds):
        start = _children()
        said = subprocess.run(
            [*words, "--try", "csv.statistics"],
            input=json.dumps({"file": str(file)}).encode(),
            capture_output=True,
            check=True,
        ).stdout
        ours = (_children() - start) * MILLISECONDS
        took: dict[str, float] = {}
        twin = _timed(took, "", lambda: csv_statistics(str(file)))
        assert json.loads(said)["rows"] == twin.rows  # noqa: S101 - else the figures mean nothing
        pairs.append((ours, took[""]))
    row = (f"csv.statistics, {rows:,} rows", _cells(pairs))
    return report.markdown(["", "C, ms", "Python, ms", "Python / C"], [row])


def _children() -> float:
    """Return the processor time of all child processes so far, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.plugins")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tiny", action="store_true", help="small inputs, to see that it runs")
    chosen = parser.parse_args()
    subprocess.run(
        ["make", "-s", "-C", str(WORKERS), "programs", "plugins", "plugin-bench"],  # noqa: S607
        check=True,
        stdout=subprocess.DEVNULL,
    )
    size, rows = (TINY, 100) if chosen.tiny else (SIZE, 300_000)
    with tempfile.TemporaryDirectory() as made:
        file = picture(Path(made), size)
        print(f"Pillow {version('pillow')}, with zlib-ng: {features.check_feature('zlib_ng')}")
        for name, value in report.facts(picture=f"{size[0]} x {size[1]}, RGB").items():
            print(f"{name}: {value}")
        print(f"\n{filters(file, chosen.rounds)}\n\n{tables(Path(made), rows, chosen.rounds)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
