"""The guide's code, run as a reader would, with the program that was built here."""

import os
import shutil
from pathlib import Path

import pytest

from tests.integration.test_pages import (
    test_every_configuration_on_the_page_can_be_loaded as load_page,
)
from tests.integration.test_pages import test_the_code_on_the_page_runs as run_page
from tests.workers_c.program import BUILD, FOLDER, build

GUIDE = "docs/guides/c-worker.md"


@pytest.mark.timeout(300)
def test_the_guide_s_quickstart_runs_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build()
    monkeypatch.setenv("PATH", f"{BUILD}:{os.environ['PATH']}")  # noqa: TID251 - the reader's own
    monkeypatch.setenv("C_INCLUDE_PATH", str(FOLDER / "include"))
    assert shutil.which("stoker-worker-c") == str(BUILD / "stoker-worker-c")
    run_page(GUIDE, tmp_path)


def test_the_guide_s_configuration_can_be_loaded(tmp_path: Path) -> None:
    load_page(GUIDE, tmp_path)


def test_the_guide_s_plugin_is_the_example_that_is_built() -> None:
    guide = (FOLDER.parents[1] / GUIDE).read_text()
    example = (FOLDER / "examples" / "shapes.c").read_text()
    handler = example[example.index("static int square") : example.index("static const")]
    assert handler in guide
