"""``stoker fleet scale`` and ``drain``: they reach a fleet wherever it runs, through the store."""

from typing import TYPE_CHECKING

import click

from stoker.cli.exits import DONE, FAILED
from stoker.cli.shell import Shell, common, json_option
from stoker.cli.text import since

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from stoker.app.fleets import FleetOrder
    from stoker.app.stoker import Stoker
    from stoker.core.fleets import FleetCommand, FleetInfo
    from stoker.core.store import Store

KINDS = ("fleet", "kind", "workers", "bounds", "jobs at once", "queues", "host", "seen", "why")
KINDS_SPARE = ("why", "host", "seen", "jobs at once")
WORKERS = ("worker", "state", "pid", "since", "restarts", "quick deaths", "last exit")
_LOOK_AGAIN = 0.2

name_option = click.option(
    "--name", metavar="FLEET", help="Which fleet, on any host: its name, NAME@HOST, or its id."
)
reason_option = click.option(
    "--reason", default="", metavar="TEXT", help="Why, for the audit trail."
)


@click.command()
@name_option
@click.option("--kind", metavar="KIND", help="Which kind of workers, if the fleet has several.")
@click.option("--min", "least", type=int, metavar="N", help="The fewest workers.")
@click.option("--max", "most", type=int, metavar="N", help="The most workers.")
@reason_option
@json_option
@common()
def scale(
    shell: Shell,
    *,
    name: str | None,
    kind: str | None,
    least: int | None,
    most: int | None,
    reason: str,
) -> None:
    """Change how few and how many workers a fleet may have, until it is reloaded or restarted.

    With --min equal to --max it has just so many. Workers that are too many finish what they hold
    before they leave. The fleet hears it within a second or two, on whatever host it runs.
    """
    from stoker.app.fleets import FleetOrder

    order = FleetOrder(action="scale", kind=kind, min=least, max=most, reason=reason)
    fleet, command = tell(shell, name, order)
    if not shell.out.as_json:
        now = next(one for one in fleet.kinds if one.name == command.kind)
        least = now.min if least is None else least
        most = now.max if most is None else most
        shell.out.line(f"told fleet {fleet.name} to have {least} to {most} {now.name} workers")
        shell.out.note("watch it: stoker workers ls")


@click.command()
@name_option
@reason_option
@json_option
@common()
def drain(shell: Shell, *, name: str | None, reason: str) -> None:
    """Ask a fleet to drain its workers and to end, on whatever host it runs."""
    from stoker.app.fleets import FleetOrder

    fleet, _ = tell(shell, name, FleetOrder(action="drain", reason=reason))
    if not shell.out.as_json:
        shell.out.line(f"told fleet {fleet.name} to drain")


def tell(shell: Shell, name: str | None, order: "FleetOrder") -> "tuple[FleetInfo, FleetCommand]":
    """Write down what a fleet is to do, and show it to whoever wants JSON."""
    from stoker.app.fleets import NEWS, acommand_fleet

    meant = name or shell.settings.fleet.name

    async def work(app: "Stoker", store: "Store") -> "tuple[FleetInfo, FleetCommand]":
        return await acommand_fleet(store, meant, order, actor=app.actor)

    told = shell.run(work)
    if shell.out.as_json:
        shell.out.document({"answer": NEWS[order.action], "fleet": told[0]})
    return told


def stop_afar(shell: Shell, name: str, *, now: bool, timeout: float) -> int:
    """Stop a fleet on another host, and wait until it is gone from the store.

    Raises:
        FleetNotFound: No living one is named so.
    """
    import asyncio

    from stoker.app.fleets import ENDED, FleetOrder, acommand_fleet, afind_fleet
    from stoker.core.errors import FleetNotFound

    order = FleetOrder(action="stop" if now else "drain")

    async def work(app: "Stoker", store: "Store") -> "tuple[FleetInfo, bool]":
        found = await afind_fleet(store, name)
        if found.state in ENDED:
            raise FleetNotFound(
                f"no fleet {name!r} runs, here or elsewhere: its last one is {found.state}"
            )
        fleet, _ = await acommand_fleet(store, name, order, actor=app.actor)
        try:
            async with asyncio.timeout(timeout):
                while await _lives(store, fleet.id):  # noqa: ASYNC110 - no store rings for that
                    await asyncio.sleep(_LOOK_AGAIN)
        except TimeoutError:
            return fleet, False
        return fleet, True

    fleet, has_ended = shell.run(work)
    if shell.out.as_json:
        shell.out.document({"prefix": fleet.name, "drained": has_ended})
    elif has_ended:
        shell.out.line(f"fleet {fleet.name} on {fleet.host} has ended")
    else:
        shell.out.warn(f"fleet {fleet.name} on {fleet.host} was told, and has not ended yet")
    return DONE if has_ended else FAILED


async def _lives(store: "Store", fleet_id: str) -> bool:
    return any(session.id == fleet_id for session in await store.sessions())


def print_fleets(shell: Shell, fleets: "Sequence[FleetInfo]", now: "datetime") -> None:
    """Show fleets by kind, and those of their workers that are not at work."""
    if not fleets:
        return
    shell.out.heading("Fleets")
    shell.out.table(KINDS, _kind_rows(fleets, now), spare=KINDS_SPARE)
    rows = [row for fleet in fleets for row in worker_rows(fleet, now) if row[1] != "ready"]
    if rows:
        shell.out.heading("Workers of fleets that are not ready")
        shell.out.table(WORKERS, rows)


def worker_rows(fleet: "FleetInfo", now: "datetime") -> "Iterable[tuple[object, ...]]":
    """Yield the workers of a fleet as rows of a table."""
    for worker in fleet.workers:
        yield (
            worker.name,
            str(worker.state).replace("_", " "),
            worker.pid or "",
            since(worker.started_at, now),
            worker.restarts,
            worker.quick_deaths or "",
            worker.last_exit or "",
        )


def _kind_rows(fleets: "Sequence[FleetInfo]", now: "datetime") -> "Iterable[tuple[object, ...]]":
    for fleet in fleets:
        for kind in fleet.kinds:
            bounds = f"{kind.min} to {kind.max}{' (changed)' if kind.is_changed else ''}"
            state = ", cannot run" if kind.is_failing else ""
            yield (
                fleet.name if fleet.state == "alive" else f"{fleet.name} ({fleet.state})",
                kind.name if kind.program == "python" else f"{kind.name} ({kind.program})",
                f"{kind.ready}/{kind.wanted} ready{state}",
                bounds,
                kind.concurrency,
                ", ".join(kind.queues) or "all",
                fleet.host,
                since(fleet.seen_at, now),
                kind.reason,
            )
