"""What the numbers of a store say: rates, shares, ages, load. Pure: HTTP and shell share it."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from stoker.core.job import PRIORITIES, JobRecord, SessionInfo, SessionState
from stoker.core.lifecycle import LIVE, State
from stoker.core.records import Activity, Counts, QueueInfo

FAILURES = frozenset({"failed", "crashed", "lost", "timed_out"})
"""Outcomes of attempts that count as errors."""
ENDED = FAILURES | {"completed", "cancelled", "snoozed", "released"}
"""Outcomes with which an attempt ends."""


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """A queue: its settings and its load."""

    name: str
    paused: bool
    limit: int | None
    counts: Mapping[State, int]
    oldest_age: float | None
    """Seconds for which the oldest queued job has been due; None when none is queued."""


class MinuteStats(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in one minute."""

    minute_at: datetime
    submitted: int
    completed: int
    failed: int


class ThroughputStats(msgspec.Struct, frozen=True, kw_only=True):
    """How fast jobs come and go."""

    submitted_per_minute: float
    completed_per_minute: float
    minutes: list[MinuteStats]
    """Oldest first; minutes without activity are left out."""


class ResponseStats(msgspec.Struct, frozen=True, kw_only=True):
    """How long jobs take, in seconds, over the attempts that ended inside the window."""

    mean_wait: float | None
    """From due to leased."""
    mean_run: float | None
    """From started to settled."""


class WorkerStats(msgspec.Struct, frozen=True, kw_only=True):
    """The living workers and their load."""

    total: int
    draining: int
    slots: int
    """Jobs that they can run at once."""
    busy: int
    """Jobs that they hold."""
    utilization: float | None
    """Share of the slots that are busy, at most 1; None without slots."""


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """The system at a glance."""

    now: datetime
    """The store's clock."""
    window: float
    """Seconds that the rates look back."""
    jobs: int
    states: Mapping[State, int]
    priorities: Mapping[str, int]
    """Jobs that have not ended, by priority."""
    queues: list[QueueStats]
    throughput: ThroughputStats
    error_rate: float | None
    """Share of the ended attempts inside the window that failed; None when none ended."""
    response: ResponseStats
    workers: WorkerStats
    totals: Mapping[str, int]
    """Since the store was made, by outcome. Never falls."""


class ErrorGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters that died of the same."""

    code: str
    type: str
    message: str
    """The first line, with numbers and ids left out."""
    count: int
    tasks: list[str]
    sample: str
    """The id of the newest of them."""
    newest_at: datetime
    oldest_at: datetime


def summarize(
    counts: Counts,
    sessions: Sequence[SessionInfo],
    queues: Sequence[QueueInfo],
    *,
    window: float,
) -> Stats:
    """Put together what a store says.

    Args:
        counts: Counted with the same window.
        sessions: The living ones.
        queues: All of them.
        window: Seconds that the rates look back; above 0.
    """
    states, priorities = _states(counts), _priorities(counts)
    ended = sum(a.count for a in counts.activity if a.outcome in ENDED)
    judged = sum(a.count for a in counts.activity if a.outcome in FAILURES | {"completed"})
    failed = sum(a.count for a in counts.activity if a.outcome in FAILURES)
    return Stats(
        now=counts.now,
        window=window,
        jobs=sum(states.values()),
        states=states,
        priorities=priorities,
        queues=[queue_stats(queue, counts.now) for queue in queues],
        throughput=_throughput(counts.activity, window),
        error_rate=_share(failed, judged),
        response=ResponseStats(
            mean_wait=_share(sum(a.waited for a in counts.activity), ended),
            mean_run=_share(sum(a.ran for a in counts.activity), ended),
        ),
        workers=worker_stats(sessions),
        totals=dict(counts.totals),
    )


def queue_stats(queue: QueueInfo, now: datetime) -> QueueStats:
    """Return a queue with the age of its oldest job."""
    oldest = queue.oldest_at
    return QueueStats(
        name=queue.name,
        paused=queue.paused,
        limit=queue.limit,
        counts={state: queue.counts.get(state, 0) for state in State},
        oldest_age=None if oldest is None else max(0.0, (now - oldest).total_seconds()),
    )


def worker_stats(sessions: Sequence[SessionInfo]) -> WorkerStats:
    """Return the load of the living workers."""
    busy = sum(session.busy for session in sessions)
    slots = sum(session.concurrency for session in sessions)
    return WorkerStats(
        total=len(sessions),
        draining=sum(session.state is SessionState.DRAINING for session in sessions),
        slots=slots,
        busy=busy,
        utilization=min(1.0, busy / slots) if slots else None,
    )


class Cause(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the jobs of one error group died of, as `ErrorGroup` says it."""

    code: str
    type: str
    message: str

    @classmethod
    def of(cls, job: JobRecord) -> "Cause":
        """Return what a job died of."""
        error = job.error
        if error is None:
            return cls(code="", type="", message="")
        line = error.message.strip().partition("\n")[0][:200]
        return cls(code=error.code, type=error.type, message=_SPECIFIC.sub("…", line))

    def literal(self) -> str | None:
        """Return a text that each error of this cause contains; None if there is none."""
        parts = [part.strip() for part in self.message.split("…")]
        longest = max([*parts, self.type, self.code], key=len)
        return longest or None


