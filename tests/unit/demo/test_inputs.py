import hashlib
from pathlib import Path

import pytest
from PIL import Image

from stoker.demo.inputs import make_inputs
from stoker.tasks.analysis import analyse_batch
from stoker.tasks.video import process_video


def test_inputs_are_what_the_standard_tasks_read(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path / "new" / "folder", rows=2_000)
    with Image.open(inputs.picture) as picture:
        assert picture.size == (1280, 720)
    assert inputs.video is not None
    made = process_video(str(inputs.video), height=72, output=str(tmp_path / "small.mp4"))
    assert made.seconds == pytest.approx(2.0, abs=0.1)
    found = analyse_batch(str(inputs.table))
    assert found.rows == 2_000
    assert list(found.columns) == ["id", "day", "city", "quantity", "price"]
    assert found.columns["price"].nulls == 20
    assert found.columns["price"].kind == "number"
    assert found.columns["city"].distinct == 6
    assert found.columns["day"].min == "2025-01-01"
    assert inputs.text.stat().st_size > 150_000
    assert "<title>" in inputs.page.read_text()


def test_the_same_arguments_give_the_same_content(tmp_path: Path) -> None:
    def hashes(folder: Path) -> list[str]:
        inputs = make_inputs(folder, rows=100, with_video=False)
        assert inputs.video is None
        files = (inputs.picture, inputs.table, inputs.text, inputs.page)
        return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]

    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
