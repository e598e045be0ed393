"""``stoker dlq``: dead letters, looked at, replayed, dropped, exported."""

import asyncio
import sys
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from stoker.cli.exits import FAILED
from stoker.cli.filters import (
    check_limit,
    confirm,
    filter_options,
    find_all,
    job_query,
    narrows,
)
from stoker.cli.jobs import print_jobs, show_job
from stoker.cli.shell import Shell, common, group, json_option
from stoker.cli.text import plural, to_json
from stoker.core.errors import InvalidOption, Refused
from stoker.core.job import JobRecord
from stoker.core.lifecycle import State
from stoker.core.records import MAX_PAGE, JobQuery

if TYPE_CHECKING:
    from stoker.app.stats import ErrorGroup
    from stoker.app.stoker import Stoker
    from stoker.core.store import Store

DEAD = (str(State.DEAD_LETTER),)
MAX_RATE = 100_000.0
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@group
def dlq() -> None:
    """Look at dead letters and replay them."""


@dlq.command("ls")
@filter_options
@click.option(
    "--group-by", type=click.Choice(["error", "task", "queue"]), help="Count them instead."
)
@click.option("--limit", "-n", default=50, show_default=True, help="The most jobs to list.")
@json_option
@common()
def ls(shell: Shell, *, wanted: dict[str, Any], group_by: str | None, limit: int) -> None:
    """List dead letters, newest first, or count them by their error."""
    check_limit(limit)
    query = job_query(wanted, clock=shell.app.clock, states=DEAD)
    if group_by is not None:
        _print_groups(shell, query, by=group_by)
        return

    async def work(_: "Stoker", store: "Store") -> list[JobRecord]:
        return [job async for job in find_all(store, query, limit=limit)]

    found = shell.run(work)
    if shell.out.as_json:
        shell.out.document({"jobs": found})
    else:
        print_jobs(shell, found)


@dlq.command()
@click.argument("job_id", metavar="ID")
@json_option
@common()
def show(shell: Shell, *, job_id: str) -> None:
    """Show everything about one dead letter, its traceback included."""
    show_job(shell, job_id)


