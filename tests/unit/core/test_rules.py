"""The rules that decide how an attempt's end moves a job."""

from typing import Any

import pytest

from stoker.core import rules
from stoker.core.job import OnParentFailure, Outcome
from stoker.core.lifecycle import LIVE, TERMINAL, Event, State


def ending(outcome: Outcome, **changes: Any) -> Event:
    """Ask for the event of an end: first failure of a job with three retries, unless changed."""
    given: dict[str, Any] = {
        "failed": 1,
        "lost": 0,
        "max_retries": 3,
        "max_lost": 3,
        "retry_in": 5.0,
        "cancel_requested": False,
    }
    return rules.ending(outcome, **(given | changes))


@pytest.mark.parametrize(
    ("outcome", "event"),
    [
        (Outcome.COMPLETED, Event.COMPLETE),
        (Outcome.FAILED, Event.RETRY),
        (Outcome.CRASHED, Event.LOSE),
        (Outcome.SNOOZED, Event.SNOOZE),
        (Outcome.RELEASED, Event.RELEASE),
        (Outcome.CANCELLED, Event.ABORT),
    ],
)
def test_each_outcome_has_its_event(outcome: Outcome, event: Event) -> None:
    assert ending(outcome) is event


@pytest.mark.parametrize(
    ("failed", "retries", "event"),
    [
        (1, 0, Event.BURY),
        (1, 1, Event.RETRY),
        (2, 1, Event.BURY),
        (3, 3, Event.RETRY),
        (4, 3, Event.BURY),
    ],
)
def test_more_failures_than_retries_bury_a_job(failed: int, retries: int, event: Event) -> None:
    assert ending(Outcome.FAILED, failed=failed, max_retries=retries) is event


def test_a_failure_without_another_attempt_buries_a_job() -> None:
    assert ending(Outcome.FAILED, retry_in=None) is Event.BURY


def test_a_retry_at_once_is_a_retry() -> None:
    assert ending(Outcome.FAILED, retry_in=0.0) is Event.RETRY


@pytest.mark.parametrize(
    ("lost", "most", "event"), [(1, 3, Event.LOSE), (2, 3, Event.LOSE), (3, 3, Event.BURY)]
)
def test_losses_are_counted_apart_from_failures(lost: int, most: int, event: Event) -> None:
    assert ending(Outcome.CRASHED, lost=lost, max_lost=most, failed=9, max_retries=0) is event
    assert rules.losing(lost=lost, max_lost=most, cancel_requested=False) is event


@pytest.mark.parametrize("outcome", list(Outcome), ids=str)
def test_a_cancel_turns_every_end_but_completion_into_an_abort(outcome: Outcome) -> None:
    event = ending(outcome, cancel_requested=True)
    assert event is (Event.COMPLETE if outcome is Outcome.COMPLETED else Event.ABORT)


def test_a_cancel_turns_a_loss_into_an_abort() -> None:
    assert rules.losing(lost=9, max_lost=3, cancel_requested=True) is Event.ABORT


@pytest.mark.parametrize(
    ("waiting_for", "due_at", "state"),
    [
        (0, 9.0, State.QUEUED),
        (0, 10.0, State.QUEUED),
        (0, 11.0, State.SCHEDULED),
        (1, 9.0, State.BLOCKED),
        (2, 11.0, State.BLOCKED),
    ],
)
def test_a_job_begins_blocked_or_scheduled_or_queued(
    waiting_for: int, due_at: float, state: State
) -> None:
    assert rules.first_state(waiting_for=waiting_for, due_at=due_at, now=10.0) is state


def test_live_parents_hold_their_children() -> None:
    assert {state for state in State if rules.parent_holds(state)} == LIVE


@pytest.mark.parametrize("policy", ["cancel", "run"])
def test_parents_that_did_not_complete_spoil_children_that_depend_on_them(
    policy: OnParentFailure,
) -> None:
    spoiling = {state for state in State if rules.parent_spoils(state, policy)}
    assert spoiling == (TERMINAL - {State.COMPLETED} if policy == "cancel" else set())


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({State.COMPLETED}, "completed"),
        ({State.COMPLETED, State.CANCELLED}, "cancelled"),
        ({State.COMPLETED, State.CANCELLED, State.DEAD_LETTER}, "failed"),
        ({State.DEAD_LETTER, State.BLOCKED}, "running"),
        ({State.RETRY_QUEUED}, "running"),
        (set(), "completed"),
    ],
)
def test_a_workflow_is_as_far_as_the_worst_of_its_jobs(states: set[State], expected: str) -> None:
    assert rules.workflow_state(states) == expected


@pytest.mark.parametrize(
    ("want", "aged", "parts"), [(8, 1, (1, 7)), (2, 5, (2, 0)), (3, 0, (0, 3)), (3, -1, (0, 3))]
)
def test_aged_leases_are_some_of_those_wanted(want: int, aged: int, parts: tuple[int, int]) -> None:
    assert rules.aged_first(want, aged) == parts


def test_uncounted_outcomes_are_those_that_prove_nothing() -> None:
    assert {Outcome.SNOOZED, Outcome.RELEASED} == rules.UNCOUNTED
