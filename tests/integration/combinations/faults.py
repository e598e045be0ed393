"""The schedule of faults, made from a seed, and what each fault does.

A fault comes when the ledger shows enough effects, never at a moment of the clock, so that a slow
machine sees the same faults at the same places of the work.
"""

import asyncio
import math
import random  # noqa: TID251 - seeded
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

from stoker.core.errors import StokerError
from stoker.core.lifecycle import State
from stoker.core.store import Store
from stoker.testing import wait_until
from tests.integration.combinations.herd import LEASE, Herd, Process
from tests.integration.combinations.site import Site

FIRST, LAST = 0.08, 0.8
"""The shares of the work between which faults come."""
PAUSE = 1.25 * LEASE
"""Seconds that a server stands still when it is frozen."""
LONGEST_PAUSE = 2 * LEASE
"""Seconds after which a frozen worker is let go even if nobody declared it dead: it may hold the
lock of the whole file, and then nobody can."""
PROGRESS_WITHIN = 90.0
SETTLED = 100
"""Effects after which work goes on again."""
BUSY = {State.QUEUED, State.ASSIGNED, State.RUNNING, State.RETRY_QUEUED}
"""Where a job is that somebody works on, or is about to."""


@dataclass(frozen=True)
class Fault:
    """Something to break.

    Attributes:
        kind: A verb and its victim, such as ``"kill store"``.
        after: How many effects the ledger must show before.
    """

    kind: str
    after: int


@dataclass(frozen=True)
class Incident:
    """A fault that happened. Moments are those of the monotonic clock.

    Attributes:
        kind: The fault's.
        began_at: When the victim was hit.
        mended_at: When it was back: ready again, going on, or replaced.
        mended_wall: The same as seconds since 1970, to compare with what the store wrote.
        worker: The name of the worker that was hit; empty if it was a server.
    """

    kind: str
    began_at: float
    mended_at: float
    mended_wall: float
    worker: str = ""


def make_schedule(seed: int, faults: Mapping[str, int], effects: int) -> list[Fault]:
    """Return faults in an order and at places that the seed decides, evenly over the work."""
    chance = random.Random(seed)
    kinds = [kind for kind, times in sorted(faults.items()) for _ in range(times)]
    chance.shuffle(kinds)
    step = (LAST - FIRST) / len(kinds)
    places = (FIRST + step * (i + chance.random()) for i in range(len(kinds)))
    return [Fault(kind, int(effects * at)) for kind, at in zip(kinds, places, strict=True)]


class Breaker:
    """Breaks what the schedule says, and notes what happened."""

    def __init__(
        self, site: Site, herd: Herd, store: Store, seed: int, *, called_off: Collection[str]
    ) -> None:
        """Prepare to break the servers of a site and the workers of a herd.

        Args:
            site: Whose servers.
            herd: Which workers.
            store: Tells who lives, and whether there is work.
            seed: Chooses the victims.
            called_off: Jobs that may not run again after they were lost.
        """
        self._site = site
        self._herd = herd
        self._store = store
        self._chance = random.Random(seed)
        self._called_off = frozenset(called_off)
        self.incidents: list[Incident] = []
        self.next_after: float = 0
        """How many effects come before the next fault: work up to there must be at hand."""
        self.seeks_victim = False
        """Whether a fault waits for a worker that runs a job: there must be jobs."""

    async def run(self, schedule: list[Fault]) -> None:
        """Let the faults happen, each when its moment has come.

        The first of each kind is left alone until work goes on (and what a worker left behind
        runs again), so that there is a figure without another fault in it; the others come on top
        of each other.
        """
        seen: set[str] = set()
        for fault, following in zip(schedule, [*schedule[1:], None], strict=True):
            self.next_after = max(self.next_after, fault.after)
            await self._until(partial(self._has_done, fault.after), f"effects before {fault}")
            self.next_after = math.inf if following is None else following.after
            verb, _, victim = fault.kind.partition(" ")
            incident = await self._verbs(victim)[verb](victim)
            self.incidents.append(incident)
            if fault.kind not in seen:
                seen.add(fault.kind)
                goal = self._effects() + SETTLED
                recovered = partial(self._has_recovered, incident.worker, goal)
                await self._until(recovered, f"work goes on after {fault}")

    async def is_idle(self) -> bool:
        """Whether the store has nothing to run now, as far as it answers."""
        try:
            tallies = (await self._store.counts()).tallies
        except StokerError:
            return False
        return not any(tally.count for tally in tallies if tally.state in BUSY)

    async def _until(self, goal: Callable[[], Awaitable[bool]], what: str) -> None:
        async def look() -> bool:
            await self._herd.mend()
            return await goal()

        await wait_until(look, what, timeout=PROGRESS_WITHIN)

    def _effects(self) -> int:
        return self._herd.ledger.look().counts["effect"]

    async def _has_done(self, effects: int) -> bool:
        return self._effects() >= effects

    async def _has_recovered(self, worker: str, effects: int) -> bool:
        if self._effects() < effects and not await self.is_idle():
            return False
        ledger = self._herd.ledger
        cut = {job for (job, _), line in ledger.open.items() if line.worker == worker}
        last = {line.job: line.worker for line in ledger.lines if line.job in cut}
        return all(last[job] != worker for job in cut - self._called_off)

    def _verbs(self, victim: str) -> Mapping[str, Callable[[str], Awaitable[Incident]]]:
        if victim == "worker":
            return {"kill": self._kill_worker, "pause": self._pause_worker}
        return {"kill": self._kill_server, "pause": self._pause_server}

    async def _kill_worker(self, _: str) -> Incident:
        victim = await self._choose()
        began_at = time.monotonic()
        await self._herd.kill(victim)
        await self._herd.start()
        return _incident("kill worker", began_at, victim.name)

    async def _choose(self) -> Process:
        self.seeks_victim = True
        try:
            return await self._herd.choose(self._chance)
        finally:
            self.seeks_victim = False

    async def _pause_worker(self, _: str) -> Incident:
        victim = await self._choose()
        began_at = time.monotonic()
        victim.send(signal.SIGSTOP)
        try:
            await wait_until(
                partial(self._is_given_up, victim.name, began_at + LONGEST_PAUSE),
                f"the frozen worker {victim.name} is declared dead",
                timeout=2 * LONGEST_PAUSE,
            )
        finally:
            victim.send(signal.SIGCONT)
        return _incident("pause worker", began_at, victim.name)

    async def _is_given_up(self, name: str, until: float) -> bool:
        if time.monotonic() >= until:
            return True
        try:
            async with asyncio.timeout(LEASE):
                living = await self._store.sessions()
        except (StokerError, TimeoutError):
            return False
        return name not in {session.name for session in living}

    async def _kill_server(self, victim: str) -> Incident:
        server = self._site.servers[victim]
        began_at = time.monotonic()
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.restart)
        return _incident(f"kill {victim}", began_at)

    async def _pause_server(self, victim: str) -> Incident:
        server = self._site.servers[victim]
        began_at = time.monotonic()
        server.pause()
        try:
            over = began_at + PAUSE
            await wait_until(lambda: time.monotonic() >= over, "the pause is over", timeout=60)
        finally:
            server.resume()
        return _incident(f"pause {victim}", began_at)


def _incident(kind: str, began_at: float, worker: str = "") -> Incident:
    wall = time.clock_gettime(time.CLOCK_REALTIME)
    return Incident(kind, began_at, time.monotonic(), wall, worker)
