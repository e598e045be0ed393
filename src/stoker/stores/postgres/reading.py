"""The views: counts, queues, workflows, sessions, schedules, events. They change nothing.

Each is one statement, and so sees one moment of the store.
"""

from collections.abc import Sequence
from typing import Any

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
    QueueInfo,
    ScheduleInfo,
    Tally,
    WorkflowInfo,
)
from stoker.core.spread import make_counts
from stoker.stores.postgres.matching import Conditions, check_limit, place
from stoker.stores.postgres.phrases import STATES, clean, priority_of, text_of
from stoker.stores.postgres.planning import decode_spec
from stoker.stores.postgres.records import PAGE

DAY = 86_400.0
MINUTE = 60
_ASSIGNED = 3
_RUNNING = 4

_TALLIES = """
    (SELECT coalesce(json_agg(json_build_array(queue, priority, state, n)
                              ORDER BY queue, priority, state), '[]') FROM (
        SELECT queue, priority, state, sum(n) AS n FROM (
            SELECT queue, priority, state, n FROM @tallies
            UNION ALL SELECT queue, priority, state, n FROM @deltas WHERE state IS NOT NULL) AS b
        GROUP BY queue, priority, state HAVING sum(n) <> 0) AS t)"""
_BEGUN = """
    (SELECT coalesce(json_agg(json_build_array(queue, priority, n)), '[]') FROM (
        SELECT queue, priority, count(*) AS n FROM @live
        WHERE state IN (3, 4) AND state = 4 GROUP BY queue, priority) AS r)"""
# Jobs that came in with a transaction of somebody else's make no row for their queue at once.
_NAMED = """
    (SELECT name, paused, lease_limit FROM @queues
     UNION ALL
     SELECT DISTINCT d.queue, false, NULL::integer FROM @deltas AS d
     WHERE NOT EXISTS (SELECT 1 FROM @queues AS q WHERE q.name = d.queue))"""
_OLDEST = """
    (SELECT coalesce(json_object_agg(name, due_at), '{}') FROM (
        SELECT q.name, (
            SELECT min(o.due_at) FROM generate_series(0, 2) AS p (rank)
            CROSS JOIN LATERAL (
                SELECT due_at FROM @live
                WHERE state = 2 AND queue = q.name AND priority = p.rank
                ORDER BY queue, priority, due_at, seq LIMIT 1) AS o) AS due_at
        FROM {named} AS q) AS o
     WHERE due_at IS NOT NULL)"""
_ACTIVITY = """
    (SELECT coalesce(json_agg(json_build_array(minute, queue, task, outcome, n, waited, ran)
                              ORDER BY minute, queue, task, outcome), '[]') FROM (
        SELECT minute, queue, task, outcome, sum(n) AS n, sum(waited) AS waited, sum(ran) AS ran
        FROM (SELECT minute, queue, task, outcome, n, waited, ran FROM @activity
              UNION ALL SELECT b.minute, d.queue, d.task, b.outcome, b.n, b.waited, b.ran
              FROM @deltas AS d, @booked(d) AS b WHERE b.minute IS NOT NULL) AS b
        WHERE minute >= floor(({moment} - $2::float8) / 60) * 60 AND $2::float8 > 0
        GROUP BY minute, queue, task, outcome) AS a)"""
_TOTALS = """
    (SELECT coalesce(json_object_agg(outcome, n), '{}') FROM (
        SELECT outcome, sum(n) AS n FROM (
            SELECT outcome, n FROM @totals
            UNION ALL SELECT b.outcome, b.n FROM @deltas AS d, @booked(d) AS b) AS b
        GROUP BY outcome) AS t)"""
_PARTS = {
    "{tallies}": _TALLIES,
    "{begun}": _BEGUN,
    "{oldest}": _OLDEST,
    "{named}": _NAMED,
    "{activity}": _ACTIVITY,
    "{totals}": _TOTALS,
    "{moment}": "coalesce($1::float8, extract(epoch FROM statement_timestamp())::float8)",
}


def _phrase(statement: str) -> str:
    for name, text in _PARTS.items():
        statement = statement.replace(name, text)
    return statement


COUNTS = _phrase("""
    SELECT json_build_array({moment}, {tallies}, {begun}, {oldest}, {activity}, {totals})::text""")
