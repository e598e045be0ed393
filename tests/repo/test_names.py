"""One name for one thing: the glossary is law."""

import ast
import re
from collections.abc import Iterator

from tests.repo.tree import ROOT, python_files, text, tree, where, words

EMPTY_NAMES = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}
GLOSSARY = ROOT / "docs" / "glossary.md"


def test_no_module_has_a_name_that_says_nothing() -> None:
    named = [f for f in python_files() if EMPTY_NAMES & words(f.stem)]
    folders = {f.parent for f in python_files() if f.parent.name in EMPTY_NAMES}
    assert [where(path) for path in [*named, *sorted(folders)]] == []


def test_no_identifier_uses_a_word_that_the_glossary_rejects() -> None:
    rejected = _rejected()
    assert len(rejected) >= 10, "the glossary's table of rejected words was not found"
    found = [
        f"{where(file, line)} {name}: say {rejected[word]} instead of {word}"
        for file in python_files()
        for name, line in _defined(tree(file))
        for word in sorted(words(name) & rejected.keys())
    ]
    assert found == []


def _rejected() -> dict[str, str]:
    """Read the rows ``| word | instead of `a`, `b` |`` under "Words we do not use"."""
    section = text(GLOSSARY).partition("## Words we do not use")[2]
    rows = re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|", section, flags=re.MULTILINE)
    return {word: ours.strip() for cell, ours in rows for word in re.findall(r"`(\w+)`", cell)}


def _defined(module: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
