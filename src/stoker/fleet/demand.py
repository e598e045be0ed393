"""What the store's counts say about the demand on some queues: arrivals, service time, backlog.

The store counts by the minute and by queue. Between two looks each of those counts can only have
grown, so their differences are exact, whoever submitted and whoever ran, however the looks fall
into the minutes. Rates are smoothed twice: over seconds, to see a burst as it comes, and over a
minute, so as not to forget it at once.
"""

import math
from collections.abc import Collection

import msgspec

from stoker.core.lifecycle import State
from stoker.core.records import Activity, Counts

WINDOW = 180.0
"""Seconds of activity to ask the store for: whatever falls between two looks is inside."""
FAST, SLOW = 5.0, 60.0
"""Seconds over which the two rates are smoothed."""
SERVICE_MEMORY = 200.0
"""About so many attempts make up the mean service time."""
_LEASED = frozenset({State.ASSIGNED, State.RUNNING})
_ENDINGS = frozenset({"completed", "failed", "crashed", "timed_out", "lost", "cancelled"})
_COMINGS = frozenset({"submitted", "failed", "crashed", "timed_out", "lost", "snoozed"})
"""What puts work into a queue: a submit, and what repeats an attempt. A little too much for jobs
that die, never too little."""


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """The demand on some queues at one moment."""

    waiting: int
    """Jobs that are due and that nobody has leased."""
    running: int
    """Jobs that workers hold."""
    oldest: float
    """Seconds for which the oldest waiting job has been due; 0 when none waits."""
    arrivals: float
    """Jobs a second."""
    service: float | None
    """Seconds that a job takes, on average; None while no attempt has ended."""

    def shared(self, share: float, *, running: int) -> "Demand":
        """Return a share of it, for a fleet that holds so many jobs itself."""
        return msgspec.structs.replace(
            self,
            waiting=math.ceil(self.waiting * share),
            running=running,
            arrivals=self.arrivals * share,
        )


class Meter:
    """Makes demands out of successive counts."""

    def __init__(self, queues: Collection[str] = ()) -> None:
        """Watch queues; all of them when none is named."""
        self._queues = frozenset(queues)
        self._seen: dict[tuple[float, str, str, str], tuple[int, float]] = {}
        self._read_at: float | None = None
        self._fast = self._slow = 0.0
        self._attempts = self._seconds = 0.0

    def read(self, counts: Counts) -> Demand:
        """Take counts with a window of `WINDOW`; the first ones only set the stage."""
        now = counts.now.timestamp()
        arrived, ended, ran = self._growth(counts.activity)
        if self._read_at is not None:
            self._learn(arrived, ended, ran, max(now - self._read_at, 1e-3))
        elif ended:
            self._attempts, self._seconds = min(ended, SERVICE_MEMORY), 0.0
            self._seconds = ran / ended * self._attempts
        self._read_at = now
        tallies = [t for t in counts.tallies if self._is_mine(t.queue)]
        due = [at.timestamp() for name, at in counts.oldest.items() if self._is_mine(name)]
        return Demand(
            waiting=sum(t.count for t in tallies if t.state is State.QUEUED),
            running=sum(t.count for t in tallies if t.state in _LEASED),
            oldest=max(0.0, now - min(due, default=now)),
            arrivals=max(self._fast, self._slow),
            service=self._seconds / self._attempts if self._attempts else None,
        )

    def concerns(self, queues: Collection[str]) -> bool:
        """Whether a worker of these queues takes of the same jobs."""
        return not self._queues or not self._queues.isdisjoint(queues)

    def _is_mine(self, queue: str) -> bool:
        return not self._queues or queue in self._queues

    def _growth(self, activity: Collection[Activity]) -> tuple[int, int, float]:
        """Return what came, how many attempts ended and how long they ran, since the last look."""
        seen, self._seen = self._seen, {}
        arrived, ended, ran = 0, 0, 0.0
        for line in activity:
            if not self._is_mine(line.queue):
                continue
            key = (line.minute_at.timestamp(), line.queue, line.task, line.outcome)
            count, seconds = seen.get(key, (0, 0.0))
            self._seen[key] = (line.count, line.ran)
            if line.outcome in _COMINGS:
                arrived += line.count - count
            if line.outcome in _ENDINGS:
                ended += line.count - count
                ran += line.ran - seconds
        return arrived, ended, ran

    def _learn(self, arrived: int, ended: int, ran: float, passed: float) -> None:
        rate = arrived / passed
        self._fast += (rate - self._fast) * -math.expm1(-passed / FAST)
        self._slow += (rate - self._slow) * -math.expm1(-passed / SLOW)
        if ended:
            kept = min(1.0, SERVICE_MEMORY / (self._attempts + ended))
            self._attempts = (self._attempts + ended) * kept
            self._seconds = (self._seconds + ran) * kept
