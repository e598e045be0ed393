"""``stoker workers``: who works here, and how to send them home."""

import difflib
import fnmatch
import platform
from typing import TYPE_CHECKING

import click

from stoker.cli.exits import DONE, FAILED
from stoker.cli.fleet_control import print_fleets
from stoker.cli.shell import Shell, common, group, json_option
from stoker.cli.text import since
from stoker.core.duration import when
from stoker.core.errors import Unavailable, WorkerNotFound
from stoker.core.fleets import fleets_among, workers_among
from stoker.core.job import Command, SessionInfo

if TYPE_CHECKING:
    from datetime import datetime

    from stoker.app.stoker import Stoker
    from stoker.core.store import Store

COLUMNS = ("name", "state", "busy", "queues", "host", "pid", "seen", "since", "id")
SPARE = ("id", "host", "since", "pid")


@group
def workers() -> None:
    """List and stop workers."""


@workers.command("ls")
@click.option("--all", "ended", is_flag=True, help="Also those that left or died of late.")
@json_option
@common()
def ls(shell: Shell, *, ended: bool) -> None:
    """List workers, and the fleets that keep them alive."""
    sessions = shell.run(lambda _, store: store.sessions(ended=ended))
    found, fleets = workers_among(sessions), fleets_among(sessions)
    if shell.out.as_json:
        shell.out.document({"workers": found, "fleets": fleets})
        return
    now = when(shell.app.clock.now())
    rows = (worker_row(session, now) for session in found)
    shell.out.table(COLUMNS, rows, empty="no workers; start one: stoker worker", spare=SPARE)
    print_fleets(shell, fleets, now)


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
        alive = workers_among(await store.sessions())
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


@workers.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--ignore-outage", is_flag=True, help="A store that is away is not the workers' fault."
)
@json_option
@common()
def check(shell: Shell, *, names: tuple[str, ...], ignore_outage: bool) -> int:
    """Check that workers live: ends with 0 if they do, else with 1.

    NAME is a name, an id, or a pattern; without one, the workers of this host are meant, which in a
    container is the one that runs there. A worker lives as long as its beats arrive in time,
    draining or not. For health checks where there is no HTTP.
    """

    async def work(_: "Stoker", store: "Store") -> tuple[list[SessionInfo], "datetime"]:
        return workers_among(await store.sessions()), (await store.counts()).now

    try:
        sessions, now = shell.run(work)
    except Unavailable as error:
        if not ignore_outage:
            raise
        # Whoever restarts workers because the store is away has two troubles.
        shell.out.note(f"nobody knows: {error.message}")
        return DONE
    alive = [session for session in sessions if session.expires_at >= now]
    wanted = names or (f"any on {platform.node()}",)
    missing = [name for name in names if not any(_is_named(s, name) for s in alive)]
    if not names and not any(session.host == platform.node() for session in alive):
        missing = list(wanted)
    if shell.out.as_json:
        shell.out.document({"alive": not missing, "missing": missing})
    elif missing:
        shell.out.note(f"no living worker: {', '.join(missing)}")
    else:
        shell.out.line("alive")
    return FAILED if missing else DONE


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
        found = [session for session in alive if _is_named(session, name)]
        if not found:
            raise _not_found(name, [session.name for session in alive])
        chosen |= {session.id: session for session in found}
    return list(chosen.values())


def _is_named(session: SessionInfo, name: str) -> bool:
    return name == session.id or fnmatch.fnmatchcase(session.name, name)


def _not_found(name: str, known: list[str]) -> WorkerNotFound:
    near = difflib.get_close_matches(name, known, n=2)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else "see: workers ls"
    return WorkerNotFound(f"no living worker is named {name[:100]!r}; {hint}", suggestions=near)
