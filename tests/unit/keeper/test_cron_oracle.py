"""Cron against an oracle that knows no calendar tricks: it looks at every minute."""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.keeper import cron

# Offsets of whole minutes since 2018, and each kind of transition: an hour at two or at midnight,
# half an hour, two hours, a pause for Ramadan, a change of the standard offset, and none at all.
ZONES = (
    "UTC",
    "Europe/Berlin",
    "Europe/Dublin",
    "America/New_York",
    "America/Havana",
    "America/Santiago",
    "America/Nuuk",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Juba",
    "Asia/Beirut",
    "Asia/Kolkata",
    "Asia/Pyongyang",
    "Antarctica/Troll",
    "Antarctica/Casey",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Norfolk",
)
BEGIN = int(datetime(2018, 1, 1, tzinfo=UTC).timestamp())
END = int(datetime(2037, 1, 1, tzinfo=UTC).timestamp())
DAY = 86_400
BEFORE = 1_500
"""Minutes that the oracle looks back: longer than any stretch that a clock repeats."""


@dataclass(frozen=True)
class Fields:
    """A rule as sets of numbers, for the oracle, and as text, for Stoker."""

    minutes: frozenset[int]
    hours: frozenset[int]
    weekdays: frozenset[int]

    @property
    def text(self) -> str:
        days = "*" if len(self.weekdays) == 7 else _listed(self.weekdays)
        return f"{_listed(self.minutes)} {_listed(self.hours)} * * {days}"

    def match(self, wall: int) -> bool:
        """Whether a wall time, in minutes since a Thursday's midnight, matches."""
        day, minute = divmod(wall, 1440)
        weekday = (day + 4) % 7
        return (
            minute % 60 in self.minutes and minute // 60 in self.hours and weekday in self.weekdays
        )


def _listed(numbers: frozenset[int]) -> str:
    return ",".join(str(number) for number in sorted(numbers))


def transitions(name: str) -> list[int]:
    """Return the days on which a zone changes its offset."""
    zone = ZoneInfo(name)
    offsets = [(day, offset(zone, day)) for day in range(BEGIN, END, DAY)]
    return [day for (day, one), (_, other) in pairwise(offsets) if one != other]


def offset(zone: ZoneInfo, instant: int) -> int:
    found = datetime.fromtimestamp(instant, zone).utcoffset()
    assert found is not None
    assert found.total_seconds() % 60 == 0
    return int(found.total_seconds())


TRANSITIONS = {name: transitions(name) for name in ZONES}


def oracle(fields: Fields, name: str, begin: int, until: int) -> list[int]:
    """Return the firings in ``[begin, until)`` by looking at every minute."""
    zone = ZoneInfo(name)
    found: list[int] = []
    highest: int | None = None
    is_every_hour = len(fields.hours) == 24
    for instant in range(begin - BEFORE * 60, until, 60):
        wall = (instant + offset(zone, instant)) // 60
        if is_every_hour:
            fires = fields.match(wall)
        else:
            first = wall if highest is None else highest + 1
            fires = any(fields.match(passed) for passed in range(first, wall + 1))
        highest = wall if highest is None else max(highest, wall)
        if fires and instant >= begin:
            found.append(instant)
    return found


rules = st.builds(
    Fields,
    minutes=st.frozensets(st.integers(0, 59), min_size=1, max_size=3),
    hours=st.one_of(
        st.just(frozenset(range(24))),
        st.frozensets(st.integers(0, 4), min_size=1, max_size=3),
        st.frozensets(st.integers(0, 23), min_size=1, max_size=24),
    ),
    weekdays=st.one_of(
        st.just(frozenset(range(7))), st.frozensets(st.integers(0, 6), min_size=1, max_size=6)
    ),
)


@st.composite
def places(draw: st.DrawFn) -> tuple[str, int]:
    """Draw a zone and a minute, most often near one of its transitions."""
    name = draw(st.sampled_from(ZONES))
    days = TRANSITIONS[name] or [BEGIN]
    near = st.sampled_from(days).flatmap(lambda day: st.integers(day - DAY, day + 2 * DAY))
    instant = draw(st.one_of(near, st.integers(BEGIN, END)))
    return name, instant // 60 * 60


@settings(max_examples=120, deadline=None)
@given(fields=rules, place=places())
def test_firings_are_those_that_every_minute_shows(fields: Fields, place: tuple[str, int]) -> None:
    name, begin = place
    until = begin + 2 * DAY
    expected = oracle(fields, name, begin, until)
    found = cron.between(fields.text, name, begin - 1, until - 1, limit=10_000)
    assert found == expected


@settings(max_examples=60, deadline=None)
@given(fields=rules, place=places(), later=st.integers(0, 2 * DAY))
def test_the_walk_backwards_finds_the_last_of_the_same_firings(
    fields: Fields, place: tuple[str, int], later: int
) -> None:
    name, begin = place
    until = begin + later
    expected = oracle(fields, name, begin, until + 1)
    found = cron.latest_until(fields.text, name, until)
    assert (found if found is not None and found >= begin else None) == (
        expected[-1] if expected else None
    )


@settings(max_examples=60, deadline=None)
@given(fields=rules, name=st.sampled_from(ZONES), second=st.integers(0, 59))
def test_six_fields_fire_in_their_second_of_the_minutes_of_five(
    fields: Fields, name: str, second: int
) -> None:
    quiet_days = 1  # Nowhere is a clock set in the first days of a year.
    until = BEGIN + quiet_days * DAY
    minutes = cron.between(fields.text, name, BEGIN - 1, until - 1, limit=10_000)
    seconds = cron.between(f"{second} {fields.text}", name, BEGIN - 1, until - 1, limit=10_000)
    assert seconds == [minute + second for minute in minutes]