@dlq.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@filter_options
@click.option("--rate", metavar="N/s", help="How fast they become due: 50/s, 100/m.")
@click.option("--dry-run", is_flag=True, help="Only say what would be replayed.")
@click.option("--reason", default="", help="Why, for the audit trail.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
@common()
def replay(
    shell: Shell,
    *,
    ids: tuple[str, ...],
    wanted: dict[str, Any],
    rate: str | None,
    dry_run: bool,
    reason: str,
    yes: bool,
) -> int | None:
    """Run dead letters again: named ones, those that match, or all."""
    query = _chosen(shell, ids, wanted)
    interval = 0.0 if rate is None else 1.0 / read_rate(rate)
    if dry_run:
        _print_groups(shell, query)
        return None
    if not ids and not confirm(shell.out, f"Replay {_scope(wanted)}?", yes=yes):
        return FAILED
    answered = shell.run(
        lambda app, store: _replay(shell, app, store, query, interval=interval, reason=reason)
    )
    return _print_replayed(shell, answered)


@dlq.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@filter_options
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
@common()
def drop(
    shell: Shell, *, ids: tuple[str, ...], wanted: dict[str, Any], dry_run: bool, yes: bool
) -> int | None:
    """Delete dead letters for good: named ones, those that match, or all."""
    query = _chosen(shell, ids, wanted)
    if dry_run:
        _print_groups(shell, query)
        return None
    if not confirm(shell.out, f"Delete {_scope(wanted, ids)} for good?", yes=yes):
        return FAILED

    async def work(app: "Stoker", store: "Store") -> int:
        total = 0
        while gone := await store.purge(query, actor=app.actor):
            total += gone
        return total

    total = shell.run(work)
    if shell.out.as_json:
        shell.out.document({"dropped": total})
    else:
        shell.out.line(f"dropped {plural(total, 'dead letter')}")
    return None


@dlq.command()
@filter_options
@click.option("--output", "-o", "file", metavar="FILE", help="Where to (default: stdout).")
@common()
def export(shell: Shell, *, wanted: dict[str, Any], file: str | None) -> None:
    """Write dead letters as JSON lines, with attempts and log lines."""
    query = job_query(wanted, clock=shell.app.clock, states=DEAD)

    with _target(file) as target:

        async def work(_: "Stoker", store: "Store") -> int:
            count = 0
            async for job in find_all(store, query):
                [whole] = await store.get([job.id])
                target.write(to_json(whole or job) + "\n")
                count += 1
            return count

        count = shell.run(work)
    if file is not None:
        shell.out.note(f"wrote {plural(count, 'dead letter')} to {file}")


def read_rate(text: str) -> float:
    """Read a rate such as ``50/s``, ``100/m`` or ``50`` as a number a second.

    Raises:
        InvalidOption: Not a rate above zero.
    """
    number, _, unit = text.strip().lower().partition("/")
    try:
        rate = float(number) / _UNITS[unit or "s"]
    except (ValueError, KeyError):
        rate = 0.0
    if not 0 < rate <= MAX_RATE:
        raise InvalidOption(f"the rate is {text!r}; expected a number such as 50/s, 100/m or 10/h")
    return rate


def _target(file: str | None) -> AbstractContextManager[TextIO]:
    return nullcontext(sys.stdout) if file is None else Path(file).open("w", encoding="utf-8")


async def _replay(
    shell: Shell,
    app: "Stoker",
    store: "Store",
    query: JobQuery,
    *,
    interval: float,
    reason: str,
) -> Counter[str]:
    """Requeue batch by batch until none is left that can be."""
    counter: Counter[str] = Counter()
    while True:
        answers = await store.requeue(
            query, interval=interval, actor=app.actor, reason=reason, limit=MAX_PAGE
        )
        batch = Counter(str(a.answer) for a in answers)
        counter += batch
        if query.ids or len(answers) < MAX_PAGE or not batch["requeued"]:
            return counter
        shell.out.note(f"{counter['requeued']:,} replayed")
        # The next batch begins where this one ends, or the rate would hold within batches only.
        await asyncio.sleep(interval * len(answers))


def _print_replayed(shell: Shell, answered: Counter[str]) -> int:
    done = answered["requeued"]
    refused = answered.total() - done
    if shell.out.as_json:
        shell.out.document({"replayed": done, "refused": refused})
    else:
        shell.out.line(f"replayed {plural(done, 'dead letter')}")
    if refused:
        raise Refused(
            f"{plural(refused, 'job')} not replayed: unknown, no dead letter, or its unique key is "
            "taken by a live job"
        )
    return 0


def _print_groups(shell: Shell, query: JobQuery, *, by: str = "error") -> None:
    """Count dead letters by what they died of, or by where they belong."""
    from stoker.app.stats import group_errors

    async def work(_: "Stoker", store: "Store") -> list[JobRecord]:
        return [job async for job in find_all(store, query)]

    found = shell.run(work)
    if by == "error":
        _print_causes(shell, group_errors(found))
        return
    counter = Counter(job.task if by == "task" else job.queue for job in found).most_common()
    if shell.out.as_json:
        shell.out.document({"groups": [{by: name, "count": n} for name, n in counter]})
    else:
        rows = ((n, name) for name, n in counter)
        shell.out.table(("count", by), rows, empty="no dead letters")


def _print_causes(shell: Shell, groups: "list[ErrorGroup]") -> None:
    if shell.out.as_json:
        shell.out.document({"groups": groups})
        return
    rows = (
        (g.count, g.code, f"{g.type}: {g.message}", ", ".join(g.tasks), g.sample) for g in groups
    )
    columns = ("count", "code", "error", "tasks", "newest")
    shell.out.table(columns, rows, empty="no dead letters", spare=("tasks", "code"))


def _chosen(shell: Shell, ids: tuple[str, ...], wanted: dict[str, Any]) -> JobQuery:
    if ids and narrows(wanted):
        raise click.UsageError("give ids or filters, not both")
    return job_query(wanted, clock=shell.app.clock, states=DEAD, ids=ids)


def _scope(wanted: dict[str, Any], ids: tuple[str, ...] = ()) -> str:
    if ids:
        return plural(len(ids), "dead letter")
    return "the dead letters that match" if narrows(wanted) else "all dead letters"
