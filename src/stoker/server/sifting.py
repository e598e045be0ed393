"""Searches that no index answers: what a payload holds.

The store finds what the rest of a search means; here each of those jobs is looked at. So that no
search holds anybody up, however many jobs there are, one look goes through about `MOST` of them
and then gives what it has, with a cursor to go on. A page that is short and goes on has not found
less: it has looked at enough.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from stoker.core.job import JobRecord
from stoker.core.records import JobQuery, Page
from stoker.core.store import Store

MOST = 5_000
"""Jobs that one look goes through."""
_AT_ONCE = 500
_DIGITS = 10
_read: Callable[[Any], Any] = msgspec.json.Decoder().decode

Run = Callable[[Callable[[Store], Awaitable[Page]]], Awaitable[Page]]
"""Runs work on the store."""


class Held(msgspec.Struct, frozen=True):
    """Something that a payload must hold."""

    path: tuple[str, ...]
    """Keys, and places in lists, from the outside in. Empty: anywhere in the payload."""
    value: str
    """What stands there: a text, or another value as JSON writes it. Anywhere: a part of the
    payload's JSON, whatever the case."""


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What a search means: what the store narrows, and what a payload must hold besides."""

    query: JobQuery = JobQuery()
    held: tuple[Held, ...] = ()


class SearchPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of jobs, newest submitted first."""

    jobs: list[JobRecord]
    next_cursor: str | None = None
    """Give it as ``cursor`` to go on; null at the end. A page may be short and go on."""
    looked_at: int | None = None
    """Jobs whose payloads were looked at for this page; null when the search asks for none."""


async def find(run: Run, search: Search, *, cursor: str | None, limit: int) -> SearchPage:
    """Return a page of what a search means.

    Raises:
        InvalidQuery: The cursor is not one that a page gave, or the limit means nothing.
    """
    if not search.held:
        page = await _page(run, search.query, cursor, limit)
        return SearchPage(jobs=page.jobs, next_cursor=page.next_cursor)
    found: list[JobRecord] = []
    looked_at = 0
    while len(found) < limit and looked_at < MOST:
        page = await _page(run, search.query, cursor, _AT_ONCE)
        taken, whole = _taken(page.jobs, search.held, limit - len(found))
        found += taken
        looked_at += whole
        if whole < len(page.jobs):
            cursor = await _cursor_after(run, search.query, cursor, whole)
            break
        cursor = page.next_cursor
        if cursor is None:
            break
    return SearchPage(jobs=found, next_cursor=cursor, looked_at=looked_at)


def holds(payload: bytes | msgspec.Raw, held: Sequence[Held]) -> bool:
    """Whether a payload holds all that it must."""
    raw = bytes(payload)
    text: str | None = None
    value: Any = None
    for one in held:
        if not one.path:
            text = raw.decode().casefold() if text is None else text
            if one.value.casefold() not in text:
                return False
            continue
        value = _read(raw) if value is None else value
        if not _is_at(value, one.path, one.value):
            return False
    return True


def _taken(
    jobs: Sequence[JobRecord], held: Sequence[Held], most: int
) -> tuple[list[JobRecord], int]:
    """Return the jobs that hold it, up to so many, and how many were looked at for them."""
    found: list[JobRecord] = []
    for place, job in enumerate(jobs):
        if holds(job.payload, held):
            found.append(job)
            if len(found) == most:
                return found, place + 1
    return found, len(jobs)


async def _cursor_after(run: Run, query: JobQuery, cursor: str | None, count: int) -> str | None:
    """Return the cursor behind so many jobs; it is the store who makes cursors."""
    return (await _page(run, query, cursor, count)).next_cursor


async def _page(run: Run, query: JobQuery, cursor: str | None, limit: int) -> Page:
    return await run(lambda store: store.find(query, cursor=cursor, limit=limit))


def _is_at(value: Any, path: Sequence[str], wanted: str) -> bool:
    for key in path:
        if isinstance(value, dict):
            if key not in value:
                return False
            value = value[key]
        elif isinstance(value, list) and _is_place(key) and int(key) < len(value):
            value = value[int(key)]
        else:
            return False
    if isinstance(value, str):
        return value == wanted
    if isinstance(value, float | int) and not isinstance(value, bool):
        return _number(wanted) == value
    return msgspec.json.encode(value).decode() == wanted


def _is_place(key: str) -> bool:
    return key.isascii() and key.isdecimal() and len(key) < _DIGITS


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
