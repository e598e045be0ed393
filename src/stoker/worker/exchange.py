"""The loop around `Store.exchange`: hand in what is done, take what comes next.

States of the loop
    *closed*     The session is not open (yet, or any more). Nothing is sent. `Heartbeat` opens it.
    *away*       One exchange is under way. Never a second one: its nonce must be the only one
                 whose answer is unknown. Whatever ends or frees meanwhile gathers.
    *eager*      The last exchange was full, or something rang: the next one goes out at once.
    *dry*        The last exchange gave less than was wanted, so there was nothing more. The loop
                 sleeps until a job ends, the store rings, or the poll interval is over.
    *closing*    Nothing is wanted any more. The loop ends when nothing runs and nothing is left
                 to hand in.

Who may do what
    Only this loop calls `Store.exchange`, and only it takes from the outbox. Executors add to the
    outbox through the dispatcher, `Heartbeat` may drop it when the session is dead, `Worker`
    decides when to close. All of that happens on one event loop, between two awaits.

How much is wanted
    Free slots, plus a buffer that is as long as the jobs that end during one exchange (twice its
    round trip, at least `HORIZON`). Slow jobs therefore have none, and no-op jobs travel in
    batches of hundreds. What waits in the buffer too long is given back uncounted, and so is all
    of it on a drain. One lease in `AGED` goes by age alone, so that low priorities do not starve.

What is never lost
    A settlement leaves the outbox for exactly one exchange and is forgotten only when the store
    has answered for it. Batches build up by themselves: the slower the store, the more gathers
    while an exchange is away. There are no timers and no minimum sizes.

What happens at each failure
    `Unavailable`, `OutcomeUnknown`
        The same exchange is repeated with the same nonce, after a random share of a growing
        pause. The store then gives the same leases, and ``REPEATED`` for what it had obeyed.
    `LeaseLost`
        The session was declared dead, its jobs are somebody else's: all attempts are abandoned,
        outcomes included, and a new session is opened.
    a settlement answered with ``LEASE_LOST``
        That job alone was taken back: counted, logged, forgotten.
    an answer that took longer than `CONFIRM_SHARE` of the lease
        The store may have counted those leases as undelivered: they are given back, not run.
    another `BackendError` (a layout too new, a file that became read-only)
        The store cannot serve any more: the worker ends with that error.
    any other error
        It is about one settlement. The batch is halved until that one stands alone; it is
        replaced by a small failure, which makes the job a dead letter.
    the worker dies
        Nothing was promised: the session runs out, and a keeper takes its jobs back.

The sleep and the bell
    Between "the exchange found nothing" and "now I listen" a job may come in. A dry answer counts
    only if the bell was already listening when the exchange was sent; otherwise one more exchange
    goes out. While the worker is saturated the bell rests.
"""

import asyncio
import logging
from collections.abc import Sequence

from stoker.core.clock import Clock
from stoker.core.errors import (
    BackendError,
    LeaseLost,
    NotOpen,
    OutcomeUnknown,
    StokerError,
    Unavailable,
)
from stoker.core.job import ErrorInfo, Exchanged, Outcome, Settled, Settlement
from stoker.core.rules import CONFIRM_SHARE
from stoker.core.store import Store
from stoker.settings import WorkerSettings
from stoker.worker.dispatcher import Dispatcher
from stoker.worker.heartbeat import Heartbeat
from stoker.worker.queues import Queues

HORIZON = 0.01
"""Seconds of work that the buffer holds at least, when jobs end fast."""
MAX_BUFFER = 1_000
"""The most jobs in the buffer."""
MAX_BATCH = 2_000
"""The most settlements in one exchange."""
MAX_BATCH_BYTES = 8 * 2**20
"""Bytes of results after which an exchange takes no more settlements."""
AGED = 8
"""One lease in so many goes by age alone."""
BACKOFF = 0.05
"""Seconds before an exchange is repeated for the first time, at the most."""
BACKOFF_CAP = 5.0
LEARN = 2.0
"""Seconds between two looks for new queues, when the worker serves all there are."""
IDLE_RINGS = 3
"""Rings for nothing in a row after which the bell takes a breath."""
BREATH = 0.01
"""Seconds of it, more with each further ring for nothing."""
BREATH_CAP = 0.1

