"""``stoker tasks``: the names that can be sent, with their arguments."""

import inspect
from typing import TYPE_CHECKING, Any

import click

from stoker.cli.shell import Shell, common, json_option
from stoker.cli.text import length
from stoker.core.errors import StokerError
from stoker.core.task import Registry, Task, unknown_task

if TYPE_CHECKING:
    from stoker.app.stoker import Stoker
    from stoker.core.job import SessionInfo
    from stoker.core.store import Store

_COLUMNS = ("task", "queue", "runs in", "known", "arguments")


@click.command()
@click.argument("name", required=False)
@click.option("--offline", is_flag=True, help="Do not ask the store which tasks workers know.")
@json_option
@common()
def tasks(shell: Shell, *, name: str | None, offline: bool) -> None:
    """List the tasks and their arguments.

    Those of the app, of the jobs folder, the standard ones, and those that only workers know.
    Arguments in brackets may be left out. NAME shows one task in full.
    """
    from stoker.app.loading import all_tasks

    registry = all_tasks(shell.app)
    announced = set() if offline else _announced(shell)
    far = sorted(announced - set(registry))
    if name is not None:
        _show(shell, name, registry, far)
    elif shell.out.as_json:
        known = [_plain(task, registry) for task in registry.names()]
        shell.out.document({"tasks": known + [_far(task) for task in far]})
    else:
        rows = [_row(t, registry.get(t), worked=t in announced) for t in registry.names()]
        rows += [(task, "", "", "by workers", "") for task in far]
        shell.out.table(_COLUMNS, rows, spare=("known", "queue"))


def _announced(shell: Shell) -> set[str]:
    async def work(_: "Stoker", store: "Store") -> "list[SessionInfo]":
        return await store.sessions()

    try:
        return {name for session in shell.run(work) for name in session.tasks}
    except StokerError as error:
        shell.out.warn(f"the store does not say which tasks workers know: {error.message}")
        return set()


def _show(shell: Shell, name: str, registry: Registry, far: list[str]) -> None:
    if name not in registry and name not in far:
        raise unknown_task(name, [*registry, *far])
    if shell.out.as_json:
        shell.out.document(_plain(name, registry) if name in registry else _far(name))
        return
    if name not in registry:
        shell.out.line(f"{name} is known by workers only; they have its signature")
        return
    task = registry.get(name)
    options = task.options
    shell.out.pairs(
        [
            ("task", name),
            ("queue", f"{options.queue} ({options.priority})"),
            ("runs in", options.run_in),
            ("timeout", length(options.timeout)),
            ("retries", options.retry.max_retries),
        ]
    )
    shell.out.heading("Arguments")
    parameters = inspect.signature(task.fn).parameters.values()
    if task.style == "payload":
        shell.out.line("any: the function takes the payload as it is")
    for parameter in parameters if task.style == "arguments" else ():
        shell.out.line(f"  {parameter.replace(kind=parameter.KEYWORD_ONLY)}")
    about = inspect.getdoc(task.fn)
    if about:
        shell.out.heading("About")
        shell.out.text(about)


def _row(name: str, task: Task[..., Any], *, worked: bool) -> tuple[object, ...]:
    known = "here, by workers" if worked else "here"
    return name, task.options.queue, task.options.run_in, known, _arguments(task)


def _plain(name: str, registry: Registry) -> dict[str, Any]:
    task = registry.get(name)
    return {
        "name": name,
        "description": (inspect.getdoc(task.fn) or "").partition("\n")[0],
        "payload_schema": task.json_schema(),
        "queue": task.options.queue,
        "priority": task.options.priority,
        "run_in": task.options.run_in,
        "timeout": task.options.timeout,
        "max_retries": task.options.retry.max_retries,
        "known_here": True,
    }


def _far(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": "",
        "payload_schema": None,
        "queue": None,
        "known_here": False,
    }


def _arguments(task: Task[..., Any]) -> str:
    if task.style == "payload":
        return "any"
    parameters = inspect.signature(task.fn).parameters.values()
    return " ".join(_argument(parameter) for parameter in parameters)


def _argument(parameter: inspect.Parameter) -> str:
    if parameter.kind is parameter.VAR_KEYWORD:
        return "..."
    if parameter.default is parameter.empty:
        return parameter.name
    if parameter.default in (None, ""):
        return f"[{parameter.name}]"
    return f"[{parameter.name}={parameter.default}]"
