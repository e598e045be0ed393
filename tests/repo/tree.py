"""The tree that the house rules look at, read once."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "stoker"
TESTS = ROOT / "tests"
CODE = ("src", "tests", "scripts", "benchmarks")
PROSE = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")


@cache
def python_files(*folders: str) -> tuple[Path, ...]:
    """Return the Python files below some folders (all code by default), sorted."""
    found = (file for folder in folders or CODE for file in (ROOT / folder).rglob("*.py"))
    return tuple(sorted(file for file in found if "__pycache__" not in file.parts))


@cache
def pages() -> tuple[Path, ...]:
    """Return the pages of prose, sorted."""
    found = [ROOT / name for name in PROSE]
    found += [*(ROOT / "docs").rglob("*.md"), *(ROOT / "changes").glob("*.md")]
    return tuple(sorted(found))


@cache
def tree(file: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


@cache
def text(file: Path) -> str:
    """Return the text of a file."""
    return file.read_text(encoding="utf-8")


@cache
def pyproject() -> dict[str, Any]:
    """Return the decoded ``pyproject.toml``."""
    return tomllib.loads(text(ROOT / "pyproject.toml"))


def where(file: Path, line: int | None = None) -> str:
    """Return a place as people and editors read it."""
    return f"{file.relative_to(ROOT)}{'' if line is None else f':{line}'}"


def words(identifier: str) -> set[str]:
    """Return the words of a snake_case or CamelCase name, in lower case."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", identifier)
    return {word.lower() for word in spaced.split("_") if word}
