"""What stores take and give besides jobs: queries, pages, counts, schedules, terms."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from stoker.core.events import Kind
from stoker.core.job import JobRecord, JobSpec, Priority
from stoker.core.lifecycle import State

MAX_PAGE = 1_000
"""The most records that one `find`, `events` or `workflows` returns."""
MAX_LOGS = 1_000
"""Log lines kept per job; the oldest go first."""

CatchUp = Literal["skip", "last", "all"]


class JobQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs. Every field narrows; an empty one does not."""

    ids: tuple[str, ...] = ()
    states: tuple[State, ...] = ()
    queues: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    priorities: tuple[Priority, ...] = ()
    tenant: str | None = None
    workflow_id: str | None = None
    schedule: str | None = None
    error: str | None = None
    """A text that the last error's code, type or message contains (case matters not)."""
    worker: str | None = None
    submitted_after: float | None = None
    """Seconds since 1970; inclusive."""
    submitted_before: float | None = None
    """Seconds since 1970; exclusive."""


class Page(msgspec.Struct, frozen=True):
    """One page of jobs, newest submitted first."""

    jobs: list[JobRecord]
    next_cursor: str | None = None
    """Give it to the next `find`; None at the end."""


class Answer(msgspec.Struct, frozen=True):
    """What became of one job in a `cancel` or `requeue`."""

    id: str
    answer: Literal["cancelled", "requested", "too_late", "requeued", "refused", "unknown"]
    """``cancelled``: it was waiting and is cancelled now. ``requested``: it is leased, and its
    worker was told. ``too_late``: it had ended. ``requeued``: it lives again. ``refused``: it has
    not ended, or its unique key is taken. ``unknown``: no such job."""


class Reaped(msgspec.Struct, frozen=True):
    """What a `reap` did."""

    sessions: tuple[str, ...] = ()
    """Ids of sessions declared dead now."""
    requeued: tuple[str, ...] = ()
    """Jobs taken back that will run again."""
    buried: tuple[str, ...] = ()
    """Jobs taken back, or expired, that became dead letters."""
    promoted: int = 0
    """Jobs that became due."""


class Tally(msgspec.Struct, frozen=True):
    """How many jobs of one queue and priority are in one state."""

    queue: str
    priority: Priority
    state: State
    count: int


class Activity(msgspec.Struct, frozen=True):
    """What happened in one minute with one task in one queue."""

    minute_at: datetime
    """Begin of the minute."""
    queue: str
    task: str
    outcome: str
    """``"submitted"``, a value of `Outcome`, ``"lost"``, ``"timed_out"`` or ``"dead"`` (which is
    counted besides the outcome that led there)."""
    count: int
    waited: float = 0.0
    """Seconds from due to leased, summed over ended attempts."""
    ran: float = 0.0
    """Seconds from started to settled, summed."""


class Spread(msgspec.Struct, frozen=True):
    """How long the attempts of one task in one queue took that ended in one minute.

    Numbers of attempts by class; `stoker.core.spread` has the classes' bounds.
    """

    minute_at: datetime
    """Begin of the minute."""
    queue: str
    task: str
    waited: Mapping[int, int] = {}
    """From due to leased, of every attempt that ended."""
    ran: Mapping[int, int] = {}
    """From started to settled, of those that had started."""


class TotalSpread(msgspec.Struct, frozen=True, kw_only=True):
    """How long all attempts took since the store was made. Nothing in it ever falls."""

    waited: Mapping[int, int] = {}
    ran: Mapping[int, int] = {}
    waited_sum: float = 0.0
    """Seconds."""
    ran_sum: float = 0.0
    """Seconds."""


class Counts(msgspec.Struct, frozen=True):
    """The store's own counts: right whichever process is asked."""

    now: datetime
    """The store's clock."""
    tallies: list[Tally]
    oldest: Mapping[str, datetime]
    """For each queue with queued jobs: since when its oldest one is due."""
    activity: list[Activity]
    """Minutes inside the asked window, oldest first."""
    totals: Mapping[str, int] = {}
    """Activity outcome to its count since the store was made. Never falls."""
    spreads: list[Spread] = []
    """How long attempts took, by the minutes of the window in which they ended, oldest first."""
    spread: TotalSpread = TotalSpread()


