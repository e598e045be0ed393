"""The Store protocol stays narrow, and the conformance suite calls all of it."""

import ast
import re

from stoker.core.store import Store
from tests.repo.tree import PACKAGE, ROOT, python_files, text, tree, where

MOST_VERBS = 26
SUITE = "src/stoker/testing"


def test_the_store_protocol_stays_under_twenty_seven_verbs() -> None:
    assert 0 < len(_verbs()) <= MOST_VERBS


def test_every_verb_of_the_store_is_documented_on_the_protocol() -> None:
    assert [verb for verb in _verbs() if not getattr(Store, verb).__doc__] == []


def test_every_verb_of_the_store_is_called_by_the_conformance_suite() -> None:
    called = {
        node.func.attr
        for file in python_files(SUITE)
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert sorted(set(_verbs()) - called) == []


def test_every_invariant_is_cited_by_a_test() -> None:
    stated = _invariants(text(ROOT / "ARCHITECTURE.md"), r"\*\*(I\d+)\*\*")
    assert stated == {f"I{n}" for n in range(1, len(stated) + 1)}
    assert len(stated) >= 10
    cited: set[str] = set()
    for file in python_files("tests", SUITE):
        cited |= _invariants(text(file), r"\b(I\d+)\b")
    assert sorted(stated - cited) == []


def test_every_invariant_that_the_code_cites_is_stated() -> None:
    stated = _invariants(text(ROOT / "ARCHITECTURE.md"), r"\*\*(I\d+)\*\*")
    unknown = [
        f"{where(file)} cites {name}"
        for file in python_files("src")
        for name in sorted(_invariants(text(file), r"# .*?\b(I\d+)\b") - stated)
    ]
    assert unknown == []


def test_no_store_adds_a_public_verb_of_its_own() -> None:
    known = set(_names())
    extra = [
        f"{where(file, node.lineno)} {cls.name}.{node.name}"
        for file in python_files("src/stoker/stores")
        for cls in tree(file).body
        if isinstance(cls, ast.ClassDef) and cls.name.endswith("Store")
        for node in cls.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and node.name not in known
    ]
    assert extra == []


def _verbs() -> list[str]:
    return _names(ast.AsyncFunctionDef)


def _names(*kinds: type[ast.stmt]) -> list[str]:
    contract = next(
        node
        for node in tree(PACKAGE / "core" / "store.py").body
        if isinstance(node, ast.ClassDef) and node.name == "Store"
    )
    return [
        node.name
        for node in contract.body
        if isinstance(node, kinds or (ast.AsyncFunctionDef, ast.FunctionDef))
        and isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)
        and not node.name.startswith("_")
    ]


def _invariants(source: str, pattern: str) -> set[str]:
    return set(re.findall(pattern, source))
