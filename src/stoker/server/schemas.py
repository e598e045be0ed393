"""The bodies that the API takes and gives, besides the records of the core.

Structs, not pydantic models: the submit path makes nothing but the bytes that it sends, and the
same types give the JSON Schemas of ``/openapi.json``.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from stoker.app.bodies import JobBody, Length, Moment, Name, OptionsBody
from stoker.app.keys import KeyView
from stoker.app.stats import Cause, ErrorGroup, QueueStats
from stoker.core.events import EventRecord
from stoker.core.fleets import MOST_WORKERS, FleetInfo
from stoker.core.job import JobRecord, Priority, SessionInfo
from stoker.core.keys import MAX_TENANT, Scope
from stoker.core.lifecycle import State
from stoker.core.records import Answer, CatchUp, WorkflowInfo
from stoker.server.errors import ErrorDetail

Count = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
CatchUpName = Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["skip", "last", "all"]})]
Rate = Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]


class SubmitBody(JobBody, kw_only=True, forbid_unknown_fields=True):
    """A job to be submitted; the same id again submits nothing twice."""

    id: UUID | None = None


class BatchBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Jobs to be submitted in one commit; each is accepted or refused by itself."""

    jobs: Annotated[
        list[Any],
        msgspec.Meta(
            min_length=1,
            extra_json_schema={"items": {"$ref": "#/components/schemas/SubmitBody"}},
        ),
    ]


class BatchItem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What became of one job of a batch."""

    created: bool
    """False when it existed already, or was refused."""
    job: JobRecord | None = None
    error: ErrorDetail | None = None


class BatchAnswer(msgspec.Struct):
    """What became of each job, in the order of the request."""

    jobs: list[BatchItem]


class ReasonBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Why, for the audit trail."""

    reason: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class RetryJobBody(ReasonBody, kw_only=True, forbid_unknown_fields=True):
    """How to bring a job back."""

    payload: dict[str, Any] | None = None
    """A new payload instead of the old one."""
    downstream: bool = False
    """Also every ended job of the workflow that depends on it."""


class JobAnswer(msgspec.Struct):
    """What became of one job, and the job as it is now."""

    id: str
    answer: str
    """``cancelled``, ``requested`` or ``requeued``."""
    job: JobRecord


class JobCount(msgspec.Struct, kw_only=True):
    """How many jobs a search means."""

    count: int
    is_exact: bool
    """False when counting stopped at its cap: there are at least so many."""


class Suggestion(msgspec.Struct, kw_only=True):
    """One way to go on with a search."""

    text: str
    """The whole term, quoted where it must be."""
    note: str
    """What it is, in a few words."""


class SuggestionList(msgspec.Struct):
    """Ways to go on with a search, the likeliest first."""

    suggestions: list[Suggestion]


class BulkBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to do with which jobs: ``ids``, or a search ``q``, or ``all``."""

    action: Literal["cancel", "retry", "delete"]
    ids: Annotated[tuple[str, ...], msgspec.Meta(max_length=10_000)] = ()
    q: Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)] | None = None
    all: bool = False
    """Every job: said in so many words, because an empty body would say it by accident."""
    cursor: str | None = None
    """``next_cursor`` of the batch before."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1_000
    """The most jobs in this batch."""
    rate: Rate | None = None
    """For ``retry``: jobs a second that become due; null: all at once."""
    dry_run: bool = False
    """Only count, up to 10,000."""
    reason: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    """For the audit trail. Needed unless it is a dry run."""


class BulkAnswer(msgspec.Struct, kw_only=True):
    """What one batch did."""

    dry_run: bool
    matched: int
    """Jobs of this batch; in a dry run, all that match."""
    is_exact: bool
    """False in a dry run that stopped at its cap: there are at least so many."""
    done: int
    """Jobs that were cancelled, asked to stop, brought back or deleted."""
    answers: Mapping[str, int]
    """How many jobs got which answer."""
    next_cursor: str | None
    """Give it as ``cursor`` for the next batch; null: everything that matched was taken."""


class SettingsView(msgspec.Struct):
    """The configuration in force, by key; secrets are masked."""

    settings: Mapping[str, Any]


