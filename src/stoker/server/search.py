r"""What people type into the search box, as a query.

``state:dead_letter queue:mail,images error:"timed out" since:2h`` is a list of terms; all of them
must hold. A term is a qualifier, a colon and a value; several values with commas between, or the
qualifier again, mean any of them. A value with spaces, commas or quotes stands in double quotes,
with ``\"`` and ``\\`` inside. ``payload.customer.id:17`` asks for what stands at a place in the
payload; a job's id needs no qualifier, and any other word without one must stand somewhere in the
payload. This is the one place that reads the language; what it refuses, it refuses with the place.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from stoker.core.errors import InvalidQuery
from stoker.core.job import Priority
from stoker.core.lifecycle import LEASED, LIVE, TERMINAL, WAITING, State
from stoker.core.records import JobQuery
from stoker.server.sifting import Held, Search

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
    "priority": "priorities",
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
PAYLOAD = "payload."
"""What the qualifier for a place in the payload begins with."""
ANY_OF = frozenset({"state", "queue", "task", "priority", "id"})
"""Qualifiers that take several values."""
_MOST_VALUES = 100
_MOST_HELD = 10

_TERM = re.compile(
    r'(?:(?P<name>payload\.[^\s":,]*|[A-Za-z_]+):)?'
    r'(?P<values>(?:"(?:\\.|[^"\\])*"|[^\s",]|,)+|)'
)
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


def read_search(text: str, *, moment: ReadMoment) -> Search:
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
    held: list[Held] = []
    for term in terms(text):
        if _asks_payload(term):
            held.append(_held(term))
            if len(held) > _MOST_HELD:
                raise _wrong(term.at, f"more than {_MOST_HELD} terms ask for the payload")
        else:
            _add(fields, term, moment)
    return Search(query=JobQuery(**fields), held=tuple(held))


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
    name = match["name"] or ""
    if name.startswith(PAYLOAD):
        return _filled(match, name, at)
    name = name.lower()
    if name and name not in QUALIFIERS:
        raise _wrong(
            at,
            f"there is no qualifier {name[:50]!r}; known are {', '.join(QUALIFIERS)} and "
            f"payload.PLACE; a text with a colon stands in double quotes",
        )
    return _filled(match, name, at)


def _filled(match: re.Match[str], name: str, at: int) -> Term:
    values = tuple(_text(found) for found in _VALUE.finditer(match["values"]))
    if not all(values) or not values:
        raise _wrong(match.start("values"), f"{name or 'the term'} has no value")
    return Term(name, values, at, match[0])


def _text(found: re.Match[str]) -> str:
    quoted = found["quoted"]
    return found["bare"] if quoted is None else _ESCAPED.sub(r"\1", quoted)


def _add(fields: dict[str, Any], term: Term, moment: ReadMoment) -> None:
    name = term.name or "id"
    field = QUALIFIERS[name]
    if name in ANY_OF:
        values = _READ[name](term) if name in _READ else term.values
        both = dict.fromkeys((*fields.get(field, ()), *values))
        if len(both) > _MOST_VALUES:
            raise _wrong(term.at, f"{name} has more than {_MOST_VALUES} values")
        fields[field] = tuple(both)
        return
    if len(term.values) > 1 or field in fields:
        raise _wrong(term.at, f"{name} takes one value")
    [value] = term.values
    fields[field] = _moment(term, value, moment) if name in {"since", "until"} else value


def _asks_payload(term: Term) -> bool:
    """Whether a term is about the payload: by its name, or as a word that is no job's id."""
    if term.name:
        return term.name.startswith(PAYLOAD)
    return not all(_ID.fullmatch(value) for value in term.values)


def _held(term: Term) -> Held:
    if len(term.values) > 1:
        raise _wrong(term.at, f"{term.name or 'a word'} takes one value")
    path = tuple(term.name.removeprefix(PAYLOAD).split(".")) if term.name else ()
    if term.name and not all(path):
        raise _wrong(term.at, f"{term.name[:50]!r} names no place in the payload")
    return Held(path, term.values[0])


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


def _priorities(term: Term) -> list[Priority]:
    known = {str(priority): priority for priority in Priority}
    for value in term.values:
        if value.lower() not in known:
            raise _wrong(
                term.at, f"there is no priority {value[:50]!r}; known are {', '.join(known)}"
            )
    return [known[value.lower()] for value in term.values]


_READ: Mapping[str, Callable[[Term], Any]] = {"state": _states, "priority": _priorities}


def _moment(term: Term, value: str, moment: ReadMoment) -> float:
    try:
        return moment(value, term.name)
    except InvalidQuery as error:
        raise _wrong(term.at, error.message) from None


def _wrong(at: int, message: str) -> InvalidQuery:
    return InvalidQuery(f"the search is wrong at character {at + 1}: {message}", position=at)
