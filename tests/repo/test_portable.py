"""Nothing in the tree depends on, or tells of, one machine."""

import re
from pathlib import Path

from tests.repo.tree import CODE, ROOT, where

FOLDERS = (*CODE, "docs", "changes", ".ci", "examples", "protocol")
ONE_MACHINE = re.compile(r"(?<![\w.])/(?:farm|home|root|Users|work)/|\.\./shared")


def test_no_file_names_a_folder_of_one_machine() -> None:
    assert _matches(ONE_MACHINE) == []


def _matches(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{where(file, number)}: {line.strip()}"
        for file in _files()
        if file != Path(__file__)
        for number, line in enumerate(_text(file).splitlines(), 1)
        if pattern.search(line)
    ]


def _text(file: Path) -> str:
    data = file.read_bytes()
    return "" if b"\0" in data else data.decode("utf-8")


def _files() -> list[Path]:
    top = [file for file in ROOT.iterdir() if file.is_file()]
    below = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*") if file.is_file()]
    return sorted(file for file in (*top, *below) if "__pycache__" not in file.parts)
