"""``stoker queues``: look at queues, stop and limit them, empty them."""

import difflib
from typing import TYPE_CHECKING

import click

from stoker.cli.exits import FAILED
from stoker.cli.filters import confirm
from stoker.cli.shell import Shell, common, group, json_option
from stoker.cli.text import plural, since
from stoker.core.duration import when
from stoker.core.errors import InvalidOption, QueueNotFound
from stoker.core.lifecycle import LEASED, State
from stoker.core.records import JobQuery, QueueInfo
from stoker.core.task import check_name

if TYPE_CHECKING:
    from datetime import datetime

    from stoker.app.stoker import Stoker
    from stoker.core.store import Store

PURGED = (State.QUEUED, State.SCHEDULED, State.RETRY_QUEUED)
"""What ``purge`` deletes: jobs that nobody works on and that no workflow waits for."""


@group
def queues() -> None:
    """List, pause, limit and purge queues."""


@queues.command("ls")
@json_option
@common()
def ls(shell: Shell) -> None:
    """List queues with their load."""
    from stoker.app.stats import queue_stats

    found = shell.run(lambda _, store: store.queues())
    now = when(shell.app.clock.now())
    if shell.out.as_json:
        shell.out.document({"queues": [queue_stats(queue, now) for queue in found]})
        return
    shell.out.table(COLUMNS, (queue_row(queue, now) for queue in found), empty="no queues yet")


@queues.command()
@click.argument("name")
@json_option
@common()
def pause(shell: Shell, *, name: str) -> None:
    """Stop leasing from a queue; running jobs go on and submits are accepted."""
    _set(shell, name, paused=True)


@queues.command()
@click.argument("name")
@json_option
@common()
def resume(shell: Shell, *, name: str) -> None:
    """Lease from a queue again."""
    _set(shell, name, paused=False)


@queues.command()
@click.argument("name")
@click.argument("number", type=int)
@json_option
@common()
def limit(shell: Shell, *, name: str, number: int) -> None:
    """Let at most NUMBER jobs of a queue run at once, over all workers; 0 removes the limit."""
    if number < 0:
        raise InvalidOption(f"the limit is {number}; expected 0 (no limit) or more")
    _set(shell, name, limit=number)


@queues.command()
@click.argument("name")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
@common()
def purge(shell: Shell, *, name: str, yes: bool) -> int | None:
    """Delete the waiting jobs of a queue; running ones and those of workflows stay."""
    shell.run(lambda app, store: _check_known(app, store, name))
    if not confirm(shell.out, f"Delete all waiting jobs of queue {name!r} for good?", yes=yes):
        return FAILED

    async def work(app: "Stoker", store: "Store") -> int:
        total = 0
        query = JobQuery(queues=(name,), states=PURGED)
        while gone := await store.purge(query, actor=app.actor):
            total += gone
        return total

    total = shell.run(work)
    if shell.out.as_json:
        shell.out.document({"purged": total})
    else:
        shell.out.line(f"purged {plural(total, 'job')} from {name}")
    return None


COLUMNS = ("queue", "state", "queued", "later", "running", "dead", "limit", "oldest")


def queue_row(queue: QueueInfo, now: "datetime") -> tuple[object, ...]:
    """Return a queue as a row of a table."""
    counts = queue.counts
    later = counts.get(State.SCHEDULED, 0) + counts.get(State.RETRY_QUEUED, 0)
    return (
        queue.name,
        "paused" if queue.paused else "open",
        counts.get(State.QUEUED, 0),
        later + counts.get(State.BLOCKED, 0),
        sum(counts.get(state, 0) for state in LEASED),
        counts.get(State.DEAD_LETTER, 0),
        queue.limit,
        since(queue.oldest_at, now),
    )


def _set(shell: Shell, name: str, *, paused: bool | None = None, limit: int | None = None) -> None:
    from stoker.app.stats import queue_stats

    async def work(app: "Stoker", store: "Store") -> QueueInfo:
        await _check_known(app, store, name)
        return await store.set_queue(name, paused=paused, limit=limit, actor=app.actor)

    queue = shell.run(work)
    if shell.out.as_json:
        shell.out.document(queue_stats(queue, when(shell.app.clock.now())))
        return
    state = "paused" if queue.paused else "open"
    most = "no limit" if queue.limit is None else f"at most {queue.limit:,} at once"
    shell.out.line(f"queue {queue.name} is {state}, {most}")


async def _check_known(app: "Stoker", store: "Store", name: str) -> None:
    """Refuse a name that nothing uses: pausing a misspelled queue stops nothing."""
    from stoker.app.running import know_jobs

    check_name(name, what="queue")
    known = {queue.name for queue in await store.queues()} | {"default"}
    know_jobs(app)
    known |= {*app.settings.queues, *app.settings.worker.queues}
    known |= {app.registry.get(task).options.queue for task in app.registry}
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=2)
    hint = (
        f"did you mean {' or '.join(repr(n) for n in near)}?"
        if near
        else f"known are {', '.join(sorted(known))}"
    )
    raise QueueNotFound(f"no queue is named {name!r}; {hint}", queue=name, suggestions=near)
