"""One look at the store for everybody who watches: at most one set of questions a second.

There is no task in the background. Whoever wants a frame that is newer than the last one takes
the look for all others, who wait at the same lock; if it is called off meanwhile, the next in line
goes on. With nobody watching, nobody asks the store.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Generic, TypeVar

import msgspec

from stoker.app.overview import (
    WINDOW,
    DeadLetters,
    KeeperView,
    Overview,
    StoreHealth,
    has_moved,
    keeper_of,
    look_over,
    minute_of,
    rates_between,
)
from stoker.app.stats import Grouping
from stoker.app.stoker import Stoker
from stoker.core.broker import Rung
from stoker.core.errors import StokerError
from stoker.core.events import Kind
from stoker.core.fleets import workers_among
from stoker.core.job import SessionInfo
from stoker.core.lifecycle import State
from stoker.core.records import Activity, Counts, EventQuery, JobQuery, QueueInfo, Spread
from stoker.core.store import Store

T = TypeVar("T")

EVERY = 1.0
"""Seconds between two looks, at least."""
SELDOM = 10.0
"""Seconds for which dead letters and the keeper are remembered: they change slowly."""
FRESH = 120.0
"""Seconds of the past that are asked for with each look; what lies before does not change."""
LOOKED_AT = 200
"""Dead letters that are grouped."""
_OFFICE = (Kind.KEEPER_ELECTED, Kind.KEEPER_RESIGNED)


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """What one look saw."""

    seq: int
    """Rises with every look of this server."""
    revision: int
    """Rises when any job changed its state, so that a page knows when its lists are old."""
    every: float
    """Seconds until the next frame may be expected."""
    overview: Overview


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A frame with what it was made of."""

    frame: Frame
    data: bytes
    """The frame as JSON, encoded once for everybody."""
    counts: Counts
    queues: list[QueueInfo]
    sessions: list[SessionInfo]


class Watch:
    """The shared look of one server at its store."""

    def __init__(self, app: Stoker, *, every: float = EVERY, seldom: float = SELDOM) -> None:
        """Make it; nothing is asked before somebody wants to see something.

        Args:
            app: Whose store.
            every: Seconds between two looks, at least.
            seldom: Seconds for which what changes slowly is remembered.
        """
        self.looks = 0
        """How often the store was asked."""
        self.every = every
        self._app = app
        self._lock = asyncio.Lock()
        self._seen: Seen | None = None
        self._taken = float("-inf")
        self._trouble: StokerError | None = None
        self._hour = _Hour()
        self._letters = _Remembered(seldom, _dead_letters)
        self._keeper = _Remembered(seldom, _keeper)

    async def now(self) -> Seen:
        """Return a look that is not older than the time between two looks.

        Raises:
            StokerError: The store could not be asked.
        """
        async with self._lock:
            return self._fresh() or await self._look()

    async def after(self, seq: int | None) -> Seen:
        """Return the present look, or wait for the next one if that is known already.

        Args:
            seq: The number of the frame that is known; None: none.

        Raises:
            StokerError: The store could not be asked. It is asked again when it is time.
        """
        async with self._lock:
            seen = self._fresh()
            if seen is not None and seen.frame.seq != seq:
                return seen
            await asyncio.sleep(max(0.0, self._taken + self.every - _now()))
            return await self._look()

    def _fresh(self) -> Seen | None:
        """Return the last look while it is young, or raise what it met."""
        if _now() >= self._taken + self.every:
            return None
        if self._trouble is not None:
            raise self._trouble.with_traceback(None)
        return self._seen

    async def _look(self) -> Seen:
        self._taken = _now()
        self._trouble = None
        self.looks += 1
        try:
            self._seen = await self._app.arun(self._ask)
        except StokerError as error:
            self._trouble = error
            raise
        return self._seen

    async def _ask(self, store: Store) -> Seen:
        before, began = self._seen, _now()
        await store.get(["overview"])
        latency = _now() - began
        counts = await self._hour.of(store)
        queues = await store.queues()
        sessions = workers_among(await store.sessions())
        overview = look_over(
            counts,
            queues,
            sessions,
            rates=None if before is None else rates_between(before.counts, counts),
            dead_letters=await self._letters.of(store),
            store=_health(store, latency),
            broker=store.broker_status() if isinstance(store, Rung) else None,
            keeper=await self._keeper.of(store),
        )
        frame = self._frame(overview, before, counts)
        return Seen(
            frame=frame,
            data=msgspec.json.encode(frame),
            counts=counts,
            queues=queues,
            sessions=sessions,
        )

    def _frame(self, overview: Overview, before: Seen | None, counts: Counts) -> Frame:
        seq = revision = 1
        if before is not None:
            seq = before.frame.seq + 1
            revision = before.frame.revision + has_moved(before.counts, counts)
        return Frame(seq=seq, revision=revision, every=self.every, overview=overview)


class _Hour:
    """Counts of the last hour, of which only the last minutes are asked for: the rest is over."""

    def __init__(self) -> None:
        self._counts: Counts | None = None

    async def of(self, store: Store) -> Counts:
        before = self._counts
        fresh = await store.counts(window=FRESH)
        # By the store's clock: ours may stand still while the machine sleeps.
        if before is None or not 0 <= (fresh.now - before.now).total_seconds() <= FRESH / 2:
            fresh = await store.counts(window=WINDOW)
        else:
            fresh = _joined(before, fresh)
        self._counts = fresh
        return fresh


def _joined(before: Counts, fresh: Counts) -> Counts:
    """Put the minutes of an earlier answer before those of a fresh one."""
    first = minute_of(fresh.now - timedelta(seconds=FRESH))
    last = minute_of(fresh.now - timedelta(seconds=WINDOW))

    def is_kept(line: Activity | Spread) -> bool:
        return last <= line.minute_at < first

    return msgspec.structs.replace(
        fresh,
        activity=[*(a for a in before.activity if is_kept(a)), *fresh.activity],
        spreads=[*(s for s in before.spreads if is_kept(s)), *fresh.spreads],
    )


class _Remembered(Generic[T]):
    """An answer that is asked for now and then."""

    def __init__(self, seldom: float, ask: Callable[[Store], Awaitable[T]]) -> None:
        self._seldom = seldom
        self._ask = ask
        self._answers: list[T] = []
        self._until = float("-inf")

    async def of(self, store: Store) -> T:
        # That there is no keeper is an answer, too.
        if not self._answers or _now() >= self._until:
            self._answers = [await self._ask(store)]
            self._until = _now() + self._seldom
        return self._answers[0]


async def _dead_letters(store: Store) -> DeadLetters:
    query = JobQuery(states=(State.DEAD_LETTER,))
    page = await store.find(query, limit=LOOKED_AT)
    grouping = Grouping()
    for job in page.jobs:
        grouping.add(job)
    return DeadLetters(
        groups=grouping.groups(),
        scanned=grouping.count,
        is_complete=page.next_cursor is None,
    )


async def _keeper(store: Store) -> KeeperView | None:
    return keeper_of(await store.events(EventQuery(kinds=_OFFICE), limit=1))


def _health(store: Store, latency: float) -> StoreHealth:
    info = store.info
    return StoreHealth(
        engine=info.engine,
        version=info.version,
        url=info.url,
        durability=info.durability,
        can_lose=info.can_lose,
        latency=latency,
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
