"""The records that travel between callers, stores and workers.

Three views of a job: `JobSpec` is what a caller submits, `Leased` the little that a worker needs
to run it, `JobRecord` everything, for people. Inside, a duration is a float of seconds and an
instant a float of seconds since 1970 UTC; a `JobRecord` carries aware datetimes.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import msgspec

from stoker.core.lifecycle import State
from stoker.core.retry import RetryPolicy

OnParentFailure = Literal["cancel", "run"]
MAX_LOST = 3
"""How often a job may take its process with it before it is a dead letter."""


class Priority(StrEnum):
    """The three lanes inside a queue."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 for high, 1 for medium, 2 for low: the smaller, the sooner."""
        return _RANKS[self]


_RANKS = {Priority.HIGH: 0, Priority.MEDIUM: 1, Priority.LOW: 2}
PRIORITIES: tuple[Priority, ...] = (Priority.HIGH, Priority.MEDIUM, Priority.LOW)
"""All priorities; `Priority.rank` is the index."""


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as data: it can be stored, sent and shown, and never be executed."""

    code: str
    """A stable code: that of a `StokerError`, or ``"task_error"`` for the task's own exception."""
    message: str
    type: str = ""
    """The exception's class name."""
    traceback: str | None = None

    def __str__(self) -> str:
        """Show the error as one line: its type and the first line of its message."""
        first = self.message.strip().split("\n", 1)[0]
        return f"{self.type or self.code}: {first}" if first else self.type or self.code


class LogLine(msgspec.Struct, frozen=True):
    """One line that a job logged."""

    at: datetime
    message: str
    attempt: int = 0


class Attempt(msgspec.Struct, frozen=True):
    """One try of a job, as it is shown."""

    attempt: int
    epoch: int
    worker: str
    """The name of the worker."""
    leased_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    outcome: str | None = None
    """A value of `Outcome`, ``"lost"``, ``"timed_out"``, or None while it goes on."""
    error: ErrorInfo | None = None


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is submitted. The caller makes the id, so that submitting again is harmless."""

    id: str
    task: str
    payload: bytes = b"{}"
    """A JSON object, UTF-8."""
    queue: str = "default"
    priority: Priority = Priority.MEDIUM
    retry: RetryPolicy = RetryPolicy()
    timeout: float | None = None
    """Hard limit of one attempt in seconds; the lease's deadline."""
    soft_timeout: float | None = None
    """Seconds after which the task is told, so that it can tidy up."""
    delay: float = 0.0
    """Seconds from the submit until it is due."""
    run_at: float | None = None
    """The moment it is due; the later of this and ``delay`` holds."""
    expires: float | None = None
    """Seconds from the submit after which it is not started any more."""
    unique_key: str | None = None
    """While a job of the same tenant and task with this key is live, no second one is made."""
    tenant: str | None = None
    workflow_id: str | None = None
    node: str | None = None
    """Its name in the workflow."""
    parents: tuple[str, ...] = ()
    """Ids of the jobs it waits for."""
    on_parent_failure: OnParentFailure = "cancel"
    """What to do when a parent ends in any state but completed."""
    max_lost: int = MAX_LOST
    schedule: str | None = None
    """The schedule that fired it."""
    headers: Mapping[str, str] = {}
    """Context that travels along, such as ``traceparent``."""


class WorkflowSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The workflow that a submit makes."""

    id: str
    name: str


class Submitted(msgspec.Struct, frozen=True):
    """What became of one submitted job."""

    id: str
    """The job's id: the caller's, or that of the live job that holds the unique key."""
    created: bool
    """False when it existed already."""
    state: State | None = None
    error: ErrorInfo | None = None
    """Why this one was refused. Its neighbours are not affected."""


class Outcome(StrEnum):
    """How an attempt ended, as its worker tells it."""

    COMPLETED = "completed"
    FAILED = "failed"
    """Counts against ``max_retries``."""
    CRASHED = "crashed"
    """It took its process with it. Counts against ``max_lost``."""
    SNOOZED = "snoozed"
    """Put off, uncounted."""
    RELEASED = "released"
    """Given back, uncounted: never started, or interrupted by a drain."""
    CANCELLED = "cancelled"
    """Obeyed a cancel."""


class Leased(msgspec.Struct, frozen=True, gc=False):
    """A job in the hands of a session, with the fence to settle it."""

    id: str
    task: str
    payload: bytes
    queue: str
    attempt: int
    epoch: int
    nonce: str
    timeout: float | None = None
    soft_timeout: float | None = None
    failed: int = 0
    """Failed attempts before this one."""
    lost: int = 0
    """Attempts before this one that took their process with them. Above 0: run it alone."""
    retry: bytes = b"{}"
    """The `RetryPolicy` as JSON; read only when the attempt fails."""
    parents: Mapping[str, bytes] | None = None
    """Results of the parents as JSON by job id; None for a job without parents. A parent that
    did not complete has no entry."""
    parent_names: Mapping[str, str] | None = None
    """Node name of each parent by job id, for jobs in workflows."""
    tenant: str | None = None
    workflow_id: str | None = None
    headers: Mapping[str, str] | None = None
    cancel_requested: bool = False


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """How one attempt ended. Obeyed only with the right fence."""

    id: str
    epoch: int
    nonce: str
    outcome: Outcome
    result: bytes | None = None
    """JSON, for completed."""
    error: ErrorInfo | None = None
    retry_in: float | None = None
    """Seconds until the next attempt for failed (None: no more attempts) and for snoozed."""
    ran_for: float | None = None
    """Seconds since the handler began; None if it never did."""
    progress: float | None = None
    note: str | None = None
    logs: tuple[LogLine, ...] = ()


class Settled(StrEnum):
    """The store's answer to a settlement."""

    OK = "ok"
    REPEATED = "repeated"
    """The same settlement was obeyed before; nothing changed now."""
    LEASE_LOST = "lease_lost"
    """Somebody else owns the job, or nobody; nothing changed."""


