"""The rules that decide which event an attempt's end is: one home, for every store.

A store finds the job, checks the fence, asks here, and writes what `lifecycle.move` says.
"""

from collections.abc import Iterable

from stoker.core.job import ErrorInfo, OnParentFailure, Outcome
from stoker.core.lifecycle import LIVE, TERMINAL, Event, State

DEADLINE_GRACE = 5.0
"""Seconds past its deadline after which a reaper takes a job back: its own worker enforces the
limit first, and knows more about it."""
CONFIRM_SHARE = 0.5
"""Share of the session's time to live after which an assigned job that its session does not name
in a beat, though it was leased before the last one, counts as never delivered."""
SESSION_KEEP = 86_400.0
"""Seconds for which ended sessions stay listed."""
UNCOUNTED = frozenset({Outcome.SNOOZED, Outcome.RELEASED})
"""Outcomes that give the attempt back."""

EXPIRED = ErrorInfo(code="expired", message="nobody started the job before it expired")
PARENT_FAILED = ErrorInfo(
    code="parent_failed", message="a parent did not complete, and this job depends on it"
)
TIMED_OUT = ErrorInfo(
    code="timeout", message="the job ran past its deadline and its worker did not stop it"
)
WORKER_LOST = ErrorInfo(
    code="worker_lost", message="the worker that ran the job died or lost its lease"
)


def ending(
    outcome: Outcome,
    *,
    failed: int,
    lost: int,
    max_retries: int,
    max_lost: int,
    retry_in: float | None,
    cancel_requested: bool,
) -> Event:
    """Say which event the end of an attempt is.

    Args:
        outcome: What the worker told.
        failed: Failed attempts, this one included if it failed.
        lost: Lost attempts, this one included if it crashed.
        max_retries: Failed attempts that are repeated.
        max_lost: Lost attempts that make a dead letter.
        retry_in: Seconds until the next attempt; None: there is none.
        cancel_requested: Somebody called the job off while it ran.
    """
    if outcome is Outcome.COMPLETED:
        return Event.COMPLETE
    if outcome is Outcome.CANCELLED or cancel_requested:
        return Event.ABORT
    if outcome is Outcome.FAILED:
        return Event.RETRY if retry_in is not None and failed <= max_retries else Event.BURY
    if outcome is Outcome.CRASHED:
        return losing(lost=lost, max_lost=max_lost, cancel_requested=False)
    return Event.SNOOZE if outcome is Outcome.SNOOZED else Event.RELEASE


def losing(*, lost: int, max_lost: int, cancel_requested: bool) -> Event:
    """Say which event the loss of an attempt is; ``lost`` includes this one."""
    if cancel_requested:
        return Event.ABORT
    return Event.BURY if lost >= max_lost else Event.LOSE


def first_state(*, waiting_for: int, due_at: float, now: float) -> State:
    """Return the state in which a job is made, or made anew."""
    if waiting_for:
        return State.BLOCKED
    return State.SCHEDULED if due_at > now else State.QUEUED


def parent_holds(state: State) -> bool:
    """Whether a parent in this state still has to end before its children may start."""
    return state in LIVE


def parent_spoils(state: State, policy: OnParentFailure) -> bool:
    """Whether a parent that ended in this state cancels a child with that policy."""
    return policy == "cancel" and state in TERMINAL and state is not State.COMPLETED


def workflow_state(states: Iterable[State]) -> str:
    """Return the state of a workflow from those of its jobs."""
    found = set(states)
    if found & LIVE:
        return "running"
    if State.DEAD_LETTER in found:
        return "failed"
    return "cancelled" if State.CANCELLED in found else "completed"


def aged_first(want: int, aged: int) -> tuple[int, int]:
    """Return how many leases go by age alone and how many by priority."""
    by_age = max(0, min(aged, want))
    return by_age, want - by_age