QUEUES = _phrase("""
    SELECT json_build_array(
        (SELECT coalesce(json_agg(json_build_array(name, paused, lease_limit) ORDER BY name), '[]')
         FROM {named} AS q), {tallies}, {begun}, {oldest})::text""")
_FLOWS = """
    SELECT coalesce(json_agg(json_build_array(
        w.seq, w.id, w.name, w.submitted_at,
        (SELECT max(finished_at) FROM @ended WHERE workflow_id = w.id),
        (SELECT coalesce(json_agg(json_build_array(state, n)), '[]') FROM (
            SELECT state, count(*) AS n FROM @live WHERE workflow_id = w.id GROUP BY state
            UNION ALL
            SELECT state, count(*) FROM @ended WHERE workflow_id = w.id GROUP BY state) AS s)
        ) ORDER BY w.seq DESC), '[]')::text
    FROM (SELECT * FROM @workflows AS w WHERE seq < $1 {some} ORDER BY seq DESC LIMIT $2) AS w"""
ALL_FLOWS = _FLOWS.replace("{some}", "")
SOME_FLOWS = _FLOWS.replace("{some}", "AND id = ANY ($3::text[])")
SESSIONS = _phrase("""
    SELECT coalesce(json_agg(json_build_array(
        id, name, state, started_at, seen_at, expires_at, command, spec,
        (SELECT count(*) FROM @live WHERE session = s.seq AND state IN (3, 4))) ORDER BY seq DESC),
        '[]')::text
    FROM @sessions AS s
    WHERE ended_at IS NULL OR ($2 AND ended_at >= {moment} - $3::float8)""")
SCHEDULES = """
    SELECT coalesce(json_agg(json_build_array(
        name, spec, paused, next_at, last_at, last_job_id, fired, created_at, updated_at)
        ORDER BY name), '[]')::text
    FROM @schedules WHERE $1 OR name = ANY ($2::text[])"""
SETTLE_TRAIL = "SELECT @settle_trail()"
_EVENTS = """
    SELECT seq, at, kind, actor, job_id, queue, worker, details FROM @events
    {where} ORDER BY seq {order} LIMIT {limit}"""
_EVENT_FILTERS = (
    ("job_id", "job_id = {}::text"),
    ("queue", "queue = {}::text"),
    ("worker", "worker = {}::text"),
    ("actor", "actor = {}::text"),
    ("since", "at >= {}::float8"),
)

_Tallies = list[tuple[str, int, int, int]]
_Begun = list[tuple[str, int, int]]


class _Activity(msgspec.Struct, array_like=True, gc=False):
    minute: int
    queue: str
    task: str
    outcome: str
    n: int
    waited: float
    ran: float


class _Counts(msgspec.Struct, array_like=True, gc=False):
    now: float
    tallies: _Tallies
    begun: _Begun
    oldest: dict[str, float]
    activity: list[_Activity]
    totals: dict[str, int]


class _Queues(msgspec.Struct, array_like=True, gc=False):
    queues: list[tuple[str, bool, int | None]]
    tallies: _Tallies
    begun: _Begun
    oldest: dict[str, float]


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
    paused: bool
    next_at: float | None
    last_at: float | None
    last_job_id: str | None
    fired: int
    created_at: float
    updated_at: float


_read_counts = msgspec.json.Decoder(_Counts).decode
_read_queues = msgspec.json.Decoder(_Queues).decode
_read_flows = msgspec.json.Decoder(list[_Flow]).decode
_read_sessions = msgspec.json.Decoder(list[_Session]).decode
_read_schedules = msgspec.json.Decoder(list[_Schedule]).decode
_read_spec = msgspec.json.Decoder(SessionSpec).decode


def page(query: JobQuery, cursor: str | None, limit: int) -> tuple[str, tuple[Any, ...]] | None:
    """Return the statement for a page of jobs and one more; None: there can be none."""
    check_limit(limit)
    conditions = Conditions(query)
    if cursor is not None:
        conditions.add(f"j.seq < {conditions.hold(place(cursor, 'j'))}::bigint")
    if conditions.impossible:
        return None
    return conditions.statement(PAGE, limit=limit + 1, order="DESC")


