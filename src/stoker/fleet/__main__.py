"""The process of a fleet in the background: ``python -m stoker.fleet``, with an order on stdin."""

import asyncio
import contextlib
import logging
import os
import signal
import sys

import msgspec

from stoker.connect import open_store
from stoker.core.clock import SystemClock
from stoker.core.duration import when
from stoker.core.errors import StokerError
from stoker.fleet.background import Files, FleetState, Order
from stoker.fleet.fleet import Fleet
from stoker.fleet.identity import Identity
from stoker.fleet.reporter import HOST
from stoker.fleet.running import run_fleet
from stoker.settings import Secret, masked

logger = logging.getLogger("stoker.fleet")


def main() -> int:
    """Read the order and carry it out until told to stop."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    _log_to_stderr(order.level)
    try:
        asyncio.run(_run(order))
    except StokerError as error:
        logger.error("the fleet %s ends: %s", order.prefix, error)  # noqa: TRY400
        return 1
    return 0


async def _run(order: Order) -> None:
    clock = SystemClock()
    token = None if order.token is None else Secret(order.token)
    async with open_store(order.store, broker=order.broker, clock=clock, token=token) as store:
        fleet = Fleet(store, order.kinds, clock=clock, drain=order.drain)
        board = _Board(order, clock)
        fleet.on_change.append(lambda: board.show(fleet))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, fleet.stop)
        try:
            await run_fleet(store, fleet, clock=clock, ttl=order.ttl)
        finally:
            board.clear()


class _Board:
    """Keeps the state file as the fleet is."""

    def __init__(self, order: Order, clock: SystemClock) -> None:
        me = Identity.of(os.getpid())
        self._files = Files(order.run_dir, order.prefix)
        self._state = FleetState(
            prefix=order.prefix,
            pid=me.pid,
            mark=me.mark,
            host=HOST,
            started_at=when(clock.now()),
            store=masked(order.store),
            log=str(self._files.log),
            workers=[],
            kinds=tuple(kind.name for kind in order.kinds if kind.is_named),
        )

    def show(self, fleet: Fleet) -> None:
        state = msgspec.structs.replace(self._state, workers=fleet.workers)
        try:
            self._files.write(state)
        except OSError as error:
            logger.warning("the state file cannot be written: %s", error)

    def clear(self) -> None:
        with contextlib.suppress(OSError):
            self._files.state.unlink(missing_ok=True)


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("stoker")
    root.addHandler(handler)
    root.setLevel(level.upper())


if __name__ == "__main__":
    sys.exit(main())
