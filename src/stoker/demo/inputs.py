"""Real input for the demo's jobs, made on the spot: no network, nothing shipped.

The same folder and arguments give the same content on every machine (the video apart, which is as
the installed ffmpeg writes it).
"""

import csv
import math
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from stoker.tasks.errors import extra
from stoker.tasks.video import process_video

ROWS = 50_000
"""Rows of the table."""

_CITIES = ("Berlin", "Köln", "Leipzig", "München", "Rostock", "Ulm")
_SENTENCES = (
    "The store is the truth, and the broker is only a doorbell.",
    "A job that was accepted is not lost.",
    "A worker that dies gives its jobs back.",
    "Every attempt is kept, with its worker, its times and its error.",
)


@dataclass(frozen=True)
class Inputs:
    """Where the inputs are."""

    picture: Path
    """PNG, 1280 × 720."""
    video: Path | None
    """MP4, two seconds; None when it was not asked for."""
    table: Path
    """CSV: id, day, city, quantity, price; some cells are empty."""
    text: Path
    """About 200 kB of plain text."""
    page: Path
    """A page of HTML."""


def make_inputs(folder: Path, *, rows: int = ROWS, with_video: bool = True) -> Inputs:
    """Make the inputs in a folder, which is made too.

    Args:
        folder: Where to; files of the same names are replaced.
        rows: Rows of the table.
        with_video: Whether to encode a short video, which needs ffmpeg.

    Raises:
        MissingExtra: Pillow, or ffmpeg, is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return Inputs(
        picture=_picture(folder / "picture.png"),
        video=_video(folder / "movie.mp4") if with_video else None,
        table=_table(folder / "sales.csv", rows),
        text=_text(folder / "log.txt"),
        page=_page(folder / "page.html"),
    )


def _picture(path: Path) -> Path:
    with extra("image.process", "Pillow"):
        from PIL import Image, ImageDraw
    width, height = 1280, 720
    red = Image.linear_gradient("L").resize((width, height))
    green = Image.radial_gradient("L").resize((width, height))
    blue = red.transpose(Image.Transpose.ROTATE_180)
    picture = Image.merge("RGB", (red, green, blue))
    draw = ImageDraw.Draw(picture)
    for ring in range(40, 400, 40):
        box = (width // 2 - ring, height // 2 - ring, width // 2 + ring, height // 2 + ring)
        draw.ellipse(box, outline="white", width=4)
    picture.save(path)
    return path


def _video(path: Path) -> Path:
    process_video(output=str(path), height=360, duration=2.0)
    return path


def _table(path: Path, rows: int) -> Path:
    first = date(2025, 1, 1)
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "day", "city", "quantity", "price"])
        for number in range(1, rows + 1):
            # Looks like chance, and is the same on every machine.
            noise = (number * 2654435761) % 2**32 / 2**32
            day = first + timedelta(days=number * 365 // (rows + 1))
            city = _CITIES[int(noise * 97) % len(_CITIES)]
            quantity = 1 + int(noise * 12)
            season = 1 + 0.3 * math.sin(2 * math.pi * day.timetuple().tm_yday / 365)
            price = "" if number % 97 == 0 else f"{(5 + 40 * noise) * season:.2f}"
            writer.writerow([number, day.isoformat(), city, quantity, price])
    return path


def _text(path: Path) -> Path:
    lines = (f"{number:05d} {_SENTENCES[number % 4]}\n" for number in range(3_500))
    path.write_text("".join(lines), encoding="utf-8")
    return path


def _page(path: Path) -> Path:
    items = "".join(f"<li>{sentence}\n" for sentence in _SENTENCES)
    path.write_text(
        f"<!doctype html>\n<title>What holds</title>\n<h1>What holds</h1>\n<ul>\n{items}</ul>\n",
        encoding="utf-8",
    )
    return path
