"""The public names of ``stoker``: listed, sorted, and found in one place."""

import ast
import importlib
import subprocess
import sys
import types

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
    imported = {
        alias.asname or alias.name
        for node in tree(PACKAGE / "__init__.py").body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(EXPORTED) - {"__version__"}


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
