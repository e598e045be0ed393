"""The keeper: stands for election, and while it leads does its duties, pass by pass.

Any process that has a store may run one beside its other work. When the store fails, the keeper
waits for it; it ends only when it is told to.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from stoker.core.clock import Clock
from stoker.core.errors import BackendError, StokerError
from stoker.core.store import Store
from stoker.keeper.duties import Duty, Fire, Purge, Reap, Turn
from stoker.keeper.grace import Grace
from stoker.keeper.leader import Leader
from stoker.settings import KeeperSettings

logger = logging.getLogger(__name__)
T = TypeVar("T")

_TRIES_A_TERM = 3
_GOODBYE = 5.0
_BREATH = 0.02
"""The shortest time between two passes, for clocks that do not quite agree when a moment is."""


class Keeper:
    """One candidate for housekeeper. Run as many as there are processes; one of them works."""

    def __init__(
        self,
        store: Store,
        *,
        settings: KeeperSettings,
        lease: float,
        clock: Clock,
        name: str,
    ) -> None:
        """Prepare a keeper; it does nothing before `run` or `tick`.

        Args:
            store: Open, and open for as long as the keeper runs.
            settings: Intervals and retention.
            lease: Seconds for which a silent worker keeps its jobs. A longer one that some worker
                announces is found and heeded.
            clock: Time and chance.
            name: For people: in the audit trail the keeper is ``keeper:NAME``.
        """
        actor = f"keeper:{name}"
        self._store = store
        self._clock = clock
        self._patience = float(settings.term) / _TRIES_A_TERM
        # A pass prolongs the term: with fewer passes each of them would begin a new one.
        self._interval = min(float(settings.interval), self._patience)
        self._leader = Leader(store, name=name, term=float(settings.term), clock=clock)
        self._grace = Grace(lease=lease, interval=self._interval)
        self._duties: tuple[Duty, ...] = (
            Reap(store, actor=actor),
            Fire(store, actor=actor),
            Purge(store, settings=settings, clock=clock, actor=actor),
        )
        self._name = name
        self._elected_at: float | None = None
        self._failures: dict[str, int] = {}
        self._stopping = asyncio.Event()

    @property
    def is_leading(self) -> bool:
        """Whether this one does the duties, as far as it can know without asking."""
        return self._leader.is_trusted()

    def stop(self) -> None:
        """Make `run` finish its pass, resign and return."""
        self._stopping.set()

    async def run(self) -> None:
        """Keep house until `stop`, or until the task is cancelled."""
        try:
            while not self._stopping.is_set():
                delay = await self.tick()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._stopping.wait()
        finally:
            await self._resign()

    async def tick(self) -> float:
        """Make one pass: stand for election and, if elected, do each duty once.

        Returns:
            Seconds until the next pass.
        """
        leads = await self._attempt("election", self._leader.stand)
        if leads is None:
            wait: float | None = None
        elif leads:
            wait = await self._do_duties()
        else:
            self._become_follower()
            wait = self._patience
        self._grace.rested(self._clock.monotonic())
        return self._interval if wait is None else max(_BREATH, wait)

    async def _do_duties(self) -> float:
        self._take_office()
        if self._grace.remaining(self._clock.monotonic()):
            await self._attempt("reading leases", self._learn_leases)
        turn = Turn(
            now=self._leader.store_now,
            may_bury=not self._grace.remaining(self._clock.monotonic()),
            elected_at=self._leader.elected_at or 0.0,
            may_go_on=self._leader.is_trusted,
        )
        wait = self._interval
        for duty in self._duties:
            if not self._leader.is_trusted():
                break
            wish = await self._attempt(duty.name, partial(duty.run, turn))
            wait = wait if wish is None else min(wait, wish)
        return wait

    def _take_office(self) -> None:
        """Note what the election told; in a new term begin with grace."""
        if self._leader.sighting is not None:
            self._grace.contact(self._leader.sighting)
        if self._elected_at != self._leader.elected_at:
            self._elected_at = self._leader.elected_at
            logger.info("keeper %s leads", self._name)
            self._grace.begin(self._clock.monotonic(), "a new keeper leads")

    def _become_follower(self) -> None:
        if self._elected_at is not None:
            self._elected_at = None
            logger.info("keeper %s does not lead any more", self._name)

    async def _learn_leases(self) -> None:
        """Find out whether some worker beats more slowly than this keeper's own settings say."""
        sessions = await self._store.sessions()
        longest = max(
            ((info.expires_at - info.seen_at).total_seconds() for info in sessions), default=0.0
        )
        self._grace.lengthen(longest, self._clock.monotonic())

    async def _attempt(self, what: str, act: Callable[[], Awaitable[T]]) -> T | None:
        """Do one thing; an error is logged once until it works again. None after an error."""
        try:
            result = await act()
        except Exception as error:  # noqa: BLE001 - a border: one duty must not end the others
            self._failed(what, error)
            return None
        failures = self._failures.pop(what, 0)
        if failures:
            logger.info("keeper %s: %s works again after %d failures", self._name, what, failures)
        return result

    def _failed(self, what: str, error: Exception) -> None:
        is_store = isinstance(error, BackendError)
        if is_store:
            self._grace.failed(self._clock.monotonic())
        if what not in self._failures:
            logger.warning(
                "keeper %s: %s failed and is tried again in each pass: %s",
                self._name,
                what,
                error,
                exc_info=None if is_store else error,
            )
        self._failures[what] = self._failures.get(what, 0) + 1

    async def _resign(self) -> None:
        """Let the next candidate lead at once; without an answer the term runs out by itself."""
        with contextlib.suppress(StokerError, TimeoutError):
            async with asyncio.timeout(_GOODBYE):
                await self._leader.resign()
