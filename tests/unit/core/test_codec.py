"""Payloads and results to JSON and back."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from stoker.core import codec
from stoker.core.codec import MAX_DEPTH, Output
from stoker.core.errors import InvalidArguments, InvalidPayload, PayloadTooLarge


class Size(BaseModel):
    """A pydantic model."""

    width: int


@dataclass
class Point:
    """A dataclass."""

    x: float


class Box(msgspec.Struct):
    """A struct."""

    side: float | None


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ({"a": [1, 2.5, None, True, "ü"]}, '{"a":[1,2.5,null,true,"ü"]}'),
        ({"file": Path("movie.mp4")}, '{"file":"movie.mp4"}'),
        ({"size": Size(width=3)}, '{"size":{"width":3}}'),
        ({"at": datetime(2030, 1, 1, tzinfo=UTC)}, '{"at":"2030-01-01T00:00:00Z"}'),
        ({"of": Output("j1")}, '{"of":{"$output":"j1"}}'),
        ({"point": Point(1.0)}, '{"point":{"x":1.0}}'),
        ({"s": {1}}, '{"s":[1]}'),
    ],
)
def test_python_values_become_json(value: Any, encoded: str) -> None:
    assert codec.encode(value).decode() == encoded


@pytest.mark.parametrize("value", [object(), {"f": print}, {"c": 1j}, {object(): 1}, "\ud800"])
def test_what_has_no_json_form_is_refused(value: Any) -> None:
    with pytest.raises(InvalidPayload, match="the result has no JSON form"):
        codec.encode(value, what="result")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "around",
    [lambda x: x, lambda x: [None, x], lambda x: {"a": {"b": (x,)}}, Point, Box],
    ids=["plain", "array", "object", "dataclass", "struct"],
)
def test_nan_and_infinities_are_refused_wherever_they_hide(bad: float, around: Any) -> None:
    with pytest.raises(InvalidPayload, match="NaN or an infinity"):
        codec.encode(around(bad))


def test_a_null_is_not_taken_for_nan() -> None:
    assert codec.encode([None, Box(None), 1.5]) == b'[null,{"side":null},1.5]'


def test_an_endless_value_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidPayload, match="nests deeper"):
        codec.encode(endless)


def nested(depth: int) -> str:
    """Return so many arrays inside each other."""
    return "[" * depth + "]" * depth


def test_json_may_nest_as_deep_as_the_limit() -> None:
    codec.parse_value(nested(MAX_DEPTH))
    codec.check_depth(('["' + "[" * 500 + '\\"[", {}]').encode())
    codec.check_depth(b"[]" * 500)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 10_000, 400_000])
def test_json_that_nests_deeper_is_refused(depth: int) -> None:
    for text in (nested(depth), '{"a":' * depth + "1" + "}" * depth):
        with pytest.raises(InvalidPayload, match=f"nests deeper than {MAX_DEPTH}"):
            codec.parse_value(text, limit=10_000_000)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ('{"a": 1,}', "not JSON"),
        ("{'a': 1}", "not JSON"),
        ('{"a": 1} x', "not JSON"),
        (b"\xff\xfe\xfd", "not JSON"),
        (b'{"a": "\xff"}', "not JSON"),
        ('{"a": "\ud800"}', "not JSON"),
        ('{"a": 1}'.encode("utf-16"), "not JSON"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        ("[]", "an array; expected a JSON object"),
        ('"x"', "a text; expected a JSON object"),
        ("1", "a number; expected a JSON object"),
        ("null", "null; expected a JSON object"),
        ("true", "a boolean; expected a JSON object"),
        ('{"a": NaN}', "holds NaN, which is not JSON"),
        ('{"a": -Infinity}', "holds -Infinity, which is not JSON"),
        ('{"a": 1e999}', "holds 1e999, a number beyond"),
        ('{"a": 18446744073709551616}', "beyond 64 bits"),
        ('{"a": -9223372036854775809}', "beyond 64 bits"),
        ('{"a": ' + "9" * 5_000 + "}", "beyond 64 bits"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "has the key 'c' twice"),
    ],
)
def test_json_whose_meaning_is_in_doubt_is_refused(text: str | bytes, why: str) -> None:
    with pytest.raises(InvalidPayload, match=why):
        codec.parse_object(text)


@pytest.mark.parametrize(
    "text", ['{"a": 18446744073709551615}', '{"a": -9223372036854775808}', '{"é": "\\u0000"}']
)
def test_json_at_its_limits_is_read(text: str) -> None:
    assert codec.parse_object(text) == json.loads(text)
    assert codec.parse_object(text.encode()) == json.loads(text)


def test_more_bytes_than_the_limit_are_refused() -> None:
    with pytest.raises(PayloadTooLarge, match="has 12 bytes; the limit is 11") as caught:
        codec.parse_object('{"a": "xyz"}', limit=11)
    assert caught.value.details == {"size": 12, "limit": 11}
    assert codec.parse_object('{"a": "xyz"}', limit=12) == {"a": "xyz"}


def test_the_limit_counts_bytes_of_texts_too() -> None:
    with pytest.raises(PayloadTooLarge, match="has 15 bytes"):
        codec.parse_object('{"a": "üüü"}', limit=12)


def test_a_decoded_value_can_be_checked_too() -> None:
    codec.check_plain({"a": [1.5, None]})
    with pytest.raises(InvalidPayload):
        codec.check_plain({"a": [float("nan")]})


def test_a_result_is_decoded_as_the_type_that_is_wanted() -> None:
    assert codec.decode_result(None) is None
    assert codec.decode_result(b'{"a": 1}') == {"a": 1}
    assert codec.decode_result(msgspec.Raw(b"[1]"), list[int]) == [1]
    assert codec.decode_result(b'{"width": 3}', Size) == Size(width=3)
    assert codec.decode_result(b'"a/b"', PurePosixPath) == PurePosixPath("a/b")
    with pytest.raises(InvalidArguments, match="does not fit the task's return type"):
        codec.decode_result(b'"x"', int)


def test_references_to_results_are_found_and_filled() -> None:
    payload = {"a": Output("p1"), "b": [Output("p2"), {"c": Output("p1")}], "d": 1}
    data = codec.encode(payload)
    assert codec.holds_output(data)
    decoded = msgspec.json.decode(data)
    assert codec.find_outputs(decoded) == ["p1", "p2"]
    filled = codec.fill_outputs(decoded, {"p1": [1], "p2": "two"}.__getitem__)
    assert filled == {"a": [1], "b": ["two", {"c": [1]}], "d": 1}


@pytest.mark.parametrize(
    "value", [{"$output": 3}, {"$output": "j", "more": 1}, {"output": "j"}, "$output", ["$output"]]
)
def test_what_only_looks_like_a_reference_is_left_alone(value: Any) -> None:
    assert codec.find_outputs(value) == []
    assert codec.fill_outputs(value, lambda job_id: 1 / 0) == value


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: st.lists(children) | st.dictionaries(st.text(max_size=5), children),
    max_leaves=20,
)


@given(JSON)
def test_every_json_value_survives(value: Any) -> None:
    try:
        data = codec.encode(value)
    except InvalidPayload:
        assert any(0xD800 <= ord(c) <= 0xDFFF for c in json.dumps(value, ensure_ascii=False))
        return
    assert codec.parse_value(data) == value


@given(st.binary(max_size=60) | st.text(st.characters(), max_size=60))
def test_any_bytes_are_a_json_object_or_refused(data: bytes | str) -> None:
    try:
        assert isinstance(codec.parse_object(data), dict)
    except (InvalidPayload, PayloadTooLarge) as error:
        assert "payload" in error.message  # noqa: PT017 - either outcome is right