class QueueList(msgspec.Struct):
    """All queues, by name."""

    queues: list[QueueStats]


class LimitBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The most jobs of the queue that may be leased at once; 0 or null: no limit."""

    limit: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None


class Purged(msgspec.Struct):
    """How many jobs were deleted."""

    purged: int


class WorkerList(msgspec.Struct):
    """Workers, newest first."""

    workers: list[SessionInfo]


class WorkerAnswer(msgspec.Struct):
    """What a worker was told."""

    answer: str
    """``draining``: it finishes what it holds and leaves. ``stopping``: it gives back what it holds
    and leaves. ``removed``: it was silent past its time
    to live, was declared dead, and its jobs were taken back."""
    worker: SessionInfo


class FleetList(msgspec.Struct):
    """Fleets, by name and host."""

    fleets: list[FleetInfo]


class FleetAnswer(msgspec.Struct):
    """What a fleet was told. It reads it within a second or two."""

    answer: str
    """``scaling``, ``draining``, ``stopping`` or ``reloading``."""
    fleet: FleetInfo
    """As it was when it was told."""


Many = Annotated[int, msgspec.Meta(ge=0, le=MOST_WORKERS)]


class ScaleFleetBody(ReasonBody, kw_only=True, forbid_unknown_fields=True):
    """How few and how many workers of a kind there may be."""

    kind: Name | None = None
    """May be left out if the fleet has one kind."""
    min: Many | None = None
    max: Many | None = None


class ErrorGroups(msgspec.Struct):
    """Dead letters by what they died of."""

    groups: list[ErrorGroup]
    scanned: int
    is_complete: bool
    """False when there are more dead letters than were looked at."""


class DeadLetterBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters: ids, or filters that narrow, or ``all``."""

    ids: Annotated[tuple[str, ...], msgspec.Meta(max_length=10_000)] = ()
    task: str | None = None
    queue: str | None = None
    tenant: str | None = None
    workflow: str | None = None
    error: str | None = None
    group: Cause | None = None
    """Only those of one error group, exactly: its ``code``, ``type`` and ``message``, as the groups
    tell them. Those that are looked at for it are bounded; call again while ``is_complete`` is
    false."""
    since: Moment | None = None
    until: Moment | None = None
    all: bool = False
    """Every dead letter: said in so many words, because an empty body would say it by accident."""
    limit: Count = 1_000
    """The most to take; call again for the rest."""
    dry_run: bool = False
    """Only tell what would be taken."""
    reason: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class ReplayBody(DeadLetterBody, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters to bring back to life, and how fast."""

    rate: Rate | None = None
    """Jobs a second that become due; null: all at once."""


class Replayed(msgspec.Struct, kw_only=True):
    """What a replay did."""

    dry_run: bool
    matched: int
    replayed: int
    is_complete: bool
    """False when the limit was reached; there may be more."""
    answers: list[Answer]


class Dropped(msgspec.Struct, kw_only=True):
    """What a drop did."""

    dry_run: bool
    matched: int
    dropped: int
    is_complete: bool
    """False when the limit was reached; there may be more."""


class ScheduleBody(OptionsBody, kw_only=True, forbid_unknown_fields=True):
    """A schedule to be made. One of ``cron_expression`` and ``interval`` is its rule."""

    name: Name
    task: Name | None = None
    job_type: Name | None = None
    payload: dict[str, Any] = msgspec.field(default_factory=dict)
    cron_expression: str | None = None
    interval: Length | None = None
    timezone: str = "UTC"
    catch_up: CatchUpName = "last"
    paused: bool = False


class SchedulePatch(OptionsBody, kw_only=True, forbid_unknown_fields=True):
    """What to change of a schedule; what is left out stays."""

    task: Name | None = None
    job_type: Name | None = None
    payload: dict[str, Any] | None = None
    cron_expression: str | None = None
    interval: Length | None = None
    timezone: str | None = None
    catch_up: CatchUpName | None = None
    paused: bool | None = None


class ScheduleView(msgspec.Struct, kw_only=True):
    """A schedule, its job, and when it fires."""

    name: str
    task: str
    payload: msgspec.Raw
    queue: str
    priority: Priority
    max_retries: int
    timeout: float | None
    tenant: str | None
    unique_key: str | None
    cron_expression: str | None
    interval: float | None
    """Seconds."""
    timezone: str
    catch_up: CatchUp
    paused: bool
    next_at: datetime | None
    in_words: str
    """The rule in English."""
    next_firings: list[datetime]
    last_at: datetime | None
    last_job_id: str | None
    fired: int
    created_at: datetime
    updated_at: datetime


class ScheduleList(msgspec.Struct):
    """All schedules, by name."""

    schedules: list[ScheduleView]


class WorkflowList(msgspec.Struct):
    """One page of workflows, newest first."""

    workflows: list[WorkflowInfo]
    next_cursor: str | None


class Edge(msgspec.Struct, rename={"source": "from", "target": "to"}):
    """A job that waits for another one; ids."""

    source: str
    target: str


class WorkflowView(msgspec.Struct, kw_only=True):
    """A workflow with its jobs, parents before children."""

    id: str
    name: str
    state: str
    total: int
    counts: dict[State, int]
    submitted_at: datetime
    finished_at: datetime | None
    jobs: list[JobRecord]
    edges: list[Edge]
    is_complete: bool
    """False when the workflow has more jobs than were asked for."""


class GraphNode(msgspec.Struct, kw_only=True):
    """What a graph shows of a job. The rest is at ``/api/v1/jobs/{id}``."""

    id: str
    node: str | None
    task: str
    state: State
    progress: float | None
    started_at: datetime | None
    finished_at: datetime | None
    waiting_for: int
    """Parents that have not ended."""
    cause: str | None
    """Type of the last error, or its code; null when there was none."""


class GraphView(msgspec.Struct, kw_only=True):
    """The shape of a workflow and where its jobs are, without what they carry."""

    id: str
    name: str
    state: str
    total: int
    counts: dict[State, int]
    submitted_at: datetime
    finished_at: datetime | None
    nodes: list[GraphNode]
    """One page of jobs, parents before children."""
    edges: list[Edge]
    """To these jobs, from all of their parents. A parent may be on a page that comes later."""
    next_cursor: str | None
    """Give it as ``cursor`` for jobs that were submitted earlier; null at the end."""


class RetryWorkflowBody(
    msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename={"node": "from"}
):
    """Which part of a workflow to run again."""

    node: str | None = None
    """A node, which runs again with everything downstream of it; null: what did not complete."""


class WorkflowAnswer(msgspec.Struct):
    """What became of the jobs of a workflow."""

    id: str
    answers: list[Answer]


class EventList(msgspec.Struct):
    """Lines of the audit trail."""

    events: list[EventRecord]
    next_after: int | None
    """Give it as ``after`` to read on; null when nothing was found."""


class KeyBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An API key to be made."""

    name: Name
    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1)]
    queues: list[Name] = []
    """The only queues it may touch; empty: all."""
    tenant: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TENANT)] | None = None
    """The only tenant it may touch; null: all."""
    expires: Length | None = None


class KeyList(msgspec.Struct):
    """API keys, oldest first."""

    keys: list[KeyView]


class LoginBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A key to log in with."""

    key: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Me(msgspec.Struct, kw_only=True):
    """Who asks, and what he may."""

    name: str
    anonymous: bool
    """Whether nobody has to show a key here."""
    scopes: list[Scope]
    """With those that they bring along."""
    queues: list[str]
    tenant: str | None
    csrf: str | None
    """To be sent with each change as the header ``X-CSRF-Token``; null without a cookie."""


class TaskView(msgspec.Struct, kw_only=True):
    """A task that jobs may name."""

    name: str
    description: str
    payload_schema: dict[str, Any] | None
    """JSON Schema of the payload; null when only workers know the task."""
    queue: str | None
    known_here: bool
    """False when the name was announced by a worker."""


class TaskList(msgspec.Struct):
    """All known tasks, by name."""

    tasks: list[TaskView]


class Health(msgspec.Struct):
    """The server is alive."""

    status: str
    version: str
