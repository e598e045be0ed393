"""``stoker up``: server, workers and keeper in one terminal."""

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import click

from stoker.cli.fleet import check_shared, make_kinds, worker_words
from stoker.cli.inherit import to_children
from stoker.cli.server import address_options, listen, listen_gateway, running
from stoker.cli.shell import Shell, common
from stoker.cli.text import clean
from stoker.cli.worker import load_options, read_queues
from stoker.settings import masked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stoker.core.store import Store
    from stoker.fleet.fleet import Fleet
    from stoker.fleet.kinds import Kind
    from stoker.fleet.process import Sink
    from stoker.server.run import Listener


@click.command()
@address_options
@click.option("--workers", "-n", type=int, metavar="N", help="How many (default: fleet.min).")
@load_options
@common()
def up(
    shell: Shell,
    *,
    host: str | None,
    port: int | None,
    certificate: str | None,
    key: str | None,
    gateway_host: str | None,
    gateway_port: int | None,
    insecure: bool,
    workers: int | None,
    queues: tuple[str, ...],
    concurrency: int | None,
) -> None:
    """Start server, workers and keeper in one terminal.

    Ctrl-C drains the workers, then stops; the second one stops at once, and what ran is taken
    back and runs again later.
    """
    from stoker.app.loading import all_tasks
    from stoker.cli.logs import set_up_logging
    from stoker.cli.loop import run_loop

    shell.override(
        server__host=host,
        server__port=port,
        server__certificate=certificate,
        server__key=key,
        gateway__host=gateway_host,
        gateway__port=gateway_port,
        fleet__min=workers,
        fleet__max=workers,
        worker__queues=read_queues(queues) or None,
        worker__concurrency=concurrency,
    )
    check_shared(shell)
    set_up_logging(shell.settings.log)
    names = all_tasks(shell.app).names()
    listeners = listen(shell, insecure=insecure), listen_gateway(shell, insecure=insecure)
    run_loop(_run(shell, *listeners, names, insecure=insecure))


async def _run(
    shell: Shell,
    listener: "Listener",
    gateway: "Listener | None",
    tasks: tuple[str, ...],
    *,
    insecure: bool,
) -> None:
    app = shell.app
    kinds = make_kinds(shell)

    def started(bound: "Listener") -> None:
        _announce(shell, bound, gateway, tasks, kinds)

    async def work(store: "Store") -> None:
        from stoker.app.running import build_keeper, keeping
        from stoker.cli.keeper import default_name
        from stoker.cli.loop import on_stop
        from stoker.fleet.running import run_fleet

        fleet = _fleet(shell, store, kinds)
        stop = asyncio.Event()
        with on_stop(lambda: _end(shell, fleet)):
            async with (
                keeping(build_keeper(app, store, name=default_name())),
                asyncio.TaskGroup() as group,
            ):
                group.create_task(
                    running().serve(
                        app,
                        insecure=insecure,
                        listener=listener,
                        gateway=gateway,
                        stop=stop,
                        started=started,
                    )
                )
                try:
                    await run_fleet(
                        store, fleet, clock=app.clock, ttl=float(app.settings.worker.lease)
                    )
                finally:
                    stop.set()

    async with app:
        await app.arun(work)
    shell.out.note("stopped")


def _fleet(shell: Shell, store: "Store", kinds: "Sequence[Kind]") -> "Fleet":
    from stoker.fleet.fleet import Fleet

    settings = shell.settings
    words = worker_words(shell)
    sink: Sink | None = None
    if sys.stderr.isatty():
        sink = _print_line
        if settings.log.format == "auto":
            words["log.format"] = "text"
    return Fleet(
        store,
        kinds,
        clock=shell.app.clock,
        drain=float(settings.worker.drain),
        env=to_children(words, shell.config),
        sink=sink,
    )


def _end(shell: Shell, fleet: "Fleet") -> None:
    shell.out.note("draining; once more stops at once")
    fleet.stop()


def _announce(
    shell: Shell,
    listener: "Listener",
    gateway: "Listener | None",
    tasks: tuple[str, ...],
    kinds: "Sequence[Kind]",
) -> None:
    settings = shell.settings
    out = shell.out
    out.line(f"Stoker is up: {listener.url}/")
    rows: list[tuple[str, Any]] = [
        ("dashboard", f"{listener.url}/"),
        ("API", f"{listener.url}/docs"),
        *([("gateway", gateway.url)] if gateway is not None else []),
        ("store", masked(settings.store)),
        ("workers", "; ".join(_describe(kind) for kind in kinds)),
        ("tasks", f"{len(tasks)}: {', '.join(tasks)}"),
        ("stop", "Ctrl-C"),
    ]
    out.pairs(rows)


def _describe(kind: "Kind") -> str:
    many = str(kind.least) if kind.least == kind.most else f"{kind.least} to {kind.most}"
    name = f"{kind.name}: " if kind.is_named else ""
    return f"{name}{many}, {kind.slots} jobs at once each"


def _print_line(name: str, line: bytes) -> None:
    click.echo(f"{click.style(name, dim=True)} {clean(line.decode(errors='replace'))}", err=True)
