"""Cron expressions: fields, errors, and each kind of night on which a clock is set."""

from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from stoker.core.errors import InvalidSchedule
from stoker.keeper import cron

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def local(instants: list[float], zone: str) -> list[str]:
    return [datetime.fromtimestamp(i, ZoneInfo(zone)).isoformat() for i in instants]


def firings(expression: str, zone: str, start: str, count: int) -> list[str]:
    """Return the firings after a local time, checked against the walk backwards."""
    begin = at(start, zone)
    found = cron.next_n(expression, zone, begin, count)
    backwards: list[float] = []
    instant = cron.latest_until(expression, zone, found[-1]) if found else None
    while instant is not None and instant > begin:
        backwards.insert(0, instant)
        instant = cron.latest_until(expression, zone, instant - 1)
    assert backwards == found
    return local(found, zone)


def test_five_fields_begin_with_the_minute() -> None:
    assert firings("30 9 * * 1-5", "UTC", "2030-01-04T12:00", 2) == [
        "2030-01-07T09:30:00+00:00",
        "2030-01-08T09:30:00+00:00",
    ]


def test_six_fields_begin_with_the_second() -> None:
    assert firings("15,45 0 12 * * *", "UTC", "2030-01-01T12:00:15", 2) == [
        "2030-01-01T12:00:45+00:00",
        "2030-01-02T12:00:15+00:00",
    ]


def test_a_firing_at_the_very_instant_is_not_after_it() -> None:
    noon = at("2030-01-01T12:00")
    assert cron.next_after("0 12 * * *", "UTC", noon) == noon + 86400
    assert cron.next_after("0 12 * * *", "UTC", noon - 0.001) == noon


def test_the_latest_firing_may_be_the_very_instant() -> None:
    noon = at("2030-01-01T12:00")
    assert cron.latest_until("0 12 * * *", "UTC", noon) == noon
    assert cron.latest_until("0 12 * * *", "UTC", noon - 0.001) == noon - 86400


def test_a_wall_time_that_the_clock_jumps_over_fires_at_the_end_of_the_jump() -> None:
    assert firings("30 2 * * *", BERLIN, "2025-03-29T12:00", 2) == [
        "2025-03-30T03:00:00+02:00",
        "2025-03-31T02:30:00+02:00",
    ]


def test_wall_times_inside_one_jump_fire_once_together() -> None:
    assert firings("*/15 2 * * *", BERLIN, "2025-03-29T12:00", 2) == [
        "2025-03-30T03:00:00+02:00",
        "2025-03-31T02:00:00+02:00",
    ]


def test_a_jumped_time_and_one_at_the_end_of_the_jump_fire_once_together() -> None:
    assert firings("0,30 2,3 * * *", BERLIN, "2025-03-30T00:00", 3) == [
        "2025-03-30T03:00:00+02:00",
        "2025-03-30T03:30:00+02:00",
        "2025-03-31T02:00:00+02:00",
    ]


def test_a_wall_time_that_comes_twice_fires_the_first_time() -> None:
    assert firings("30 2 * * *", BERLIN, "2025-10-25T12:00", 2) == [
        "2025-10-26T02:30:00+02:00",
        "2025-10-27T02:30:00+01:00",
    ]


@pytest.mark.parametrize("minutes", [0, 10, 45, 59])
def test_asking_during_the_repeated_hour_does_not_fire_it_again(minutes: int) -> None:
    second_time = at("2025-10-26T02:00") - 3600 + minutes * 60
    assert local(cron.next_n("30 2 * * *", BERLIN, second_time, 1), BERLIN) == [
        "2025-10-27T02:30:00+01:00"
    ]


def test_a_step_of_minutes_in_a_named_hour_fires_only_in_the_first_of_two_hours() -> None:
    assert firings("*/20 2 * * *", BERLIN, "2025-10-25T12:00", 4) == [
        "2025-10-26T02:00:00+02:00",
        "2025-10-26T02:20:00+02:00",
        "2025-10-26T02:40:00+02:00",
        "2025-10-27T02:00:00+01:00",
    ]


