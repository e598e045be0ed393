"""Lets a fleet grow and shrink: looks at the store, asks the autoscaler, tells the supervisor.

Whatever goes wrong here changes nothing: a store that does not answer leaves the fleet as it is.
The bounds and the target are the fleet's own. Several fleets that serve the same queues each take
the share of the demand that their slots are of all.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence

from stoker.core.clock import Clock
from stoker.core.errors import BackendError
from stoker.core.job import SessionInfo
from stoker.core.store import Store
from stoker.fleet.autoscaler import Autoscaler, Bounds
from stoker.fleet.demand import WINDOW, Demand, Meter
from stoker.fleet.reporter import HOST
from stoker.fleet.supervisor import Supervisor, WorkerProcess
from stoker.settings import FleetSettings

logger = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between two looks at the store."""
COLD_START = 2.0
"""Seconds from the wish for a worker to its first beat, until some were measured."""
_WEIGHT = 0.3


class Scaling:
    """Sizes one fleet."""

    def __init__(
        self,
        store: Store,
        supervisor: Supervisor,
        *,
        settings: FleetSettings,
        slots: int,
        queues: Collection[str],
        clock: Clock,
        look: float = LOOK,
    ) -> None:
        """Prepare; `run` runs beside the supervisor.

        Args:
            store: Open.
            supervisor: Of the fleet.
            settings: The bounds and the target.
            slots: Jobs that one of its workers runs at once.
            queues: Those that its workers serve; empty: all.
            clock: Time and chance.
            look: Seconds between two looks.
        """
        self._store = store
        self._supervisor = supervisor
        self._slots = slots
        self._meter = Meter(queues)
        self._clock = clock
        self._look = look
        self._cold_start = COLD_START
        self._known: set[int] = set()
        self._autoscaler = Autoscaler(
            Bounds(
                least=settings.min,
                most=settings.max,
                slots=slots,
                start_within=float(settings.start_within),
                cooldown=float(settings.cooldown),
            )
        )

    async def run(self) -> None:
        """Look and decide, until it is cancelled."""
        failures = 0
        while True:
            try:
                await self.step()
            except BackendError as error:
                if not failures:
                    logger.warning("the fleet keeps its size, the store does not answer: %s", error)
                failures += 1
            else:
                failures = 0
            await asyncio.sleep(self._look)

    async def step(self) -> None:
        """Look once and decide once.

        Raises:
            BackendError: The store does not answer.
        """
        counts = await self._store.counts(window=WINDOW)
        sessions = await self._store.sessions()
        workers = self._supervisor.workers
        mine = _own(sessions, workers)
        self._learn(workers, mine)
        demand = self._share(self._meter.read(counts), sessions, mine)
        wanted = self._supervisor.size
        decision = self._autoscaler.decide(
            demand,
            workers=wanted,
            ready=len(mine),
            cold_start=self._cold_start,
            now=self._clock.monotonic(),
        )
        if decision.workers > wanted:
            self._supervisor.scale(decision.workers, reason=decision.reason)
        elif decision.workers < wanted:
            idle = [info.name for info in mine.values() if not info.busy]
            self._supervisor.spare(decision.workers, idle, reason=decision.reason)

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
                self._cold_start += (took - self._cold_start) * _WEIGHT
        self._known = set(mine)


def _own(
    sessions: Sequence[SessionInfo], workers: Sequence[WorkerProcess]
) -> dict[int, SessionInfo]:
    """Return the living sessions of the fleet's workers by process id."""
    pids = {worker.pid for worker in workers if worker.phase == "running"}
    return {info.pid: info for info in sessions if info.host == HOST and info.pid in pids}
