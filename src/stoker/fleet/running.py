"""A fleet at work: the supervisor, and beside it whatever sizes and renews the fleet."""

import asyncio
import signal
from collections.abc import Collection

from stoker.core.clock import Clock
from stoker.core.store import Store
from stoker.fleet.scaling import Scaling
from stoker.fleet.supervisor import Supervisor
from stoker.fleet.upkeep import Upkeep
from stoker.settings import FleetSettings

RENEW = signal.SIGHUP
"""What asks a fleet for a rolling restart."""


async def run_fleet(
    store: Store,
    supervisor: Supervisor,
    *,
    settings: FleetSettings,
    slots: int,
    queues: Collection[str],
    clock: Clock,
) -> None:
    """Run a fleet until its supervisor is stopped.

    It scales if ``settings.max`` is more than ``settings.min``, replaces what grew too old or too
    big, and renews all of its workers, one after the other, at SIGHUP.

    Args:
        store: Open.
        supervisor: Of the fleet.
        settings: Of the fleet.
        slots: Jobs that one worker runs at once.
        queues: What the workers serve; empty: all.
        clock: Time and chance.
    """
    renewal = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(RENEW, renewal.set)
    work = [Upkeep(supervisor, settings=settings, clock=clock).run(), _renew(supervisor, renewal)]
    if settings.max > settings.min:
        scaling = Scaling(
            store, supervisor, settings=settings, slots=slots, queues=queues, clock=clock
        )
        work.append(scaling.run())
    try:
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(one) for one in work]
            try:
                await supervisor.run()
            finally:
                for task in beside:
                    task.cancel()
    finally:
        loop.remove_signal_handler(RENEW)


async def _renew(supervisor: Supervisor, renewal: asyncio.Event) -> None:
    while True:
        await renewal.wait()
        renewal.clear()
        await supervisor.renew()
