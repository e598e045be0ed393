"""Why a job is not running: an ordered list of what stands in its way.

`explain` is pure: it looks at facts and names what holds the job now, nearest cause first.
`aexplain` gathers the facts from a store.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from stoker.app.job import fetch
from stoker.core.fleets import workers_among
from stoker.core.job import JobRecord, SessionInfo, SessionState
from stoker.core.lifecycle import LEASED, LIVE, TERMINAL, State
from stoker.core.records import Counts, JobQuery, QueueInfo
from stoker.core.store import Store

OVERDUE = 5.0
"""Seconds past its moment after which a job that still waits for it counts as forgotten."""
NAMED = 10
"""The most parents that an answer names."""
COUNTED = 2_000
"""The most jobs that are looked through to count those ahead in line."""
_CHUNK = 1_000


class Blocker(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that stands in a job's way."""

    code: str
    """Stable: ``queue_paused``, ``no_worker`` ..."""
    message: str
    details: Mapping[str, Any] = {}


class Line(msgspec.Struct, frozen=True):
    """Where a queued job stands in its queue."""

    ahead: int
    exact: bool = True
    """False: at least so many."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job is not running."""

    id: str
    task: str
    queue: str
    state: State
    summary: str
    """The nearest cause in one sentence."""
    blockers: list[Blocker]
    """Nearest first; empty for a job that runs or may be leased at any moment."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What `explain` looks at."""

    now: datetime
    """The store's clock."""
    queue: QueueInfo
    sessions: Sequence[SessionInfo] = ()
    """The living ones."""
    parents: Sequence[JobRecord] = ()
    """Of those that have not ended, the first few."""
    line: Line | None = None
    """For a queued job."""


async def aexplain(store: Store, job_id: str) -> Explanation:
    """Say why a job is not running.

    Raises:
        JobNotFound: No job has that id.
    """
    job = await fetch(store, job_id)
    counts = await store.counts()
    queues = {queue.name: queue for queue in await store.queues()}
    queue = queues.get(job.queue, QueueInfo(job.queue))
    facts = Facts(
        now=counts.now,
        queue=queue,
        sessions=workers_among(await store.sessions()),
        parents=await _pending_parents(store, job),
        line=await _line(store, job, counts),
    )
    return explain(job, facts)


def explain(job: JobRecord, facts: Facts) -> Explanation:
    """Name what holds a job, nearest cause first."""
    if job.state in TERMINAL:
        blockers = [_ended(job)]
    elif job.state in LEASED:
        blockers = _leased(job, facts)
    else:
        blockers = [*_moment(job, facts), *_queue(job, facts), *_workers(job, facts)]
        if not blockers:
            blockers = _in_line(job, facts)
    return Explanation(
        id=job.id,
        task=job.task,
        queue=job.queue,
        state=job.state,
        summary=blockers[0].message if blockers else _ready(job),
        blockers=blockers,
    )


def _ready(job: JobRecord) -> str:
    if job.state is State.RUNNING:
        return f"it is running on worker {job.worker!r}"
    if job.state is State.ASSIGNED:
        return f"worker {job.worker!r} has it and is about to start it"
    return f"nothing holds it: it is next in queue {job.queue!r}"


def _ended(job: JobRecord) -> Blocker:
    cause = f" ({job.error})" if job.error is not None and job.state is not State.COMPLETED else ""
    return Blocker(
        code="ended",
        message=f"it has ended: {job.state}{cause}; retry it to run it again",
        details={"state": job.state, "finished_at": job.finished_at},
    )


def _leased(job: JobRecord, facts: Facts) -> list[Blocker]:
    found: list[Blocker] = []
    if job.cancel_requested:
        message = f"it was cancelled while it ran; worker {job.worker!r} has been told to stop it"
        found.append(Blocker(code="cancel_requested", message=message))
    holders = [s for s in facts.sessions if s.name == job.worker]
    if not any(s.expires_at > facts.now for s in holders):
        message = (
            f"its worker {job.worker!r} has been silent; the keeper takes the job back when the "
            "worker is declared dead"
        )
        found.append(Blocker(code="worker_silent", message=message))
    return found


def _moment(job: JobRecord, facts: Facts) -> list[Blocker]:
    if job.state is State.BLOCKED:
        return [_parents(job, facts)]
    if job.state is State.QUEUED:
        return []
    left = (job.run_at - facts.now).total_seconds()
    details = {"run_at": job.run_at, "seconds": max(0.0, left)}
    if left < -OVERDUE:
        message = (
            f"it has been due since {_when(job.run_at)} and nobody moved it: no worker or keeper "
            "is running"
        )
        return [Blocker(code="overdue", message=message, details=details)]
    if job.state is State.RETRY_QUEUED:
        cause = f": {job.error}" if job.error is not None else ""
        message = (
            f"attempt {job.attempt} failed{cause}; the next one is due at {_when(job.run_at)}, "
            f"in {max(0.0, left):.0f} s"
        )
        return [Blocker(code="waiting_for_retry", message=message, details=details)]
    message = f"it is scheduled for {_when(job.run_at)}, in {max(0.0, left):.0f} s"
    return [Blocker(code="scheduled", message=message, details=details)]


