"""Replays traces of arrivals against ways to size a fleet, in virtual time.

The same replay serves the tests and the table of the docs. Jobs come as the trace says and start in
the order in which they came; a worker that is wanted helps after its cold start; one that is not
wanted any more goes when it holds nothing, or, with a rule that does not care, at once, and what
it ran runs again. The store's counts are made as a store makes them, by the minute.
"""

import heapq
import random  # noqa: TID251 - the same arrivals in every run
import statistics
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from stoker.core.job import Priority
from stoker.core.lifecycle import State
from stoker.core.records import Activity, Counts, Tally
from stoker.fleet.autoscaler import Autoscaler, Bounds
from stoker.fleet.demand import Demand, Meter

LOOK = 1.0
"""Seconds between two decisions."""
COLD_START = 2.0
"""Seconds until a new worker runs its first job."""
PATIENCE = 600.0
"""Seconds after which a replay is given up: a rule that interrupts can do so for ever."""
EPOCH = 1_700_000_000.0


class Job(msgspec.Struct, frozen=True):
    """One job of a trace: when it comes and how long it runs, in seconds."""

    at: float
    runs: float


class Policy(Protocol):
    """A way to size a fleet."""

    name: str
    spares: bool
    """Whether only workers that hold nothing go."""

    def decide(self, demand: Demand, workers: int, ready: int, now: float) -> int:
        """Return how many workers there should be."""
        ...


class Fixed:
    """So many workers, always."""

    spares = True

    def __init__(self, workers: int) -> None:
        """Keep a number."""
        self.name = f"fixed at {workers}"
        self._workers = workers

    def decide(self, demand: Demand, workers: int, ready: int, now: float) -> int:  # noqa: ARG002 - the protocol's
        """See `Policy.decide`."""
        return self._workers


