"""The data of the reference store, and the moves of one job: state, indexes, tallies, cascade.

A job's state changes in `World.shift` and nowhere else. Everything here is plain and synchronous:
a verb that runs between two awaits is atomic by itself.
"""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stoker.core import rules, spread
from stoker.core.clock import Clock
from stoker.core.duration import optional_when, when
from stoker.core.events import EventRecord, Kind
from stoker.core.job import (
    PRIORITIES,
    Attempt,
    Command,
    ErrorInfo,
    JobSpec,
    LogLine,
    SessionSpec,
    SessionState,
)
from stoker.core.keys import KeyInfo
from stoker.core.lifecycle import LEASED, TERMINAL, Event, State, move
from stoker.core.records import MAX_LOGS, ScheduleInfo, Term
from stoker.stores.memory.bell import Bell

DAY = 86_400.0
MINUTE = 60
UniqueKey = tuple[str | None, str, str]
Entry = tuple[float, int, str]


@dataclass(slots=True, eq=False)
class Try:
    """One attempt, from its lease to its end."""

    attempt: int
    epoch: int
    nonce: str
    worker: str
    due_at: float
    leased_at: float
    started_at: float | None = None
    finished_at: float | None = None
    outcome: str | None = None
    error: ErrorInfo | None = None

    def fits(self, epoch: int, nonce: str) -> bool:
        """Whether a fence is that of this attempt."""
        return self.epoch == epoch and self.nonce == nonce

    def record(self) -> Attempt:
        """Return the attempt as it is shown."""
        return Attempt(
            attempt=self.attempt,
            epoch=self.epoch,
            worker=self.worker,
            leased_at=when(self.leased_at),
            started_at=optional_when(self.started_at),
            finished_at=optional_when(self.finished_at),
            outcome=self.outcome,
            error=self.error,
        )


@dataclass(slots=True, eq=False)
class Session:
    """One life of one worker process, and the jobs it holds."""

    seq: int
    spec: SessionSpec
    started_at: float
    seen_at: float
    expires_at: float
    ended_at: float | None = None
    command: Command | None = None
    nonce: str | None = None
    held: "dict[str, Job]" = field(default_factory=dict)

    @property
    def living(self) -> bool:
        """Whether it neither left nor was declared dead. A late session lives."""
        return self.spec.state in {SessionState.ALIVE, SessionState.DRAINING}


@dataclass(slots=True, eq=False)
class Job:
    """A job and its life."""

    seq: int
    spec: JobSpec
    line: "Line"
    submitted_at: float
    run_at: float
    expires_at: float | None
    payload: bytes
    workflow_id: str | None
    state: State = State.BLOCKED
    attempt: int = 0
    epoch: int = 0
    failed: int = 0
    lost: int = 0
    waiting_for: int = 0
    result: bytes | None = None
    error: ErrorInfo | None = None
    progress: float | None = None
    note: str | None = None
    finished_at: float | None = None
    deadline_at: float | None = None
    cancel_requested: bool = False
    session: Session | None = None
    tries: list[Try] = field(default_factory=list)
    logs: list[LogLine] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The job's id."""
        return self.spec.id

    @property
    def unique(self) -> UniqueKey | None:
        """What no other live job may share; None for a job without a key."""
        spec = self.spec
        return None if spec.unique_key is None else (spec.tenant, spec.task, spec.unique_key)

    @property
    def parents(self) -> Iterable[str]:
        """Ids of the parents, each once."""
        return dict.fromkeys(self.spec.parents)

    def owns(self, epoch: int, nonce: str) -> bool:
        """Whether a fence is that of the live lease."""
        return self.session is not None and self.tries[-1].fits(epoch, nonce)

    def expired(self, now: float) -> bool:
        """Whether it must not be started any more."""
        return self.expires_at is not None and now > self.expires_at


