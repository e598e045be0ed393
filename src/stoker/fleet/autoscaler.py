"""How many workers a fleet should have: a pure function of the demand, and a little memory.

What users feel is the start delay, so that is the goal: jobs start within a target. A plain rule on
the length of the queue gets both ends wrong: a thousand jobs of a millisecond need nobody, ten jobs
of a minute need ten slots at once.

The slots that are needed
    *For what keeps coming*: arrivals x service time (Little's law), over `UTILISATION`, for a
    queue grows without bound as the use of its slots nears 1.
    *For what waits*: enough that the last waiting job starts in time. While new workers start,
    the present ones go on, so they are asked first: if they alone will do it, nobody is added.
    Otherwise what they leave must be done in what remains of the target after a cold start.
    While no attempt has ended, nothing is known of the service time: each job gets a slot.
    *What was foretold and did not come true*: a job that has waited for longer than the target
    although all slots are in use. The mean service time says little about these jobs, so the
    slots grow by half, look by look.

Up at once, down slowly
    More workers are wanted as soon as they are needed. Fewer only when every look of the
    cool-down said so, and then as many as the most that any of them said. A worker goes only
    when it holds nothing (`stoker.fleet.supervisor` chooses), so no job is interrupted.
"""

import math
from collections import deque

import msgspec

from stoker.fleet.demand import Demand

UTILISATION = 0.85
"""The share of its slots that a fleet should use."""
GROWTH = 1.5
"""By how much slots grow at a look when jobs start late against all reckoning."""
LEAST_TIME = 0.25
"""The share of the target in which a backlog is to be worked off, however late it is already."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner of a fleet wants."""

    least: int
    most: int
    slots: int
    """Jobs that one worker runs at once."""
    start_within: float
    """Seconds within which jobs should start."""
    cooldown: float
    """Seconds for which fewer workers must be enough before any goes."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """How many workers, and why."""

    workers: int
    reason: str


class Autoscaler:
    """Decides for one kind of worker. Time is what the caller says it is."""

    def __init__(self, bounds: Bounds) -> None:
        """Begin without a past."""
        self._bounds = bounds
        self._past: deque[tuple[float, int]] = deque()
        self._began: float | None = None

    def decide(
        self, demand: Demand, *, workers: int, ready: int, cold_start: float, now: float
    ) -> Decision:
        """Say how many workers there should be.

        Args:
            demand: What is asked of them.
            workers: How many are wanted now.
            ready: How many of them are at work already.
            cold_start: Seconds from the wish for a worker to its first lease.
            now: Monotonic seconds; never less than in the call before.
        """
        slots, reason = needed_slots(
            demand,
            slots=self._bounds.slots * ready,
            start_within=self._bounds.start_within,
            cold_start=cold_start,
        )
        wish = self._clamp(math.ceil(slots / self._bounds.slots - 1e-9))
        self._remember(wish, now)
        if wish > workers:
            return Decision(workers=wish, reason=reason)
        calm = max(count for _, count in self._past)
        if calm < workers and self._has_cooled(now):
            return Decision(
                workers=calm,
                reason=f"{calm} were enough for {self._bounds.cooldown:g} s",
            )
        return Decision(workers=self._clamp(workers), reason=reason)

    def _clamp(self, count: int) -> int:
        return max(self._bounds.least, min(self._bounds.most, count))

    def _remember(self, wish: int, now: float) -> None:
        if self._began is None:
            self._began = now
        self._past.append((now, wish))
        while self._past[0][0] < now - self._bounds.cooldown:
            self._past.popleft()

    def _has_cooled(self, now: float) -> bool:
        return self._began is not None and now - self._began >= self._bounds.cooldown


def needed_slots(
    demand: Demand, *, slots: int, start_within: float, cold_start: float
) -> tuple[float, str]:
    """Return how many jobs must be able to run at once, and the reason in words.

    Args:
        demand: What is asked.
        slots: How many can run at once now.
        start_within: The target in seconds.
        cold_start: Seconds until a new worker helps.
    """
    if demand.service is None:
        held = demand.waiting + demand.running
        if not held:
            return 0.0, "there are no jobs"
        return float(held), f"{held} jobs, and none has ended yet"
    steady = demand.arrivals * demand.service / UTILISATION
    coming = (
        f"{demand.arrivals:.3g} jobs a second of {_seconds(demand.service)} need {steady:.3g} slots"
    )
    work = demand.waiting * demand.service
    left = max(start_within - demand.oldest, LEAST_TIME * start_within)
    is_late = demand.oldest > start_within and demand.running >= slots
    if slots and work / slots <= left and not is_late:
        return max(steady, min(float(demand.running), slots)), coming
    time = max(left - cold_start, LEAST_TIME * start_within)
    need = steady + max(0.0, work - slots * cold_start) / time
    if is_late:
        need = max(need, slots * GROWTH)
    # Never more than a slot for each job there is.
    need = min(need, float(demand.waiting + demand.running))
    return max(need, steady), (
        f"{demand.waiting} wait, the oldest for {demand.oldest:.1f} s; {slots} slots would take "
        f"{_seconds(work / slots) if slots else 'for ever'}, and the target is {start_within:g} s"
    )


def _seconds(value: float) -> str:
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
