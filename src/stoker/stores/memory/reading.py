"""The views: jobs, pages, counts, queues, workflows, sessions, events. They change nothing."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec

from stoker.core import rules
from stoker.core.duration import optional_when, when
from stoker.core.errors import InvalidQuery
from stoker.core.events import EventRecord
from stoker.core.job import PRIORITIES, JobRecord, SessionInfo
from stoker.core.lifecycle import State
from stoker.core.records import (
    MAX_PAGE,
    Activity,
    Counts,
    EventQuery,
    JobQuery,
    Page,
    QueueInfo,
    Tally,
    WorkflowInfo,
)
from stoker.core.spread import make_counts
from stoker.stores.memory.matching import matching_newest_first
from stoker.stores.memory.world import DAY, MINUTE, Flow, Job, Line, Session, World


def check_limit(limit: int) -> None:
    """Refuse a page size that no verb gives.

    Raises:
        InvalidQuery: Not between 1 and `MAX_PAGE`.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidQuery(f"the limit is {limit}; expected 1 to {MAX_PAGE}", limit=limit)


def record(job: Job, *, logs: bool) -> JobRecord:
    """Return everything about a job."""
    spec = job.spec
    last = job.tries[-1] if job.tries else None
    return JobRecord(
        id=spec.id,
        task=spec.task,
        queue=spec.queue,
        priority=spec.priority,
        state=job.state,
        attempt=job.attempt,
        max_retries=spec.retry.max_retries,
        payload=msgspec.Raw(job.payload),
        result=None if job.result is None else msgspec.Raw(job.result),
        error=job.error,
        progress=job.progress,
        progress_note=job.note,
        submitted_at=when(job.submitted_at),
        run_at=when(job.run_at),
        started_at=optional_when(last.started_at if last else None),
        finished_at=optional_when(job.finished_at),
        failed=job.failed,
        lost=job.lost,
        worker=last.worker if last else None,
        deadline_at=optional_when(job.deadline_at),
        timeout=spec.timeout,
        soft_timeout=spec.soft_timeout,
        expires_at=optional_when(job.expires_at),
        unique_key=spec.unique_key,
        tenant=spec.tenant,
        workflow_id=job.workflow_id,
        node=spec.node,
        parents=spec.parents,
        waiting_for=job.waiting_for,
        schedule=spec.schedule,
        cancel_requested=job.cancel_requested,
        retry=msgspec.Raw(spec.retry.to_json()),
        attempts=[attempt.record() for attempt in job.tries],
        logs=list(job.logs) if logs else [],
    )


def find(world: World, query: JobQuery, cursor: str | None, limit: int) -> Page:
    """See `Store.find`."""
    check_limit(limit)
    before = _place(cursor, "j")
    found = (job for job in matching_newest_first(world, query) if job.seq < before)
    jobs = list(islice(found, limit + 1))
    more = f"j{jobs[limit - 1].seq}" if len(jobs) > limit else None
    return Page([record(job, logs=False) for job in jobs[:limit]], more)


def workflows(
    world: World, ids: Sequence[str], cursor: str | None, limit: int
) -> tuple[list[WorkflowInfo], str | None]:
    """See `Store.workflows`."""
    check_limit(limit)
    before = _place(cursor, "w")
    known = [f for f in world.flows.values() if f.seq < before and (not ids or f.id in ids)]
    known.sort(key=lambda flow: -flow.seq)
    more = f"w{known[limit - 1].seq}" if len(known) > limit else None
    return [_workflow(world, flow) for flow in known[:limit]], more


def counts(world: World, window: float) -> Counts:
    """See `Store.counts`."""
    lines = sorted(world.lines.values(), key=lambda line: line.name)
    tallies = [
        Tally(line.name, priority, state, count)
        for line in lines
        for priority in PRIORITIES
        for state, count in line.tallies[priority.rank].items()
        if count
    ]
    oldest = {line.name: job.run_at for line in lines if (job := line.oldest(world.jobs, None))}
    return make_counts(
        now=when(world.now),
        tallies=tallies,
        oldest={name: when(run_at) for name, run_at in oldest.items()},
        activity=_activity(world, min(window, DAY)),
        totals=dict(world.totals),
    )


def queue(world: World, line: Line) -> QueueInfo:
    """Return a queue's settings and load."""
    total: Counter[State] = sum(line.tallies, Counter())
    oldest = line.oldest(world.jobs, None)
    return QueueInfo(
        name=line.name,
        paused=line.paused,
        limit=line.limit,
        counts=dict(total),
        oldest_at=None if oldest is None else when(oldest.run_at),
    )


def sessions(world: World, *, ended: bool) -> list[SessionInfo]:
    """See `Store.sessions`."""
    listed = [s for s in world.sessions.values() if s.living or (ended and _recent(world, s))]
    listed.sort(key=lambda session: -session.seq)
    return [_session(session) for session in listed]


def events(world: World, query: EventQuery, limit: int) -> list[EventRecord]:
    """See `Store.events`."""
    check_limit(limit)
    found = world.events[query.after :] if query.after is not None else reversed(world.events)
    return list(islice((event for event in found if _event_matches(event, query)), limit))


def _place(cursor: str | None, kind: str) -> float:
    if cursor is None:
        return float("inf")
    if not re.fullmatch(kind + "[0-9]{1,18}", cursor):
        raise InvalidQuery(f"the cursor is {cursor[:100]!r}; expected one that a page gave")
    return int(cursor[1:])


def _workflow(world: World, flow: Flow) -> WorkflowInfo:
    jobs = [world.jobs[job_id] for job_id in world.members[flow.id]]
    state: Any = rules.workflow_state(job.state for job in jobs)
    ended = None if state == "running" else max(job.finished_at or 0.0 for job in jobs)
    return WorkflowInfo(
        id=flow.id,
        name=flow.name,
        state=state,
        total=len(jobs),
        counts=dict(Counter(job.state for job in jobs)),
        submitted_at=when(flow.submitted_at),
        finished_at=optional_when(ended),
    )


def _activity(world: World, window: float) -> list[Activity]:
    if window <= 0:
        return []
    first = (world.now - window) // MINUTE * MINUTE
    return [
        Activity(when(minute), name, task, outcome, int(count), waited, ran)
        for minute in sorted(world.minutes)
        if minute >= first
        for (name, task, outcome), (count, waited, ran) in world.minutes[minute].items()
    ]


def _recent(world: World, session: Session) -> bool:
    ended = session.ended_at
    return ended is not None and world.now - ended <= rules.SESSION_KEEP


def _session(session: Session) -> SessionInfo:
    spec = session.spec
    return SessionInfo(
        id=spec.id,
        name=spec.name,
        state=spec.state,
        host=spec.host,
        pid=spec.pid,
        kind=spec.kind,
        version=spec.version,
        queues=spec.queues,
        tasks=spec.tasks,
        concurrency=spec.concurrency,
        busy=len(session.held),
        started_at=when(session.started_at),
        seen_at=when(session.seen_at),
        expires_at=when(session.expires_at),
        command=session.command,
        details=spec.details,
    )


def _event_matches(event: EventRecord, query: EventQuery) -> bool:
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
