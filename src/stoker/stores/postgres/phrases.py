"""The numbers and texts that the tables hold, and how they are written and read."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from stoker.core.job import PRIORITIES, ErrorInfo, Priority
from stoker.core.lifecycle import LEASED, State

STATES: tuple[State, ...] = (
    State.BLOCKED,
    State.SCHEDULED,
    State.QUEUED,
    State.ASSIGNED,
    State.RUNNING,
    State.RETRY_QUEUED,
    State.COMPLETED,
    State.DEAD_LETTER,
    State.CANCELLED,
)
"""State by its number in the tables. The numbers are part of the layout: only append."""
CODES: dict[State, int] = {state: code for code, state in enumerate(STATES)}
"""State to its number."""
COMPLETED = CODES[State.COMPLETED]
LEASED_CODES = frozenset(CODES[state] for state in LEASED)
_SEPARATOR = "\x1f"

encode = msgspec.json.Encoder().encode
_read_text = msgspec.json.Decoder(str).decode


class Names:
    """Statements with the schema's name filled in, wherever they say ``@``."""

    def __init__(self, schema: str) -> None:
        """Write statements for a schema, whose name was checked by `address`."""
        self._prefix = f'"{schema}".'
        self.fill = lru_cache(maxsize=512)(self._fill)

    def _fill(self, statement: str) -> str:
        return " ".join(statement.replace("@", self._prefix).split())


def priority_of(rank: int) -> Priority:
    """Return the priority with that number."""
    return PRIORITIES[rank]


def clean(text: str) -> str:
    """Return a text that the server can hold: no NUL, and nothing that UTF-8 cannot say."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def optional_clean(text: str | None) -> str | None:
    """Clean a text, leaving None as it is."""
    return None if text is None else clean(text)


def to_json(value: Any) -> str:
    """Encode what is kept as JSON, in which a NUL is six harmless characters."""
    try:
        return encode(value).decode()
    except UnicodeEncodeError:
        return encode(_cleaned(value)).decode()


def text_of(json: str) -> str:
    """Return a text that was kept as JSON."""
    return _read_text(json)


def fold(parts: Iterable[str]) -> str:
    """Return what a search in errors looks at."""
    return clean(_SEPARATOR.join(part.casefold() for part in parts))


def fold_of(error: ErrorInfo | None) -> str | None:
    """Return what a search in errors sees of this one."""
    return None if error is None else fold((error.code, error.type, error.message))


def _cleaned(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        value = msgspec.to_builtins(value)
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value
