"""Schedules: what is accepted, and which instants fire after an outage."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from stoker.core.errors import InvalidOption, InvalidSchedule
from stoker.core.job import JobSpec
from stoker.core.records import CatchUp, Firing, ScheduleInfo, ScheduleSpec
from stoker.keeper import schedules
from stoker.testing import FakeClock

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0
JOB = JobSpec(id="template", task="report", payload=b'{"a":1}', delay=3.0)


def make(rule: schedules.Rule, **options: Any) -> ScheduleSpec:
    return schedules.make_schedule("nightly", rule, JOB, now=options.pop("now", NOON), **options)


def stored(spec: ScheduleSpec, *, last_at: float | None = None) -> ScheduleInfo:
    made = datetime.fromtimestamp(NOON, UTC)
    return ScheduleInfo(spec=spec, last_at=last_at, created_at=made, updated_at=made)


def hourly(catch_up: CatchUp, *, next_at: float = NOON) -> ScheduleInfo:
    spec = make("0 * * * *", catch_up=catch_up)
    return stored(msgspec.structs.replace(spec, next_at=next_at))


def fired(firings: list[Firing]) -> list[float]:
    return [firing.at for firing in firings if firing.job is not None]


def check_chain(info: ScheduleInfo, firings: list[Firing]) -> None:
    """Each firing expects what the one before it left."""
    expect = info.spec.next_at
    for firing in firings:
        assert firing.expect == expect
        assert firing.next_at is None or firing.next_at > firing.at
        expect = firing.next_at


def test_a_cron_rule_gets_its_first_instant() -> None:
    spec = make("0 3 * * *", timezone="Europe/Berlin")
    assert (spec.cron, spec.every, spec.timezone) == ("0 3 * * *", None, "Europe/Berlin")
    assert spec.next_at == NOON + 14 * HOUR


@pytest.mark.parametrize(
    "rule", ["every 90s", "Every 1m30s", "every 1m 30s", "90s", 90, 90.0, timedelta(seconds=90)]
)
def test_an_interval_is_written_in_many_ways(rule: schedules.Rule) -> None:
    spec = make(rule)
    assert (spec.cron, spec.every, spec.next_at) == (None, 90.0, NOON + 90)


def test_the_template_belongs_to_the_schedule() -> None:
    assert make("@daily").job == msgspec.structs.replace(JOB, id="", schedule="nightly")


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("0 25 * * *", "the hour .* is '25'"),
        ("every fortnight", "the interval is 'fortnight'"),
        ("soon", "the interval is 'soon'.*a cron expression has five or six fields"),
        ("", "the interval is ''"),
        (0.5, "at least 1 second"),
        ("every 0s", "at least 1 second"),
        (-5, "the interval is -5"),
        (float("nan"), "the interval is nan"),
        ("@every 5m", "write an interval as 'every 30s'"),
        ("@noon", "is not a schedule"),
        ("0 0 */31 2 SUN#5", "does not fire within fifty years"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(rule: schedules.Rule, complaint: str) -> None:
    with pytest.raises(InvalidSchedule, match=complaint):
        make(rule)


def test_wrong_zones_policies_and_names_are_refused() -> None:
    with pytest.raises(InvalidSchedule, match="time zone is 'Mars/Base'"):
        make("@daily", timezone="Mars/Base")
    with pytest.raises(InvalidSchedule, match="expected skip, last or all"):
        make("@daily", catch_up="some")
    with pytest.raises(InvalidOption, match="schedule's name"):
        schedules.make_schedule("a b", "@daily", JOB, now=NOON)


@pytest.mark.parametrize(
    "job",
    [
        msgspec.structs.replace(JOB, parents=("p",)),
        msgspec.structs.replace(JOB, workflow_id="w"),
        msgspec.structs.replace(JOB, run_at=NOON),
    ],
)
def test_a_template_that_cannot_be_repeated_is_refused(job: JobSpec) -> None:
    with pytest.raises(InvalidSchedule, match="the job of schedule 'nightly'"):
        schedules.make_schedule("nightly", "@daily", job, now=NOON)


def test_declaring_the_same_rule_again_keeps_its_instant() -> None:
    before = stored(make("every 1h"))
    again = make("every 1h", now=NOON + 1800, previous=before, catch_up="all")
    assert again.next_at == NOON + HOUR
    assert again.catch_up == "all"


def test_declaring_the_same_rule_again_forgets_nothing_that_was_missed() -> None:
    before = hourly("all")
    again = make("0 * * * *", now=NOON + 5 * HOUR, previous=before)
    assert again.next_at == NOON


@pytest.mark.parametrize(
    ("rule", "timezone"), [("every 2h", "UTC"), ("@hourly", "UTC"), ("@daily", "Asia/Tokyo")]
)
def test_a_changed_rule_begins_anew(rule: str, timezone: str) -> None:
    before = stored(make("@daily"))
    later = NOON + 100 * HOUR
    spec = make(rule, timezone=timezone, now=later, previous=before)
    assert spec.next_at is not None
    assert spec.next_at > later


@pytest.mark.parametrize("catch_up", ["skip", "last", "all"])
def test_an_instant_that_is_on_time_fires_under_every_policy(catch_up: CatchUp) -> None:
    info = hourly(catch_up)
    (firing,) = schedules.due_firings(info, NOON + 0.4)
    assert (firing.at, firing.expect, firing.next_at) == (NOON, NOON, NOON + HOUR)
    assert firing.job is not None
    assert (firing.job.schedule, firing.job.delay) == ("nightly", 3.0)


def test_nothing_fires_before_its_time_while_paused_or_after_the_end() -> None:
    info = hourly("all")
    assert schedules.due_firings(info, NOON - 0.001) == []
    assert schedules.due_firings(stored(schedules.paused(info)), NOON + HOUR) == []
    ended = stored(msgspec.structs.replace(info.spec, next_at=None))
    assert schedules.due_firings(ended, NOON + HOUR) == []


def test_skip_moves_on_without_a_job() -> None:
    info = hourly("skip")
    (firing,) = schedules.due_firings(info, NOON + 72.5 * HOUR)
    assert (firing.job, firing.expect, firing.next_at) == (None, NOON, NOON + 73 * HOUR)


def test_skip_fires_what_a_change_of_keepers_made_late() -> None:
    assert fired(schedules.due_firings(hourly("skip"), NOON + 45)) == [NOON]
    assert fired(schedules.due_firings(hourly("skip"), NOON + 61)) == []


def test_last_fires_the_latest_of_the_missed() -> None:
    info = hourly("last")
    firings = schedules.due_firings(info, NOON + 72.5 * HOUR)
    assert fired(firings) == [NOON + 72 * HOUR]
    check_chain(info, firings)


def test_all_fires_each_of_the_missed() -> None:
    info = hourly("all")
    firings = schedules.due_firings(info, NOON + 72.5 * HOUR)
    assert fired(firings) == [NOON + n * HOUR for n in range(73)]
    check_chain(info, firings)
    assert firings[-1].next_at == NOON + 73 * HOUR


def test_all_fires_a_bounded_number_in_one_pass_and_goes_on_from_there() -> None:
    spec = msgspec.structs.replace(make("* * * * *", catch_up="all"), next_at=NOON)
    firings = schedules.due_firings(stored(spec), NOON + 150 * 60)
    assert len(fired(firings)) == schedules.MAX_FIRINGS
    rest = msgspec.structs.replace(spec, next_at=firings[-1].next_at)
    assert fired(schedules.due_firings(stored(rest), NOON + 150 * 60)) == [
        NOON + n * 60 for n in range(100, 151)
    ]


def test_all_does_not_look_back_beyond_its_window() -> None:
    info = hourly("all")
    now = NOON + schedules.WINDOW + 10 * HOUR
    firings = schedules.due_firings(info, now)
    assert fired(firings)[0] == NOON + 10 * HOUR
    check_chain(info, firings)


def test_a_frequent_rule_loses_nothing_to_a_slow_pass() -> None:
    spec = msgspec.structs.replace(make("every 1s", catch_up="last"), next_at=NOON)
    assert fired(schedules.due_firings(stored(spec), NOON + 3.2)) == [NOON + n for n in range(4)]


def test_a_frequent_rule_catches_up_only_what_is_fresh_after_an_outage() -> None:
    spec = msgspec.structs.replace(make("every 1s", catch_up="skip"), next_at=NOON)
    assert fired(schedules.due_firings(stored(spec), NOON + 300.5)) == [
        NOON + n for n in range(296, 301)
    ]


@pytest.mark.parametrize("catch_up", ["skip", "last", "all"])
def test_an_interval_keeps_its_phase_through_an_outage(catch_up: CatchUp) -> None:
    info = stored(make("every 7m", catch_up=catch_up))
    firings = schedules.due_firings(info, NOON + 100 * 60)
    check_chain(info, firings)
    assert firings[-1].next_at == NOON + 105 * 60


def test_an_interval_does_not_drift_over_many_firings() -> None:
    spec = make(1 / 3 + 1)
    at: float | None = spec.next_at
    for _ in range(10_000):
        assert at is not None
        at = schedules.following(msgspec.structs.replace(spec, next_at=at), at)
    assert at == pytest.approx(NOON + 10_001 * 1.333, abs=1e-6)


def test_the_following_instant_is_later_even_when_rounding_is_against_it() -> None:
    spec = msgspec.structs.replace(make("every 1.1s"), next_at=NOON)
    at = NOON
    for step in range(1, 2_000):
        following = schedules.following(spec, at)
        assert following is not None
        assert following == pytest.approx(NOON + step * 1.1, abs=1e-6)
        at = following


def test_the_same_instant_is_always_the_same_job() -> None:
    first, second = schedules.job_id("a", NOON), schedules.job_id("a", NOON)
    assert first == second
    assert len({first, schedules.job_id("b", NOON), schedules.job_id("a", NOON + 1)}) == 3


def test_the_ids_of_fired_jobs_sort_by_their_instants() -> None:
    ids = [schedules.job_id("a", NOON + n) for n in range(50)]
    assert ids == sorted(ids)
    assert all(job_id[14] == "7" and job_id[19] in "89ab" for job_id in ids)


def test_a_manual_firing_is_now_and_a_job_of_its_own() -> None:
    clock = FakeClock()
    info = hourly("last")
    one = schedules.manual_firing(info.spec, now=NOON + 5, clock=clock)
    other = schedules.manual_firing(info.spec, now=NOON + 5, clock=clock)
    assert one.manual
    assert one.job is not None
    assert other.job is not None
    assert one.job.id != other.job.id
    assert (one.at, one.job.schedule) == (NOON + 5, "nightly")


def test_resuming_forgets_what_fell_into_the_pause() -> None:
    waiting = stored(schedules.paused(hourly("all")))
    assert waiting.spec.paused
    spec = schedules.resumed(waiting, now=NOON + 5.5 * HOUR)
    assert (spec.paused, spec.next_at) == (False, NOON + 6 * HOUR)
    early = schedules.resumed(waiting, now=NOON - 60)
    assert early.next_at == NOON


def test_a_resumed_interval_keeps_its_phase() -> None:
    waiting = stored(schedules.paused(stored(make("every 7m"))))
    assert schedules.resumed(waiting, now=NOON + 100 * 60).next_at == NOON + 105 * 60


def test_an_instant_of_outdated_zone_data_is_corrected() -> None:
    spec = make("0 9 * * *", timezone="Europe/Berlin")
    right = spec.next_at
    assert right is not None
    wrong = stored(msgspec.structs.replace(spec, next_at=right + HOUR))
    correction = schedules.corrected(wrong, NOON)
    assert correction is not None
    assert (correction.job, correction.expect, correction.next_at) == (None, right + HOUR, right)
    assert schedules.corrected(stored(spec), NOON) is None


def test_a_correction_never_goes_back_before_what_fired_last() -> None:
    spec = make("0 9 * * *")
    assert spec.next_at is not None
    tomorrow = stored(
        msgspec.structs.replace(spec, next_at=spec.next_at + 24 * HOUR), last_at=spec.next_at
    )
    assert schedules.corrected(tomorrow, spec.next_at - 1) is None


def test_intervals_and_due_schedules_are_not_corrected() -> None:
    assert schedules.corrected(stored(make("every 7m")), NOON) is None
    assert schedules.corrected(hourly("all"), NOON + 1) is None


def test_a_preview_shows_the_next_instants() -> None:
    assert schedules.preview(make("every 1h"), 3) == [NOON + n * HOUR for n in (1, 2, 3)]
    ended = msgspec.structs.replace(make("@daily"), next_at=None)
    assert schedules.preview(ended, 3) == []
