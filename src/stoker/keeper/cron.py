"""Cron expressions and time zones: when a rule fires, to the second.

Five fields (minute, hour, day of month, month, day of week) or six, the first being seconds.
``cronsim`` reads the fields and walks through the calendar; it is only ever asked about wall
clocks without a zone. What a zone's transitions do to those wall times is decided here:

* A rule that names hours (``30 2 * * *``, ``0 */6 * * *``) means wall times. Each matching wall
  time fires once: at the first instant at which the local clock shows it or has passed it. So a
  time that the clock jumps over fires at the end of the jump, together with its neighbours as one
  firing, and a time that comes twice fires the first time.
* A rule whose hour field holds every hour (``*/10 * * * *``) follows real time: it fires at each
  instant at which the local clock shows a matching minute. An hour that comes twice is two real
  hours with firings in both, an hour that is jumped over never was.

When both the day of the month and the day of the week are restricted, either may match; when one
of them begins with ``*``, both must. ``L`` (last day), ``LW`` (last weekday), ``5L`` (last
Friday) and ``MON#2`` (second Monday) are understood.
"""

import difflib
import math
import re
from abc import ABC, abstractmethod
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from stoker.core.errors import InvalidSchedule

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""Names for common expressions."""

_FIELDS = (
    ("second", "0-59"),
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of month", "1-31, L or LW"),
    ("month", "1-12 or JAN-DEC"),
    ("day of week", "0-7 (0 and 7 are Sunday) or SUN-SAT"),
)
_EXAMPLE = "'0 3 * * *' is every day at 03:00, '*/10 * * * *' every ten minutes"
_LONGEST = 200
_EVERY_HOUR = set(range(24))
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - wall clocks have no zone here
_DAY = 86_400
_SECOND = timedelta(seconds=1)
_FAR = 100_000_000_000
"""Past the year 5000 nobody is asked for the offset of a zone."""


def next_after(expression: str, timezone: str, instant: float) -> float | None:
    """Return the first firing after an instant.

    Args:
        expression: Five or six fields, or an alias such as ``@daily``.
        timezone: An IANA name.
        instant: Seconds since 1970; a firing at this very instant is not after it.

    Returns:
        Seconds since 1970; None if there is none within fifty years.

    Raises:
        InvalidSchedule: The expression or the zone means nothing.
    """
    rule = _rule(expression, timezone)
    return _as_float(rule.after(math.floor(instant)) if abs(instant) < _FAR else None)


def latest_until(expression: str, timezone: str, instant: float) -> float | None:
    """Return the last firing not later than an instant; arguments as `next_after`."""
    rule = _rule(expression, timezone)
    return _as_float(rule.until(math.floor(instant)) if abs(instant) < _FAR else None)


def between(
    expression: str, timezone: str, after: float, until: float, *, limit: int
) -> list[float]:
    """Return the firings later than ``after`` and not later than ``until``, oldest first.

    Args:
        expression: As for `next_after`.
        timezone: As for `next_after`.
        after: Seconds since 1970.
        until: Seconds since 1970.
        limit: The most to return; the rest is after the last one returned.
    """
    found: list[float] = []
    at = next_after(expression, timezone, after)
    while at is not None and at <= until and len(found) < limit:
        found.append(at)
        at = next_after(expression, timezone, at)
    return found


def next_n(expression: str, timezone: str, instant: float, count: int) -> list[float]:
    """Return the next ``count`` firings, fewer if the rule ends; for previews."""
    return between(expression, timezone, instant, math.inf, limit=count)


def in_words(expression: str) -> str:
    """Say in English when an expression fires: ``At 03:00 every day``.

    Raises:
        InvalidSchedule: The expression means nothing.
    """
    return CronSim(_checked(expression), _EPOCH).explain()


def check(expression: str) -> None:
    """Refuse an expression that means nothing.

    Raises:
        InvalidSchedule: The message names the field, what was found and what is expected.
    """
    _checked(expression)


def check_timezone(name: str) -> ZoneInfo:
    """Return the zone of an IANA name.

    Raises:
        InvalidSchedule: There is no such zone; the message offers the nearest names.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        near = difflib.get_close_matches(str(name), available_timezones(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "such as UTC or Europe/Berlin"
        raise InvalidSchedule(f"the time zone is {name!r}; expected an IANA name, {hint}") from None


def is_cron(text: str) -> bool:
    """Whether a text looks like a cron expression rather than a duration."""
    return text.startswith("@") or len(text.split()) > 1 or "*" in text


def _as_float(instant: int | None) -> float | None:
    return None if instant is None else float(instant)


@lru_cache(maxsize=4096)
def _rule(expression: str, timezone: str) -> "_Rule":
    fields = _checked(expression)
    zone = check_timezone(timezone)
    sim = CronSim(fields, _EPOCH)
    return _RealTime(fields, zone) if sim.hours >= _EVERY_HOUR else _WallTime(fields, zone)


def _checked(expression: str) -> str:
    """Return the plain fields of an expression, or say which of them is wrong."""
    if len(expression) > _LONGEST:
        raise InvalidSchedule(
            f"the cron expression begins with {expression[:40]!r} and has {len(expression)} "
            f"characters; expected at most {_LONGEST}: {_EXAMPLE}"
        )
    text = expression.strip()
    if text.startswith("@"):
        return _alias(text)
    parts = text.split()
    if len(parts) not in {5, 6}:
        raise InvalidSchedule(
            f"the cron expression {text!r} has {len(parts)} fields; expected five (minute, hour, "
            f"day of month, month, day of week) or six (seconds first): {_EXAMPLE}"
        )
    if _accepts(parts):
        return text
    raise InvalidSchedule(_complaint(text, parts))


def _alias(text: str) -> str:
    try:
        return ALIASES[text.lower()]
    except KeyError:
        raise InvalidSchedule(
            f"{text!r} is not a schedule; expected {', '.join(ALIASES)}, five or six cron fields, "
            "or an interval such as 'every 30s'"
        ) from None


def _accepts(parts: list[str]) -> bool:
    # cronsim takes a few spellings that mean nothing, so the characters are checked first.
    if not all(re.fullmatch(r"[0-9A-Za-z*,/#-]+", part) for part in parts):
        return False
    try:
        CronSim(" ".join(parts), _EPOCH)
    except (CronSimError, ValueError, AssertionError):
        return False
    return True


def _complaint(text: str, parts: list[str]) -> str:
    offset = 6 - len(parts)
    for place, part in enumerate(parts):
        alone = ["*"] * 6
        alone[place + offset] = part
        if not _accepts(alone):
            name, allowed = _FIELDS[place + offset]
            return (
                f"the {name} in the cron expression {text!r} is {part!r}; expected *, {allowed}, "
                "a list (1,2), a range (1-5) or a step (*/10)"
            )
    return (
        f"the cron expression {text!r} names a day that none of its months has; "
        "'0 0 L * *' is the last day of every month"
    )


class _Rule(ABC):
    """An expression in a zone. Instants are whole seconds since 1970."""

    def __init__(self, fields: str, zone: ZoneInfo) -> None:
        self._fields = fields
        self._zone = zone

    @abstractmethod
    def after(self, instant: int) -> int | None:
        """Return the first firing later than the instant."""

    @abstractmethod
    def until(self, instant: int) -> int | None:
        """Return the last firing not later than the instant."""

    def _offset(self, instant: int) -> int:
        offset = datetime.fromtimestamp(instant, self._zone).utcoffset()
        return 0 if offset is None else offset // _SECOND

    def _wall_after(self, wall: int) -> int | None:
        """Return the first matching wall time after a wall time, both counted from 1970."""
        return self._walk(wall, reverse=False)

    def _wall_until(self, wall: int) -> int | None:
        return self._walk(wall + 1, reverse=True)

    def _walk(self, wall: int, *, reverse: bool) -> int | None:
        start = _EPOCH + wall * _SECOND
        try:
            found = next(CronSim(self._fields, start, reverse=reverse))
        except (StopIteration, OverflowError, ValueError):
            return None
        return (found - _EPOCH) // _SECOND

    def _first_change(self, after: int, until: int) -> int | None:
        """Return the first instant in ``(after, until]`` with another offset than ``after``."""
        offset = self._offset(after)
        low = after
        while low < until:
            high = min(low + _DAY, until)
            if self._offset(high) != offset:
                return self._bisect(low, high, offset)
            low = high
        return None

    def _last_change(self, after: int, until: int) -> int | None:
        """Return the begin of the offset of ``until``, if that lies in ``(after, until]``."""
        offset = self._offset(until)
        high = until
        while high > after:
            low = max(high - _DAY, after)
            before = self._offset(low)
            if before != offset:
                return self._bisect(low, high, before)
            high = low
        return None

    def _bisect(self, low: int, high: int, offset: int) -> int:
        """Return the first instant in ``(low, high]`` whose offset is not that of ``low``."""
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(middle) == offset:
                low = middle
            else:
                high = middle
        return high


class _RealTime(_Rule):
    """Fires at each instant whose wall time matches: one stretch of constant offset at a time."""

    def after(self, instant: int) -> int | None:
        """See `_Rule.after`."""
        begin = instant + 1
        while True:
            offset = self._offset(begin)
            wall = self._wall_after(begin + offset - 1)
            if wall is None:
                return None
            change = self._first_change(begin, wall - offset)
            if change is None:
                return wall - offset
            begin = change

    def until(self, instant: int) -> int | None:
        """See `_Rule.until`."""
        end = instant
        while True:
            offset = self._offset(end)
            wall = self._wall_until(end + offset)
            if wall is None:
                return None
            change = self._last_change(wall - offset, end)
            if change is None:
                return wall - offset
            end = change - 1


class _WallTime(_Rule):
    """Fires at the first instant at which the local clock shows or has passed a matching time."""

    def after(self, instant: int) -> int | None:
        """See `_Rule.after`."""
        wall = self._wall_after(self._highest(instant))
        return None if wall is None else self._reached(wall)

    def until(self, instant: int) -> int | None:
        """See `_Rule.until`."""
        wall = self._wall_until(self._highest(instant))
        return None if wall is None else self._reached(wall)

    def _highest(self, instant: int) -> int:
        """Return the latest wall time that the local clock has shown until an instant."""
        local = datetime.fromtimestamp(instant, self._zone)
        if not local.fold:
            return instant + self._offset(instant)
        # The clock was set back and shows for the second time what it showed before.
        first_time = int(local.replace(fold=0).timestamp())
        change = self._first_change(first_time, instant)
        return instant if change is None else change - 1 + self._offset(first_time)

    def _reached(self, wall: int) -> int:
        """Return the first instant at which the local clock shows a wall time or a later one."""
        local = (_EPOCH + wall * _SECOND).replace(tzinfo=self._zone)
        before = int(local.timestamp())
        if before + self._offset(before) == wall:
            return before
        # The clock jumps over this time: the end of the jump is when it has passed it.
        after = int(local.replace(fold=1).timestamp())
        change = self._first_change(after, before)
        return before if change is None else change
