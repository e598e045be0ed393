"""The views: counts, queues, workflows, sessions, schedules, events."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from stoker.core import rules
from stoker.core.duration import optional_when, when
from stoker.core.errors import InvalidQuery
from stoker.core.events import EventRecord, Kind
from stoker.core.job import PRIORITIES, Command, SessionInfo, SessionState
from stoker.core.lifecycle import State
from stoker.core.records import (
    MAX_PAGE,
    Activity,
    Counts,
    EventQuery,
    QueueInfo,
    Tally,
    WorkflowInfo,
)
from stoker.core.spread import make_counts
from stoker.stores.redis.exchanging import session_of
from stoker.stores.redis.functions import STATES
from stoker.stores.redis.records import No, unpack

DAY = 86_400.0
Row = Sequence[Any]
_Tallies = dict[tuple[str, int, State], int]
_CELL = re.compile(rb"([nwr]):([a-z_0-9]+):(\d+):(.*)", re.DOTALL)


class _Event(msgspec.Struct, array_like=True, gc=False):
    at: float
    kind: Kind
    actor: str
    job_id: str | No
    queue: str | No
    worker: str | No
    details: Any


_read_event = msgspec.msgpack.Decoder(_Event).decode


def check_limit(limit: int) -> None:
    """Refuse a page size that no verb gives.

    Raises:
        InvalidQuery: Not between 1 and `MAX_PAGE`.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidQuery(f"the limit is {limit}; expected 1 to {MAX_PAGE}", limit=limit)


def place(cursor: str | None, kind: str) -> int | None:
    """Return the number in a cursor.

    Raises:
        InvalidQuery: Not a cursor that a page gave.
    """
    if cursor is None:
        return None
    if not re.fullmatch(kind + "[0-9]{1,15}", cursor):
        raise InvalidQuery(f"the cursor is {cursor[:100]!r}; expected one that a page gave")
    return int(cursor[1:])


def counts_of(reply: Row) -> Counts:
    """Return the store's counts."""
    now, tallies, queues, totals, minutes = reply
    found = _tallies(tallies)
    return make_counts(
        now=when(float(now)),
        tallies=[
            Tally(queue, PRIORITIES[rank], state, count)
            for (queue, rank, state), count in sorted(found.items())
        ],
        oldest={
            name.decode(): when(float(oldest))
            for name, _, oldest in _threes(queues)
            if oldest is not None
        },
        activity=[cell for minute, cells in _pairs(minutes) for cell in _cells(minute, cells)],
        totals={name.decode(): int(count) for name, count in _pairs(totals)},
    )


def queues_of(queues: Row, tallies: Row) -> list[QueueInfo]:
    """Return queues by name."""
    counts: dict[str, Counter[State]] = {}
    for (queue, _, state), count in _tallies(tallies).items():
        counts.setdefault(queue, Counter())[state] += count
    found = []
    for name, settings, oldest in _threes(queues):
        paused, limit = unpack(settings)
        found.append(
            QueueInfo(
                name=name.decode(),
                paused=paused,
                limit=limit or None,
                counts=dict(counts.get(name.decode(), {})),
                oldest_at=None if oldest is None else when(float(oldest)),
            )
        )
    return sorted(found, key=lambda info: info.name)


def sessions_of(reply: Row) -> list[SessionInfo]:
    """Return sessions, newest first."""
    found = [(unpack(packed), busy) for _, packed, busy in _threes(reply)]
    found.sort(key=lambda row: -row[0][0])
    return [_session(row, busy) for row, busy in found]


def workflows_of(reply: Sequence[Row]) -> list[WorkflowInfo]:
    """Return workflows, newest first."""
    rows = [(unpack(packed), tally, last) for packed, tally, last in reply]
    rows.sort(key=lambda row: -row[0][0])
    return [_workflow(row, tally, last) for row, tally, last in rows]


def number_of_workflow(row: Row) -> int:
    """Return a workflow's place in the order of submission."""
    number: int = unpack(row[0])[0]
    return number


def event_of(entry: Row) -> EventRecord:
    """Return a line of the audit trail."""
    name, fields = entry
    event = _read_event(fields[1])
    details = event.details or {}
    return EventRecord(
        seq=int(name.partition(b"-")[0]),
        at=when(event.at),
        kind=event.kind,
        actor=event.actor,
        job_id=event.job_id or None,
        queue=event.queue or None,
        worker=event.worker or None,
        details=msgspec.json.decode(details) if isinstance(details, str) else details,
    )


def event_matches(event: EventRecord, query: EventQuery) -> bool:
    """Whether an event is meant by every field that says something."""
    exact = (
        (query.job_id, event.job_id),
        (query.queue, event.queue),
        (query.worker, event.worker),
        (query.actor, event.actor),
    )
    if query.kinds and event.kind not in query.kinds:
        return False
    if query.since is not None and event.at.timestamp() < query.since:
        return False
    return all(asked is None or asked == value for asked, value in exact)


def _tallies(flat: Row) -> _Tallies:
    found: _Tallies = {}
    for field, text in _pairs(flat):
        state, rank, queue = field.decode().split(":", 2)
        count = int(text)
        if count:
            found[queue, int(rank), STATES[int(state) - 1]] = count
    return found


def _cells(minute: bytes, flat: Row) -> Iterator[Activity]:
    sums: dict[tuple[str, str, str], dict[bytes, float]] = {}
    for field, text in _pairs(flat):
        cell = _CELL.fullmatch(field)
        if cell is not None:
            kind, outcome, length, rest = cell.groups()
            names = (rest[: int(length)].decode(), rest[int(length) :].decode(), outcome.decode())
            sums.setdefault(names, {})[kind] = float(text)
    for (queue, task, outcome), values in sums.items():
        count, waited, ran = (values.get(kind, 0.0) for kind in (b"n", b"w", b"r"))
        yield Activity(when(int(minute)), queue, task, outcome, int(count), waited, ran)


def _session(row: Row, busy: int) -> SessionInfo:
    _, name, state, text, started, seen, expires, _, command = row
    spec = session_of(text)
    return SessionInfo(
        id=spec.id,
        name=name,
        state=SessionState(state),
        host=spec.host,
        pid=spec.pid,
        kind=spec.kind,
        version=spec.version,
        queues=spec.queues,
        tasks=spec.tasks,
        concurrency=spec.concurrency,
        busy=busy,
        started_at=when(started),
        seen_at=when(seen),
        expires_at=when(expires),
        command=Command(command) if command else None,
        details=spec.details,
    )


def _workflow(row: Row, tally: Row, last: bytes | None) -> WorkflowInfo:
    _, flow_id, name, submitted_at = row
    counts = {
        STATES[int(field) - 1]: int(count)
        for field, count in _pairs(tally)
        if field.isdigit() and int(count)
    }
    state: Any = rules.workflow_state(counts)
    ended = None if state == "running" or last is None else float(last)
    return WorkflowInfo(
        id=flow_id,
        name=name,
        state=state,
        total=sum(counts.values()),
        counts=counts,
        submitted_at=when(submitted_at),
        finished_at=optional_when(ended),
    )


def _pairs(flat: Row) -> Iterable[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _threes(flat: Row) -> Iterable[tuple[Any, Any, Any]]:
    return zip(flat[::3], flat[1::3], flat[2::3], strict=True)
