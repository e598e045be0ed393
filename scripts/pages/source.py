"""What the generators of pages share: docstrings that stand below fields, and tables."""

import ast
import inspect
import itertools
from collections.abc import Iterable, Sequence
from types import ModuleType

NOTICE = "<!-- Made by `make docs` from {source}. Edit that file, not this page. -->\n\n"


def field_docs(module: ModuleType, class_name: str) -> dict[str, str]:
    """Return the texts that stand below the fields of a class, by field name."""
    tree = ast.parse(inspect.getsource(module))
    body = next(
        node.body
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == class_name
    )
    docs: dict[str, str] = {}
    for field, below in itertools.pairwise(body):
        text = _text(below)
        name = _assigned(field)
        if name is not None and text is not None:
            docs[name] = text
    return docs


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [_row(head), _row(["---"] * len(head)), *(_row(row) for row in rows)]
    return "\n".join(lines) + "\n"


def first_line(text: str | None) -> str:
    """Return the first paragraph of a docstring as one line."""
    paragraph = inspect.cleandoc(text or "").split("\n\n", 1)[0]
    return " ".join(paragraph.split()).replace("``", "`")


def _row(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _assigned(node: ast.stmt) -> str | None:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return None


def _text(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        value = node.value.value
        return first_line(value) if isinstance(value, str) else None
    return None
