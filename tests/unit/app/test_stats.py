from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from stoker.app.stats import group_errors, queue_stats, summarize, worker_stats
from stoker.core.job import ErrorInfo, JobRecord, Priority
from stoker.core.lifecycle import State
from stoker.core.records import Activity, Counts, QueueInfo, Tally

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def activity(outcome: str, count: int, *, minutes_ago: int = 0, **changes: Any) -> Activity:
    minute = NOW - timedelta(minutes=minutes_ago)
    return Activity(minute_at=minute, queue="q", task="t", outcome=outcome, count=count, **changes)


def counts(*lines: Activity, tallies: tuple[Tally, ...] = ()) -> Counts:
    return Counts(now=NOW, tallies=list(tallies), oldest={}, activity=list(lines))


def test_rates_and_shares_follow_from_the_activity() -> None:
    found = summarize(
        counts(
            activity("submitted", 30, minutes_ago=1),
            activity("completed", 6, minutes_ago=1, waited=12.0, ran=3.0),
            activity("failed", 2, waited=4.0, ran=1.0),
            activity("lost", 1),
            activity("timed_out", 1, ran=10.0),
            activity("snoozed", 2),
            activity("dead", 1),
        ),
        [],
        [],
        window=600,
    )
    assert found.throughput.submitted_per_minute == 3.0
    assert found.throughput.completed_per_minute == 0.6
    assert found.error_rate == 4 / 10
    assert found.response.mean_wait == 16.0 / 12
    assert found.response.mean_run == 14.0 / 12
    minutes = [(m.submitted, m.completed, m.failed) for m in found.throughput.minutes]
    assert minutes == [(30, 6, 0), (0, 0, 4)]


def test_priorities_count_what_has_not_ended() -> None:
    tallies = (
        Tally("q", Priority.HIGH, State.QUEUED, 2),
        Tally("q", Priority.HIGH, State.COMPLETED, 5),
        Tally("r", Priority.LOW, State.RUNNING, 1),
    )
    found = summarize(counts(tallies=tallies), [], [], window=60)
    assert found.priorities == {"high": 2, "medium": 0, "low": 1}
    assert (found.jobs, found.states[State.COMPLETED], found.states[State.BLOCKED]) == (8, 5, 0)


def test_the_age_of_a_queue_is_never_negative() -> None:
    early = QueueInfo("q", oldest_at=NOW + timedelta(seconds=1))
    assert queue_stats(early, NOW).oldest_age == 0.0
    assert queue_stats(QueueInfo("q"), NOW).oldest_age is None
    assert worker_stats([]).utilization is None


def dead(number: int, message: str, **changes: Any) -> JobRecord:
    error = ErrorInfo(code="task_error", type="KeyError", message=message)
    given: dict[str, Any] = {
        "id": f"j{number}",
        "task": "work",
        "queue": "q",
        "priority": Priority.MEDIUM,
        "state": State.DEAD_LETTER,
        "attempt": 1,
        "max_retries": 0,
        "payload": msgspec.Raw(b"{}"),
        "error": error,
        "submitted_at": NOW,
        "run_at": NOW,
        "finished_at": NOW + timedelta(seconds=number),
    }
    return JobRecord(**(given | changes))


def test_errors_that_differ_in_numbers_and_ids_only_are_one_group() -> None:
    jobs = [
        dead(1, "user 17 at 0x7f00ff has no row 01930000-0000-7000-8000-00000000abcd"),
        dead(3, "user 4 at 0x11 has no row 01930000-0000-7000-8000-00000000ffff", task="other"),
        dead(2, "another thing\nwith a tail of 5 lines"),
        dead(4, "", error=None),
    ]
    first, second, third = group_errors(jobs)
    assert (first.count, first.sample, first.tasks) == (2, "j3", ["other", "work"])
    assert first.message == "user … at … has no row …"
    assert (first.oldest_at, first.newest_at) == (
        NOW + timedelta(seconds=1),
        NOW + timedelta(seconds=3),
    )
    assert (second.code, second.message) == ("", "")
    assert third.message == "another thing"
