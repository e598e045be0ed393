"""Tests that can be trusted: they wait for events, and none is switched off."""

import ast
from collections.abc import Iterator

from tests.repo.tree import python_files, tree, where

Function = ast.FunctionDef | ast.AsyncFunctionDef
SWITCHES = {"skip", "skipif", "xfail", "importorskip"}


def test_no_test_or_fixture_sleeps() -> None:
    """A handler under test may be slow; whoever waits for it waits for an event."""
    found = [
        f"{where(file, line)} in {function.name}"
        for file in python_files("tests", "src/stoker/testing")
        for function in ast.walk(tree(file))
        if isinstance(function, Function) and _waits(function)
        for line in _sleeps(function)
    ]
    assert found == []


def test_no_test_is_switched_off() -> None:
    found = [
        where(file, node.lineno)
        for file in python_files("tests")
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Attribute)
        and node.attr in SWITCHES
        and ast.unparse(node).startswith(("pytest.", "unittest."))
    ]
    assert found == []


def test_every_test_says_a_sentence() -> None:
    short = [
        f"{where(file, node.lineno)} {node.name}"
        for file in python_files("tests")
        for node in ast.walk(tree(file))
        if isinstance(node, Function)
        and node.name.startswith("test_")
        and len(node.name.split("_")) < 4
    ]
    assert short == []


def _waits(function: Function) -> bool:
    decorators = {ast.unparse(decorator).partition("(")[0] for decorator in function.decorator_list}
    return function.name.startswith("test_") or bool(
        decorators & {"pytest.fixture", "pytest_asyncio.fixture"}
    )


def _sleeps(function: Function) -> Iterator[int]:
    """Lines where the function's own body sleeps; ``sleep(0)`` only lets others run."""
    for node in _own(function):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "asyncio.sleep"}:
            given = node.args[0] if node.args else None
            if not (isinstance(given, ast.Constant) and given.value == 0):
                yield node.lineno


def _own(function: Function) -> Iterator[ast.AST]:
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda):
            stack.extend(ast.iter_child_nodes(node))
