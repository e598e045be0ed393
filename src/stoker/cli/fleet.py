"""``stoker fleet``: worker processes under a supervisor, in the foreground or the background."""

import sys
from typing import TYPE_CHECKING, Any

import click
import msgspec

from stoker.cli import fleet_control
from stoker.cli.exits import DONE, FAILED
from stoker.cli.inherit import VARIABLE, said, to_children
from stoker.cli.shell import Shell, common, json_option
from stoker.cli.text import since
from stoker.cli.worker import load_options, read_queues
from stoker.core.duration import seconds, when
from stoker.core.errors import InvalidOption

if TYPE_CHECKING:
    from datetime import datetime

    from stoker.app.stoker import Stoker
    from stoker.core.store import Store
    from stoker.fleet.background import FleetStatus
    from stoker.fleet.kinds import Kind

_COLUMNS = ("worker", "state", "pid", "busy", "since", "restarts", "last exit")


@click.group(invoke_without_command=True)
@click.option("--min", "least", type=int, metavar="N", help="Workers (default: fleet.min).")
@click.option("--max", "most", type=int, metavar="N", help="The most workers.")
@click.option(
    "--start-within",
    metavar="DURATION",
    help="How soon jobs should start; the fleet grows when they would not.",
)
@click.option("--name", metavar="PREFIX", help="Prefix of the workers' names.")
@load_options
@common()
def fleet(
    shell: Shell,
    *,
    least: int | None,
    most: int | None,
    start_within: str | None,
    name: str | None,
    queues: tuple[str, ...],
    concurrency: int | None,
) -> int:
    """Keep a number of worker processes alive.

    A worker that dies is replaced, and its jobs run again at once. With --max above --min the
    fleet scales between the two, so that jobs start in time. Ctrl-C or SIGTERM drains all of
    them; the second one kills; SIGHUP replaces them one by one. "fleet start" does the same in
    the background.
    """
    if click.get_current_context().invoked_subcommand is not None:
        given = (least, most, start_within, name, concurrency)
        if any(value is not None for value in given) or queues:
            raise click.UsageError("write the options behind start, stop or status")
        return DONE
    from stoker.cli.logs import set_up_logging
    from stoker.cli.loop import run_loop

    shell.override(
        worker__queues=read_queues(queues) or None,
        worker__concurrency=concurrency,
        fleet__name=name,
        fleet__start_within=start_within,
    )
    _size(shell, least, most)
    set_up_logging(shell.settings.log)
    run_loop(_run(shell))
    return DONE


@fleet.command()
@click.option("--workers", "-n", type=int, metavar="N", help="How many (default: fleet.min).")
@click.option("--max", "most", type=int, metavar="N", help="The most workers: scale up to there.")
@click.option("--name", metavar="PREFIX", help="Prefix of the workers' names.")
@load_options
@json_option
@common()
def start(
    shell: Shell,
    *,
    workers: int | None,
    most: int | None,
    name: str | None,
    queues: tuple[str, ...],
    concurrency: int | None,
) -> None:
    """Start workers in the background; returns when each of them is at work."""
    from stoker.fleet import background

    shell.override(
        worker__queues=read_queues(queues) or None,
        worker__concurrency=concurrency,
        fleet__name=name,
    )
    _size(shell, workers, workers if most is None else most)
    check_shared(shell)

    async def work(app: "Stoker", store: "Store") -> "FleetStatus":
        return await background.start(
            store,
            app.settings.store,
            kinds=make_kinds(shell),
            settings=app.settings.fleet,
            broker=app.settings.broker,
            token=app.settings.token,
            ttl=float(app.settings.worker.lease),
            drain=float(app.settings.worker.drain),
            level=app.settings.log.level,
            env=to_children(worker_words(shell), shell.config),
        )

    found = shell.run(work)
    if shell.out.as_json:
        shell.out.document(found)
        return
    shell.out.line(f"fleet {found.prefix}: {found.ready} workers are at work")
    shell.out.note(f"log: {found.log}; stop them: stoker fleet stop --name {found.prefix}")


fleet.add_command(fleet_control.scale)
fleet.add_command(fleet_control.drain)


@fleet.command()
@click.option(
    "--name", metavar="FLEET", help="Its name, NAME@HOST, or its id (default: fleet.name)."
)
@click.option("--timeout", metavar="DURATION", help="How long to drain; then they are killed.")
@click.option("--now", is_flag=True, help="Interrupt running jobs and give them back.")
@json_option
@common()
def stop(shell: Shell, *, name: str | None, timeout: str | None, now: bool) -> int:
    """Drain the workers of a fleet and wait until they are gone.

    A fleet in the background of this folder is told directly, any other one through the store,
    and is not killed there when it takes longer.
    """
    import asyncio

    from stoker.fleet import background

    settings = shell.settings
    prefix = name or settings.fleet.name
    limit = float(settings.worker.drain) + 15.0
    if timeout is not None:
        limit = seconds(timeout, name="--timeout")
    if now or not background.runs_here(prefix, settings.fleet.run_dir):
        return fleet_control.stop_afar(shell, prefix, now=now, timeout=limit)
    drained = asyncio.run(
        background.stop(prefix=prefix, run_dir=settings.fleet.run_dir, timeout=limit)
    )
    if shell.out.as_json:
        shell.out.document({"prefix": prefix, "drained": drained})
    else:
        shell.out.line(f"fleet {prefix} has {'drained and ' if drained else ''}ended")
    if not drained:
        shell.out.warn("it did not drain in time and was killed; its jobs run again elsewhere")
    return DONE if drained else FAILED


