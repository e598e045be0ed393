"""What goes to a terminal is harmless, and short."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from stoker.cli.text import bytes_text, clean, length, moment, since, to_json

NOW = datetime(2030, 1, 31, 9, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ümlaut 漢字", "plain ümlaut 漢字"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x00\x7f\x9b2J", "\\x00\\x7f\\x9b2J"),
        ("evil\u202etxt.exe", "evil\\u202etxt.exe"),
        ("half \ud800 pair", "half \\ud800 pair"),
        ("line\u2028break", "line\\u2028break"),
    ],
)
def test_control_characters_become_visible(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_line_breaks_stay_where_many_lines_are_wanted_and_escapes_do_not() -> None:
    assert clean("one\n\ttwo\x1b[2J", lines=True) == "one\n\ttwo\\x1b[2J"


def test_json_for_a_terminal_is_still_the_same_json() -> None:
    value = {"text": "ü \x1b[31m \x9b \u202e \u2028 end"}
    text = to_json(value)
    assert json.loads(text) == value
    assert not any(char in text for char in "\x1b\x9b\u202e\u2028")
    assert "ü" in text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, ""),
        (0.0042, "4ms"),
        (4.24, "4.2s"),
        (192, "3m12s"),
        (59.99, "1m"),
        (7500, "2h05m"),
        (97 * 3600, "4d01h"),
        (-5, "-5s"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float | None, shown: str) -> None:
    assert length(seconds) == shown


def test_an_instant_is_said_to_be_past_or_to_come() -> None:
    assert since(NOW - timedelta(seconds=90), NOW) == "1m30s ago"
    assert since(NOW + timedelta(hours=2), NOW) == "in 2h"
    assert since(None, NOW) == ""


def test_a_moment_is_utc_with_seconds() -> None:
    assert moment(NOW) == "2030-01-31T09:00:00Z"
    assert moment(None) == ""


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KB"), (5 << 40, "5.0 TB")]
)
def test_sizes_read_as_people_say_them(count: int, shown: str) -> None:
    assert bytes_text(count) == shown
