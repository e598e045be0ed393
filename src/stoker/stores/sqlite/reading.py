"""The views: pages, counts, queues, workflows, sessions, schedules, events. They change nothing."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import apsw
import msgspec

from stoker.core import rules
from stoker.core.duration import optional_when, when
from stoker.core.events import EventRecord, Kind
from stoker.core.job import Command, SessionInfo, SessionSpec, SessionState
from stoker.core.lifecycle import State
from stoker.core.records import (
    Activity,
    Counts,
    EventQuery,
    JobQuery,
    Page,
    QueueInfo,
    ScheduleInfo,
    Tally,
    WorkflowInfo,
)
from stoker.core.spread import make_counts
from stoker.stores.sqlite.matching import ALL_CODES, Conditions, check_limit, place
from stoker.stores.sqlite.phrases import (
    ASSIGNED,
    RUNNING,
    STATES,
    TALLIED,
    phrase,
    priority_of,
)
from stoker.stores.sqlite.planning import decode_spec
from stoker.stores.sqlite.records import records_of
from stoker.stores.sqlite.transaction import DAY, MINUTE, to_json

_NEWEST = """
    SELECT json_group_array(seq) FROM (
        SELECT j.seq FROM jobs AS j {where} ORDER BY j.seq DESC LIMIT ?)"""
_TALLIES = """
    SELECT json_group_array(json_array(queue, priority, state, n) ORDER BY queue, priority, state)
    FROM tallies WHERE n > 0"""
_RUNNING = phrase("""
    SELECT json_group_array(json_array(queue, priority, n)) FROM (
        SELECT queue, priority, count(*) AS n FROM jobs INDEXED BY jobs_leased
        WHERE {leased} AND state = 4 GROUP BY queue, priority)""")
_RUNNING_OF = phrase("""
    SELECT json_group_array(json_array(workflow_id, n)) FROM (
        SELECT workflow_id, count(*) AS n FROM jobs INDEXED BY jobs_leased
        WHERE {leased} AND state = 4 AND workflow_id IN (SELECT value FROM json_each(?))
        GROUP BY workflow_id)""")
_SUM = "SELECT coalesce(sum(n), 0) FROM tallies WHERE state IN (SELECT value FROM json_each(?))"
_SOME = """
    SELECT EXISTS (
        SELECT 1 FROM tallies WHERE n > 0 AND state IN (SELECT value FROM json_each(?1))
        AND (?2 = '[]' OR queue IN (SELECT value FROM json_each(?2)))
        AND (?3 = '[]' OR priority IN (SELECT value FROM json_each(?3))))"""
_OLDEST = phrase("""
    SELECT json_group_array(json_array(name, due_at)) FROM (
        SELECT q.name, (
            SELECT min((SELECT min(due_at) FROM jobs
                        WHERE {queued} AND queue = q.name AND priority = p.value))
            FROM json_each('[0,1,2]') AS p) AS due_at
        FROM queues AS q)
    WHERE due_at IS NOT NULL""")
_ACTIVITY = """
    SELECT json_group_array(
        json_array(minute, queue, task, outcome, n, waited, ran)
        ORDER BY minute, queue, task, outcome)
    FROM activity WHERE minute >= ?"""
_TOTALS = "SELECT json_group_object(outcome, n) FROM totals"
_QUEUES = """
    SELECT json_group_array(json_array(name, paused, lease_limit) ORDER BY name) FROM queues"""
_FLOWS = """
    SELECT json_group_array(json_array(
        w.seq, w.id, w.name, w.submitted_at,
        (SELECT max(finished_at) FROM jobs WHERE workflow_id = w.id),
        json((SELECT json_group_array(json_array(state, n)) FROM workflow_tallies
              WHERE workflow_id = w.id AND n > 0))))
    FROM (SELECT * FROM workflows AS w %s ORDER BY seq DESC LIMIT ?) AS w"""
_ALL_FLOWS = _FLOWS % "WHERE seq < ?"
_SOME_FLOWS = _FLOWS % "WHERE seq < ? AND id IN (SELECT value FROM json_each(?))"
_SESSIONS = phrase("""
    SELECT json_group_array(json_array(
        id, name, state, started_at, seen_at, expires_at, command, spec,
        (SELECT count(*) FROM jobs WHERE session = sessions.seq AND {leased})) ORDER BY seq DESC)
    FROM sessions WHERE ended_at IS NULL OR (?1 AND ended_at >= ?2)""")
_SCHEDULES = """
    SELECT json_group_array(json_array(
        name, spec, paused, next_at, last_at, last_job_id, fired, created_at, updated_at)
        ORDER BY name)
    FROM schedules"""
_EVENTS = """
    SELECT json_group_array(json_array(seq, at, kind, actor, job_id, queue, worker, details))
    FROM (SELECT * FROM events {where} ORDER BY seq {order} LIMIT ?)"""
_EVENT_FILTERS = (
    ("job_id", "job_id = ?"),
    ("queue", "queue = ?"),
    ("worker", "worker = ?"),
    ("actor", "actor = ?"),
    ("since", "at >= ?"),
)


class _Activity(msgspec.Struct, array_like=True, gc=False):
    minute: int
    queue: str
    task: str
    outcome: str
    n: int
    waited: float
    ran: float


class _Flow(msgspec.Struct, array_like=True, gc=False):
    seq: int
    id: str
    name: str
    submitted_at: float
    finished_at: float | None
    tallies: list[tuple[int, int]]


class _Session(msgspec.Struct, array_like=True, gc=False):
    id: str
    name: str
    state: SessionState
    started_at: float
    seen_at: float
    expires_at: float
    command: Command | None
    spec: str
    busy: int


class _Schedule(msgspec.Struct, array_like=True, gc=False):
    name: str
    spec: str
    paused: int
    next_at: float | None
    last_at: float | None
    last_job_id: str | None
    fired: int
    created_at: float
    updated_at: float


class _Event(msgspec.Struct, array_like=True, gc=False):
    seq: int
    at: float
    kind: Kind
    actor: str
    job_id: str | None
    queue: str | None
    worker: str | None
    details: str | None


_Tallies = list[tuple[str, int, int, int]]
_read_tallies: Callable[[str], _Tallies] = msgspec.json.Decoder(_Tallies).decode
_read_activity = msgspec.json.Decoder(list[_Activity]).decode
_read_flows = msgspec.json.Decoder(list[_Flow]).decode
_read_sessions = msgspec.json.Decoder(list[_Session]).decode
_read_schedules = msgspec.json.Decoder(list[_Schedule]).decode
_read_events = msgspec.json.Decoder(list[_Event]).decode
_read_spec = msgspec.json.Decoder(SessionSpec).decode


def find(db: apsw.Connection, query: JobQuery, cursor: str | None, limit: int) -> Page:
    """See `Store.find`."""
    check_limit(limit)
    conditions = Conditions(query)
    if cursor is not None:
        conditions.add("j.seq < ?", place(cursor, "j"))
    if conditions.impossible:
        return Page([])
    if _are_none(db, query, conditions.states or ALL_CODES):
        return Page([])
    every = _value(db, _SUM, to_json(list(ALL_CODES)))
    some = every if conditions.states is None else _sum(db, conditions.states)
    conditions.narrow(some, every, partial(_value, db))
    text = _value(db, conditions.fill(_NEWEST), *conditions.parameters, limit + 1)
    seqs: list[int] = msgspec.json.decode(text)
    more = f"j{seqs[limit - 1]}" if len(seqs) > limit else None
    return Page(records_of(db, seqs[:limit], logs=False), more)


def counts(db: apsw.Connection, now: float, window: float) -> Counts:
    """See `Store.counts`."""
    tallies = _tallies(db)
    return make_counts(
        now=when(now),
        tallies=[Tally(q, priority_of(p), STATES[s], n) for q, p, s, n in tallies],
        oldest={name: when(due_at) for name, due_at in _oldest(db).items()},
        activity=_activity(db, now, window),
        totals=msgspec.json.decode(_value(db, _TOTALS)),
    )


def queues(db: apsw.Connection) -> list[QueueInfo]:
    """See `Store.queues`."""
    loads: dict[str, dict[State, int]] = {}
    for name, _, state, n in _tallies(db):
        load = loads.setdefault(name, {})
        load[STATES[state]] = load.get(STATES[state], 0) + n
    oldest = _oldest(db)
    return [
        QueueInfo(name, bool(paused), limit, loads.get(name, {}), optional_when(oldest.get(name)))
        for name, paused, limit in msgspec.json.decode(_value(db, _QUEUES))
    ]


def workflows(
    db: apsw.Connection, ids: Sequence[str], cursor: str | None, limit: int
) -> tuple[list[WorkflowInfo], str | None]:
    """See `Store.workflows`."""
    check_limit(limit)
    before = place(cursor, "w")
    if ids:
        text = _value(db, _SOME_FLOWS, before, to_json(list(ids)), limit + 1)
    else:
        text = _value(db, _ALL_FLOWS, before, limit + 1)
    flows = _read_flows(text)
    flows.sort(key=lambda flow: -flow.seq)
    more = f"w{flows[limit - 1].seq}" if len(flows) > limit else None
    running = _running_of(db, flows[:limit])
    return [_workflow(flow, running.get(flow.id, 0)) for flow in flows[:limit]], more


def sessions(db: apsw.Connection, now: float, *, ended: bool) -> list[SessionInfo]:
    """See `Store.sessions`."""
    text = _value(db, _SESSIONS, int(ended), now - rules.SESSION_KEEP)
    return [_session(row) for row in _read_sessions(text)]


def schedules(db: apsw.Connection, names: Sequence[str]) -> list[ScheduleInfo]:
    """See `Store.schedules`."""
    wanted = set(names)
    rows = _read_schedules(_value(db, _SCHEDULES))
    return [_schedule(row) for row in rows if not wanted or row.name in wanted]


def events(db: apsw.Connection, query: EventQuery, limit: int) -> list[EventRecord]:
    """See `Store.events`."""
    check_limit(limit)
    parts: list[str] = []
    parameters: list[Any] = []
    if query.after is not None:
        parts.append("seq > ?")
        parameters.append(query.after)
    if query.kinds:
        parts.append("kind IN (SELECT value FROM json_each(?))")
        parameters.append(to_json(list(query.kinds)))
    for field, condition in _EVENT_FILTERS:
        value = getattr(query, field)
        if value is not None:
            parts.append(condition)
            parameters.append(value)
    where = f"WHERE {' AND '.join(parts)}" if parts else ""
    order = "DESC" if query.after is None else "ASC"
    statement = _EVENTS.replace("{where}", where).replace("{order}", order)
    return [_event(row) for row in _read_events(_value(db, statement, *parameters, limit))]


def _value(db: apsw.Connection, statement: str, *arguments: Any) -> Any:
    return db.execute(statement, arguments).get


def _sum(db: apsw.Connection, states: Collection[int]) -> int:
    found: int = _value(db, _SUM, to_json([TALLIED[state] for state in states]))
    return found


def _are_none(db: apsw.Connection, query: JobQuery, states: Collection[int]) -> bool:
    """Whether the tallies say that no job can match, so that none need be looked at."""
    if not (query.queues or query.priorities):
        return False
    tallied = to_json([TALLIED[state] for state in states])
    ranks = [priority.rank for priority in query.priorities]
    return not _value(db, _SOME, tallied, to_json(query.queues), to_json(ranks))


def _tallies(db: apsw.Connection) -> _Tallies:
    """Return the tallies, with running jobs told apart from assigned ones."""
    tallies = _read_tallies(_value(db, _TALLIES))
    if not any(state == ASSIGNED for _, _, state, _ in tallies):
        return tallies
    rows = msgspec.json.decode(_value(db, _RUNNING))
    running: dict[tuple[str, int], int] = {(queue, rank): n for queue, rank, n in rows}
    told: _Tallies = []
    for queue, rank, state, n in tallies:
        begun = running.get((queue, rank), 0) if state == ASSIGNED else 0
        told += [(queue, rank, code, m) for code, m in ((state, n - begun), (RUNNING, begun)) if m]
    return told


def _running_of(db: apsw.Connection, flows: Sequence[_Flow]) -> Mapping[str, int]:
    ids = [flow.id for flow in flows if any(state == ASSIGNED for state, _ in flow.tallies)]
    if not ids:
        return {}
    return dict(msgspec.json.decode(_value(db, _RUNNING_OF, to_json(ids))))


def _oldest(db: apsw.Connection) -> Mapping[str, float]:
    return dict(msgspec.json.decode(_value(db, _OLDEST)))


def _activity(db: apsw.Connection, now: float, window: float) -> list[Activity]:
    if window <= 0:
        return []
    first = (now - min(window, DAY)) // MINUTE * MINUTE
    return [
        Activity(when(row.minute), row.queue, row.task, row.outcome, row.n, row.waited, row.ran)
        for row in _read_activity(_value(db, _ACTIVITY, first))
    ]


def _workflow(flow: _Flow, running: int) -> WorkflowInfo:
    found = {STATES[state]: n for state, n in flow.tallies}
    if running:
        found[State.RUNNING] = running
        found[State.ASSIGNED] -= running
        if not found[State.ASSIGNED]:
            del found[State.ASSIGNED]
    state: Any = rules.workflow_state(found)
    return WorkflowInfo(
        id=flow.id,
        name=flow.name,
        state=state,
        total=sum(found.values()),
        counts=found,
        submitted_at=when(flow.submitted_at),
        finished_at=None if state == "running" else optional_when(flow.finished_at),
    )


def _session(row: _Session) -> SessionInfo:
    spec = _read_spec(row.spec)
    return SessionInfo(
        id=row.id,
        name=row.name,
        state=row.state,
        host=spec.host,
        pid=spec.pid,
        kind=spec.kind,
        version=spec.version,
        queues=spec.queues,
        tasks=spec.tasks,
        concurrency=spec.concurrency,
        busy=row.busy,
        started_at=when(row.started_at),
        seen_at=when(row.seen_at),
        expires_at=when(row.expires_at),
        command=row.command,
        details=spec.details,
    )


def _schedule(row: _Schedule) -> ScheduleInfo:
    return ScheduleInfo(
        spec=decode_spec(row.spec, paused=bool(row.paused), next_at=row.next_at),
        last_at=row.last_at,
        last_job_id=row.last_job_id,
        fired=row.fired,
        created_at=when(row.created_at),
        updated_at=when(row.updated_at),
    )


def _event(row: _Event) -> EventRecord:
    return EventRecord(
        seq=row.seq,
        at=when(row.at),
        kind=row.kind,
        actor=row.actor,
        job_id=row.job_id,
        queue=row.queue,
        worker=row.worker,
        details={} if row.details is None else msgspec.json.decode(row.details),
    )
