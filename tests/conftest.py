"""Fixtures that tests of several rooms share. `fake_clock` comes with `stoker.testing`."""

from pathlib import Path

import pytest


@pytest.fixture
def db_path(tmp_path: Path) -> Path:
    """The path of an SQLite store that nobody made yet."""
    return tmp_path / "stoker.db"
