"""A fleet at work: its supervisors, and beside them whatever sizes, renews and shows it."""

import asyncio
import logging
import signal
from collections.abc import Awaitable

from stoker.core.clock import Clock
from stoker.core.errors import StokerError
from stoker.core.store import Store
from stoker.fleet.demand import WINDOW
from stoker.fleet.fleet import Fleet
from stoker.fleet.presence import Presence

logger = logging.getLogger(__name__)

RENEW = signal.SIGHUP
"""What asks a fleet for a rolling restart."""
LOOK = 1.0
"""Seconds between two looks at the store."""


async def run_fleet(store: Store, fleet: Fleet, *, clock: Clock, ttl: float) -> None:
    """Run a fleet until it is stopped.

    Each kind scales if its bounds differ, replaces what grew too old or too big, and gives up
    workers that never become ready. At SIGHUP all workers are renewed, one after the other.

    Args:
        store: Open.
        fleet: What runs.
        clock: Time and chance.
        ttl: Seconds of silence after which the store may take the fleet for dead.
    """
    renewal = asyncio.Event()
    fleet.on_reload(renewal.set)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(RENEW, renewal.set)
    work: list[Awaitable[None]] = [
        Lookout(store, fleet).run(),
        Presence(store, fleet, clock=clock, ttl=ttl).run(),
        _renew(fleet, renewal),
        *(unit.upkeep.run() for unit in fleet.units.values()),
    ]
    try:
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(_await(one)) for one in work]
            try:
                async with asyncio.TaskGroup() as supervising:
                    for unit in fleet.units.values():
                        supervising.create_task(unit.supervisor.run())
            finally:
                for task in beside:
                    task.cancel()
    finally:
        loop.remove_signal_handler(RENEW)


class Lookout:
    """Looks at the store for all kinds of a fleet at once.

    Whatever goes wrong here changes nothing: a store that does not answer leaves the fleet as it
    is.
    """

    def __init__(self, store: Store, fleet: Fleet) -> None:
        """Prepare; `run` runs beside the fleet."""
        self._store = store
        self._fleet = fleet

    async def run(self) -> None:
        """Look and decide, until it is cancelled."""
        failures = 0
        while True:
            try:
                await self.step()
            except StokerError as error:
                self._fleet.blind()
                if not failures:
                    logger.warning("the fleet keeps its size, the store does not answer: %s", error)
                failures += 1
            else:
                failures = 0
            await asyncio.sleep(LOOK)

    async def step(self) -> None:
        """Look once and decide once.

        Raises:
            StokerError: The store does not answer.
        """
        scales = any(unit.scaling.is_on for unit in self._fleet.units.values())
        counts = await self._store.counts(window=WINDOW) if scales else None
        self._fleet.look(await self._store.sessions(), counts)


async def _await(work: Awaitable[None]) -> None:
    await work


async def _renew(fleet: Fleet, renewal: asyncio.Event) -> None:
    while True:
        await renewal.wait()
        renewal.clear()
        await fleet.renew()
