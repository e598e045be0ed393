"""How much work there is for scalers outside: few numbers, waiting and running alike. Pure.

A scaler that counts only what waits takes workers away as soon as the last job was leased, in the
middle of it. Therefore what runs counts too. What is not due yet, or is in a paused queue, needs no
worker.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from stoker.app.stats import queue_stats
from stoker.core.job import SessionInfo, SessionState
from stoker.core.lifecycle import LEASED, State
from stoker.core.records import Counts, QueueInfo


class QueueDemand(msgspec.Struct, frozen=True, kw_only=True):
    """The work of one queue."""

    waiting: int
    """Jobs that could start now; 0 while the queue is paused."""
    running: int
    """Jobs that workers hold."""
    total: int
    oldest_age: float | None
    """Seconds for which the oldest waiting job has been due; None when none waits."""


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """The work of some queues, and who is there to do it."""

    waiting: int
    running: int
    total: int
    """What to scale on: waiting and running."""
    oldest_age: float | None
    workers: int
    """Living workers that take from these queues and are not about to leave."""
    slots: int
    """Jobs that they can run at once."""
    queues: Mapping[str, QueueDemand]


def demand(
    counts: Counts,
    queues: Sequence[QueueInfo],
    sessions: Sequence[SessionInfo],
    *,
    only: Collection[str] = (),
) -> Demand:
    """Sum up the work.

    Args:
        counts: With the store's clock.
        queues: All of them.
        sessions: The living workers.
        only: Queues to look at; empty: all.
    """
    chosen = [queue for queue in queues if not only or queue.name in only]
    found = {queue.name: _of(queue, counts) for queue in chosen}
    taking = [session for session in sessions if _takes(session, only)]
    ages = [one.oldest_age for one in found.values() if one.oldest_age is not None]
    waiting = sum(one.waiting for one in found.values())
    running = sum(one.running for one in found.values())
    return Demand(
        waiting=waiting,
        running=running,
        total=waiting + running,
        oldest_age=max(ages, default=None),
        workers=len(taking),
        slots=sum(session.concurrency for session in taking),
        queues=found,
    )


def _of(queue: QueueInfo, counts: Counts) -> QueueDemand:
    stats = queue_stats(queue, counts.now)
    waiting = 0 if queue.paused else stats.counts[State.QUEUED]
    running = sum(stats.counts[state] for state in LEASED)
    return QueueDemand(
        waiting=waiting,
        running=running,
        total=waiting + running,
        oldest_age=None if queue.paused else stats.oldest_age,
    )


def _takes(session: SessionInfo, only: Collection[str]) -> bool:
    if session.state is not SessionState.ALIVE:
        return False
    return not only or not session.queues or bool(set(session.queues) & set(only))
