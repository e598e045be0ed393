"""Tells the store what the supervisor sees: who died, and what happened to the fleet.

It works beside the supervisor, so that a store that is slow or away delays no restart. Deaths are
reported until the store took them: reporting one twice is harmless. Lines of the audit trail are
not repeated when it is unknown whether they arrived.
"""

import asyncio
import contextlib
import logging
import platform
from collections.abc import Callable

from stoker.core.clock import Clock
from stoker.core.errors import BackendError, OutcomeUnknown, StokerError
from stoker.core.events import Event
from stoker.core.records import MAX_PAGE
from stoker.core.store import Store
from stoker.keeper.duties import NOBODY

logger = logging.getLogger(__name__)

HOST = platform.node()
"""How sessions of this machine name it."""
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 5.0
_MOST_EVENTS = 1_000


class Reporter:
    """One supervisor's voice towards the store."""

    def __init__(
        self, store: Store, *, actor: str, clock: Clock, is_alive: Callable[[int], bool]
    ) -> None:
        """Prepare a reporter; `run` must run beside whoever uses it.

        Args:
            store: Open.
            actor: Who speaks, for the audit trail.
            clock: Time and chance.
            is_alive: Whether a process id belongs to a living child now. A death that is reported
                late must not hit the process that got the same id since.
        """
        self._store = store
        self._actor = actor
        self._clock = clock
        self._is_alive = is_alive
        self._deaths: set[int] = set()
        self._events: list[Event] = []
        self._news = asyncio.Event()
        self._closing = asyncio.Event()

    def report_death(self, pid: int) -> None:
        """Have the sessions of a process that died declared dead as soon as possible."""
        self._deaths.add(pid)
        self._news.set()

    def report(self, event: Event) -> None:
        """Have a line added to the audit trail."""
        self._events.append(event)
        del self._events[:-_MOST_EVENTS]
        self._news.set()

    def close(self) -> None:
        """Make `run` return once everything is told, or the store does not take it."""
        self._closing.set()
        self._news.set()

    async def run(self) -> None:
        """Tell the store what is reported, until `close`."""
        failures = 0
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._bury()
                await self._record()
            except BackendError as error:
                self._news.set()
                if self._closing.is_set():
                    logger.warning("the store does not know how the fleet ended: %s", error)
                    return
                if not failures:
                    logger.warning("the store cannot be told what happened, trying on: %s", error)
                failures += 1
                await self._rest(failures)
                continue
            failures = 0
            if self._closing.is_set():
                return

    async def is_beating(self, pid: int) -> bool:
        """Whether a process of this machine has a living session, as far as the store says."""
        with contextlib.suppress(StokerError):
            infos = await self._store.sessions()
            return any(info.host == HOST and info.pid == pid for info in infos)
        return False

    async def was_dismissed(self, pid: int) -> bool:
        """Whether an operator had asked the worker with that process id to go.

        False if the store does not say so within a moment.
        """
        with contextlib.suppress(StokerError, TimeoutError):
            async with asyncio.timeout(_LONGEST_WAIT):
                infos = await self._store.sessions(ended=True)
                mine = [info for info in infos if info.host == HOST and info.pid == pid]
                return bool(mine) and mine[0].command is not None
        return False

    async def _bury(self) -> None:
        try:
            await self._bury_all()
        except BackendError as error:
            if error.retryable:
                raise
            self._deaths.clear()
            logger.error("a death cannot be reported, the keeper finds it: %s", error)  # noqa: TRY400

    async def _bury_all(self) -> None:
        pending = set(self._deaths)
        pids = {pid for pid in pending if not self._is_alive(pid)}
        infos = await self._store.sessions() if pids else []
        dead = [info for info in infos if info.host == HOST and info.pid in pids]
        while dead:
            # Only the named sessions: what else is silent is for the keeper to judge.
            reaped = await self._store.reap(
                sessions=[info.id for info in dead], grace=NOBODY, actor=self._actor
            )
            taken = len(reaped.requeued) + len(reaped.buried)
            if taken:
                names = ", ".join(sorted({info.name for info in dead}))
                logger.warning("took %d jobs back from %s", taken, names)
            if taken < MAX_PAGE:
                break
        self._deaths -= pending

    async def _record(self) -> None:
        batch, self._events = self._events, []
        if not batch:
            return
        try:
            await self._store.record(batch)
        except OutcomeUnknown:
            logger.warning("%d lines of the audit trail may be missing", len(batch))
        except BackendError as error:
            if error.retryable:
                self._events = batch + self._events
                raise
            # A refusal does not heal, and what comes after it has to be told.
            logger.error("%d lines of the audit trail were refused: %s", len(batch), error)  # noqa: TRY400

    async def _rest(self, failures: int) -> None:
        longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(failures, 10))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest * (0.5 + self._clock.random() / 2)):
                await self._closing.wait()
