"""Keeps the session alive, reports on running jobs, and hears what is asked of them.

A beat names every job that is held. It goes out at its interval, and soon after there is news: a
job that has been running for a moment, progress, log lines. A job that ends before the first beat
never appears in one.

When beats fail for nearly a whole lease, the store may have declared this session dead and given
its jobs to others. The worker then *fences* itself: it starts nothing and stops what runs. When
the store answers again and the session still lives, the outcomes are handed in (interrupted jobs
are given back uncounted) and work goes on; if it is dead, everything is dropped and a new session
begins.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from stoker.core.clock import Clock
from stoker.core.errors import BackendError, LeaseLost, StokerError
from stoker.core.job import BeatReply, Command, HeldJob, LogLine, SessionSpec, SessionState
from stoker.core.store import Store
from stoker.settings import WorkerSettings
from stoker.worker.attempt import Attempt, Stop
from stoker.worker.dispatcher import Dispatcher

FENCE_SHARE = 0.9
"""Share of the lease after which, without an answered beat, the worker fences itself."""
LISTEN_EVERY = 2.0
"""Seconds between beats while jobs run that the store knows to run: a cancel waits for a beat."""
SPACING = 0.05
"""Seconds between two beats at least."""
BACKOFF = 0.1
GOODBYE = 5.0
"""Seconds that saying goodbye may take."""

log = logging.getLogger(__name__)

_Snapshot = list[tuple[Attempt, HeldJob]]


class Heartbeat:
    """The session of one worker.

    Attributes:
        session_id: Of the present session.
        opened: Set while the store knows the session.
        on_open: Called when a session was opened or is trusted again.
        on_command: Called with what an operator asks.
    """

    def __init__(
        self,
        *,
        store: Store,
        dispatcher: Dispatcher,
        settings: WorkerSettings,
        clock: Clock,
        describe: Callable[[str, SessionState], SessionSpec],
    ) -> None:
        """Make the heart; `run` lets it beat.

        Args:
            store: Where.
            dispatcher: Knows what is held.
            settings: Lease and interval.
            clock: Time.
            describe: Makes the session's description from its id and state.
        """
        self._store = store
        self._dispatcher = dispatcher
        self._settings = settings
        self._lease = float(settings.lease)
        self._clock = clock
        self._describe = describe
        self._news = asyncio.Event()
        self._shown = asyncio.Event()
        self._sent_at = -SPACING
        self._failures = 0
        self._answered_at: float | None = None
        self.session_id = clock.new_id()
        self.state = SessionState.ALIVE
        self.opened = asyncio.Event()
        self.on_open: Callable[[], None] = lambda: None
        self.on_command: Callable[[Command], None] = lambda _: None

    def soon(self) -> None:
        """Beat soon: there is news."""
        self._news.set()

    async def run(self) -> None:
        """Beat until cancelled.

        Raises:
            StokerError: The store refuses for a reason that time does not heal.
        """
        while True:
            try:
                await self._beat()
                self._failures = 0
            except BackendError as error:
                if not error.retryable:
                    raise
                self._fail(error)
            except LeaseLost as error:
                self.lost(self.session_id, str(error))
            await self._pause()

    async def listen(self) -> None:
        """Beat soon when the store rings for a running job; runs until it is cancelled.

        A cancel is told by a beat; without this it would wait for the next regular one.
        """
        while True:
            ids = [a.leased.id for a in self._dispatcher.running if a.shown and not a.ended]
            if not ids:
                self._shown.clear()
                await self._shown.wait()
                continue
            try:
                if await self._store.wait(ids=ids, timeout=LISTEN_EVERY / 4):
                    self.soon()
            except BackendError as error:
                log.debug("the store cannot ring: %s", error)
            # Reports of these very jobs ring, too.
            await asyncio.sleep(LISTEN_EVERY / 8)

    def check(self, now: float) -> None:
        """Fence the worker if the last answered beat is too long ago."""
        if self._answered_at is None or self._dispatcher.fenced:
            return
        if now - self._answered_at > self._lease * FENCE_SHARE:
            log.error(
                "the store has answered no beat for %.1f s of a lease of %.1f s: it may have given "
                "the jobs of this worker to others, so they are stopped here",
                now - self._answered_at,
                self._lease,
            )
            self._dispatcher.fenced = True
            self._dispatcher.stop_running(Stop.RELEASE)

    def lost(self, session_id: str, why: str) -> None:
        """Begin a new session: the store declared that one dead."""
        if session_id != self.session_id:
            return
        log.error("session %s is lost (%s); a new one begins", session_id, why)
        self.session_id = self._clock.new_id()
        self.opened.clear()
        self._answered_at = None
        self._dispatcher.abandon()
        self.soon()

    async def leave(self) -> None:
        """Say goodbye; a store that cannot be reached finds out by itself."""
        spec = self._describe(self.session_id, SessionState.LEFT)
        try:
            async with asyncio.timeout(GOODBYE):
                await self._store.beat(spec, (), ttl=self._lease)
        except (StokerError, TimeoutError) as error:
            log.warning("could not say goodbye to the store: %s", str(error) or "no answer")
        self.opened.clear()

    def _fail(self, error: BackendError) -> None:
        self._failures += 1
        if self._failures == 1:
            log.warning("the store did not answer a beat; it is repeated: %s", error)

    async def _beat(self) -> None:
        session_id = self.session_id
        sent_at = self._sent_at = self._clock.monotonic()
        told = self._snapshot()
        spec = self._describe(session_id, self.state)
        try:
            reply = await self._store.beat(spec, [held for _, held in told], ttl=self._lease)
        except BaseException:
            _take_back(told)
            raise
        if not reply.alive:
            self.lost(session_id, "it was declared dead")
            return
        self._trust(sent_at)
        self._obey(reply, told)

    def _snapshot(self) -> _Snapshot:
        told: _Snapshot = []
        for attempt in self._dispatcher.held.values():
            told.append((attempt, _held(attempt)))
        return told

    def _trust(self, sent_at: float) -> None:
        """The session lived when that beat was sent, or was renewed by it."""
        self._answered_at = sent_at
        fresh = not self.opened.is_set() or self._dispatcher.fenced
        self.opened.set()
        if fresh:
            self._dispatcher.fenced = False
            self._dispatcher.fill()
            self.on_open()

    def _obey(self, reply: BeatReply, told: _Snapshot) -> None:
        by_id = {held.id: attempt for attempt, held in told}
        for attempt, held in told:
            if held.ran_for is not None and not attempt.shown:
                attempt.shown = True
                self._shown.set()
        for job_id in reply.lost:
            if job_id in by_id:
                self._dispatcher.lose(by_id[job_id])
        for job_id in reply.cancel:
            if job_id in by_id:
                self._dispatcher.call_off(by_id[job_id])
        if reply.command is not None:
            self.on_command(reply.command)

    async def _pause(self) -> None:
        if self._failures:
            longest = min(self._lease / 6, BACKOFF * 2.0 ** min(self._failures, 16))
            await asyncio.sleep(longest * self._clock.random())
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._interval()):
                await self._news.wait()
        self._news.clear()
        early = self._sent_at + SPACING - self._clock.monotonic()
        if early > 0:
            await asyncio.sleep(min(early, SPACING))

    def _interval(self) -> float:
        if self._settings.beat is not None:
            # Seldom enough to lose the session would be a mistake, not a wish.
            return min(self._settings.beat, self._lease / 2)
        interval = self._lease / 3
        if any(attempt.shown for attempt in self._dispatcher.running):
            return min(interval, LISTEN_EVERY)
        return interval


def _held(attempt: Attempt) -> HeldJob:
    leased = attempt.leased
    lines: tuple[LogLine, ...] = ()
    share = note = None
    # What an ended attempt has left to say went into its settlement.
    if attempt.fresh and not attempt.ended:
        attempt.fresh = False
        share, note, lines = attempt.share, attempt.note, attempt.take_lines()
    return HeldJob(leased.id, leased.epoch, leased.nonce, attempt.ran_for(), share, note, lines)


def _take_back(told: Sequence[tuple[Attempt, HeldJob]]) -> None:
    """Keep for the next beat what this one could not deliver."""
    for attempt, held in told:
        if not attempt.ended and (held.logs or held.progress is not None):
            attempt.put_back(held.logs)
            attempt.fresh = True
