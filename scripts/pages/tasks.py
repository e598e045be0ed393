"""The page ``docs/reference/tasks.md``: the standard tasks, their arguments and defaults."""

import inspect
from collections.abc import Iterator
from typing import Any

from scripts.pages.source import NOTICE, first_line, table
from stoker.core.task import Registry, Task
from stoker.settings import TaskSettings
from stoker.tasks import register

_INTRO = """# Standard tasks

Known to every worker unless `tasks.standard` is switched off ([settings](settings.md)); their
libraries come with `stoker[tasks]`. All of them report progress and can be cancelled.

"""


def page() -> str:
    """Return the page."""
    registry = Registry()
    register(registry, TaskSettings())
    parts = [NOTICE.format(source="src/stoker/tasks/"), _INTRO]
    for name in registry.names():
        task = registry.get(name)
        parts.append(f"## `{name}`\n\n")
        if task.name != name:
            parts.append(f"Another name of [`{task.name}`](#{_anchor(task.name)}).\n\n")
        else:
            parts.append(_section(task))
    return "".join(parts).rstrip("\n") + "\n"


def _section(task: Task[..., Any]) -> str:
    text = f"{first_line(task.fn.__doc__)}\n\n"
    text += f"Runs in: {task.options.run_in}. Timeout: {task.options.timeout or 0:g} s.\n\n"
    return text + table(("argument", "default", "meaning"), _arguments(task)) + "\n"


def _arguments(task: Task[..., Any]) -> Iterator[tuple[str, str, str]]:
    docs = _documented(task.fn.__doc__ or "")
    for name, parameter in inspect.signature(task.fn).parameters.items():
        required = parameter.default is parameter.empty
        shown = "required" if required else f"`{parameter.default!r}`"
        yield f"`{name}`", shown, docs.get(name, "")


def _documented(docstring: str) -> dict[str, str]:
    """Read the ``Args`` of a docstring."""
    _, _, rest = inspect.cleandoc(docstring).partition("\nArgs:\n")
    docs: dict[str, str] = {}
    name = ""
    for line in rest.splitlines():
        if line and not line.startswith("    "):
            break
        if line.startswith("    ") and not line.startswith("     "):
            name, _, text = line.strip().partition(": ")
            docs[name] = text
        elif name:
            docs[name] += f" {line.strip()}"
    return {key: first_line(text) for key, text in docs.items()}


def _anchor(name: str) -> str:
    return name.replace(".", "")
