"""Submits that travel together: whatever gathered while the last flush was away goes with the next.

No timer: alone, a submit goes out at once; under load the batches grow by themselves, and with them
what one commit carries.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from stoker.core.errors import InvalidOption, NotOpen, StokerError
from stoker.core.job import JobSpec
from stoker.stores.postgres.lines import Rows

MOST_JOBS = 5_000
MOST_BYTES = 8 * 2**20

Send = Callable[[Sequence[JobSpec]], Awaitable[Rows]]


class Parcel:
    """The jobs of one caller, who waits for their rows."""

    __slots__ = ("future", "ids", "size", "specs")

    def __init__(self, specs: Sequence[JobSpec]) -> None:
        """Wrap jobs, each id once, none with parents."""
        self.specs = specs
        self.ids = frozenset(spec.id for spec in specs)
        self.size = sum(len(spec.payload) for spec in specs)
        self.future: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()

    def answer(self, rows: Rows) -> None:
        """Hand over the rows."""
        if not self.future.done():
            self.future.set_result(rows)

    def fail(self, error: StokerError) -> None:
        """Hand over why there are none."""
        if not self.future.done():
            self.future.set_exception(error)


class Batching:
    """The queue of parcels of one handle."""

    def __init__(self, send: Send) -> None:
        """Make an empty queue.

        Args:
            send: Submits jobs in one transaction and returns its rows.
        """
        self._send = send
        self._waiting: deque[Parcel] = deque()
        self._carrier: asyncio.Task[None] | None = None
        self._closing = False

    async def submit(self, specs: Sequence[JobSpec]) -> Rows:
        """Submit jobs with whatever else is waiting; return the rows for these."""
        if self._closing:
            raise NotOpen("the store is closed; use it inside 'async with'")
        parcel = Parcel(specs)
        self._waiting.append(parcel)
        if self._carrier is None:
            # It carries for several callers, and outlives each of them; close awaits it.
            self._carrier = asyncio.create_task(self._carry())  # noqa: TID251 - see above
        return await parcel.future

    async def close(self) -> None:
        """Carry what is waiting, then stop."""
        self._closing = True
        while self._carrier is not None:
            await asyncio.wait([self._carrier])

    async def _carry(self) -> None:
        try:
            while self._waiting:
                await self._flush(self._load())
        finally:
            self._carrier = None

    def _load(self) -> list[Parcel]:
        """Take parcels that may travel together: no id may be in two of them."""
        load: list[Parcel] = []
        ids: set[str] = set()
        size = 0
        while self._waiting:
            parcel = self._waiting[0]
            if parcel.future.done():
                self._waiting.popleft()
                continue
            big = len(ids) + len(parcel.ids) > MOST_JOBS or size + parcel.size > MOST_BYTES
            if load and (big or not ids.isdisjoint(parcel.ids)):
                break
            load.append(self._waiting.popleft())
            ids |= parcel.ids
            size += parcel.size
        return load

    async def _flush(self, load: Sequence[Parcel]) -> None:
        try:
            rows = await self._send([spec for parcel in load for spec in parcel.specs])
        except InvalidOption as error:
            # One caller's jobs cannot be kept: the others are not harmed by it.
            if len(load) == 1:
                load[0].fail(error)
                return
            for parcel in load:
                await self._flush([parcel])
        except StokerError as error:
            for parcel in load:
                parcel.fail(error)
        except BaseException:
            for parcel in load:
                parcel.future.cancel()
            raise
        else:
            _hand_out(load, rows)


def _hand_out(load: Sequence[Parcel], rows: Rows) -> None:
    """Cut the one row of a flush into one for each parcel."""
    if len(load) == 1:
        load[0].answer(rows)
        return
    states, places, ids, known, rung, changed = rows[0]
    start = 0
    for parcel in load:
        end = start + len(parcel.specs)
        mine = [i for i, place in enumerate(places) if start < place <= end]
        row: tuple[Any, ...] = (
            states[start:end],
            [places[i] - start for i in mine],
            [ids[i] for i in mine],
            [known[i] for i in mine],
            rung,
            changed,
        )
        parcel.answer([row])
        start = end
