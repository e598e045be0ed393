"""``stoker status``: the state at a glance, with an exit code for monitors."""

import asyncio
from typing import TYPE_CHECKING

import click

from stoker.cli.health import Look, look
from stoker.cli.output import Output, counted
from stoker.cli.queues import COLUMNS as QUEUE_COLUMNS
from stoker.cli.queues import queue_row
from stoker.cli.shell import Shell, common, json_option
from stoker.cli.text import length
from stoker.cli.workers import COLUMNS as WORKER_COLUMNS
from stoker.cli.workers import SPARE as WORKER_SPARE
from stoker.cli.workers import worker_row
from stoker.core.broker import BrokerStatus, Rung
from stoker.core.duration import seconds
from stoker.core.errors import BackendError

if TYPE_CHECKING:
    from stoker.app.stoker import Stoker
    from stoker.core.store import Store

FINE = 0
ATTENTION = 1
DOWN = 2
PATIENCE = 5.0
"""Seconds for which a broker that is being connected is waited for."""


@click.command()
@click.option("--window", default="5m", show_default=True, help="How far the rates look back.")
@click.option(
    "--max-wait", default="5m", show_default=True, help="A job that waits longer is a concern."
)
@json_option
@common()
def status(shell: Shell, *, window: str, max_wait: str) -> int:
    """Show the state at a glance.

    Ends with 0 when all is well, 1 when something needs attention (no worker while jobs wait,
    jobs waiting too long, new dead letters, silent workers), 2 when the store cannot be used.
    """
    back = max(60.0, seconds(window, name="--window"))
    patience = seconds(max_wait, name="--max-wait")

    async def ask(_: "Stoker", store: "Store") -> tuple[Look, BrokerStatus | None]:
        found = await look(store, window=back, max_wait=patience)
        return found, await _broker(store)

    try:
        found, broker = shell.run(ask)
    except BackendError as error:
        if shell.out.as_json:
            error_json = {"code": error.code, "message": error.message}
            shell.out.document({"status": "down", "error": error_json})
        else:
            shell.out.note(f"down: {error.message}")
        return DOWN
    if shell.out.as_json:
        shell.out.document(
            {
                "status": "attention" if found.concerns else "ok",
                "concerns": found.concerns,
                "stats": found.stats,
                "workers": found.workers,
                "broker": broker,
            }
        )
    else:
        print_look(shell.out, found, broker)
    return ATTENTION if found.concerns else FINE


async def _broker(store: "Store") -> BrokerStatus | None:
    """Return how the broker does, once that is known; None without one."""
    if not isinstance(store, Rung):
        return None
    end = asyncio.get_running_loop().time() + PATIENCE
    while not (told := store.broker_status()).connected and not told.error:
        if asyncio.get_running_loop().time() > end:
            break
        await asyncio.sleep(0.02)
    return told


def print_look(out: Output, found: Look, broker: BrokerStatus | None = None) -> None:
    """Print the state at a glance."""
    stats = found.stats
    out.line("all is well" if not found.concerns else "needs attention:")
    for concern in found.concerns:
        out.line(f"  {concern.message} [{concern.code}]", style="yellow")
    out.line()
    out.pairs(facts(found) + broker_facts(broker))
    if stats.queues:
        out.heading("Queues")
        out.table(QUEUE_COLUMNS, (queue_row(queue, stats.now) for queue in found.queues))
    if found.workers:
        out.heading("Workers")
        rows = (worker_row(worker, stats.now) for worker in found.workers)
        out.table(WORKER_COLUMNS, rows, spare=WORKER_SPARE)


def broker_facts(broker: BrokerStatus | None) -> list[tuple[str, object]]:
    """Return how the broker does as a name and a value; nothing without one."""
    if broker is None:
        return []
    if broker.connected:
        return [("broker", broker.server)]
    away = broker.error or "it does not answer yet"
    return [("broker", f"away, workers look by themselves: {away}")]


def facts(found: Look) -> list[tuple[str, object]]:
    """Return the numbers as names and values."""
    stats = found.stats
    rate = stats.throughput
    workers = stats.workers
    errors = "no attempt ended" if stats.error_rate is None else f"{stats.error_rate:.1%}"
    return [
        ("jobs", counted({str(state): n for state, n in stats.states.items()})),
        (
            f"last {length(stats.window)}",
            (
                f"{rate.submitted_per_minute:,.1f} submitted and "
                f"{rate.completed_per_minute:,.1f} completed a minute"
            ),
        ),
        ("errors", errors),
        ("mean wait", length(stats.response.mean_wait)),
        ("mean run", length(stats.response.mean_run)),
        ("workers", f"{workers.total:,}, {workers.busy:,} of {workers.slots:,} slots busy"),
    ]
