"""The states of a job, the events that move it, and the one table of allowed moves.

Every store obeys this table, the conformance suite proves every cell, and the diagram in
``docs/lifecycle.md`` is generated from it. A pair that is not in the table is refused and changes
nothing. Terminal states absorb: only the three events of `requeue` leave them.
"""

from enum import StrEnum

from stoker.core.errors import IllegalTransition


class State(StrEnum):
    """Where a job is in its life."""

    BLOCKED = "blocked"
    """Waits for its parents in a workflow."""
    SCHEDULED = "scheduled"
    """Waits for a moment: a delay, a ``run_at``, a snooze."""
    QUEUED = "queued"
    """May be leased now."""
    ASSIGNED = "assigned"
    """Leased by a session that has not yet said that it began."""
    RUNNING = "running"
    """Leased, and the session said that it began."""
    RETRY_QUEUED = "retry_queued"
    """Failed, and waits for its next attempt."""
    COMPLETED = "completed"
    """Ended well. Terminal."""
    DEAD_LETTER = "dead_letter"
    """Failed for good; kept with every attempt. Terminal."""
    CANCELLED = "cancelled"
    """Called off. Terminal."""


class Event(StrEnum):
    """What happens to a job."""

    UNBLOCK = "unblock"
    """The last parent ended, and the job is due."""
    DEFER = "defer"
    """The last parent ended, and the job is due later."""
    DUE = "due"
    """Its moment has come."""
    LEASE = "lease"
    """A session took it."""
    START = "start"
    """Its session said that it runs."""
    COMPLETE = "complete"
    """The attempt ended well."""
    RETRY = "retry"
    """The attempt failed and another one follows."""
    SNOOZE = "snooze"
    """The task put itself off, uncounted."""
    RELEASE = "release"
    """The session gave it back, uncounted."""
    LOSE = "lose"
    """The session or the process that ran it died; another one may try."""
    BURY = "bury"
    """The attempt failed or was lost once too often, or the task discarded the job."""
    EXPIRE = "expire"
    """Nobody started it before it expired."""
    CANCEL = "cancel"
    """Called off before it was leased."""
    REQUEST_CANCEL = "request_cancel"
    """Called off while leased: the session is told, and decides with `ABORT` or any other end."""
    ABORT = "abort"
    """The session obeyed a cancel."""
    REQUEUE = "requeue"
    """Somebody wants a finished job again, now."""
    RESCHEDULE = "reschedule"
    """Somebody wants a finished job again, later."""
    REBLOCK = "reblock"
    """Somebody wants a finished job again, after its parents."""


WAITING = frozenset({State.BLOCKED, State.SCHEDULED, State.QUEUED, State.RETRY_QUEUED})
"""Live, and nobody works on it."""
LEASED = frozenset({State.ASSIGNED, State.RUNNING})
"""A session holds it."""
TERMINAL = frozenset({State.COMPLETED, State.DEAD_LETTER, State.CANCELLED})
"""Ended; only a requeue leaves these."""
LIVE = WAITING | LEASED
"""Not ended."""


def _rows() -> dict[tuple[State, Event], State]:
    s, e = State, Event
    table = {
        (s.BLOCKED, e.UNBLOCK): s.QUEUED,
        (s.BLOCKED, e.DEFER): s.SCHEDULED,
        (s.SCHEDULED, e.DUE): s.QUEUED,
        (s.RETRY_QUEUED, e.DUE): s.QUEUED,
        (s.QUEUED, e.LEASE): s.ASSIGNED,
        (s.ASSIGNED, e.START): s.RUNNING,
        (s.RUNNING, e.START): s.RUNNING,
    }
    for leased in LEASED:
        table |= {
            (leased, e.COMPLETE): s.COMPLETED,
            (leased, e.RETRY): s.RETRY_QUEUED,
            (leased, e.SNOOZE): s.SCHEDULED,
            (leased, e.RELEASE): s.QUEUED,
            (leased, e.LOSE): s.QUEUED,
            (leased, e.BURY): s.DEAD_LETTER,
            (leased, e.ABORT): s.CANCELLED,
            (leased, e.REQUEST_CANCEL): leased,
        }
    for waiting in WAITING:
        table |= {(waiting, e.CANCEL): s.CANCELLED, (waiting, e.EXPIRE): s.DEAD_LETTER}
    for ended in TERMINAL:
        table |= {
            (ended, e.REQUEUE): s.QUEUED,
            (ended, e.RESCHEDULE): s.SCHEDULED,
            (ended, e.REBLOCK): s.BLOCKED,
        }
    return table


TABLE: dict[tuple[State, Event], State] = _rows()
"""(state, event) to the next state. What is absent is illegal."""


def move(state: State, event: Event) -> State:
    """Return the state that follows.

    Raises:
        IllegalTransition: The table has no such cell.
    """
    try:
        return TABLE[state, event]
    except KeyError:
        raise IllegalTransition(
            f"a job that is {state} cannot {event}; allowed here: "
            + (", ".join(sorted(e for s, e in TABLE if s is state)) or "nothing"),
            state=str(state),
            event=str(event),
        ) from None
