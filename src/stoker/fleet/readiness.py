"""Which workers of one kind are ready, and which never become so.

A worker is ready when the store knows its session: it is registered and has beaten. One that runs
for longer than ``fleet.ready_within`` without that is given up: killed and replaced, with the wait
of one that died quickly. A store that does not answer says nothing about anybody: only the time for
which it answered counts.
"""

from collections.abc import Sequence

from stoker.core.clock import Clock
from stoker.core.fleets import FleetWorkerState
from stoker.core.job import SessionInfo
from stoker.fleet.reporter import HOST
from stoker.fleet.supervisor import Supervisor


class Readiness:
    """Looks after the starting workers of one supervisor."""

    def __init__(self, supervisor: Supervisor, *, within: float, clock: Clock) -> None:
        """Prepare.

        Args:
            supervisor: Whose workers.
            within: Seconds that a worker has.
            clock: Time.
        """
        self._supervisor = supervisor
        self._within = within
        self._clock = clock
        self._since: dict[int, float] = {}

    def blind(self) -> None:
        """Note that the store did not answer: what it would have said is not known."""
        self._since.clear()

    def look(self, sessions: Sequence[SessionInfo]) -> None:
        """Take what the store says, and give up whoever had long enough."""
        known = {info.pid for info in sessions if info.host == HOST}
        self._supervisor.found_ready(known)
        now = self._clock.monotonic()
        starting = {
            worker.pid: worker.name
            for worker in self._supervisor.workers
            if worker.pid is not None
            and worker.state is FleetWorkerState.STARTING
            and worker.pid not in known
        }
        self._since = {pid: self._since.get(pid, now) for pid in starting}
        for pid, since in self._since.items():
            if now - since >= self._within:
                self._supervisor.give_up(
                    starting[pid],
                    reason=f"it has not beaten within {self._within:g} s of its start; its log "
                    "says what it waits for",
                )