class QueueInfo(msgspec.Struct, frozen=True):
    """A queue: its settings and its load."""

    name: str
    paused: bool = False
    limit: int | None = None
    """The most jobs of this queue that may be leased at once, over all workers; None: no limit."""
    counts: Mapping[State, int] = {}
    oldest_at: datetime | None = None
    """Since when the oldest queued job is due."""


class WorkflowInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow: its name and the states of its jobs."""

    id: str
    name: str
    state: Literal["running", "completed", "failed", "cancelled"]
    """``running`` while any job is live; else ``failed`` if any is a dead letter; else
    ``cancelled`` if any was cancelled; else ``completed``."""
    total: int
    counts: Mapping[State, int]
    submitted_at: datetime
    finished_at: datetime | None = None


class ScheduleSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that submits jobs, as it is put."""

    name: str
    job: JobSpec
    """The template; each firing gets an id of its own."""
    cron: str | None = None
    """Five or six fields (the first of six are seconds)."""
    every: float | None = None
    """An interval in seconds. Either this or ``cron``."""
    timezone: str = "UTC"
    """An IANA name; the cron fields are wall time there."""
    catch_up: CatchUp = "last"
    """What to do with firings missed while no keeper ran: none, only the latest, or all."""
    paused: bool = False
    next_at: float | None = None
    """Seconds since 1970 of the next firing; None: never again."""


class ScheduleInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as the store keeps it."""

    spec: ScheduleSpec
    last_at: float | None = None
    """The latest instant that fired."""
    last_job_id: str | None = None
    fired: int = 0
    created_at: datetime
    updated_at: datetime


class Firing(msgspec.Struct, frozen=True, kw_only=True):
    """One firing of a schedule, as a compare-and-set."""

    name: str
    at: float
    """The instant that fires."""
    expect: float | None
    """The ``next_at`` that the caller saw. Another value in the store means that another keeper
    was faster, and nothing is done."""
    next_at: float | None
    """The instant after it."""
    job: JobSpec | None
    """The job to submit; None to move ``next_at`` only (a missed firing that is skipped)."""
    manual: bool = False
    """A person asked for it: ``expect`` and ``next_at`` are ignored, a pause does not stop it."""


class Term(msgspec.Struct, frozen=True):
    """A tenure as leader.

    Named by holder **and** moment, so that an old term of the same holder can neither renew nor
    resign a newer one.
    """

    name: str
    holder: str
    elected_at: float
    expires_at: float


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events. Every field narrows; an empty one does not."""

    after: int | None = None
    """Only ``seq`` greater than this, oldest first. None: the newest, newest first."""
    kinds: tuple[Kind, ...] = ()
    job_id: str | None = None
    queue: str | None = None
    worker: str | None = None
    actor: str | None = None
    since: float | None = None
    """Seconds since 1970."""


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One numbered change of the store's layout."""

    number: int
    name: str
    up: str = ""
    """The statements, as text; empty for engines without a layout."""
    down: str = ""


class SchemaStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The layout of the store."""

    current: int
    latest: int
    """What this Stoker needs."""
    applied: tuple[Migration, ...] = ()
    pending: tuple[Migration, ...] = ()


class StoreInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the store is, and what it promises with its present settings."""

    engine: str
    """``"memory"``, ``"sqlite"``, ..."""
    version: str
    url: str
    """With every secret masked."""
    durability: str
    """The level's name: ``"none"``, ``"fast"``, ``"full"``."""
    can_lose: str
    """In words: what a crash of the process, the engine or the machine can lose."""
    shared: bool = True
    """Whether other processes can open it."""
    details: Mapping[str, Any] = {}
    id: str = ""
    """128 random bits as hexadecimal digits, made with the store and kept in it: the same for every
    handle, another for every other store. Empty until the store is open."""
