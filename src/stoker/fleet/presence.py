"""A fleet's own session: it tells how its workers are, and hears what is asked of it.

The session beats as that of a worker does and holds no jobs (see `stoker.core.fleets`). Commands
are lines of the audit trail; the fleet follows them from the moment at which it came. Nothing here
can end a fleet: a store that is away, or that does not let it, leaves it as it is.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from importlib.metadata import version

import msgspec

from stoker.core.clock import Clock
from stoker.core.errors import StokerError
from stoker.core.events import Kind
from stoker.core.fleets import FLEET, PREFIX, command_in, session_in
from stoker.core.job import Command, SessionSpec, SessionState
from stoker.core.records import MAX_PAGE, EventQuery
from stoker.core.store import Store
from stoker.fleet.fleet import Fleet
from stoker.fleet.reporter import HOST

logger = logging.getLogger(__name__)

LISTEN = 1.0
"""Seconds between two looks for commands, and between two beats when there is news."""
SKIM = 30
"""Looks after which the place in the trail moves up even if nothing was asked."""
_GOODBYE = 5.0


class Presence:
    """How one fleet is seen and reached."""

    def __init__(self, store: Store, fleet: Fleet, *, clock: Clock, ttl: float) -> None:
        """Prepare; `run` runs beside the fleet.

        Args:
            store: Open.
            fleet: Who is present.
            clock: Time and chance.
            ttl: Seconds of silence after which it may be declared dead.
        """
        self._store = store
        self._fleet = fleet
        self._clock = clock
        self._ttl = ttl
        self._id = clock.new_id()
        self._ids = {self._id}
        self._queues = _queues(fleet)
        self._told = b""
        self._beat_at = float("-inf")
        self._looks = 0
        self._after: int | None = None
        self._failing: set[str] = set()

    async def run(self) -> None:
        """Beat and listen until it is cancelled; then say goodbye."""
        try:
            while True:
                # The place in the trail comes first: before the first beat nobody can ask.
                await self._attempt("follow the trail", self._follow)
                if self._after is not None or "follow the trail" in self._failing:
                    await self._attempt("be seen in the store", self._beat)
                await asyncio.sleep(LISTEN)
        finally:
            with contextlib.suppress(StokerError, TimeoutError):
                async with asyncio.timeout(_GOODBYE):
                    await self._store.beat(self._spec(SessionState.LEFT), (), ttl=self._ttl)

    async def _attempt(self, what: str, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        except StokerError as error:
            if what not in self._failing:
                logger.warning("the fleet cannot %s, trying on: %s", what, error)
            self._failing.add(what)
        else:
            self._failing.discard(what)

    async def _beat(self) -> None:
        state = SessionState.DRAINING if self._fleet.is_stopping else SessionState.ALIVE
        spec = self._spec(state)
        told = msgspec.json.encode(spec)
        now = self._clock.monotonic()
        if told == self._told and now - self._beat_at < self._ttl / 3:
            return
        reply = await self._store.beat(spec, (), ttl=self._ttl)
        self._told, self._beat_at = told, now
        if not reply.alive:
            self._id = self._clock.new_id()
            self._ids.add(self._id)
            self._told = b""
        elif reply.command is Command.STOP:
            self._fleet.interrupt()
        elif reply.command is Command.DRAIN and not self._fleet.is_stopping:
            self._fleet.stop()

    async def _follow(self) -> None:
        if self._after is None:
            self._after = await self._end_of_trail()
            return
        self._looks += 1
        end = await self._end_of_trail() if self._looks % SKIM == 0 else self._after
        query = EventQuery(after=self._after, kinds=(Kind.FLEET_COMMANDED,))
        for event in await self._store.events(query, limit=MAX_PAGE):
            self._after = event.seq
            command = command_in(event)
            if session_in(event.details) in self._ids and command is not None:
                self._fleet.obey(command, actor=event.actor)
        # Whatever was written before that end was seen by the look after it.
        self._after = max(self._after, end)

    async def _end_of_trail(self) -> int:
        newest = await self._store.events(EventQuery(), limit=1)
        return newest[0].seq if newest else 0

    def _spec(self, state: SessionState) -> SessionSpec:
        return SessionSpec(
            id=self._id,
            name=f"{PREFIX}{self._fleet.name}",
            host=HOST,
            pid=os.getpid(),
            kind=FLEET,
            version=version("stoker"),
            queues=self._queues,
            concurrency=0,
            state=state,
            details=msgspec.to_builtins(self._fleet.report()),
        )


def _queues(fleet: Fleet) -> tuple[str, ...]:
    """Return the queues that it serves; none: all."""
    served = [unit.kind.queues for unit in fleet.units.values()]
    if not all(served):
        return ()
    return tuple(dict.fromkeys(queue for queues in served for queue in queues))
