"""The keeper's duties: reap, fire schedules, purge.

A duty does one bounded piece of work in each pass and says when it has more. Each of its writes
is right whoever else does the same at the same time. Errors belong to the keeper, which logs them
once an outage and comes back in the next pass.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from stoker.core.clock import Clock
from stoker.core.errors import InvalidSchedule
from stoker.core.lifecycle import TERMINAL, State
from stoker.core.records import MAX_PAGE, Firing, JobQuery, ScheduleInfo
from stoker.core.store import Store
from stoker.keeper import schedules
from stoker.settings import KeeperSettings

logger = logging.getLogger(__name__)

NOBODY = 10 * 365 * 86_400.0
"""A grace so long that no session and no deadline is old enough; due jobs are still promoted."""
SLICES = 20
"""The most batches of one duty in one pass, so that no duty starves the others."""


@dataclass(frozen=True)
class Turn:
    """What a duty may know about the present pass.

    Attributes:
        now: Tells the store's time.
        may_bury: Whether sessions that are silent may be declared dead.
        elected_at: When the present term began; it names the term.
        may_go_on: Whether this keeper still leads; asked between batches.
    """

    now: Callable[[], float]
    may_bury: bool
    elected_at: float
    may_go_on: Callable[[], bool]


class Duty(Protocol):
    """One kind of the keeper's work."""

    @property
    def name(self) -> str:
        """What the log calls it."""
        ...

    async def run(self, turn: Turn) -> float | None:
        """Do one bounded piece of work.

        Returns:
            Seconds until there is more to do, if that is known; None: at the next pass.
        """
        ...


class Reap:
    """Declares silent sessions dead, takes their jobs back, promotes what is due."""

    name = "reap"

    def __init__(self, store: Store, *, actor: str) -> None:
        """Prepare the duty."""
        self._store = store
        self._actor = actor

    async def run(self, turn: Turn) -> float | None:
        """See `Duty.run`."""
        grace = 0.0 if turn.may_bury else NOBODY
        for _ in range(SLICES):
            reaped = await self._store.reap(grace=grace, limit=MAX_PAGE, actor=self._actor)
            if reaped.sessions:
                logger.warning(
                    "declared %d silent workers dead: %d of their jobs run again, %d are dead "
                    "letters",
                    len(reaped.sessions),
                    len(reaped.requeued),
                    len(reaped.buried),
                )
            touched = len(reaped.requeued) + len(reaped.buried) + reaped.promoted
            if touched < MAX_PAGE or not turn.may_go_on():
                break
        return None


class Fire:
    """Fires the schedules that are due, each instant once."""

    name = "fire schedules"

    def __init__(self, store: Store, *, actor: str) -> None:
        """Prepare the duty."""
        self._store = store
        self._actor = actor
        self._unreadable: set[str] = set()
        self._corrected_in: float | None = None

    async def run(self, turn: Turn) -> float | None:
        """See `Duty.run`."""
        infos = await self._store.schedules()
        now = turn.now()
        firings: list[Firing] = []
        for info in infos:
            firings += self._firings(info, now, turn.elected_at)
        if not await self._fire_all(firings, turn):
            return None
        self._corrected_in = turn.elected_at
        upcoming = {
            info.spec.name: info.spec.next_at
            for info in infos
            if not info.spec.paused and info.spec.name not in self._unreadable
        }
        upcoming |= {firing.name: firing.next_at for firing in firings}
        soonest = min((at for at in upcoming.values() if at is not None), default=None)
        return None if soonest is None else max(0.0, soonest - turn.now())

    async def _fire_all(self, firings: list[Firing], turn: Turn) -> bool:
        """Fire in bounded batches; return whether all were fired."""
        for start in range(0, len(firings), MAX_PAGE):
            if not turn.may_go_on():
                return False
            await self._fire(firings[start : start + MAX_PAGE])
        return True

    def _firings(self, info: ScheduleInfo, now: float, elected_at: float) -> list[Firing]:
        """Return what one schedule fires; a rule that cannot be read hurts no other schedule."""
        name = info.spec.name
        try:
            if self._corrected_in != elected_at:
                correction = schedules.corrected(info, now)
                if correction is not None:
                    return [correction]
            firings = schedules.due_firings(info, now)
        except InvalidSchedule as error:
            if name not in self._unreadable:
                self._unreadable.add(name)
                logger.error("schedule %r cannot fire: %s", name, error)  # noqa: TRY400
            return []
        if firings:
            self._unreadable.discard(name)
        return firings

    async def _fire(self, firings: list[Firing]) -> None:
        answers = await self._store.fire(firings, actor=self._actor)
        for firing, answer in zip(firings, answers, strict=True):
            if answer is not None and answer.error is not None:
                logger.error(
                    "schedule %r fired, and its job was refused: %s", firing.name, answer.error
                )


class Purge:
    """Deletes ended jobs that are older than their state is kept, or more than are kept."""

    name = "purge"

    def __init__(self, store: Store, *, settings: KeeperSettings, clock: Clock, actor: str) -> None:
        """Prepare the duty; its first run is in the first pass."""
        self._store = store
        self._every = float(settings.purge_interval)
        self._ages = {
            State.COMPLETED: float(settings.keep_completed),
            State.CANCELLED: float(settings.keep_cancelled),
            State.DEAD_LETTER: float(settings.keep_dead),
        }
        self._most = settings.keep_most
        self._clock = clock
        self._actor = actor
        self._due_at = clock.monotonic()

    async def run(self, turn: Turn) -> float | None:
        """See `Duty.run`."""
        now = self._clock.monotonic()
        if now < self._due_at:
            return self._due_at - now
        purges = [(JobQuery(states=(state,)), age, 0) for state, age in self._ages.items()]
        purges.append((JobQuery(states=tuple(sorted(TERMINAL))), 0.0, self._most))
        is_done = True
        for query, age, keep in purges:
            is_done &= await self._slices(query, age, keep, turn)
        if is_done:
            self._due_at = now + self._every
        return None if not is_done else self._every

    async def _slices(self, query: JobQuery, age: float, keep: int, turn: Turn) -> bool:
        """Delete in bounded batches; return whether nothing is left to delete."""
        for _ in range(SLICES):
            if not turn.may_go_on():
                return False
            gone = await self._store.purge(
                query, older_than=age, keep=keep, limit=MAX_PAGE, actor=self._actor
            )
            if gone < MAX_PAGE:
                return True
        return False
