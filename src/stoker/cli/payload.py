"""Payloads as a shell writes them: ``key=text``, ``key:=JSON``, ``@file.json``, ``-`` for stdin."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoker.core import codec
from stoker.core.errors import InvalidArguments, InvalidPayload

if TYPE_CHECKING:
    from stoker.app.calls import Call
    from stoker.cli.output import Output


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


def warn_of_texts(out: "Output", call: "Call[Any]", words: Sequence[str]) -> None:
    """Warn of what looks like a number, but stays text: nobody here knows what the task wants.

    Args:
        out: Where to.
        call: What is sent.
        words: What its payload was made of.
    """
    if call.task is not None:
        return
    meant = [f"{key}:={value}" for key, value in _texts(words) if _is_other_json(value)]
    if meant:
        out.warn(
            f"the app does not know the task {call.name!r}, so each KEY=VALUE is sent as text; "
            f"if something else is meant, write {' '.join(meant)}"
        )


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
    if _is_source(word):
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


def _texts(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    for word in words:
        key, _, value = word.partition("=")
        if not _is_source(word) and not key.endswith(":"):
            yield key, value


def _is_source(word: str) -> bool:
    """Whether a word says where JSON is to be read from."""
    return word == "-" or word.startswith("@")


def _is_other_json(value: str) -> bool:
    """Whether it would be something else than a text if it were JSON."""
    try:
        return not isinstance(codec.parse_value(value), str)
    except InvalidPayload:
        return False


def _text(key: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidArguments(f"the value of {key!r} is not UTF-8") from None
    return value