log = logging.getLogger(__name__)


class Exchange:
    """Settles and leases for one worker."""

    def __init__(
        self,
        *,
        store: Store,
        dispatcher: Dispatcher,
        heartbeat: Heartbeat,
        queues: Queues,
        settings: WorkerSettings,
        clock: Clock,
    ) -> None:
        """Make the loop; `run` runs it, beside `listen` and `learn`."""
        self._store = store
        self._dispatcher = dispatcher
        self._heartbeat = heartbeat
        self._queues = queues
        self._poll = float(settings.poll)
        self._lease = float(settings.lease)
        self._clock = clock
        self._pace = _Pace(clock)
        self._waiter: asyncio.Future[None] | None = None
        self._armed = asyncio.Event()
        self._listening = False
        self._look = True
        self._fruitless = 0
        self._aged = 0.0
        self.sent = 0
        """Exchanges sent, repetitions included."""

    def wake(self) -> None:
        """Let the loop look again: something ended, rang or closed."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def look(self) -> None:
        """Let the loop ask the store for jobs, whatever it knew before."""
        self._look = True
        self.wake()

    async def run(self) -> None:
        """Exchange until the dispatcher is closed and everything is handed in."""
        dispatcher = self._dispatcher
        while not self._is_over():
            want = self._want()
            if self._heartbeat.opened.is_set() and (dispatcher.outbox or (want and self._look)):
                await self._exchange(want)
            else:
                await self._sleep()

    async def listen(self) -> None:
        """Be woken by the store while slots are free; runs until it is cancelled."""
        while True:
            await self._armed.wait()
            self._listening = True
            try:
                rang = await self._store.wait(self._queues.names, timeout=self._poll)
            except BackendError as error:
                log.debug("the store cannot ring: %s", error)
                self._listening = False
                await asyncio.sleep(self._poll * self._clock.random())
                rang = False
            if not self._want():
                self._listening = False
                self._armed.clear()
                continue
            self.look()
            self._fruitless = self._fruitless + 1 if rang else 0
            if self._fruitless > IDLE_RINGS:
                self._listening = False
                await asyncio.sleep(min(BREATH * (self._fruitless - IDLE_RINGS), BREATH_CAP))
                self.look()

    async def learn(self) -> None:
        """Find new queues, if the worker serves all of them; runs until it is cancelled."""
        while self._queues.learns:
            try:
                found = await self._store.queues()
            except BackendError as error:
                log.debug("the store cannot list its queues: %s", error)
            else:
                if self._queues.learn(queue.name for queue in found):
                    self.look()
            await asyncio.sleep(max(LEARN, self._poll))

    def _is_over(self) -> bool:
        d = self._dispatcher
        return d.closing and not (d.running or d.outbox or d.buffer)

    def _want(self) -> int:
        d = self._dispatcher
        if d.closing or d.fenced:
            return 0
        return max(0, d.free + self._pace.buffer - len(d.buffer))

    async def _sleep(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def _exchange(self, want: int) -> None:
        room = self._queues.share(want, self._dispatcher.load) if want else {}
        if not room:
            want = 0
        if want and not self._armed.is_set():
            self._armed.set()
            # Let the bell begin to listen before the store is asked.
            await asyncio.sleep(0)
        listened = self._listening
        # Whatever rings from here on is not answered by this exchange.
        self._look = False
        batch = self._take_batch()
        sent_at = self._clock.monotonic()
        answer = await self._until_answered(batch, room, want)
        if answer is None:
            self._look = True
            return
        self._dispatcher.answered(batch, answer.settled)
        self._pace.note(sent_at, self._dispatcher.finished)
        if want:
            self._take_leases(answer, want, sent_at)
            if len(answer.leased) >= want or not listened:
                self._look = True

    def _take_leases(self, answer: Exchanged, want: int, sent_at: float) -> None:
        leased = answer.leased
        if not leased:
            return
        self._fruitless = 0
        self._queues.turn()
        if self._clock.monotonic() - sent_at > self._lease * CONFIRM_SHARE:
            log.warning("an exchange took too long; %d of %d leases go back", len(leased), want)
            self._dispatcher.give_back(leased)
        else:
            self._dispatcher.accept(leased, sent_at)

    def _take_batch(self) -> tuple[Settlement, ...]:
        outbox = self._dispatcher.outbox
        batch: list[Settlement] = []
        size = 0
        while outbox and len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            settlement = outbox.popleft()
            batch.append(settlement)
            if settlement.result is not None:
                size += len(settlement.result)
        return tuple(batch)

    def _by_age(self, want: int) -> int:
        self._aged = min(self._aged + want / AGED, float(want))
        aged = int(self._aged)
        self._aged -= aged
        return aged

    async def _until_answered(
        self, batch: Sequence[Settlement], room: dict[str, int], want: int
    ) -> Exchanged | None:
        """Send one exchange until there is an answer; None when the session is gone."""
        session = self._heartbeat.session_id
        nonce = self._clock.new_nonce()
        aged = self._by_age(want)
        failures = 0
        unknown = False
        while session == self._heartbeat.session_id:
            self.sent += 1
            try:
                answer = await self._store.exchange(
                    session, batch, queues=room, want=want, nonce=nonce, aged=aged
                )
            except (Unavailable, OutcomeUnknown) as error:
                failures += 1
                unknown = unknown or isinstance(error, OutcomeUnknown)
                if failures == 1:
                    log.warning("the store did not answer an exchange; it is repeated: %s", error)
                if self._dispatcher.closing and not (batch or unknown):
                    return None
                await self._back_off(failures)
            except LeaseLost as error:
                self._heartbeat.lost(session, str(error))
                return None
            except (BackendError, NotOpen):
                raise
            except StokerError as error:
                await self._refused(session, batch, error)
                return None
            else:
                # The session may have died after the store answered and before we heard it.
                return answer if session == self._heartbeat.session_id else None
        return None

    async def _back_off(self, failures: int) -> None:
        longest = min(BACKOFF_CAP, BACKOFF * 2.0 ** min(failures, 16))
        await asyncio.sleep(longest * self._clock.random())

    async def _refused(self, session: str, batch: Sequence[Settlement], error: StokerError) -> None:
        """Find the settlement that the store cannot take, and hand in a small one instead."""
        if not batch:
            raise error
        parts = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
        if len(batch) == 1:
            [only] = batch
            log.error("the store refused the outcome of job %s: %s", only.id, error)
            if only.outcome is Outcome.FAILED and only.error is not None and not only.error.type:
                # Even the small failure: let go, so that the store may take the job back.
                self._dispatcher.answered(batch, [Settled.LEASE_LOST])
                return
            parts = [[_small_failure(only, error)]]
        for part in parts:
            answer = await self._until_answered(part, {}, 0)
            if answer is not None:
                self._dispatcher.answered(part, answer.settled)
            if session != self._heartbeat.session_id:
                return


def _small_failure(settlement: Settlement, error: StokerError) -> Settlement:
    info = ErrorInfo(code=error.code, message=error.message[:500])
    return Settlement(settlement.id, settlement.epoch, settlement.nonce, Outcome.FAILED, error=info)


class _Pace:
    """How fast jobs end, and so how long the buffer should be."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._noted_at = clock.monotonic()
        self._finished = 0
        self._rate = 0.0
        self._trip = 0.0
        self.buffer = 0

    def note(self, sent_at: float, finished: int) -> None:
        """Learn from an exchange that was sent then and answered now."""
        now = self._clock.monotonic()
        cycle = max(now - self._noted_at, 1e-6)
        rate = (finished - self._finished) / cycle
        # What a long cycle says holds; short ones are averaged.
        weight = min(1.0, 0.25 + cycle * 10.0)
        self._rate += (rate - self._rate) * weight
        self._trip += (now - sent_at - self._trip) * 0.5
        self._noted_at, self._finished = now, finished
        self.buffer = min(MAX_BUFFER, int(self._rate * max(HORIZON, 2 * self._trip)))
