"""Lets workers of one kind become more and fewer: asks the autoscaler, tells the supervisor.

The bounds and the target are the kind's own; an operator may change the bounds while it runs.
Several fleets, and several kinds of one, that serve the same queues each take the share of the
demand that their slots are of all.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from stoker.core.clock import Clock
from stoker.core.fleets import FleetWorkerState
from stoker.core.job import SessionInfo
from stoker.core.records import Counts
from stoker.core.store import Store
from stoker.fleet.autoscaler import Autoscaler, Bounds
from stoker.fleet.demand import WINDOW, Demand, Meter
from stoker.fleet.reporter import HOST
from stoker.fleet.supervisor import Supervisor, WorkerProcess
from stoker.settings import FleetSettings

COLD_START = 2.0
"""Seconds from the wish for a worker to its first beat, until some were measured."""
HOPELESS = 3
"""Quick deaths in a row after which a worker is taken for one that cannot run."""
_WEIGHT = 0.3


class Scaling:
    """Sizes one kind of workers.

    Attributes:
        reason: Why it has the size that it has.
        bounds: Those that hold now.
        cold_start: Seconds from the wish for a worker to its first beat, as they were measured.
    """

    def __init__(
        self,
        store: Store,
        supervisor: Supervisor,
        *,
        settings: FleetSettings,
        slots: int,
        queues: Collection[str],
        clock: Clock,
    ) -> None:
        """Prepare.

        Args:
            store: Open.
            supervisor: Of the workers.
            settings: The bounds and the target.
            slots: Jobs that one of the workers runs at once.
            queues: Those that the workers serve; empty: all.
            clock: Time and chance.
        """
        self._store = store
        self._supervisor = supervisor
        self._slots = slots
        self._meter = Meter(queues)
        self._clock = clock
        self.cold_start = COLD_START
        self._known: set[int] = set()
        self._given = Bounds(
            least=settings.min,
            most=settings.max,
            slots=slots,
            start_within=float(settings.start_within),
            cooldown=float(settings.cooldown),
        )
        self.bounds = self._given
        self.reason = ""
        self._autoscaler = Autoscaler(self.bounds)

    @property
    def is_changed(self) -> bool:
        """Whether its bounds are others than those of the configuration."""
        return self.bounds != self._given

    @property
    def is_on(self) -> bool:
        """Whether there is anything to decide."""
        return self.bounds.most > self.bounds.least

    def bound(
        self,
        least: int,
        most: int,
        idle: Collection[str] = (),
        *,
        actor: str | None = None,
        reason: str = "",
    ) -> None:
        """Change the bounds, and the size at once if it is outside of them.

        Whoever is too many retires, those that hold nothing first: no job is interrupted.

        Args:
            least: The fewest workers.
            most: The most workers.
            idle: Names of workers that hold nothing.
            actor: Who wants it, for the audit trail.
            reason: Why, for the audit trail.
        """
        self.bounds = msgspec.structs.replace(self.bounds, least=least, most=most)
        self._autoscaler = Autoscaler(self.bounds)
        supervisor = self._supervisor
        if supervisor.size < least:
            supervisor.scale(least, actor=actor, reason=reason)
        if supervisor.size > most:
            everybody = [worker.name for worker in supervisor.workers]
            supervisor.spare(most, idle, then=everybody, actor=actor, reason=reason)
        self.reason = reason or f"{least} to {most} workers were asked for"

    def reset(self) -> None:
        """Go back to the bounds of the configuration."""
        if self.is_changed:
            self.bound(self._given.least, self._given.most, reason="the fleet was reloaded")

    async def step(self) -> None:
        """Ask the store and decide once.

        Raises:
            BackendError: The store does not answer.
        """
        counts = await self._store.counts(window=WINDOW)
        self.look(counts, await self._store.sessions())

    def look(self, counts: Counts, sessions: Sequence[SessionInfo]) -> None:
        """Decide once.

        Args:
            counts: With a window of `WINDOW`.
            sessions: The living ones.
        """
        workers = self._supervisor.workers
        mine = own_sessions(sessions, workers)
        self._learn(workers, mine)
        demand = self._share(self._meter.read(counts), sessions, mine)
        wanted = self._supervisor.size
        decision = self._autoscaler.decide(
            demand,
            workers=wanted,
            ready=len(mine),
            cold_start=self.cold_start,
            now=self._clock.monotonic(),
        )
        self.reason = decision.reason
        if decision.workers > wanted and self.is_failing:
            # More of what cannot run would only die more often.
            self.reason = "its workers die as soon as they start, so it does not grow"
        elif decision.workers > wanted:
            self._supervisor.scale(decision.workers, reason=decision.reason)
        elif decision.workers < wanted:
            idle = [info.name for info in mine.values() if not info.busy]
            self._supervisor.spare(decision.workers, idle, reason=decision.reason)

    @property
    def is_failing(self) -> bool:
        """Whether workers die again and again as soon as they start, and none is ready."""
        workers = self._supervisor.workers
        return any(worker.quick_deaths >= HOPELESS for worker in workers) and not any(
            worker.state is FleetWorkerState.READY for worker in workers
        )

    def _share(
        self, demand: Demand, sessions: Sequence[SessionInfo], mine: Mapping[int, SessionInfo]
    ) -> Demand:
        """Return what of the demand falls to this fleet."""
        own = max(len(mine), 1) * self._slots
        foreign = {info.id for info in sessions} - {info.id for info in mine.values()}
        others = sum(
            info.concurrency
            for info in sessions
            if info.id in foreign and self._meter.concerns(info.queues)
        )
        return demand.shared(own / (own + others), running=sum(s.busy for s in mine.values()))

    def _learn(self, workers: Sequence[WorkerProcess], mine: Mapping[int, SessionInfo]) -> None:
        """Measure how long new workers took from their start to their first beat."""
        for worker in workers:
            info = mine.get(worker.pid or 0)
            if info is None or worker.started_at is None or worker.pid in self._known:
                continue
            took = (info.started_at - worker.started_at).total_seconds()
            if 0 < took < 10 * COLD_START:
                self.cold_start += (took - self.cold_start) * _WEIGHT
        self._known = set(mine)


def own_sessions(
    sessions: Sequence[SessionInfo], workers: Sequence[WorkerProcess]
) -> dict[int, SessionInfo]:
    """Return the living sessions of the fleet's workers by process id."""
    pids = {worker.pid for worker in workers if worker.phase == "running"}
    return {info.pid: info for info in sessions if info.host == HOST and info.pid in pids}