def test_six_fields_obey_the_same_rules_as_five() -> None:
    assert firings("10 30 2 * * *", BERLIN, "2025-03-29T12:00", 1) == ["2025-03-30T03:00:00+02:00"]
    assert firings("10 30 2 * * *", BERLIN, "2025-10-25T12:00", 2) == [
        "2025-10-26T02:30:10+02:00",
        "2025-10-27T02:30:10+01:00",
    ]


def test_every_second_hour_is_a_set_of_wall_times() -> None:
    assert firings("0 */2 * * *", BERLIN, "2025-03-30T00:00", 2) == [
        "2025-03-30T03:00:00+02:00",
        "2025-03-30T04:00:00+02:00",
    ]


@pytest.mark.parametrize("expression", ["0 * * * *", "0 0-23 * * *", "0 */1 * * *"])
@pytest.mark.parametrize("night", ["2025-03-30T00:00", "2025-10-26T00:00"])
def test_every_hour_follows_real_time_through_both_nights(expression: str, night: str) -> None:
    found = cron.next_n(expression, BERLIN, at(night, BERLIN), 6)
    assert [b - a for a, b in pairwise(found)] == [3600.0] * 5


def test_every_hour_fires_at_the_matching_minutes_of_a_half_hour_shift() -> None:
    zone = "Australia/Lord_Howe"
    assert firings("40 * * * *", zone, "2025-10-05T01:00", 3) == [
        "2025-10-05T01:40:00+10:30",
        "2025-10-05T02:40:00+11:00",
        "2025-10-05T03:40:00+11:00",
    ]
    assert firings("45 * * * *", zone, "2025-04-06T01:00", 3) == [
        "2025-04-06T01:45:00+11:00",
        "2025-04-06T01:45:00+10:30",
        "2025-04-06T02:45:00+10:30",
    ]


def test_a_midnight_that_does_not_exist_fires_at_one() -> None:
    assert firings("@daily", "Africa/Cairo", "2025-04-24T12:00", 2) == [
        "2025-04-25T01:00:00+03:00",
        "2025-04-26T00:00:00+03:00",
    ]


def test_a_midnight_that_comes_twice_fires_once() -> None:
    assert firings("@daily", "America/Havana", "2025-11-01T12:00", 2) == [
        "2025-11-02T00:00:00-04:00",
        "2025-11-03T00:00:00-05:00",
    ]


def test_a_day_that_a_country_left_out_fires_at_its_end() -> None:
    assert firings("0 12 * * *", "Pacific/Apia", "2011-12-29T13:00", 2) == [
        "2011-12-31T00:00:00+14:00",
        "2011-12-31T12:00:00+14:00",
    ]


def test_a_leap_day_is_found_across_years() -> None:
    assert firings("0 0 29 2 *", "UTC", "2097-01-01T00:00", 1) == ["2104-02-29T00:00:00+00:00"]


def test_a_rule_of_the_far_future_crosses_many_transitions() -> None:
    assert firings("* * 29 2 *", BERLIN, "2025-01-01T00:00", 2) == [
        "2028-02-29T00:00:00+01:00",
        "2028-02-29T00:01:00+01:00",
    ]


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        ("@hourly", "2030-01-01T13:00:00+00:00"),
        ("@daily", "2030-01-02T00:00:00+00:00"),
        ("@weekly", "2030-01-06T00:00:00+00:00"),
        ("@monthly", "2030-02-01T00:00:00+00:00"),
        ("@yearly", "2031-01-01T00:00:00+00:00"),
        ("@Daily", "2030-01-02T00:00:00+00:00"),
    ],
)
def test_an_alias_stands_for_its_expression(alias: str, expected: str) -> None:
    assert firings(alias, "UTC", "2030-01-01T12:00", 1) == [expected]


def test_last_days_and_numbered_weekdays_are_understood() -> None:
    assert firings("0 0 L * *", "UTC", "2030-01-31T12:00", 1) == ["2030-02-28T00:00:00+00:00"]
    assert firings("0 0 * * MON#2", "UTC", "2030-01-01T12:00", 1) == ["2030-01-14T00:00:00+00:00"]
    assert firings("0 0 * * 5L", "UTC", "2030-01-01T12:00", 1) == ["2030-01-25T00:00:00+00:00"]


