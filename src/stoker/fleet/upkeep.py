"""Replaces workers that grew too old or too big: each retires, and a fresh one takes its place.

One at a time, so that a fleet that was started at once does not end at once.
"""

import asyncio
import logging
import os
from pathlib import Path

from stoker.core.clock import Clock
from stoker.fleet.supervisor import Supervisor, WorkerProcess
from stoker.settings import FleetSettings

logger = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between two looks."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Upkeep:
    """Looks after the workers of one fleet."""

    def __init__(
        self, supervisor: Supervisor, *, settings: FleetSettings, clock: Clock, look: float = LOOK
    ) -> None:
        """Prepare; `run` runs beside the supervisor."""
        self._supervisor = supervisor
        self._age = settings.max_age
        self._memory = settings.max_memory
        self._clock = clock
        self._look = look

    async def run(self) -> None:
        """Look after them until it is cancelled."""
        while self._age is not None or self._memory is not None:
            self.step()
            await asyncio.sleep(self._look)

    def step(self) -> None:
        """Replace the first worker that is due, unless one is on its way already."""
        workers = self._supervisor.workers
        if any(worker.phase != "running" for worker in workers):
            return
        for worker in workers:
            reason = self._reason(worker)
            if reason:
                logger.info("%s is replaced: %s", worker.name, reason)
                self._supervisor.replace(worker.name, reason=reason)
                return

    def _reason(self, worker: WorkerProcess) -> str:
        if self._age is not None and worker.started_at is not None:
            age = self._clock.now() - worker.started_at.timestamp()
            if age > self._age:
                return f"it is {age:.0f} s old, and fleet.max_age is {self._age:g} s"
        if self._memory is not None and worker.pid is not None:
            used = resident(worker.pid)
            if used > self._memory:
                return f"it uses {used:,} bytes, and fleet.max_memory is {self._memory:,}"
        return ""


def resident(pid: int) -> int:
    """Return the bytes of memory that a process holds; 0 if the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    except OSError:
        return 0
    return int(fields[1]) * _PAGE
