"""Payloads and results to JSON bytes and back, with the limits that keep JSON honest.

What comes from outside as text goes through `parse_object`, which refuses what JSON libraries
disagree about: NaN, duplicate keys, numbers beyond 64 bits, nesting without end. What comes from
Python goes through `encode`. Inside, payloads stay bytes until the worker decodes them once.
"""

import json
import math
import os
import re
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import msgspec

from stoker.core.errors import InvalidArguments, InvalidPayload, PayloadTooLarge

MAX_PAYLOAD = 1_048_576
"""Default limit of a payload in bytes."""
MAX_RESULT = 4_194_304
"""Default limit of a result in bytes."""
MAX_DEPTH = 100
"""Deepest nesting of arrays and objects."""

OUTPUT_KEY = "$output"
"""``{"$output": "JOB ID"}`` in a payload stands for the result of that parent."""

_TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")
_INT64_DIGITS = 20


class Output:
    """Stands for the result of a job that has not run yet, inside the payload of its child."""

    __slots__ = ("job_id",)

    def __init__(self, job_id: str) -> None:
        """Refer to a job by its id."""
        self.job_id = job_id


def to_plain(value: Any) -> Any:
    """Turn what msgspec does not know into what it knows; its ``enc_hook``."""
    if isinstance(value, Output):
        return {OUTPUT_KEY: value.job_id}
    if isinstance(value, PurePath):
        return os.fspath(value)
    dump = getattr(type(value), "model_dump", None)
    if dump is not None:
        return dump(value, mode="json")
    raise NotImplementedError(f"a {type(value).__name__} has no JSON form")


def from_plain(wanted: Any, value: Any) -> Any:
    """Turn plain JSON values into types that msgspec does not know; its ``dec_hook``."""
    if isinstance(wanted, type):
        if isinstance(value, wanted):
            return value
        if issubclass(wanted, PurePath) and isinstance(value, str):
            return wanted(value)
        validate: Callable[[Any], Any] | None = getattr(wanted, "model_validate", None)
        if validate is not None:
            return validate(value)
    raise ValueError(f"cannot make a {getattr(wanted, '__name__', wanted)} of JSON")


_encoder = msgspec.json.Encoder(enc_hook=to_plain)


def encode(value: Any, *, what: str = "payload") -> bytes:
    """Encode a value as JSON.

    Args:
        value: What msgspec can encode, paths, pydantic models, and `Output`.
        what: What it is, named in the error.

    Raises:
        InvalidPayload: It has no JSON form, holds NaN or an infinity, or nests too deep.
    """
    try:
        data = _encoder.encode(value)
    except (TypeError, NotImplementedError, ValueError, OverflowError) as error:
        raise InvalidPayload(f"the {what} has no JSON form: {error}") from None
    except RecursionError:
        raise _too_deep(what) from None
    # msgspec writes NaN and infinities as null: look closer only where a null is.
    if b"null" in data and _holds_nan(value):
        raise InvalidPayload(f"the {what} holds NaN or an infinity, which JSON cannot say")
    check_depth(data, what=what)
    return data


def parse_object(data: bytes | str, *, limit: int = MAX_PAYLOAD, what: str = "payload") -> Any:
    """Read a JSON object from outside, strictly.

    Raises:
        PayloadTooLarge: Over ``limit`` bytes.
        InvalidPayload: Not JSON, not an object, or JSON whose meaning depends on the reader.
    """
    value = parse_value(data, limit=limit, what=what)
    if not isinstance(value, dict):
        raise InvalidPayload(f"the {what} is {_kind(value)}; expected a JSON object")
    return value


def parse_value(data: bytes | str, *, limit: int = MAX_PAYLOAD, what: str = "value") -> Any:
    """Read any JSON value from outside, strictly; errors as `parse_object`."""
    try:
        raw = data.encode() if isinstance(data, str) else data
    except UnicodeEncodeError as error:
        raise InvalidPayload(f"the {what} is not JSON: {error}") from None
    check_size(len(raw), limit=limit, what=what)
    check_depth(raw, what=what)
    try:
        return json.loads(
            raw.decode(),  # bytes alone would let UTF-16 and UTF-32 pass
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_int=_int64,
            parse_float=_finite,
        )
    except InvalidPayload as error:
        raise InvalidPayload(f"the {what} {error.message}") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise InvalidPayload(f"the {what} is not JSON: {error}") from None
    except RecursionError:
        raise _too_deep(what) from None


def check_plain(value: Any, *, what: str = "payload") -> None:
    """Refuse NaN and infinities in a value already decoded by somebody else."""
    if _holds_nan(value):
        raise InvalidPayload(f"the {what} holds NaN or an infinity, which JSON cannot say")


def check_size(size: int, *, limit: int, what: str = "payload") -> None:
    """Refuse more than ``limit`` bytes."""
    if size > limit:
        raise PayloadTooLarge(
            f"the {what} has {size:,} bytes; the limit is {limit:,}. Store big data elsewhere and "
            "pass its address, or raise limits.payload",
            size=size,
            limit=limit,
        )


def check_depth(data: bytes, *, what: str = "payload") -> None:
    """Refuse JSON that nests deeper than `MAX_DEPTH`."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKETS.findall(_TEXTS.sub(b"", data)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise _too_deep(what)


def decode_result(data: bytes | msgspec.Raw | None, wanted: Any = Any) -> Any:
    """Decode a result; None stays None.

    Raises:
        InvalidArguments: It does not fit ``wanted``.
    """
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=wanted, dec_hook=from_plain)
    except msgspec.ValidationError as error:
        raise InvalidArguments(f"the result does not fit the task's return type: {error}") from None


def holds_output(data: bytes) -> bool:
    """Whether encoded JSON refers to a parent's result."""
    return b'"$output"' in data


def fill_outputs(value: Any, results: Callable[[str], Any]) -> Any:
    """Replace every reference to a parent's result by the result."""
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(value.get(OUTPUT_KEY), str):
            return results(value[OUTPUT_KEY])
        return {key: fill_outputs(item, results) for key, item in value.items()}
    if isinstance(value, list):
        return [fill_outputs(item, results) for item in value]
    return value


def find_outputs(value: Any) -> list[str]:
    """Return the job ids that a decoded payload refers to, in order, without repeats."""
    found: dict[str, None] = {}

    def note(job_id: str) -> None:
        found[job_id] = None

    fill_outputs(value, note)
    return list(found)


def _holds_nan(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(_holds_nan(k) or _holds_nan(v) for k, v in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return any(_holds_nan(item) for item in value)
    if isinstance(value, msgspec.Struct) or hasattr(value, "__dataclass_fields__"):
        return _holds_nan(_fields(value))
    return False


def _fields(value: Any) -> dict[str, Any]:
    names = getattr(value, "__struct_fields__", None) or value.__dataclass_fields__
    return {name: getattr(value, name, None) for name in names}


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidPayload(f"has the key {key!r} twice in one object; say it once")
            seen.add(key)
    return found


def _no_constant(text: str) -> Any:
    raise InvalidPayload(f"holds {text}, which is not JSON")


def _int64(text: str) -> int:
    if len(text) > _INT64_DIGITS or not -(2**63) <= int(text) < 2**64:
        raise InvalidPayload("holds a whole number beyond 64 bits; send it as a text")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InvalidPayload(f"holds {text}, a number beyond what 64-bit floats can say")
    return value


def _too_deep(what: str) -> InvalidPayload:
    return InvalidPayload(f"the {what} nests deeper than {MAX_DEPTH} levels")


def _kind(value: Any) -> str:
    names = {list: "an array", str: "a text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