class Line:
    """A queue: its settings, its load, and its jobs in the order of their leasing.

    The heaps are cleaned when they are read: an entry counts while its job is still in that
    state with that ``run_at``.
    """

    def __init__(self, name: str) -> None:
        """Make an empty queue."""
        self.name = name
        self.paused = False
        self.limit: int | None = None
        self.leased = 0
        self.tallies: tuple[Counter[State], ...] = tuple(Counter() for _ in PRIORITIES)
        self.ready: tuple[list[Entry], ...] = tuple([] for _ in PRIORITIES)
        self.due: list[Entry] = []
        self._passed: list[tuple[int, Entry]] = []

    def room(self, most: int) -> int:
        """Return how many jobs may be leased now, ``most`` at most."""
        if self.paused:
            return 0
        return most if self.limit is None else min(most, self.limit - self.leased)

    def put(self, job: Job) -> None:
        """Take a job that is queued, or will be due, into the right order."""
        entry = (job.run_at, job.seq, job.id)
        queued = job.state is State.QUEUED
        heapq.heappush(self.ready[job.spec.priority.rank] if queued else self.due, entry)

    def best(self, jobs: Mapping[str, Job], now: float) -> Job | None:
        """Return the next job by priority, then age, passing over what has expired."""
        for rank in range(len(PRIORITIES)):
            job = self._head(rank, jobs, now)
            if job is not None:
                return job
        return None

    def oldest(self, jobs: Mapping[str, Job], now: float | None) -> Job | None:
        """Return the job that is due longest; expired ones too if ``now`` is None."""
        heads = [self._head(rank, jobs, now) for rank in range(len(PRIORITIES))]
        return min((job for job in heads if job is not None), key=age, default=None)

    def restore(self) -> None:
        """Put back what was passed over since the last call."""
        for rank, entry in self._passed:
            heapq.heappush(self.ready[rank], entry)
        self._passed.clear()

    def next_due(self, jobs: Mapping[str, Job]) -> Job | None:
        """Return the job that is, or was, due first among those that wait for their moment."""
        while self.due:
            run_at, _, job_id = self.due[0]
            job = jobs.get(job_id)
            waits = job is not None and job.state in {State.SCHEDULED, State.RETRY_QUEUED}
            if job is not None and waits and job.run_at == run_at:
                return job
            heapq.heappop(self.due)
        return None

    def _head(self, rank: int, jobs: Mapping[str, Job], now: float | None) -> Job | None:
        heap = self.ready[rank]
        while heap:
            job = jobs.get(heap[0][2])
            if job is None or job.state is not State.QUEUED or job.run_at != heap[0][0]:
                heapq.heappop(heap)
            elif now is not None and job.expired(now):
                self._passed.append((rank, heapq.heappop(heap)))
            else:
                return job
        return None


@dataclass(slots=True, eq=False)
class Flow:
    """The row of a workflow."""

    seq: int
    id: str
    name: str
    submitted_at: float


