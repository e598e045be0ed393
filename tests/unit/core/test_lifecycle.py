"""The one table of moves."""

import pytest

from stoker.core.errors import IllegalTransition
from stoker.core.lifecycle import LEASED, LIVE, TABLE, TERMINAL, WAITING, Event, State, move

REVIVALS = {Event.REQUEUE, Event.RESCHEDULE, Event.REBLOCK}
ENDS = {
    Event.COMPLETE: State.COMPLETED,
    Event.RETRY: State.RETRY_QUEUED,
    Event.SNOOZE: State.SCHEDULED,
    Event.RELEASE: State.QUEUED,
    Event.LOSE: State.QUEUED,
    Event.BURY: State.DEAD_LETTER,
    Event.ABORT: State.CANCELLED,
}


@pytest.mark.parametrize("event", list(Event), ids=str)
@pytest.mark.parametrize("state", list(State), ids=str)
def test_a_move_is_what_the_table_says_or_an_error(state: State, event: Event) -> None:
    if (state, event) in TABLE:
        assert move(state, event) is TABLE[state, event]
        return
    with pytest.raises(IllegalTransition) as caught:
        move(state, event)
    assert f"a job that is {state} cannot {event}" in caught.value.message
    assert caught.value.details == {"state": str(state), "event": str(event)}


def test_each_state_is_waiting_or_leased_or_ended() -> None:
    assert set(State) == WAITING | LEASED | TERMINAL
    assert len(WAITING) + len(LEASED) + len(TERMINAL) == len(State)
    assert LIVE == WAITING | LEASED


def test_only_a_requeue_leaves_an_ended_state() -> None:
    assert {event for state, event in TABLE if state in TERMINAL} == REVIVALS
    assert {state for state, event in TABLE if event in REVIVALS} == TERMINAL


@pytest.mark.parametrize("state", sorted(LEASED))
@pytest.mark.parametrize("event", sorted(ENDS))
def test_an_attempt_ends_alike_whether_it_was_seen_running_or_not(
    state: State, event: Event
) -> None:
    assert move(state, event) is ENDS[event]


def test_only_leased_jobs_end_attempts() -> None:
    assert {state for state, event in TABLE if event in ENDS} == LEASED


def test_only_queued_jobs_are_leased() -> None:
    assert [state for state, event in TABLE if event is Event.LEASE] == [State.QUEUED]


def test_a_leased_job_cannot_be_cancelled_over_the_head_of_its_session() -> None:
    assert {state for state, event in TABLE if event is Event.CANCEL} == WAITING
    assert {state for state, event in TABLE if event is Event.REQUEST_CANCEL} == LEASED
    assert all(move(state, Event.REQUEST_CANCEL) is state for state in LEASED)


def test_every_state_but_the_first_ones_is_reached_by_a_move() -> None:
    assert set(TABLE.values()) == set(State)


def test_an_illegal_move_says_what_is_allowed() -> None:
    with pytest.raises(IllegalTransition, match="allowed here: cancel, defer, expire, unblock"):
        move(State.BLOCKED, Event.LEASE)