@fleet.command("reload")
@click.option("--name", metavar="PREFIX", help="Which fleet (default: fleet.name).")
@json_option
@common()
def reload_fleet(shell: Shell, *, name: str | None) -> None:
    """Replace the workers of a fleet in the background, one by one; no job is interrupted."""
    from stoker.fleet import background

    settings = shell.settings.fleet
    state = background.reload(prefix=name or settings.name, run_dir=settings.run_dir)
    if shell.out.as_json:
        shell.out.document({"prefix": state.prefix, "workers": len(state.workers)})
        return
    shell.out.line(f"fleet {state.prefix}: {len(state.workers)} workers are replaced one by one")
    shell.out.note("watch it: stoker fleet status")


@fleet.command()
@click.option("--name", metavar="PREFIX", help="Which fleet (default: all that run here).")
@json_option
@common()
def status(shell: Shell, *, name: str | None) -> int:
    """Show the fleets in the background; ends with 1 when none runs or a worker is missing."""
    from stoker.fleet import background

    settings = shell.settings.fleet
    names = [name] if name else background.prefixes(settings.run_dir) or [settings.name]

    async def work(_: "Stoker", store: "Store") -> "list[FleetStatus]":
        return [
            await background.status(store, prefix=prefix, run_dir=settings.run_dir)
            for prefix in names
        ]

    found = shell.run(work)
    if shell.out.as_json:
        shell.out.document({"fleets": found})
    else:
        for one in found:
            _print(shell, one, when(shell.app.clock.now()))
    well = all(one.is_running and one.ready == len(one.workers) for one in found)
    return DONE if well else FAILED


def make_kinds(shell: Shell) -> "tuple[Kind, ...]":
    """Return the kinds of workers that the configuration asks for, ready to be started."""
    from stoker.fleet.kinds import kinds_of

    settings = shell.settings
    kinds = kinds_of(settings, worker_command())
    return tuple(msgspec.structs.replace(kind, env=_variables(shell, kind)) for kind in kinds)


def _variables(shell: Shell, kind: "Kind") -> dict[str, str]:
    """Return how the workers of a kind find their store, if not as all others do."""
    settings = shell.settings
    given = settings.fleet.kinds.get(kind.name)
    if given is None or not (given.store or given.command):
        return {}
    store = given.store or settings.store
    # What the command line said counts before variables, so it has to say the same.
    variables = {VARIABLE: said({**worker_words(shell), "store": store}, shell.config)}
    if given.command:
        variables["STOKER_STORE"] = store
    if given.command and settings.token is not None:
        variables["STOKER_TOKEN"] = settings.token.reveal()
    return variables


def worker_command() -> tuple[str, ...]:
    """Return what starts a worker of a fleet; the supervisor fills in its name."""
    # -P: nothing in the working folder may stand for a module of the standard library.
    return (sys.executable, "-P", "-m", "stoker", "worker", "--name", "{name}")


def worker_words(shell: Shell) -> dict[str, Any]:
    """Return what the command line said, for the workers."""
    return {key: value for key, value in shell.given.items() if not key.startswith("fleet.")}


def _size(shell: Shell, least: int | None, most: int | None) -> None:
    """Make --min and --max settings that fit together, whichever of them is given."""
    settings = shell.loaded.settings.fleet
    if least is not None and most is not None and least > most:
        raise InvalidOption(f"--min is {least} and --max is {most}; expected --max to be more")
    if least is not None:
        most = max(least, settings.max) if most is None else most
    elif most is not None:
        least = min(settings.min, most)
    shell.override(fleet__min=least, fleet__max=most)


def check_shared(shell: Shell) -> None:
    """Refuse a store that other processes cannot open.

    Raises:
        InvalidOption: It is a memory store.
    """
    if shell.settings.store.startswith("memory:"):
        raise InvalidOption(
            "the store is memory://, which lives in one process; a fleet is several: use "
            "sqlite:///stoker.db"
        )


async def _run(shell: Shell) -> None:
    from stoker.cli.loop import on_stop, ready
    from stoker.fleet.fleet import Fleet
    from stoker.fleet.running import run_fleet

    check_shared(shell)
    kinds = make_kinds(shell)
    app = shell.app

    async def work(store: "Store") -> None:
        fleet = Fleet(
            store,
            kinds,
            clock=app.clock,
            drain=float(app.settings.worker.drain),
            env=to_children(worker_words(shell), shell.config),
        )
        with on_stop(fleet.stop):
            ready()
            await run_fleet(store, fleet, clock=app.clock, ttl=float(app.settings.worker.lease))

    async with app:
        await app.arun(work)


def _print(shell: Shell, found: "FleetStatus", now: "datetime") -> None:
    if not found.is_running:
        shell.out.line(f"fleet {found.prefix} does not run here")
        return
    shell.out.line(
        f"fleet {found.prefix}: process {found.pid}, {found.ready} of {len(found.workers)} workers "
        f"at work, up {since(found.started_at, now)}"
    )
    busy = {info.pid: f"{info.busy}/{info.concurrency}" for info in found.sessions}
    rows = (
        (
            worker.name,
            worker.state,
            worker.pid,
            busy.get(worker.pid or -1, ""),
            since(worker.started_at, now),
            worker.restarts,
            worker.last_exit,
        )
        for worker in found.workers
    )
    shell.out.table(_COLUMNS, rows)