def _parents(job: JobRecord, facts: Facts) -> Blocker:
    named = [f"{parent.node or parent.id} ({parent.state})" for parent in facts.parents[:NAMED]]
    more = ", ..." if job.waiting_for > len(named) else ""
    return Blocker(
        code="waiting_for_parents",
        message=(
            f"it waits for {job.waiting_for} of {len(job.parents)} parents"
            + (f": {', '.join(named)}{more}" if named else "")
        ),
        details={
            "waiting_for": job.waiting_for,
            "of": len(job.parents),
            "parents": [parent.id for parent in facts.parents[:NAMED]],
        },
    )


def _queue(job: JobRecord, facts: Facts) -> list[Blocker]:
    found: list[Blocker] = []
    if facts.queue.paused:
        message = f"queue {job.queue!r} is paused; resume it"
        found.append(Blocker(code="queue_paused", message=message))
    limit = facts.queue.limit
    leased = sum(facts.queue.counts.get(state, 0) for state in LEASED)
    if limit is not None and leased >= limit and job.state is State.QUEUED:
        message = f"queue {job.queue!r} is at its limit: {leased} of {limit} jobs are leased"
        details = {"leased": leased, "limit": limit}
        found.append(Blocker(code="queue_full", message=message, details=details))
    return found


def _workers(job: JobRecord, facts: Facts) -> list[Blocker]:
    taking = [s for s in facts.sessions if _takes_work(s, facts.now)]
    if not taking:
        message = "no worker is running; start one: stoker worker"
        return [Blocker(code="no_worker", message=message)]
    listening = [s for s in taking if not s.queues or job.queue in s.queues]
    if not listening:
        message = f"none of the {len(taking)} running workers listens to queue {job.queue!r}"
        details = {"workers": [s.name for s in taking[:NAMED]]}
        return [Blocker(code="no_worker_for_queue", message=message, details=details)]
    able = [s for s in listening if job.task in s.tasks]
    if not able:
        message = (
            f"none of the {len(listening)} workers of queue {job.queue!r} knows the task "
            f"{job.task!r}"
        )
        details = {"workers": [s.name for s in listening[:NAMED]]}
        return [Blocker(code="no_worker_for_task", message=message, details=details)]
    return _busy(job, able)


def _busy(job: JobRecord, able: Sequence[SessionInfo]) -> list[Blocker]:
    busy, slots = sum(s.busy for s in able), sum(s.concurrency for s in able)
    if job.state is not State.QUEUED or busy < slots:
        return []
    message = f"all {slots} slots of the workers that can run it are busy"
    return [Blocker(code="workers_busy", message=message, details={"busy": busy, "slots": slots})]


def _in_line(job: JobRecord, facts: Facts) -> list[Blocker]:
    if facts.line is None or facts.line.ahead == 0:
        return []
    line = facts.line
    least = "" if line.exact else "at least "
    jobs = "job is" if line.ahead == 1 else "jobs are"
    return [
        Blocker(
            code="in_line",
            message=f"{least}{line.ahead:,} {jobs} ahead of it in queue {job.queue!r}",
            details={"ahead": line.ahead, "exact": line.exact},
        )
    ]


def _takes_work(session: SessionInfo, now: datetime) -> bool:
    return (
        session.state is SessionState.ALIVE and session.command is None and session.expires_at > now
    )


def _when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


async def _pending_parents(store: Store, job: JobRecord) -> list[JobRecord]:
    if job.state is not State.BLOCKED:
        return []
    found: list[JobRecord] = []
    for start in range(0, len(job.parents), _CHUNK):
        query = JobQuery(ids=job.parents[start : start + _CHUNK], states=tuple(LIVE))
        found += (await store.find(query, limit=NAMED)).jobs
        if len(found) >= NAMED:
            break
    return found[:NAMED]


async def _line(store: Store, job: JobRecord, counts: Counts) -> Line | None:
    """Count the queued jobs that are leased before this one: by priority, then by age."""
    if job.state is not State.QUEUED:
        return None
    queued = [t for t in counts.tallies if t.queue == job.queue and t.state is State.QUEUED]
    ahead = sum(t.count for t in queued if t.priority.rank < job.priority.rank)
    # Whatever was due by this moment was submitted by it; a batch shares one moment.
    query = JobQuery(
        states=(State.QUEUED,), queues=(job.queue,), submitted_before=job.run_at.timestamp() + 0.001
    )
    seen, cursor = 0, None
    while seen < COUNTED:
        page = await store.find(query, cursor=cursor, limit=_CHUNK)
        ahead += sum(_is_older(other, job) for other in page.jobs)
        seen += len(page.jobs)
        cursor = page.next_cursor
        if cursor is None:
            return Line(ahead)
    return Line(ahead, exact=False)


def _is_older(other: JobRecord, job: JobRecord) -> bool:
    if other.priority is not job.priority:
        return False
    mine = (job.run_at, job.submitted_at, job.id)
    return (other.run_at, other.submitted_at, other.id) < mine
