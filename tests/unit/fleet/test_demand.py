"""What successive counts say about the demand."""

from datetime import UTC, datetime

import pytest

from stoker.core.job import Priority
from stoker.core.lifecycle import State
from stoker.core.records import Activity, Counts, Tally
from stoker.fleet.demand import Meter

BEGIN = 1_800_000_000.0


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(BEGIN + seconds, UTC)


def line(
    outcome: str, count: int, *, minute: float = 0, queue: str = "q", ran: float = 0
) -> Activity:
    return Activity(
        minute_at=at(minute), queue=queue, task="t", outcome=outcome, count=count, ran=ran
    )


def counts(now: float, *activity: Activity, queued: int = 0, running: int = 0) -> Counts:
    return Counts(
        now=at(now),
        tallies=[
            Tally("q", Priority.LOW, State.QUEUED, queued),
            Tally("q", Priority.HIGH, State.RUNNING, running),
            Tally("q", Priority.HIGH, State.SCHEDULED, 1_000),
            Tally("other", Priority.HIGH, State.QUEUED, 7),
        ],
        oldest={"q": at(now - 3)} if queued else {},
        activity=list(activity),
    )


def test_waiting_and_running_jobs_are_those_of_the_watched_queues() -> None:
    demand = Meter({"q"}).read(counts(0, queued=5, running=2))
    assert (demand.waiting, demand.running, demand.oldest) == (5, 2, 3.0)
    assert Meter().read(counts(0, queued=5)).waiting == 12


def test_nothing_is_known_of_the_service_time_before_an_attempt_ended() -> None:
    meter = Meter({"q"})
    assert meter.read(counts(0, queued=1)).service is None
    demand = meter.read(counts(1, line("completed", 4, ran=2.0)))
    assert demand.service == pytest.approx(0.5)


def test_attempts_that_ended_before_the_first_look_tell_the_service_time() -> None:
    assert Meter().read(counts(0, line("completed", 10, ran=1.0))).service == pytest.approx(0.1)


def test_the_rate_is_what_came_between_two_looks_across_minutes() -> None:
    meter = Meter({"q"})
    demand = meter.read(counts(59, line("submitted", 100)))
    for second in range(1, 200):
        # Ten a second, counted in the minute in which they came.
        minutes = {m: 10 * min(max(second + 59 - m, 0), 60) for m in range(0, second + 60, 60)}
        lines = [
            line("submitted", n + (100 if m == 0 else 0), minute=m) for m, n in minutes.items()
        ]
        lines[0] = line("submitted", 100 + 10, minute=0)
        demand = meter.read(counts(59 + second, *lines))
    assert demand.arrivals == pytest.approx(10, rel=0.05)


def test_a_burst_shows_at_once_and_is_not_forgotten_at_once() -> None:
    meter = Meter({"q"})
    meter.read(counts(0))
    assert meter.read(counts(1, line("submitted", 1_000))).arrivals > 100
    after = [meter.read(counts(s, line("submitted", 1_000))).arrivals for s in range(2, 60)]
    assert after == sorted(after, reverse=True)
    assert after[20] > 5


def test_repeated_attempts_are_arrivals_too() -> None:
    meter = Meter({"q"})
    meter.read(counts(0))
    assert meter.read(counts(1, line("failed", 60))).arrivals > 1


def test_the_service_time_follows_when_jobs_change() -> None:
    meter = Meter({"q"})
    meter.read(counts(0, line("completed", 1_000, ran=10.0)))
    demand = meter.read(counts(1, line("completed", 2_000, ran=1_010.0)))
    assert demand.service == pytest.approx(1.0, rel=0.25)


def test_minutes_that_left_the_window_are_no_negative_arrivals() -> None:
    meter = Meter({"q"})
    meter.read(counts(0, line("submitted", 500, minute=0)))
    assert meter.read(counts(1, line("submitted", 1, minute=240))).arrivals >= 0


def test_a_share_of_the_demand_keeps_a_last_job() -> None:
    demand = Meter({"q"}).read(counts(0, queued=5, running=9)).shared(0.1, running=2)
    assert (demand.waiting, demand.running) == (1, 2)