def test_two_restricted_days_match_either_and_a_starred_one_both() -> None:
    assert firings("0 0 13 * FRI", "UTC", "2030-01-10T12:00", 2) == [
        "2030-01-11T00:00:00+00:00",
        "2030-01-13T00:00:00+00:00",
    ]
    assert firings("0 0 */13 * FRI", "UTC", "2030-01-10T12:00", 1) == ["2030-02-01T00:00:00+00:00"]


def test_between_is_bounded_and_excludes_its_begin() -> None:
    noon = at("2030-01-01T12:00")
    found = cron.between("* * * * *", "UTC", noon, noon + 600, limit=3)
    assert found == [noon + 60, noon + 120, noon + 180]
    assert cron.between("* * * * *", "UTC", noon, noon + 120, limit=9) == [noon + 60, noon + 120]


def test_a_rule_whose_days_never_meet_never_fires() -> None:
    assert cron.next_after("0 0 */31 2 SUN#5", "UTC", at("2030-01-01T00:00")) is None
    assert cron.latest_until("0 0 */31 2 SUN#5", "UTC", at("2030-01-01T00:00")) is None


@pytest.mark.parametrize("instant", [1e13, -1e13])
def test_an_instant_beyond_the_calendar_has_no_firing(instant: float) -> None:
    assert cron.next_after("* * * * *", BERLIN, instant) is None
    assert cron.latest_until("* * * * *", BERLIN, instant) is None


@pytest.mark.parametrize(
    ("expression", "found", "field"),
    [
        ("61 * * * *", "'61'", "the minute"),
        ("* 24 * * *", "'24'", "the hour"),
        ("* * 32 * *", "'32'", "the day of month"),
        ("* * * 13 *", "'13'", "the month"),
        ("* * * * FOO", "'FOO'", "the day of week"),
        ("60 * * * * *", "'60'", "the second"),
        ("*/0 * * * *", "'*/0'", "the minute"),
        ("5-1 * * * *", "'5-1'", "the minute"),
        ("? * * * *", "'?'", "the minute"),
        ("1,,2 * * * *", "'1,,2'", "the minute"),
        ("٣ * * * *", "'٣'", "the minute"),
        ("* * * * L5", "'L5'", "the day of week"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_found(
    expression: str, found: str, field: str
) -> None:
    with pytest.raises(InvalidSchedule) as caught:
        cron.check(expression)
    assert field in caught.value.message
    assert found in caught.value.message
    assert "expected" in caught.value.message


@pytest.mark.parametrize("expression", ["", "* * * *", "* * * * * * *", "hello"])
def test_a_wrong_number_of_fields_is_told_with_an_example(expression: str) -> None:
    with pytest.raises(InvalidSchedule, match=r"fields; expected five .* '0 3 \* \* \*'"):
        cron.check(expression)


def test_a_day_that_no_month_has_is_refused() -> None:
    with pytest.raises(InvalidSchedule, match="names a day that none of its months has"):
        cron.check("0 0 31 2 *")


def test_an_unknown_alias_is_told_which_there_are() -> None:
    with pytest.raises(InvalidSchedule, match="'@noon' is not a schedule; expected @hourly"):
        cron.check("@noon")


def test_an_endless_expression_is_refused_and_not_repeated_in_full() -> None:
    with pytest.raises(InvalidSchedule) as caught:
        cron.check("9" * 10_000)
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("zone", ["Europe/Berln", "../etc/passwd", "America", "", "/etc/passwd"])
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(InvalidSchedule, match="expected an IANA name"):
        cron.next_after("* * * * *", zone, 0)


def test_a_misspelt_time_zone_gets_the_nearest_names() -> None:
    with pytest.raises(InvalidSchedule, match="did you mean Europe/Berlin"):
        cron.check_timezone("Europe/Berln")


def test_an_expression_is_said_in_words() -> None:
    assert cron.in_words("0 3 * * *") == "At 03:00 every day"
    assert cron.in_words("@weekly") == "At 00:00 on Sunday"
    with pytest.raises(InvalidSchedule):
        cron.in_words("0 99 * * *")