class World:
    """All data of a memory store; its handles share one."""

    def __init__(self, clock: Clock) -> None:
        """Make an empty world."""
        self.id = clock.new_nonce()
        self.clock = clock
        self.now = clock.now()
        self.bell = Bell()
        self.jobs: dict[str, Job] = {}
        self.lines: dict[str, Line] = {}
        self.unique: dict[UniqueKey, str] = {}
        self.children: dict[str, dict[str, None]] = {}
        self.members: dict[str, dict[str, None]] = {}
        self.flows: dict[str, Flow] = {}
        self.expiring: dict[str, Job] = {}
        self.sessions: dict[str, Session] = {}
        self.schedules: dict[str, ScheduleInfo] = {}
        self.keys: dict[str, KeyInfo] = {}
        self.terms: dict[str, Term] = {}
        self.elected: dict[str, float] = {}
        self.events: list[EventRecord] = []
        self.totals: Counter[str] = Counter()
        self.minutes: dict[int, dict[tuple[str, str, str], list[float]]] = {}
        self._seq = 0

    def tick(self) -> float:
        """Begin a command: read the clock, once."""
        self.now = self.clock.now()
        return self.now

    def next_seq(self) -> int:
        """Return a number greater than all before."""
        self._seq += 1
        return self._seq

    def line(self, name: str) -> Line:
        """Return the queue of that name, making it if need be."""
        found = self.lines.get(name)
        if found is None:
            found = self.lines[name] = Line(name)
        return found

    def shift(self, job: Job, event: Event) -> None:
        """Move a job by the table, and keep every index and tally in step."""
        self.place(job, move(job.state, event), job.state)

    def place(self, job: Job, state: State, before: State | None) -> None:
        """Put a job into a state: a new one (``before`` is None) or one that moves."""
        line = job.line
        tally = line.tallies[job.spec.priority.rank]
        if before is not None:
            tally[before] -= 1
        tally[state] += 1
        line.leased += (state in LEASED) - (before in LEASED)
        job.state = state
        if state is State.QUEUED:
            line.put(job)
            self.bell.ring(line.name)
        elif state in {State.SCHEDULED, State.RETRY_QUEUED}:
            line.put(job)
            self.bell.stir(line.name)
        elif state in TERMINAL:
            self._end(job)
        if before in LEASED and line.limit is not None:
            self.bell.ring(line.name)
        self.bell.changed(job.id)

    def cascade(self, ended: Iterable[Job]) -> None:
        """Tell the children of ended jobs: they become ready, or are cancelled with theirs."""
        queue = deque(ended)
        while queue:
            parent = queue.popleft()
            if parent.state not in TERMINAL:
                continue
            for child in self.blocked_children(parent):
                if rules.parent_spoils(parent.state, child.spec.on_parent_failure):
                    self._spoil(child, queue)
                    continue
                child.waiting_for -= 1
                if child.waiting_for == 0:
                    self._release(child, queue)

    def blocked_children(self, parent: Job) -> Iterator[Job]:
        """Iterate over the children of a job that wait for parents."""
        for child_id in list(self.children.get(parent.id, ())):
            child = self.jobs.get(child_id)
            if child is not None and child.state is State.BLOCKED:
                yield child

    def parents_of(self, job: Job) -> list[Job]:
        """Return the parents that are still there.

        A job that was made anew under the id of a purged one is nobody's parent.
        """
        linked = (parent for parent in job.parents if job.id in self.children.get(parent, ()))
        return [self.jobs[parent] for parent in linked]

    def spoiled(self, job: Job) -> bool:
        """Whether a parent ended in a way that cancels the job."""
        policy = job.spec.on_parent_failure
        return any(rules.parent_spoils(p.state, policy) for p in self.parents_of(job))

    def end_try(
        self, job: Job, outcome: str, error: ErrorInfo | None, ran_for: float | None = None
    ) -> None:
        """Close a job's live lease: record the attempt, free its session, count it."""
        attempt = job.tries[-1]
        if attempt.started_at is None and ran_for is not None:
            attempt.started_at = self.now - ran_for
        attempt.finished_at = self.now
        attempt.outcome = outcome
        attempt.error = error
        if job.session is not None:
            job.session.held.pop(job.id, None)
        job.session = None
        job.deadline_at = None
        ran = None if attempt.started_at is None else self.now - attempt.started_at
        waited = attempt.leased_at - attempt.due_at
        self.count(job, outcome, waited=waited, ran=ran or 0.0)
        self._spread(job, waited, ran)

    def bury(self, job: Job, event: Event, actor: str) -> None:
        """Make a dead letter, count it and write it down."""
        self.shift(job, event)
        self.count(job, "dead")
        self.log(
            Kind.JOB_DEAD,
            actor,
            job=job,
            code=job.error.code if job.error else "task_error",
            task=job.spec.task,
        )

    def report(
        self, job: Job, progress: float | None, note: str | None, logs: tuple[LogLine, ...]
    ) -> None:
        """Keep what a worker told about a job. Lines told before are not kept twice."""
        if progress is not None:
            job.progress = progress
        if note is not None:
            job.note = note
        if logs:
            known = set(job.logs)
            job.logs.extend(line for line in dict.fromkeys(logs) if line not in known)
            del job.logs[:-MAX_LOGS]
        if progress is not None or note is not None or logs:
            self.bell.changed(job.id)

    def forget(self, job: Job) -> None:
        """Delete an ended job with all that belongs to it."""
        job.line.tallies[job.spec.priority.rank][job.state] -= 1
        del self.jobs[job.id]
        self.expiring.pop(job.id, None)
        self.children.pop(job.id, None)
        for parent in job.parents:
            _discard(self.children, parent, job.id)
        if job.workflow_id is not None:
            _discard(self.members, job.workflow_id, job.id)
            if job.workflow_id not in self.members:
                self.flows.pop(job.workflow_id, None)

    def count(self, job: Job, outcome: str, *, waited: float = 0.0, ran: float = 0.0) -> None:
        """Add to the activity of this minute and to the totals."""
        minute = int(self.now // MINUTE) * MINUTE
        found = self.minutes.get(minute)
        if found is None:
            for old in [m for m in self.minutes if m < self.now - DAY - MINUTE]:
                del self.minutes[old]
            found = self.minutes[minute] = {}
        cell = found.setdefault((job.line.name, job.spec.task, outcome), [0, 0.0, 0.0])
        cell[0] += 1
        cell[1] += waited
        cell[2] += ran
        self.totals[outcome] += 1

    def _spread(self, job: Job, waited: float, ran: float | None) -> None:
        """Count the classes that an attempt's wait and run fall into."""
        self.count(job, spread.WAITED_MARKS[spread.class_of(waited)])
        self.totals[spread.WAITED_SUM] += round(waited * spread.MICROSECONDS)
        if ran is not None:
            self.count(job, spread.RAN_MARKS[spread.class_of(ran)])
            self.totals[spread.RAN_SUM] += round(ran * spread.MICROSECONDS)

    def log(
        self,
        kind: Kind,
        actor: str,
        *,
        job: Job | None = None,
        queue: str | None = None,
        worker: str | None = None,
        **details: Any,
    ) -> None:
        """Write a line into the audit trail."""
        if job is not None:
            queue = job.line.name
            worker = worker or (job.tries[-1].worker if job.tries else None)
        self.events.append(
            EventRecord(
                seq=len(self.events) + 1,
                at=when(self.now),
                kind=kind,
                actor=actor,
                job_id=job.id if job else None,
                queue=queue,
                worker=worker,
                details=details,
            )
        )

    def due_in(self, queues: Iterable[str]) -> Callable[[], float | None]:
        """Return a function that tells in how many seconds a job of these queues is due."""

        def seconds() -> float | None:
            lines = (self.lines.get(name) for name in queues)
            found = [job for line in lines if line and (job := line.next_due(self.jobs))]
            return (
                min((job.run_at for job in found), default=0.0) - self.clock.now()
                if found
                else None
            )

        return seconds

    def _spoil(self, child: Job, queue: deque[Job]) -> None:
        child.error = rules.PARENT_FAILED
        self.shift(child, Event.CANCEL)
        queue.append(child)

    def _release(self, child: Job, queue: deque[Job]) -> None:
        # A parent that failed in an earlier life of this workflow, and was not revived with the
        # others, still spoils its child.
        if self.spoiled(child):
            self._spoil(child, queue)
            return
        later = child.run_at > self.now
        child.run_at = max(child.run_at, self.now)
        self.shift(child, Event.DEFER if later else Event.UNBLOCK)

    def _end(self, job: Job) -> None:
        job.finished_at = self.now
        job.waiting_for = 0
        self.expiring.pop(job.id, None)
        key = job.unique
        if key is not None and self.unique.get(key) == job.id:
            del self.unique[key]


def age(job: Job) -> tuple[float, int]:
    """Return what orders jobs by age: the moment they became due, then the order of submission."""
    return (job.run_at, job.seq)


def _discard(table: dict[str, dict[str, None]], key: str, member: str) -> None:
    found = table.get(key)
    if found is not None:
        found.pop(member, None)
        if not found:
            del table[key]
