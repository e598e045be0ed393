"""Nothing in the tree depends on, or tells of, one machine."""

import re
from pathlib import Path

from tests.repo.tree import CODE, ROOT, where

FOLDERS = (*CODE, "docs", "changes", ".ci", "examples", "protocol")
BINARY = {".png", ".jpg", ".mp4", ".db", ".gz", ".ico", ".woff2", ".pyc"}
ONE_MACHINE = re.compile(r"(?<![\w.])/(?:farm|home|root|Users|work)/|\.\./shared")


def test_no_file_names_a_folder_of_one_machine() -> None:
    assert _matches(ONE_MACHINE) == []


def _matches(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{where(file, number)}: {line.strip()}"
        for file in _files()
        if file != Path(__file__)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


def _files() -> list[Path]:
    top = [file for file in ROOT.iterdir() if file.is_file() and file.suffix != ".db"]
    below = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*") if file.is_file()]
    skipped = {"__pycache__", ".git"}
    return sorted(
        file
        for file in (*top, *below)
        if file.suffix not in BINARY and not skipped & set(file.parts)
    )
