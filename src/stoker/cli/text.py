"""What goes to a terminal: made harmless, made JSON, made short.

Everything that comes out of a store was written by somebody else. A task's name, a log line or an
error message may hold escape sequences that repaint a terminal, or line breaks that fake a log
line; nothing of that kind leaves the command line.
"""

import re
from datetime import datetime
from typing import Any

_CONTROL = "\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_UNSAFE = re.compile(f"[{_CONTROL}]")
_LAST_BYTE = 0xFF
_IN_JSON = re.compile("[\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

STATE_COLOURS = {
    "blocked": "bright_black",
    "scheduled": "cyan",
    "queued": "blue",
    "assigned": "yellow",
    "running": "yellow",
    "retry_queued": "magenta",
    "completed": "green",
    "dead_letter": "red",
    "cancelled": "bright_black",
    "failed": "red",
    "alive": "green",
    "draining": "yellow",
    "left": "bright_black",
    "dead": "red",
    "paused": "yellow",
    "ok": "green",
    "warning": "yellow",
    "problem": "red",
}
"""Colour of a state, the same in every table."""


def clean(value: object, *, lines: bool = False) -> str:
    r"""Return a text that a terminal shows as it is.

    Control characters, and the marks that reverse the direction of text, become visible escapes
    such as ``\x1b``.

    Args:
        value: Anything; its ``str``.
        lines: Whether line breaks and tabs stay.
    """
    return _UNSAFE.sub(lambda m: _escape(m[0], lines=lines), str(value))


def _escape(char: str, *, lines: bool) -> str:
    if lines and char in "\n\t":
        return char
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char)
    code = ord(char)
    return named or (f"\\x{code:02x}" if code <= _LAST_BYTE else f"\\u{code:04x}")


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON text that is also safe to print on a terminal."""
    import msgspec

    data = msgspec.json.encode(value, enc_hook=_plain_number)
    if indent is not None:
        data = msgspec.json.format(data, indent=indent)
    return _IN_JSON.sub(lambda m: f"\\u{ord(m[0]):04x}", data.decode())


def _plain_number(value: Any) -> int | float:
    """Turn the numbers that settings are made of into plain ones."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    raise NotImplementedError(f"a {type(value).__name__} has no JSON form")


def plain_json(value: Any) -> Any:
    """Return a record as plain dicts, lists, texts and numbers."""
    import msgspec

    return msgspec.json.decode(msgspec.json.encode(value))


def moment(value: datetime | None) -> str:
    """Return an instant as ISO 8601 in UTC with seconds."""
    if value is None:
        return ""
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


def length(seconds: float | None) -> str:
    """Return a duration as people say it: ``350ms``, ``4.2s``, ``3m12s``, ``2h05m``, ``4d03h``."""
    if seconds is None:
        return ""
    if seconds < 0:
        return f"-{length(-seconds)}"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if round(seconds, 1) < 60:  # noqa: PLR2004
        return f"{round(seconds, 1):g}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return _two(days, "d", hours, "h")
    return _two(hours, "h", minutes, "m") if hours else _two(minutes, "m", rest, "s")


def _two(big: int, unit: str, small: int, smaller: str) -> str:
    return f"{big}{unit}{small:02d}{smaller}" if small else f"{big}{unit}"


def plural(count: int, word: str) -> str:
    """Return a count with its noun: ``1 job``, ``1,200 jobs``."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def since(then: datetime | None, now: datetime) -> str:
    """Return how long ago an instant was, or in how long it will be."""
    if then is None:
        return ""
    gone = (now - then).total_seconds()
    return f"in {length(-gone)}" if gone < 0 else f"{length(gone)} ago"


def bytes_text(count: int) -> str:
    """Return a size as people say it, in powers of 1024."""
    size = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024:  # noqa: PLR2004
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"
