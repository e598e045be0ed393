"""What a search may go on with: qualifiers, and the values that the store knows."""

import contextlib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec

from stoker.app.stats import Grouping
from stoker.core.errors import Forbidden
from stoker.core.fleets import workers_among
from stoker.core.job import PRIORITIES
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.core.store import Store
from stoker.server.caller import Caller
from stoker.server.schemas import Suggestion
from stoker.server.search import ANY_OF, GROUPS, PAYLOAD, QUALIFIERS

MOST = 20
"""Suggestions in one answer."""
LOOKED_AT = 200
"""The newest jobs whose tenants and errors are suggested."""
Values = Mapping[str, str]
"""Value to a note about it."""

_NOTES = {
    "state": "one of the states, or waiting, leased, live, ended",
    "queue": "the queue's name",
    "task": "the task's name",
    "priority": "high, medium or low",
    "id": "the job's id",
    "payload": "what stands at a place in the payload, such as payload.customer.id:17",
    "tenant": "whose job it is",
    "error": "a text in the last error",
    "worker": "the worker that holds it or held it last",
    "workflow": "the workflow's id",
    "schedule": "the schedule that fired it",
    "since": "submitted since: 2h, or a moment",
    "until": "submitted before: 10m, or a moment",
}
_KEY = re.compile(r"[^\s\":,.]+")
_AGES = {"10m": "ten minutes ago", "1h": "an hour ago", "1d": "a day ago", "7d": "a week ago"}


async def suggest(caller: Caller, text: str) -> list[Suggestion]:
    """Say how a term may go on.

    Args:
        caller: Who asks.
        text: The term that is being typed: the begin of a qualifier, or ``qualifier:`` and the
            begin of a value.
    """
    name, colon, begun = text.partition(":")
    name = name.lower()
    if not colon:
        return [
            Suggestion(text=f"{known}:", note=_NOTES[known])
            for known in QUALIFIERS
            if known.startswith(name)
        ] + await _places(caller, text)
    if name not in QUALIFIERS:
        return []
    *before, last = begun.split(",") if name in ANY_OF else [begun]
    kept = "".join(f"{value}," for value in before)
    values = await _values(caller, name)
    return [
        Suggestion(text=f"{name}:{kept}{quoted(value)}", note=note)
        for value, note in _sorted(values, last.strip('"').casefold())
    ][:MOST]


async def _places(caller: Caller, begun: str) -> list[Suggestion]:
    """Suggest places in the payloads of the newest jobs, once ``payload`` is being typed."""
    if not begun or not (PAYLOAD.startswith(begun) or begun.startswith(PAYLOAD)):
        return []
    page = await caller.run(lambda store: store.find(JobQuery(), limit=LOOKED_AT))
    places: dict[str, str] = {}
    for job in page.jobs:
        for key in msgspec.json.decode(job.payload):
            if _KEY.fullmatch(key):
                places.setdefault(f"{PAYLOAD}{key}:", job.task)
    found = [Suggestion(text=place, note=task) for place, task in places.items()]
    return [one for one in found if one.text.startswith(begun)][:MOST]


def quoted(value: str) -> str:
    """Return a value as a search writes it."""
    if value and not any(char.isspace() or char in '",' for char in value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _sorted(values: Values, begun: str) -> Iterable[tuple[str, str]]:
    """Those that begin with a text first, then those that contain it."""
    found = [item for item in values.items() if begun in item[0].casefold()]
    return sorted(found, key=lambda item: not item[0].casefold().startswith(begun))


async def _values(caller: Caller, name: str) -> Values:
    if name == "state":
        groups = {group: ", ".join(sorted(states)) for group, states in GROUPS.items()}
        return {str(state): "" for state in State} | groups
    if name == "priority":
        return dict.fromkeys((str(priority) for priority in PRIORITIES), "")
    if name in {"since", "until"}:
        return _AGES
    if name == "task":
        return dict.fromkeys(await caller.app.aknown_tasks(), "")
    ask = _ASK.get(name)
    if ask is None:
        return {}
    with contextlib.suppress(Forbidden):
        return await caller.run(ask)
    return {}


async def _queues(store: Store) -> Values:
    return {queue.name: "paused" if queue.paused else "" for queue in await store.queues()}


async def _workers(store: Store) -> Values:
    return {s.name: str(s.state) for s in workers_among(await store.sessions(ended=True))}


async def _schedules(store: Store) -> Values:
    return {info.spec.name: info.spec.job.task for info in await store.schedules()}


async def _workflows(store: Store) -> Values:
    flows, _ = await store.workflows(limit=MOST)
    return {flow.id: f"{flow.name}, {flow.state}" for flow in flows}


async def _tenants(store: Store) -> Values:
    page = await store.find(JobQuery(), limit=LOOKED_AT)
    return dict.fromkeys(sorted({job.tenant for job in page.jobs if job.tenant}), "")


async def _errors(store: Store) -> Values:
    grouping = Grouping()
    query = JobQuery(states=(State.DEAD_LETTER, State.RETRY_QUEUED))
    for job in (await store.find(query, limit=LOOKED_AT)).jobs:
        grouping.add(job)
    found: dict[str, str] = {}
    for group in grouping.groups():
        if group.code:
            found.setdefault(group.type or group.code, group.message)
    return found


_ASK: Mapping[str, Callable[[Store], Awaitable[Any]]] = {
    "queue": _queues,
    "worker": _workers,
    "schedule": _schedules,
    "workflow": _workflows,
    "tenant": _tenants,
    "error": _errors,
}
