"""The public names of ``stoker``: listed, sorted, and found in one place."""

import ast
import importlib
import subprocess
import sys
import types

import pytest

import stoker
from tests.repo.tree import PACKAGE, tree

EXPORTED: list[str] = vars(stoker)["__all__"]


def test_the_export_list_is_sorted() -> None:
    constants = [n for n in EXPORTED if n.isupper()]
    dunders = [n for n in EXPORTED if n.startswith("__")]
    classes = [n for n in EXPORTED if n[0].isupper() and n not in constants]
    functions = [n for n in EXPORTED if n[0].islower()]
    expected = [*sorted(constants), *sorted(classes), *sorted(dunders), *sorted(functions)]
    assert expected == EXPORTED


def test_the_export_list_is_all_that_the_package_imports() -> None:
    seen_by_mypy = {
        alias.asname or alias.name: f"{node.module}"
        for branch in tree(PACKAGE / "__init__.py").body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(seen_by_mypy) == set(EXPORTED) - {"__version__"}
    at_run_time = {name: vars(importlib.import_module(m))[name] for name, m in seen_by_mypy.items()}
    assert {name: getattr(stoker, name) for name in seen_by_mypy} == at_run_time


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Stokr'"):
        _ = stoker.Stokr  # type: ignore[attr-defined]


def test_every_exported_class_and_function_says_what_it_is_for() -> None:
    exported = {name: getattr(stoker, name) for name in EXPORTED}
    documented = (type, types.FunctionType)
    assert [n for n, o in exported.items() if isinstance(o, documented) and not o.__doc__] == []


def test_the_modules_behind_the_package_are_importable_by_themselves() -> None:
    modules = {getattr(getattr(stoker, name), "__module__", "stoker") for name in EXPORTED}
    assert all(importlib.import_module(module) for module in modules)
    assert all(module.startswith("stoker") for module in modules)


def test_importing_stoker_loads_no_heavy_library() -> None:
    heavy = {"apsw", "click", "fastapi", "pydantic", "rich", "uvicorn", "PIL", "cryptography"}
    assert _loaded_by_import() & heavy == set()


def _loaded_by_import() -> set[str]:
    code = "import stoker, sys; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(run.stdout.split())
