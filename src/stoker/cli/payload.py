"""Payloads as a shell writes them: ``key=text``, ``key:=JSON``, ``@file.json``, ``-`` for stdin."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stoker.core import codec
from stoker.core.errors import InvalidArguments, InvalidPayload


def read_payload(words: Sequence[str], *, limit: int) -> dict[str, Any]:
    """Make a payload of a shell's words.

    Args:
        words: ``key=text`` (turned into a number where the task wants one), ``key:=JSON``,
            ``@file.json`` and ``-`` (stdin) with a JSON object.
        limit: The most bytes of one file.

    Raises:
        InvalidArguments: A word of another shape, or a key that is given twice.
        InvalidPayload: Not JSON, or not an object.
    """
    payload: dict[str, Any] = {}
    for word in words:
        for key, value in _parts(word, limit):
            if key in payload:
                raise InvalidArguments(f"the argument {key!r} is given twice; say it once")
            payload[key] = value
    return payload


def read_text(source: str) -> bytes:
    """Return what a file holds, or stdin for ``-``.

    Raises:
        InvalidPayload: It cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise InvalidPayload(f"{source} cannot be read: {error.strerror}") from None


def _parts(word: str, limit: int) -> Iterator[tuple[str, Any]]:
    if word == "-" or word.startswith("@"):
        source = word.removeprefix("@")
        what = "JSON on stdin" if source == "-" else f"file {source}"
        yield from codec.parse_object(read_text(source), limit=limit, what=what).items()
        return
    key, equals, value = word.partition("=")
    is_json = key.endswith(":")
    key = key.removesuffix(":")
    if not equals or not key:
        raise InvalidArguments(
            f"the argument is {word[:80]!r}; expected key=value, key:=JSON, @file.json or -"
        )
    if is_json:
        yield key, codec.parse_value(value, limit=limit, what=f"value of {key!r}")
    else:
        yield key, _text(key, value)


def _text(key: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidArguments(f"the value of {key!r} is not UTF-8") from None
    return value
