"""The size of a fleet as a function of the demand, and whole traces in virtual time."""

import pytest

from benchmarks.fleets import COLD_START, Fixed, Job, QueueLength, Replay, StartDelay, traces
from stoker.fleet.autoscaler import Autoscaler, Bounds, needed_slots
from stoker.fleet.demand import Demand

BOUNDS = Bounds(least=2, most=8, slots=4, start_within=5.0, cooldown=30.0)


def demand(
    waiting: int = 0,
    running: int = 0,
    *,
    oldest: float = 0.0,
    arrivals: float = 0.0,
    service: float | None = 1.0,
) -> Demand:
    return Demand(
        waiting=waiting, running=running, oldest=oldest, arrivals=arrivals, service=service
    )


def slots(of: Demand, have: int = 8) -> float:
    return needed_slots(of, slots=have, start_within=5.0, cold_start=2.0)[0]


def test_what_keeps_coming_needs_arrivals_times_service_time() -> None:
    assert slots(demand(arrivals=8.5, service=2.0)) == pytest.approx(20.0)


def test_a_backlog_that_the_present_workers_finish_in_time_needs_nobody() -> None:
    assert slots(demand(waiting=1_000, running=8, service=0.01)) == 8.0


def test_a_backlog_that_they_do_not_finish_in_time_needs_more() -> None:
    # 100 s of work: 8 slots do 16 s of it during a cold start, 84 s are left for 3 s.
    assert slots(demand(waiting=1_000, service=0.1)) == pytest.approx(28.0)


def test_the_longer_the_oldest_has_waited_the_more_are_needed() -> None:
    early = slots(demand(waiting=1_000, service=0.1, oldest=0.0))
    late = slots(demand(waiting=1_000, service=0.1, oldest=2.0))
    assert late > early


def test_there_is_never_more_than_a_slot_for_each_job() -> None:
    assert slots(demand(waiting=10, running=2, service=60.0)) == 12.0


def test_without_a_known_service_time_each_job_gets_a_slot() -> None:
    assert slots(demand(waiting=10, running=2, service=None)) == 12.0


def test_jobs_that_are_late_against_all_reckoning_get_more_slots() -> None:
    # The mean says milliseconds; the slots are taken by jobs that are nothing like it.
    stuck = demand(waiting=30, running=8, service=0.01, oldest=9.0)
    assert slots(stuck) == 12.0


def test_an_idle_queue_of_a_paused_system_asks_for_nobody_more() -> None:
    # Nothing runs although jobs wait for long: more workers would change nothing.
    assert slots(demand(waiting=30, running=0, service=0.01, oldest=900.0)) == 0.0


def test_a_fleet_without_workers_gets_some_when_jobs_come() -> None:
    nobody = Autoscaler(Bounds(least=0, most=8, slots=4, start_within=5.0, cooldown=30.0))
    decision = nobody.decide(demand(waiting=1), workers=0, ready=0, cold_start=2.0, now=0.0)
    assert decision.workers == 1


def test_it_grows_at_once_and_says_why() -> None:
    decision = Autoscaler(BOUNDS).decide(
        demand(waiting=1_000, service=0.1), workers=2, ready=2, cold_start=2.0, now=0.0
    )
    assert decision.workers == 7
    assert "1000 wait" in decision.reason
    assert "target is 5 s" in decision.reason


def test_it_keeps_the_bounds() -> None:
    scaler = Autoscaler(BOUNDS)
    high = scaler.decide(demand(10_000), workers=2, ready=2, cold_start=2.0, now=0.0)
    assert high.workers == 8
    low = scaler.decide(demand(), workers=1, ready=1, cold_start=2.0, now=1.0)
    assert low.workers == 2


def test_it_shrinks_only_after_the_cooldown_and_to_the_most_that_was_needed_in_it() -> None:
    scaler = Autoscaler(BOUNDS)
    sizes = []
    for second in range(80):
        busy = demand(arrivals=10.2) if second == 40 else demand()
        decision = scaler.decide(busy, workers=8, ready=8, cold_start=2.0, now=float(second))
        sizes.append(decision.workers)
    assert sizes[:30] == [8] * 30
    assert sizes[30:40] == [2] * 10
    assert sizes[40:71] == [3] * 31
    assert sizes[71:] == [2] * 9


@pytest.mark.parametrize("name", list(traces()))
def test_no_trace_interrupts_a_job_or_leaves_one_undone(name: str) -> None:
    outcome = Replay(traces()[name], StartDelay(BOUNDS), slots=4, workers=2, rest=120).run()
    assert (outcome.interrupted, outcome.unfinished, outcome.last) == (0, 0, 2)


@pytest.mark.parametrize("name", list(traces()))
def test_jobs_of_a_trace_start_in_time_but_for_a_cold_start(name: str) -> None:
    trace = traces()[name]
    outcome = Replay(trace, StartDelay(BOUNDS), slots=4, workers=2, rest=120).run()
    assert outcome.p95 <= 5.0 + COLD_START
    full = Replay(trace, Fixed(8), slots=4, workers=8, rest=120).run()
    assert outcome.worker_seconds < full.worker_seconds * 0.6


def test_a_plain_rule_on_the_length_of_the_queue_does_worse() -> None:
    # What the replay is for: it must be able to tell a good rule from a bad one.
    outcome = Replay(traces()["mixed"], QueueLength(2, 8, 10), slots=4, workers=2, rest=120).run()
    assert outcome.interrupted > 100


def test_a_replay_counts_a_single_job() -> None:
    outcome = Replay([Job(0.0, 1.0)], Fixed(1), slots=1, workers=1, rest=5.0).run()
    assert outcome.delays == [0.0]
    assert outcome.unfinished == 0


def test_without_jobs_nothing_is_needed_and_the_reason_says_so() -> None:
    nothing = Demand(waiting=0, running=0, oldest=0.0, arrivals=0.0, service=None)
    assert needed_slots(nothing, slots=4, start_within=5.0, cold_start=2.0) == (
        0.0,
        "there are no jobs",
    )
