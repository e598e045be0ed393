"""``stoker tasks``: the names that can be sent, with their arguments."""

import inspect
from typing import TYPE_CHECKING, Any

import click

from stoker.cli.shell import Shell, common, json_option
from stoker.core.task import Registry, Task

if TYPE_CHECKING:
    from stoker.app.stoker import Stoker
    from stoker.core.job import SessionInfo
    from stoker.core.store import Store

_COLUMNS = ("task", "arguments", "queue", "runs in", "known", "about")


@click.command()
@click.option("--offline", is_flag=True, help="Do not ask the store which tasks workers know.")
@json_option
@common()
def tasks(shell: Shell, *, offline: bool) -> None:
    """List the tasks and their arguments.

    Those of the app, of the jobs folder, the standard ones, and those that only workers know.
    """
    from stoker.app.loading import all_tasks

    registry = all_tasks(shell.app)

    async def work(_: "Stoker", store: "Store") -> "list[SessionInfo]":
        return await store.sessions()

    sessions = [] if offline else shell.run(work)
    announced = sorted({name for session in sessions for name in session.tasks} - set(registry))
    if shell.out.as_json:
        known = [_plain(name, registry) for name in registry.names()]
        far = [{"name": name, "known": "by workers only"} for name in announced]
        shell.out.document({"tasks": known + far})
        return
    here = {name for session in sessions for name in session.tasks}
    rows = [_row(name, registry.get(name), worked=name in here) for name in registry.names()]
    rows += [(name, "", "", "", "by workers only", "") for name in announced]
    shell.out.table(_COLUMNS, rows)


def _row(name: str, task: Task[..., Any], *, worked: bool) -> tuple[object, ...]:
    return (
        name,
        _arguments(task),
        task.options.queue,
        task.options.run_in,
        "here and by workers" if worked else "here",
        _about(task),
    )


def _plain(name: str, registry: Registry) -> dict[str, Any]:
    task = registry.get(name)
    return {
        "name": name,
        "arguments": _arguments(task),
        "schema": task.json_schema(),
        "queue": task.options.queue,
        "priority": task.options.priority,
        "run_in": task.options.run_in,
        "timeout": task.options.timeout,
        "max_retries": task.options.retry.max_retries,
        "about": _about(task),
        "known": "here",
    }


def _arguments(task: Task[..., Any]) -> str:
    if task.style == "payload":
        return "any"
    shown = (
        str(parameter.replace(kind=parameter.KEYWORD_ONLY))
        for parameter in inspect.signature(task.fn).parameters.values()
    )
    return ", ".join(shown)


def _about(task: Task[..., Any]) -> str:
    return (inspect.getdoc(task.fn) or "").partition("\n")[0]
