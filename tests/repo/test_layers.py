"""The core is pure, and the layers have no list of exceptions."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.repo.tree import PACKAGE, pyproject, python_files, tree, where

ALLOWED_IN_CORE = {"msgspec", "stoker"}
ONLY_IN_CLOCK = {"random", "secrets", "threading", "time", "uuid"}
PURE_OF_OS = {"os.PathLike", "os.fspath"}
NEVER_IN_CORE = {"asyncio", "logging", "socket", "sqlite3", "subprocess"}


def test_no_import_contract_has_an_exception() -> None:
    contracts = pyproject()["tool"]["importlinter"]["contracts"]
    assert len(contracts) >= 5
    assert [c["name"] for c in contracts if c.get("ignore_imports")] == []


def test_every_top_level_module_has_a_layer() -> None:
    layers = next(
        contract["layers"]
        for contract in pyproject()["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    named = {name.strip(" ()") for layer in layers for name in layer.split("|")}
    there = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert there - {"__init__"} == named


def test_the_core_imports_the_standard_library_and_msgspec_only() -> None:
    known = sys.stdlib_module_names | ALLOWED_IN_CORE
    assert [place for place, name in _core_imports() if name not in known] == []


def test_the_core_imports_nothing_that_does_io() -> None:
    assert [place for place, name in _core_imports() if name in NEVER_IN_CORE] == []


def test_only_the_clock_reads_time_and_chance() -> None:
    outside = [
        place
        for place, name in _core_imports()
        if name in ONLY_IN_CLOCK and not place.startswith("src/stoker/core/clock.py")
    ]
    assert outside == []


def test_only_the_clock_asks_the_operating_system() -> None:
    asked = [
        where(file, node.lineno)
        for file in _core_files()
        for node in ast.walk(tree(file))
        if file.name != "clock.py"
        and isinstance(node, ast.Attribute)
        and ast.unparse(node.value) == "os"
        and ast.unparse(node) not in PURE_OF_OS
    ]
    assert asked == []


def test_the_core_imports_nothing_of_stoker_above_itself() -> None:
    above = [
        where(file, node.lineno)
        for file in _core_files()
        for node in ast.walk(tree(file))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("stoker")
        and not (node.module or "").startswith("stoker.core")
    ]
    assert above == []


def _core_files() -> tuple[Path, ...]:
    return python_files("src/stoker/core")


def _core_imports() -> Iterator[tuple[str, str]]:
    for file in _core_files():
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            for name in names:
                yield where(file, node.lineno), name.partition(".")[0]
