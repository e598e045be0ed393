"""The library of functions: built from the Lua files and the core's constants, and called.

The Lua files hold no number that has a home elsewhere. ``S.QUEUED``, ``E.LEASE`` and their like
become numbers and texts when the library is built: states, events and the table of moves from
`stoker.core.lifecycle`, the fields of records from `records`, names of keys from `keys`.

The library's name holds its version and a digest of its text, and each function's name begins with
it. Old and new versions of Stoker therefore work side by side on one server, each with its own
functions; a library that is missing is loaded by whoever misses it.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

import msgspec

from stoker.core import rules, spread
from stoker.core.events import Kind
from stoker.core.job import ErrorInfo, Outcome
from stoker.core.lifecycle import LIVE, TABLE, Event, State
from stoker.core.records import MAX_LOGS
from stoker.stores.redis.keys import CHANNELS, KEYS, MINUTE_KEEP
from stoker.stores.redis.records import HEAD, JOB, QUERY, SESSION, SETTLED, TRY, Life

VERSION = 1
"""Of the library, raised with each release that changes it: a newer one removes older ones."""
PREFIX = "stoker_"
STATES = tuple(State)
"""States by the numbers that records hold, less one."""
CODES = {state: number for number, state in enumerate(STATES, 1)}
PROMOTED = 1_000
"""The most jobs that one exchange promotes; what is due beyond that waits for the next one."""
EVENTS_KEPT = 100_000
"""Lines of the audit trail; the oldest go first."""

_FILES = (
    "world",
    "books",
    "endings",
    "submit",
    "exchange",
    "beat",
    "care",
    "read",
    "plan",
    "keyring",
)
_WRITING = (
    "submit", "exchange", "beat", "set_session", "cancel", "requeue", "reap", "promote_due",
    "put_schedules", "fire", "lead", "resign", "set_queue", "record",
    "put_keys",
)  # fmt: skip
_FREEING = ("purge",)
_READING = ("get", "scan", "counts", "flows", "look", "overdue", "list_sessions")
READING = frozenset(_READING)
"""Functions that change nothing: after a fault they were not carried out in any sense."""
_FIELDS = {name.upper(): place for place, name in enumerate(Life.__struct_fields__, 1)}
_RENEWED = (
    "FAILED", "LOST", "ERROR", "ERROR_CODE", "PROGRESS", "NOTE", "FINISHED_AT", "CANCEL_REQUESTED",
)  # fmt: skip
"""What a requeue clears."""
_EVENTS = {event: number for number, event in enumerate(Event, 1)}
_SYMBOL = re.compile(r"\b([A-Z])\.([A-Z][A-Z_]*)\b")
_ERRORS = {
    "EXPIRED": rules.EXPIRED,
    "PARENT_FAILED": rules.PARENT_FAILED,
    "TIMED_OUT": rules.TIMED_OUT,
    "WORKER_LOST": rules.WORKER_LOST,
}


@lru_cache(maxsize=1)
def library() -> tuple[str, str]:
    """Return the library's name and its text."""
    folder = files("stoker.stores.redis") / "lua"
    source = "\n".join((folder / f"{name}.lua").read_text("utf-8") for name in _FILES)
    body = f"{_moves()}\n{_SYMBOL.sub(_symbol, source)}"
    digest = hashlib.sha256(body.encode()).hexdigest()[:12]
    name = f"{PREFIX}{VERSION}_{digest}"
    return name, f"#!lua name={name}\n{body}\n{_registrations(name)}"


def function(name: str) -> str:
    """Return the full name of one of the library's functions."""
    return f"{library()[0]}_{name}"


def version_of(library_name: str) -> int | None:
    """Return the version in a library's name; None if it is not one of ours."""
    found = re.fullmatch(rf"{PREFIX}(\d+)_[0-9a-f]{{12}}", library_name)
    return int(found[1]) if found else None


def _moves() -> str:
    rows = (f"[{CODES[s] * 64 + _EVENTS[e]}] = {CODES[to]}" for (s, e), to in TABLE.items())
    return "local T = {" + ", ".join(rows) + "}"


def _registrations(name: str) -> str:
    flags = (
        [(verb, "{}") for verb in _WRITING]
        + [(verb, "{'allow-oom'}") for verb in _FREEING]
        + [(verb, "{'no-writes'}") for verb in _READING]
    )
    return "\n".join(
        f"redis.register_function{{function_name='{name}_{verb}', callback={verb}, flags={flag}}}"
        for verb, flag in flags
    )


def _symbol(found: re.Match[str]) -> str:
    space, name = found.groups()
    value = _spaces()[space][name]
    return json.dumps(value) if isinstance(value, str) else str(value)


@lru_cache(maxsize=1)
def _spaces() -> Mapping[str, Mapping[str, Any]]:
    fields = _FIELDS | {
        "FIRST_OF_TRY": _FIELDS["TRY_ATTEMPT"],
        "LAST_OF_TRY": _FIELDS["TRY_ERROR"],
    }
    return {
        "A": _places(TRY),
        "B": _places(SETTLED),
        "E": {event.name: number for event, number in _EVENTS.items()},
        "F": fields,
        "H": _places(HEAD),
        "J": _places(JOB),
        "K": {name: f":{key.name}" for name, key in KEYS.items()}
        | {name: f":{channel}" for name, channel in CHANNELS.items()},
        "N": {kind.name: kind.value for kind in Kind},
        "O": {outcome.name: outcome.value for outcome in Outcome},
        "Q": _places(QUERY),
        "S": {state.name: code for state, code in CODES.items()},
        "X": _numbers(),
        "Z": _places(SESSION),
    }


def _numbers() -> dict[str, Any]:
    errors = {name: _text(error) for name, error in _ERRORS.items()}
    codes = {f"{name}_CODE": error.code for name, error in _ERRORS.items()}
    live = ", ".join(str(CODES[state]) for state in STATES if state in LIVE)
    return {
        **errors,
        **codes,
        "BLOCK": 256,
        "BLOCKS_A_CALL": 4,
        "CLASSES": len(spread.BOUNDS),
        "CONFIRM_SHARE": rules.CONFIRM_SHARE,
        "DEADLINE_GRACE": rules.DEADLINE_GRACE,
        "EVENTS_KEPT": EVENTS_KEPT,
        "FORGOTTEN": 500,
        "LIVE_STATES": _Literal("{" + live + "}"),
        "LOOKS": 500,
        "MAX_LOGS": MAX_LOGS,
        "MEMBERS_A_CALL": 500,
        "MINUTE_KEEP": MINUTE_KEEP,
        "PART": 4_000,
        "PASSED_OVER": 16,
        "PROMOTED": PROMOTED,
        "RENEWED": _Literal("{" + ", ".join(str(_FIELDS[name]) for name in _RENEWED) + "}"),
        "SESSION_KEEP": rules.SESSION_KEEP,
        "STATES": len(STATES),
        "TICK": 1e-6,
    }


class _Literal:
    """Lua text that is no string."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


def _places(names: tuple[str, ...]) -> dict[str, int]:
    return {name: place for place, name in enumerate(names, 1)}


def _text(error: ErrorInfo) -> str:
    return msgspec.json.encode(error).decode()
