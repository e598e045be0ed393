"""What of a system's state deserves a person's attention. Pure: facts in, concerns out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from stoker.app.stats import Stats, summarize
from stoker.cli.text import length, plural
from stoker.core.fleets import workers_among
from stoker.core.job import SessionInfo, SessionState
from stoker.core.lifecycle import State
from stoker.core.records import Counts, QueueInfo

if TYPE_CHECKING:
    from stoker.core.store import Store


class Concern(msgspec.Struct, frozen=True):
    """One thing that needs a person."""

    code: str
    message: str


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """The system at one moment."""

    stats: Stats
    queues: Sequence[QueueInfo]
    workers: Sequence[SessionInfo]
    died: int
    """Jobs that became dead letters inside the window."""
    concerns: Sequence[Concern]


async def look(store: "Store", *, window: float, max_wait: float) -> Look:
    """Look at the system.

    Args:
        store: Open.
        window: Seconds that the rates and new dead letters look back.
        max_wait: Seconds after which a waiting job is a concern.
    """
    counts = await store.counts(window=window)
    workers = workers_among(await store.sessions())
    queues = await store.queues()
    stats = summarize(counts, workers, queues, window=window)
    died = _died(counts)
    return Look(
        stats=stats,
        queues=queues,
        workers=workers,
        died=died,
        concerns=concerns(stats, workers, died=died, max_wait=max_wait),
    )


def concerns(
    stats: Stats, workers: Sequence[SessionInfo], *, died: int, max_wait: float
) -> list[Concern]:
    """Return what needs a person, the worst first."""
    found: list[Concern] = []
    queued = stats.states[State.QUEUED]
    silent = [w.name for w in workers if w.expires_at < stats.now]
    taking = [w for w in workers if w.state is SessionState.ALIVE and w.expires_at >= stats.now]
    if queued and not taking:
        found.append(
            Concern(
                "no_worker", f"{plural(queued, 'job')} waiting, and no worker runs: stoker worker"
            )
        )
    if silent:
        names = ", ".join(silent[:5])
        message = f"{plural(len(silent), 'worker')} silent, and nobody reaped them ({names})"
        found.append(Concern("silent_workers", f"{message}: is a keeper running?"))
    for queue in stats.queues:
        age = queue.oldest_age
        if age is not None and age > max_wait and not queue.paused:
            message = f"the oldest job of queue {queue.name!r} has waited {length(age)}"
            found.append(Concern("old_jobs", f"{message}: add workers, or stoker explain JOB"))
    if died:
        message = f"{plural(died, 'job')} died in the last {length(stats.window)}"
        found.append(Concern("dead_letters", f"{message}: stoker dlq ls --group-by error"))
    return found


def _died(counts: Counts) -> int:
    return sum(line.count for line in counts.activity if line.outcome == "dead")