class QueueLength:
    """A worker for so many waiting jobs: what a plain scaler on the queue's length does."""

    name = "queue length"
    spares = False

    def __init__(self, least: int, most: int, each: int) -> None:
        """Want ``waiting / each`` workers."""
        self._least, self._most, self._each = least, most, each

    def decide(self, demand: Demand, workers: int, ready: int, now: float) -> int:  # noqa: ARG002 - the protocol's
        """See `Policy.decide`."""
        return max(self._least, min(self._most, -(-demand.waiting // self._each)))


class StartDelay:
    """What ``stoker fleet --min --max`` does."""

    name = "stoker fleet"
    spares = True

    def __init__(self, bounds: Bounds) -> None:
        """Decide as a fleet with these bounds."""
        self._autoscaler = Autoscaler(bounds)

    def decide(self, demand: Demand, workers: int, ready: int, now: float) -> int:
        """See `Policy.decide`."""
        return self._autoscaler.decide(
            demand, workers=workers, ready=ready, cold_start=COLD_START, now=now
        ).workers


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a replay went."""

    delays: list[float]
    """Start delay of each job's last start, in seconds."""
    worker_seconds: float
    interrupted: int
    """Jobs whose worker was sent away while it ran them."""
    most: int
    """The most workers at a time."""
    last: int
    """Workers at the end."""
    unfinished: int
    """Jobs that had not ended long after the last one came."""

    def share_within(self, seconds: float) -> float:
        """Return the share of jobs that started within so many seconds."""
        return sum(delay <= seconds for delay in self.delays) / len(self.delays)

    @property
    def p95(self) -> float:
        """Return the start delay that 95 of 100 jobs did not exceed."""
        return statistics.quantiles(self.delays, n=20)[-1]


class _Worker:
    def __init__(self, ready_at: float) -> None:
        self.ready_at = ready_at
        self.goes = False
        self.running: set[int] = set()


class Replay:
    """One trace against one policy."""

    def __init__(
        self, trace: Sequence[Job], policy: Policy, *, slots: int, workers: int, rest: float
    ) -> None:
        """Prepare a replay.

        Args:
            trace: The jobs, by the moment they come.
            policy: Sizes the fleet.
            slots: Jobs that a worker runs at once.
            workers: How many there are at the beginning, all of them ready.
            rest: Seconds to go on after the last job came.
        """
        self._trace = trace
        self._policy = policy
        self._slots = slots
        self._workers = [_Worker(0.0) for _ in range(workers)]
        self._until = trace[-1].at + rest
        self._waiting: deque[tuple[float, int]] = deque()
        self._ends: list[tuple[float, int, _Worker]] = []
        self._counts: Counter[tuple[float, str]] = Counter()
        self._ran: dict[float, float] = {}
        self._delays: dict[int, float] = {}
        self._meter = Meter()
        self._interrupted = self._most = self._finished = 0
        self._paid = 0.0

    def run(self) -> Outcome:
        """Replay it."""
        now, coming = 0.0, 0
        while now < self._until or (self._is_busy and now < self._until + PATIENCE):
            while coming < len(self._trace) and self._trace[coming].at <= now:
                job = self._trace[coming]
                self._advance(job.at)
                self._count(job.at, "submitted")
                self._waiting.append((job.at, coming))
                self._start(job.at)
                coming += 1
            self._advance(now)
            self._start(now)
            self._resize(now)
            self._most = max(self._most, len(self._workers))
            self._paid += len(self._workers) * LOOK
            now += LOOK
        return Outcome(
            delays=list(self._delays.values()),
            worker_seconds=self._paid,
            interrupted=self._interrupted,
            most=self._most,
            last=len(self._workers),
            unfinished=len(self._trace) - self._finished,
        )

    @property
    def _is_busy(self) -> bool:
        return bool(self._waiting) or any(worker.running for worker in self._workers)

    def _advance(self, now: float) -> None:
        """Let end what ends until then; what waits starts at that moment."""
        while self._ends and self._ends[0][0] <= now:
            at, job, worker = heapq.heappop(self._ends)
            if job in worker.running:
                worker.running.discard(job)
                self._finished += 1
                self._count(at, "completed")
                minute = _minute(at)
                self._ran[minute] = self._ran.get(minute, 0.0) + self._trace[job].runs
                self._start(at)

    def _start(self, now: float) -> None:
        for worker in self._workers:
            free = 0 if worker.goes or worker.ready_at > now else self._slots - len(worker.running)
            for _ in range(min(free, len(self._waiting))):
                came, job = self._waiting.popleft()
                self._delays[job] = max(now, came) - self._trace[job].at
                worker.running.add(job)
                heapq.heappush(self._ends, (now + self._trace[job].runs, job, worker))

    def _resize(self, now: float) -> None:
        ready = sum(w.ready_at <= now for w in self._workers)
        demand = self._meter.read(self._as_counts(now))
        wanted = self._policy.decide(demand, len(self._workers), ready, now)
        for _ in range(wanted - len(self._workers)):
            self._workers.append(_Worker(now + COLD_START))
        surplus = len(self._workers) - wanted
        if surplus > 0:
            self._send_away(surplus, now)

    def _send_away(self, surplus: int, now: float) -> None:
        by_load = sorted(self._workers, key=lambda w: len(w.running))
        for worker in by_load[:surplus]:
            if worker.running and self._policy.spares:
                break
            self._interrupted += len(worker.running)
            self._waiting.extendleft((now, job) for job in worker.running)
            worker.running.clear()
            self._workers.remove(worker)

    def _count(self, at: float, outcome: str) -> None:
        self._counts[_minute(at), outcome] += 1

    def _as_counts(self, now: float) -> Counts:
        running = sum(len(w.running) for w in self._workers)
        oldest = {"default": _instant(self._waiting[0][0])} if self._waiting else {}
        return Counts(
            now=_instant(now),
            tallies=[
                Tally("default", Priority.MEDIUM, State.QUEUED, len(self._waiting)),
                Tally("default", Priority.MEDIUM, State.RUNNING, running),
            ],
            oldest=oldest,
            activity=[
                Activity(
                    minute_at=_instant(minute),
                    queue="default",
                    task="t",
                    outcome=outcome,
                    count=count,
                    ran=self._ran.get(minute, 0.0) if outcome == "completed" else 0.0,
                )
                for (minute, outcome), count in self._counts.items()
                if minute > now - 180.0
            ],
        )


def traces() -> dict[str, list[Job]]:
    """Return the traces of the table, each the same every time."""
    chance = random.Random(20_26)  # noqa: S311 - the same arrivals in every run
    return {
        "steady": _poisson(chance, 600, lambda _: 20.0, 0.2),
        "burst": [
            *_poisson(chance, 120, lambda _: 1.0, 0.05),
            *(Job(120.0, 0.05) for _ in range(2_000)),
            *(Job(job.at + 120, job.runs) for job in _poisson(chance, 180, lambda _: 1.0, 0.05)),
        ],
        "bursts": _poisson(chance, 900, lambda at: _pulse(at, 180, 15, 120.0, 2.0), 0.1),
        "ramp": _poisson(chance, 900, lambda at: at / 9, 0.1),
        "long jobs": _poisson(chance, 900, lambda at: _pulse(at, 300, 60, 0.5, 0.05), 30.0),
        "mixed": _mixed(chance),
    }


def _pulse(at: float, period: float, length: float, high: float, low: float) -> float:
    """Return a rate that is high for a while in each period."""
    return high if at % period < length else low


def _mixed(chance: random.Random) -> list[Job]:
    """Many short jobs, and now and then some long ones in a row."""
    short = _poisson(chance, 600, lambda _: 10.0, 0.02)
    long = [Job(at + i * 0.1, 60.0) for at in (100.0, 300.0) for i in range(15)]
    return sorted([*short, *long], key=lambda job: job.at)


def _poisson(
    chance: random.Random, seconds: float, rate: Callable[[float], float], runs: float
) -> list[Job]:
    jobs: list[Job] = []
    at = 0.0
    while at < seconds:
        at += chance.expovariate(max(rate(at), 0.01))
        jobs.append(Job(at, runs * chance.uniform(0.5, 1.5)))
    return jobs


_HEAD = (
    "| trace | fleet | start delay p95, s | started in time | worker-seconds | most workers "
    "| interrupted jobs | unfinished |"
)


def table(rows: Iterable[tuple[str, str, Outcome]], start_within: float) -> str:
    """Return the outcomes as a table of the docs."""
    lines = [
        _HEAD,
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {trace} | {name} | {o.p95:.2f} | {o.share_within(start_within):.1%} "
        f"| {o.worker_seconds:,.0f} | {o.most} | {o.interrupted} "
        f"| {o.unfinished} |"
        for trace, name, o in rows
    ]
    return "\n".join(lines) + "\n"


def compare(start_within: float = 5.0) -> list[tuple[str, str, Outcome]]:
    """Replay every trace against every policy: 2 to 8 workers of 4 slots."""
    rows: list[tuple[str, str, Outcome]] = []
    for name, trace in traces().items():
        bounds = Bounds(least=2, most=8, slots=4, start_within=start_within, cooldown=30.0)
        policies: list[Policy] = [Fixed(2), Fixed(8), QueueLength(2, 8, 10), StartDelay(bounds)]
        for policy in policies:
            workers = 8 if policy.name == "fixed at 8" else 2
            outcome = Replay(trace, policy, slots=4, workers=workers, rest=120.0).run()
            rows.append((name, policy.name, outcome))
    return rows


def _minute(at: float) -> float:
    return at // 60 * 60


def _instant(at: float) -> datetime:
    return datetime.fromtimestamp(EPOCH + at, UTC)


if __name__ == "__main__":
    print(table(compare(), 5.0))