def counts(text: str) -> Counts:
    """Return what `COUNTS` found."""
    found = _read_counts(text)
    return make_counts(
        now=when(found.now),
        tallies=[
            Tally(queue, priority_of(rank), STATES[state], n)
            for queue, rank, state, n in _told_apart(found.tallies, found.begun)
        ],
        oldest={name: when(due_at) for name, due_at in found.oldest.items()},
        activity=[
            Activity(when(row.minute), row.queue, row.task, row.outcome, row.n, row.waited, row.ran)
            for row in found.activity
        ],
        totals=found.totals,
    )


def queues(text: str) -> list[QueueInfo]:
    """Return what `QUEUES` found."""
    found = _read_queues(text)
    loads: dict[str, dict[State, int]] = {}
    for name, _, state, n in _told_apart(found.tallies, found.begun):
        load = loads.setdefault(name, {})
        load[STATES[state]] = load.get(STATES[state], 0) + n
    oldest = found.oldest
    return [
        QueueInfo(name, paused, limit, loads.get(name, {}), optional_when(oldest.get(name)))
        for name, paused, limit in found.queues
    ]


def flows_before(cursor: str | None, limit: int) -> int:
    """Return the place before which a page of workflows begins, having checked its size."""
    check_limit(limit)
    return place(cursor, "w")


def flows(text: str, limit: int) -> tuple[list[WorkflowInfo], str | None]:
    """Return what `ALL_FLOWS` or `SOME_FLOWS` found, with the cursor of the next page."""
    found = _read_flows(text)
    more = f"w{found[limit - 1].seq}" if len(found) > limit else None
    return [_flow(row) for row in found[:limit]], more


def sessions(text: str) -> list[SessionInfo]:
    """Return what `SESSIONS` found."""
    return [_session(row) for row in _read_sessions(text)]


def schedules(text: str) -> list[ScheduleInfo]:
    """Return what `SCHEDULES` found."""
    return [_schedule(row) for row in _read_schedules(text)]


def events(query: EventQuery, limit: int) -> tuple[str, tuple[Any, ...]]:
    """Return the statement for some events."""
    check_limit(limit)
    parts: list[str] = []
    parameters: list[Any] = []

    def add(condition: str, value: Any) -> None:
        parameters.append(value)
        parts.append(condition.format(f"${len(parameters)}"))

    if query.after is not None:
        add("seq > {}::bigint", query.after)
    if query.kinds:
        add("kind = ANY ({}::text[])", [kind.value for kind in query.kinds])
    for field, condition in _EVENT_FILTERS:
        value = getattr(query, field)
        if value is not None:
            add(condition, clean(value) if isinstance(value, str) else float(value))
    where = f"WHERE {' AND '.join(parts)}" if parts else ""
    order = "DESC" if query.after is None else "ASC"
    parameters.append(limit)
    text = _EVENTS.replace("{where}", where).replace("{order}", order)
    return text.replace("{limit}", f"${len(parameters)}::bigint"), tuple(parameters)


def event(row: Sequence[Any]) -> EventRecord:
    """Return an event from a row that the statement of `events` gave."""
    seq, at, kind, actor, job_id, queue, worker, details = row
    return EventRecord(
        seq=seq,
        at=when(at),
        kind=Kind(kind),
        actor=actor,
        job_id=job_id,
        queue=queue,
        worker=worker,
        details={} if details is None else msgspec.json.decode(details),
    )


def _told_apart(tallies: _Tallies, begun: _Begun) -> _Tallies:
    """Tell running jobs from assigned ones, which are tallied together."""
    running = {(queue, rank): n for queue, rank, n in begun}
    told: _Tallies = []
    for queue, rank, state, n in tallies:
        m = running.get((queue, rank), 0) if state == _ASSIGNED else 0
        told += [(queue, rank, code, k) for code, k in ((state, n - m), (_RUNNING, m)) if k]
    return told


def _flow(row: _Flow) -> WorkflowInfo:
    found = {STATES[state]: n for state, n in row.tallies}
    state: Any = rules.workflow_state(found)
    return WorkflowInfo(
        id=row.id,
        name=text_of(row.name),
        state=state,
        total=sum(found.values()),
        counts=found,
        submitted_at=when(row.submitted_at),
        finished_at=None if state == "running" else optional_when(row.finished_at),
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
        spec=decode_spec(row.spec, paused=row.paused, next_at=row.next_at),
        last_at=row.last_at,
        last_job_id=row.last_job_id,
        fired=row.fired,
        created_at=when(row.created_at),
        updated_at=when(row.updated_at),
    )