class Grouping:
    """Groups ended jobs by what they died of, and keeps nothing of a job but that."""

    def __init__(self) -> None:
        """Begin without a job."""
        self.count = 0
        self._groups: dict[Cause, ErrorGroup] = {}

    def add(self, job: JobRecord) -> None:
        """Count a job."""
        self.count += 1
        cause, at = Cause.of(job), job.finished_at or job.submitted_at
        known = self._groups.get(cause)
        if known is None:
            known = ErrorGroup(
                code=cause.code,
                type=cause.type,
                message=cause.message,
                count=0,
                tasks=[],
                sample=job.id,
                newest_at=at,
                oldest_at=at,
            )
        self._groups[cause] = msgspec.structs.replace(
            known,
            count=known.count + 1,
            tasks=known.tasks if job.task in known.tasks else sorted([*known.tasks, job.task]),
            sample=job.id if at > known.newest_at else known.sample,
            newest_at=max(at, known.newest_at),
            oldest_at=min(at, known.oldest_at),
        )

    def groups(self) -> list[ErrorGroup]:
        """Return the groups, the biggest first."""
        return sorted(
            self._groups.values(), key=lambda group: (-group.count, group.code, group.message)
        )


def group_errors(jobs: Iterable[JobRecord]) -> list[ErrorGroup]:
    """Group ended jobs by what they died of, the biggest group first."""
    grouping = Grouping()
    for job in jobs:
        grouping.add(job)
    return grouping.groups()


_SPECIFIC = re.compile(r"\b(?:0x[0-9a-fA-F]+|[0-9a-fA-F]{8,}(?:-[0-9a-fA-F]{4,})*|\d+(?:\.\d+)?)\b")
"""What differs between two errors of the same cause: numbers, addresses, ids."""


def _states(counts: Counts) -> dict[State, int]:
    found = dict.fromkeys(State, 0)
    for tally in counts.tallies:
        found[tally.state] += tally.count
    return found


def _priorities(counts: Counts) -> dict[str, int]:
    found = {str(priority): 0 for priority in PRIORITIES}
    for tally in counts.tallies:
        if tally.state in LIVE:
            found[str(tally.priority)] += tally.count
    return found


def _throughput(activity: Sequence[Activity], window: float) -> ThroughputStats:
    minutes: dict[datetime, Counter[str]] = {}
    for line in activity:
        minute = minutes.setdefault(line.minute_at, Counter())
        minute["failed" if line.outcome in FAILURES else line.outcome] += line.count
    whole: Counter[str] = Counter()
    for minute in minutes.values():
        whole.update(minute)
    length = window / 60
    return ThroughputStats(
        submitted_per_minute=whole["submitted"] / length,
        completed_per_minute=whole["completed"] / length,
        minutes=[
            MinuteStats(
                minute_at=at,
                submitted=minute["submitted"],
                completed=minute["completed"],
                failed=minute["failed"],
            )
            for at, minute in sorted(minutes.items())
        ],
    )


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
