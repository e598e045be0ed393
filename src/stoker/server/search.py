r"""What people type into the search box, as a query.

``state:dead_letter queue:mail,images error:"timed out" since:2h`` is a list of terms; all of them
must hold. A term is a qualifier, a colon and a value; several values with commas between, or the
qualifier again, mean any of them. A value with spaces, commas or quotes stands in double quotes,
with ``\"`` and ``\\`` inside. A job's id needs no qualifier. This is the one place that reads the
language; what it refuses, it refuses with the place.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from stoker.core.errors import InvalidQuery
from stoker.core.lifecycle import LEASED, LIVE, TERMINAL, WAITING, State
from stoker.core.records import JobQuery

LONGEST = 2_000
"""Characters of a search."""
GROUPS: Mapping[str, frozenset[State]] = {
    "waiting": WAITING,
    "leased": LEASED,
    "live": LIVE,
    "ended": TERMINAL,
}
"""Names for several states at once."""
QUALIFIERS: Mapping[str, str] = {
    "state": "states",
    "queue": "queues",
    "task": "tasks",
    "id": "ids",
    "tenant": "tenant",
    "error": "error",
    "worker": "worker",
    "workflow": "workflow_id",
    "schedule": "schedule",
    "since": "submitted_after",
    "until": "submitted_before",
}
"""Qualifier to the field of `JobQuery` that it narrows."""
ANY_OF = frozenset({"state", "queue", "task", "id"})
"""Qualifiers that take several values."""
_MOST_VALUES = 100

_TERM = re.compile(r'(?:(?P<name>[A-Za-z_]+):)?(?P<values>(?:"(?:\\.|[^"\\])*"|[^\s",]|,)+|)')
_VALUE = re.compile(r'"(?P<quoted>(?:\\.|[^"\\])*)"|(?P<bare>[^\s",]+)')
_ESCAPED = re.compile(r"\\(.)")
_ID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_STATES = {str(state): frozenset({state}) for state in State} | dict(GROUPS)

ReadMoment = Callable[[str, str], float]
"""Takes a text and the qualifier's name; returns seconds since 1970."""


class Term(msgspec.Struct, frozen=True):
    """One term of a search."""

    name: str
    """The qualifier; empty for a bare word."""
    values: tuple[str, ...]
    at: int
    """Its place in the text, from 0."""
    text: str


def read_search(text: str, *, moment: ReadMoment) -> JobQuery:
    """Return what a search means.

    Args:
        text: What was typed; an empty one means every job.
        moment: Reads the values of ``since`` and ``until``.

    Raises:
        InvalidQuery: It means nothing; ``details.position`` says where, from 0.
    """
    if len(text) > LONGEST:
        raise InvalidQuery(
            f"the search has {len(text)} characters; expected at most {LONGEST}", position=LONGEST
        )
    fields: dict[str, Any] = {}
    for term in terms(text):
        _add(fields, term, moment)
    return JobQuery(**fields)


def terms(text: str) -> Iterator[Term]:
    """Yield the terms of a search.

    Raises:
        InvalidQuery: A quote that does not end, a qualifier that nobody knows, a missing value.
    """
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _TERM.match(text, at)
        end = at if match is None else match.end()
        if match is None or (end < len(text) and not text[end].isspace()):
            raise _wrong(end, "a quote begins here and does not end")
        yield _term(match, at)
        at = end


def _term(match: re.Match[str], at: int) -> Term:
    name = (match["name"] or "").lower()
    if name and name not in QUALIFIERS:
        raise _wrong(
            at,
            f"there is no qualifier {name[:50]!r}; known are {', '.join(QUALIFIERS)}",
        )
    values = tuple(_text(found) for found in _VALUE.finditer(match["values"]))
    if not all(values) or not values:
        raise _wrong(match.start("values"), f"{name or 'the term'} has no value")
    return Term(name, values, at, match[0])


def _text(found: re.Match[str]) -> str:
    quoted = found["quoted"]
    return found["bare"] if quoted is None else _ESCAPED.sub(r"\1", quoted)


def _add(fields: dict[str, Any], term: Term, moment: ReadMoment) -> None:
    name = term.name
    if not name:
        name = _bare(term)
    field = QUALIFIERS[name]
    if name in ANY_OF:
        values = _states(term) if name == "state" else term.values
        both = dict.fromkeys((*fields.get(field, ()), *values))
        if len(both) > _MOST_VALUES:
            raise _wrong(term.at, f"{name} has more than {_MOST_VALUES} values")
        fields[field] = tuple(both)
        return
    if len(term.values) > 1 or field in fields:
        raise _wrong(term.at, f"{name} takes one value")
    [value] = term.values
    fields[field] = _moment(term, value, moment) if name in {"since", "until"} else value


def _bare(term: Term) -> str:
    if all(_ID.fullmatch(value) for value in term.values):
        return "id"
    raise _wrong(
        term.at,
        f"{term.text[:50]!r} is no job's id; say what it is, such as task:{term.values[0][:20]} or "
        f"error:{term.values[0][:20]}; known are {', '.join(QUALIFIERS)}",
    )


def _states(term: Term) -> list[State]:
    found: set[State] = set()
    for value in term.values:
        if value.lower() not in _STATES:
            raise _wrong(
                term.at,
                f"there is no state {value[:50]!r}; known are {', '.join(_STATES)}",
            )
        found |= _STATES[value.lower()]
    return sorted(found)


def _moment(term: Term, value: str, moment: ReadMoment) -> float:
    try:
        return moment(value, term.name)
    except InvalidQuery as error:
        raise _wrong(term.at, error.message) from None


def _wrong(at: int, message: str) -> InvalidQuery:
    return InvalidQuery(f"the search is wrong at character {at + 1}: {message}", position=at)
