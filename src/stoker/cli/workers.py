"""``stoker workers``: who works here, and how to send them home."""

import difflib
import fnmatch
from typing import TYPE_CHECKING

import click

from stoker.cli.exits import DONE
from stoker.cli.shell import Shell, common, json_option
from stoker.cli.text import since
from stoker.core.duration import when
from stoker.core.errors import WorkerNotFound
from stoker.core.job import Command, SessionInfo

if TYPE_CHECKING:
    from datetime import datetime

    from stoker.app.stoker import Stoker
    from stoker.core.store import Store

COLUMNS = ("name", "state", "busy", "queues", "host", "pid", "seen", "since", "id")
SPARE = ("id", "host", "since", "pid")


@click.group()
def workers() -> None:
    """List and stop workers."""


@workers.command("ls")
@click.option("--all", "ended", is_flag=True, help="Also those that left or died of late.")
@json_option
@common()
def ls(shell: Shell, *, ended: bool) -> None:
    """List workers."""
    found = shell.run(lambda _, store: store.sessions(ended=ended))
    if shell.out.as_json:
        shell.out.document({"workers": found})
        return
    now = when(shell.app.clock.now())
    rows = (worker_row(session, now) for session in found)
    shell.out.table(COLUMNS, rows, empty="no workers; start one: stoker worker", spare=SPARE)


@workers.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everyone", is_flag=True, help="All workers.")
@click.option("--now", is_flag=True, help="Interrupt running jobs and give them back.")
@json_option
@common()
def stop(shell: Shell, *, names: tuple[str, ...], everyone: bool, now: bool) -> int:
    """Ask workers to drain: to finish what they run and leave.

    NAME is a name, an id, or a pattern such as 'worker-*'. They hear it with their next beat.
    """
    if bool(names) == everyone:
        raise click.UsageError("name the workers, or say --all")
    command = Command.STOP if now else Command.DRAIN

    async def work(app: "Stoker", store: "Store") -> list[SessionInfo]:
        alive = await store.sessions()
        chosen = alive if everyone else _matching(alive, names)
        told = await store.set_session([s.id for s in chosen], command, actor=app.actor)
        return [session for session in chosen if session.id in set(told)]

    told = shell.run(work)
    if shell.out.as_json:
        shell.out.document({"command": command, "workers": [s.name for s in told]})
        return DONE
    for session in told:
        shell.out.line(f"told {session.name} to {command}")
    if not told:
        shell.out.note("no worker was told: none is alive")
    return DONE


def worker_row(session: SessionInfo, now: "datetime") -> tuple[object, ...]:
    """Return a worker as a row of a table."""
    return (
        session.name,
        session.state,
        f"{session.busy}/{session.concurrency}",
        ", ".join(session.queues) or "all",
        session.host,
        session.pid or "",
        since(session.seen_at, now),
        since(session.started_at, now),
        session.id,
    )


def _matching(alive: list[SessionInfo], names: tuple[str, ...]) -> list[SessionInfo]:
    chosen: dict[str, SessionInfo] = {}
    for name in names:
        found = [s for s in alive if name == s.id or fnmatch.fnmatchcase(s.name, name)]
        if not found:
            raise _not_found(name, [session.name for session in alive])
        chosen |= {session.id: session for session in found}
    return list(chosen.values())


def _not_found(name: str, known: list[str]) -> WorkerNotFound:
    near = difflib.get_close_matches(name, known, n=2)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else "see: workers ls"
    return WorkerNotFound(f"no living worker is named {name[:100]!r}; {hint}", suggestions=near)
