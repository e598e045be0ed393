"""Durations as people write them: ``"10m"``, ``"1h30m"``, ``"500ms"``, a number, a timedelta.

Inside Stoker a duration is a float of seconds, an instant a float of seconds since 1970 UTC, and
what people read carries aware datetimes. This module is the only place that reads the words.
"""

import math
import re
from datetime import UTC, datetime, timedelta

from stoker.core.errors import InvalidOption

Duration = float | int | str | timedelta
"""Seconds as a number, a text such as ``"1h30m"``, or a `datetime.timedelta`."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_LONGEST_TEXT = 50
_LONGEST = 100 * 365 * 86400.0


def seconds(value: Duration, *, name: str = "duration") -> float:
    """Turn a duration into seconds.

    Args:
        value: What the caller gave.
        name: What it is for, named in the error.

    Raises:
        InvalidOption: Not a duration, negative, not finite, or over a hundred years.
    """
    result = _read(value)
    if result is None or not math.isfinite(result) or not 0 <= result <= _LONGEST:
        raise InvalidOption(
            f"{name} is {value!r}; expected seconds (30), a text such as '10m', '1h30m' or "
            "'500ms', or a timedelta, from 0 to 100 years"
        )
    return result


def optional_seconds(value: Duration | None, *, name: str = "duration") -> float | None:
    """Turn a duration into seconds, leaving None as it is."""
    return None if value is None else seconds(value, name=name)


def instant(value: datetime | str | float, *, name: str = "run_at") -> float:
    """Turn a moment into seconds since 1970 UTC.

    Args:
        value: An aware datetime, an ISO 8601 text with an offset, or seconds since 1970.
        name: What it is for, named in the error.

    Raises:
        InvalidOption: Not a moment, or one without a time zone: guessing it would move the job.
    """
    try:
        if isinstance(value, bool):
            raise ValueError  # noqa: TRY004, TRY301 - falls into the one message below
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(moment, datetime):
            if moment.tzinfo is None:
                raise InvalidOption(
                    f"{name} is {value!r}, which has no time zone; add one, such as "
                    "2030-01-31T09:00:00+00:00"
                )
            moment = moment.timestamp()
        when(moment)
    except (ValueError, TypeError, OverflowError, OSError):
        raise InvalidOption(
            f"{name} is {value!r}; expected a datetime with a time zone, an ISO 8601 text such as "
            "2030-01-31T09:00:00+00:00, or seconds since 1970"
        ) from None
    return float(moment)


def when(moment: float) -> datetime:
    """Turn seconds since 1970 into an aware UTC datetime."""
    return datetime.fromtimestamp(moment, UTC)


def optional_when(moment: float | None) -> datetime | None:
    """Turn seconds since 1970 into an aware UTC datetime, leaving None as it is."""
    return None if moment is None else datetime.fromtimestamp(moment, UTC)


def _read(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return None
    return _read_text(value) if isinstance(value, str) and len(value) <= _LONGEST_TEXT else None


def _read_text(text: str) -> float | None:
    text = text.strip().lower()
    try:
        return float(text)
    except ValueError:
        parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
