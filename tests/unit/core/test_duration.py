"""Durations and moments as people write them."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.duration import instant, optional_seconds, optional_when, seconds, when
from stoker.core.errors import InvalidOption


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (30, 30.0),
        (0.5, 0.5),
        (0, 0.0),
        ("30", 30.0),
        ("1.5", 1.5),
        ("10m", 600.0),
        ("1h30m", 5_400.0),
        ("500ms", 0.5),
        ("2d", 172_800.0),
        ("1w", 604_800.0),
        (" 10M ", 600.0),
        ("1.5h", 5_400.0),
        ("1m500ms", 60.5),
        (timedelta(minutes=2), 120.0),
    ],
    ids=repr,
)
def test_a_duration_is_read_as_people_mean_it(written: Any, expected: float) -> None:
    assert seconds(written) == pytest.approx(expected)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "soon",
        "10 m",
        "10x",
        "m",
        "-5",
        "5m-1s",
        "nan",
        "inf",
        "1e400",
        "9" * 60,
        -1,
        float("nan"),
        float("inf"),
        10**400,
        True,
        None,
        [],
        timedelta(seconds=-1),
        "101y",
        100 * 366 * 86_400,
    ],
    ids=lambda written: repr(written)[:30],
)
def test_what_is_no_duration_is_refused_by_name(written: Any) -> None:
    with pytest.raises(InvalidOption, match="the wait is"):
        seconds(written, name="the wait")


def test_an_absent_duration_stays_absent() -> None:
    assert optional_seconds(None) is None
    assert optional_seconds("1s") == 1.0


def test_a_moment_is_read_in_any_time_zone() -> None:
    expected = datetime(2030, 1, 31, 9, tzinfo=UTC).timestamp()
    east = timezone(timedelta(hours=2))
    assert instant(datetime(2030, 1, 31, 11, tzinfo=east)) == expected
    assert instant("2030-01-31T11:00:00+02:00") == expected
    assert instant("2030-01-31T09:00:00Z") == expected
    assert instant(expected) == expected


def test_a_moment_without_a_time_zone_is_refused_and_says_why() -> None:
    with pytest.raises(InvalidOption, match="has no time zone"):
        instant("2030-01-31T09:00:00")
    with pytest.raises(InvalidOption, match=r"run_at is .* has no time zone"):
        instant(datetime(2030, 1, 31, 9))  # noqa: DTZ001 - what is refused


@pytest.mark.parametrize(
    "moment", ["tomorrow", "", None, True, [], 1e30, float("nan"), float("inf")]
)
def test_what_is_no_moment_is_refused(moment: Any) -> None:
    with pytest.raises(InvalidOption, match="expected a datetime with a time zone"):
        instant(moment)


def test_seconds_become_aware_datetimes() -> None:
    assert when(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert optional_when(None) is None
    assert optional_when(1.5) == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)


@given(st.floats(0, 3e9))
def test_a_number_of_seconds_stays_what_it_is(number: float) -> None:
    assert seconds(number) == number
    assert seconds(repr(number)) == pytest.approx(number)


@given(st.text(max_size=60))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        assert seconds(text) >= 0
    except InvalidOption as error:
        assert "duration is" in error.message  # noqa: PT017 - either outcome is right