class Exchanged(msgspec.Struct, frozen=True, gc=False):
    """What an exchange gave."""

    settled: list[Settled]
    """One for each settlement, in order."""
    leased: list[Leased]


class HeldJob(msgspec.Struct, frozen=True, gc=False):
    """What a beat says about one job that the session holds."""

    id: str
    epoch: int
    nonce: str
    ran_for: float | None = None
    """Seconds since its handler began; None while it waits in the worker's buffer."""
    progress: float | None = None
    """0 to 1; None when nothing is new."""
    note: str | None = None
    logs: tuple[LogLine, ...] = ()
    """Lines since the last beat that was answered."""


class SessionState(StrEnum):
    """Where a session is in its life."""

    ALIVE = "alive"
    DRAINING = "draining"
    """Finishes what it holds and takes nothing new."""
    LEFT = "left"
    """Said goodbye."""
    DEAD = "dead"
    """Declared dead by a reaper or its supervisor. Never comes back under the same id."""


class Command(StrEnum):
    """What an operator asks of a session."""

    DRAIN = "drain"
    STOP = "stop"


class SessionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One life of one worker process, as the worker tells it."""

    id: str
    name: str
    """For people; unique among living workers by the worker's own care."""
    host: str = ""
    pid: int = 0
    kind: str = "python"
    version: str = ""
    queues: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    """Names of the tasks it can run."""
    concurrency: int = 1
    state: SessionState = SessionState.ALIVE
    details: Mapping[str, Any] = {}
    """What else it tells of itself, as JSON. No store reads it."""


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A session as the store sees it."""

    id: str
    name: str
    state: SessionState
    host: str
    pid: int
    kind: str
    version: str
    queues: tuple[str, ...]
    tasks: tuple[str, ...]
    concurrency: int
    busy: int
    """Jobs it holds now."""
    started_at: datetime
    seen_at: datetime
    expires_at: datetime
    command: Command | None = None
    details: Mapping[str, Any] = {}
    """What it told last; see `SessionSpec.details`."""


class BeatReply(msgspec.Struct, frozen=True):
    """What the store tells a session when it beats."""

    alive: bool
    """False: this session was declared dead. Drop everything and begin a new one."""
    cancel: tuple[str, ...] = ()
    """Ids among the held jobs whose cancellation was asked for."""
    lost: tuple[str, ...] = ()
    """Ids among the held jobs that this session does not own any more."""
    command: Command | None = None


class JobRecord(msgspec.Struct, kw_only=True):
    """Everything about a job, for people and programs. Encodes to the flat JSON of the docs."""

    id: str
    task: str
    queue: str
    priority: Priority
    state: State
    attempt: int
    """Counted attempts so far."""
    max_retries: int
    payload: msgspec.Raw
    result: msgspec.Raw | None = None
    error: ErrorInfo | None = None
    """Of the last failed attempt."""
    progress: float | None = None
    progress_note: str | None = None
    submitted_at: datetime
    run_at: datetime
    """When it was, or will be, due."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    failed: int = 0
    lost: int = 0
    worker: str | None = None
    """The name of the worker that holds it or held it last."""
    deadline_at: datetime | None = None
    timeout: float | None = None
    soft_timeout: float | None = None
    expires_at: datetime | None = None
    unique_key: str | None = None
    tenant: str | None = None
    workflow_id: str | None = None
    node: str | None = None
    parents: tuple[str, ...] = ()
    waiting_for: int = 0
    """Parents that have not ended yet."""
    schedule: str | None = None
    cancel_requested: bool = False
    retry: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    attempts: list[Attempt] = []
    logs: list[LogLine] = []
    """Filled by `Store.get`, empty from `Store.find`."""

    def to_dict(self) -> dict[str, Any]:
        """Return the job as plain dicts, lists, texts and numbers: its JSON, decoded."""
        data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return data
