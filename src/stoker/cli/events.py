"""``stoker events``: the audit trail, read once or followed."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from stoker.cli.filters import check_limit, read_moment
from stoker.cli.shell import Shell, common, json_option
from stoker.cli.text import moment, to_json
from stoker.core.events import EventRecord, Kind
from stoker.core.records import MAX_PAGE, EventQuery

if TYPE_CHECKING:
    from stoker.app.stoker import Stoker
    from stoker.core.store import Store

LOOK_AGAIN = 0.5
"""Seconds between two looks when following."""


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens from now on.")
@click.option(
    "--kind",
    "-k",
    "kinds",
    multiple=True,
    type=click.Choice([str(kind) for kind in Kind]),
    metavar="KIND",
    help="Only this kind; repeatable.",
)
@click.option("--job", "job_id", metavar="ID", help="Only about this job.")
@click.option("--queue", "-q", help="Only about this queue.")
@click.option("--worker", metavar="NAME", help="Only about this worker.")
@click.option("--actor", help="Only what this one did, such as cli:anna.")
@click.option("--since", metavar="WHEN", help="Since: 10m, 2h, or ISO 8601.")
@click.option("--limit", "-n", default=50, show_default=True, help="The most to list.")
@json_option
@common()
def events(
    shell: Shell,
    *,
    follow: bool,
    kinds: tuple[str, ...],
    job_id: str | None,
    queue: str | None,
    worker: str | None,
    actor: str | None,
    since: str | None,
    limit: int,
) -> None:
    """Read the audit trail.

    It says what happened to the system and who did it; the newest stand last. With --json one
    document; with --follow one JSON object a line.
    """
    check_limit(limit)
    query = EventQuery(
        kinds=tuple(Kind(kind) for kind in kinds),
        job_id=job_id,
        queue=queue,
        worker=worker,
        actor=actor,
        since=read_moment(since, clock=shell.app.clock, name="--since"),
    )

    async def work(_: "Stoker", store: "Store") -> list[EventRecord]:
        newest = await store.events(query, limit=min(limit, MAX_PAGE))
        return newest[::-1]

    if follow:
        shell.run(lambda _, store: _follow(shell, store, query, limit))
        return
    found = shell.run(work)
    if shell.out.as_json:
        shell.out.document({"events": found})
    else:
        _print(shell, found)


async def _follow(shell: Shell, store: "Store", query: EventQuery, limit: int) -> None:
    first = (await store.events(query, limit=min(limit, MAX_PAGE)))[::-1]
    seen = first[-1].seq if first else await _newest(store)
    _print(shell, first)
    while True:
        await asyncio.sleep(LOOK_AGAIN)
        more = await store.events(msgspec.structs.replace(query, after=seen), limit=MAX_PAGE)
        if more:
            seen = more[-1].seq
            _print(shell, more)


async def _newest(store: "Store") -> int:
    found = await store.events(EventQuery(), limit=1)
    return found[0].seq if found else 0


def _print(shell: Shell, found: Sequence[EventRecord]) -> None:
    for event in found:
        if shell.out.as_json:
            shell.out.json_line(event)
            continue
        about = " ".join(part for part in (event.queue, event.worker, event.job_id) if part)
        details = to_json(event.details) if event.details else ""
        words = (moment(event.at), str(event.kind), event.actor, about, details)
        shell.out.line("  ".join(word for word in words if word))
