"""When to ring, and how often at most.

A submit rings with ids: they are known, and so is their queue. For everything else the store does
not say what became ready (children of a job that ended, jobs that were taken back or promoted, a
queue that was resumed): then a queue is rung without ids, which means "look". Which queues that
are is asked of the store by one task in the background, at most once in `PAUSE` seconds, never by
the command that caused it.

The bound
    A ring that names jobs which became ready names each of them once. Every other ring is paid
    from a purse, into which go 1 for each job that became ready without being named, 1 for each
    look of an idle worker, and `SHARE` for each lease. So rings are at most 1.1 x jobs + idle
    looks, whatever happens: nothing can make a storm of them. What the purse cannot pay is not
    rung, and costs an idle worker the wait until its next look.

Ringing again
    Whoever reaps also looks for queues whose oldest job has waited longer than `TOO_LONG`: its
    ring may have been lost, or all workers are busy, which nobody can tell apart. Such a queue is
    rung again, and then twice as late each time, until somebody took that job.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from stoker.core.broker import Broker, Ring
from stoker.core.errors import StokerError
from stoker.core.job import Exchanged, JobSpec, Outcome, Priority, Settled, Settlement, Submitted
from stoker.core.lifecycle import State
from stoker.core.store import Store

IDS = 100
"""The most ids in one ring: many jobs at once should wake more than one worker."""
PAUSE = 1.0
"""Seconds between two looks for queues with ready jobs, at least."""
GENTLE = 20.0
"""The share of time that such looks may take is one in so many."""
TOO_LONG = 5.0
"""Seconds that a queue's oldest job waits before its queue is rung again."""
SELDOM = 300.0
"""Seconds between two such rings, at the most."""
SHARE = 0.1
"""What a lease adds to the purse."""
PURSE = 100.0
"""The most that is saved up."""
FIRST = 10.0
"""What is in the purse at the beginning."""
REMEMBERED = 20_000
"""How many jobs that were leased here are remembered."""

_AGAIN = frozenset({Outcome.RELEASED, Outcome.CRASHED})
_LATER = frozenset({Outcome.FAILED, Outcome.SNOOZED})

log = logging.getLogger(__name__)


@dataclass
class _Late:
    """A queue whose oldest job waits too long."""

    since: datetime
    next_at: float
    pause: float


class Ringer:
    """Rings for what a store made ready."""

    def __init__(self, inner: Store, broker: Broker) -> None:
        """Make a ringer; `store` must be set before it rings.

        Args:
            inner: The store that is rung for, without a broker.
            broker: Where the rings go.
        """
        self.store = ""
        """The store's id."""
        self.mine: dict[str, tuple[str, bool]] = {}
        """Jobs leased here of late, with their queue and whether they are in a workflow."""
        self._inner = inner
        self._broker = broker
        self._purse = FIRST
        self._wake = asyncio.Event()
        self._has_news = False
        self._keeps_house = False
        self._house_at = 0.0
        self._late: dict[str, _Late] = {}

    def submitted(self, pairs: Iterable[tuple[JobSpec, Submitted]]) -> None:
        """Ring for jobs that were accepted and are ready."""
        ready: dict[tuple[str, Priority], list[str]] = {}
        for spec, answer in pairs:
            if answer.created and answer.state is State.QUEUED:
                ready.setdefault((spec.queue, spec.priority), []).append(answer.id)
        rings = [
            Ring(self.store, queue, priority, tuple(ids[start : start + IDS]))
            for (queue, priority), ids in ready.items()
            for start in range(0, len(ids), IDS)
        ]
        if rings:
            self._broker.ring(rings)

    def exchanged(
        self,
        settlements: Sequence[Settlement],
        answer: Exchanged,
        queues: Mapping[str, int],
        want: int,
    ) -> Collection[str]:
        """Ring for what the settlements made ready, unless this exchange has just leased it.

        Returns:
            The asked queues in which nothing was left.
        """
        dry = _dry(answer, queues, want)
        ready = self._settled(settlements, answer.settled) if settlements else {}
        mine = self.mine
        for lease in answer.leased:
            mine[lease.id] = (lease.queue, lease.workflow_id is not None)
        if answer.leased:
            self._save(SHARE * len(answer.leased))
            self._forget()
        for queue, is_seen in ready.items():
            if not (is_seen and queue in dry):
                self.look(queue)
        return dry

    def pass_on(self, rings: Iterable[Ring]) -> None:
        """Ring for what an exchange had no room for, as far as the purse goes."""
        self._broker.ring([ring for ring in rings if self._pay()])

    def look(self, queue: str) -> None:
        """Ring a queue without naming jobs, if the purse can pay it."""
        if self._pay():
            self._broker.ring([Ring(self.store, queue, Priority.MEDIUM)])

    def opened(self, queue: str) -> None:
        """Somebody resumed a queue or changed its limit."""
        self._save(1.0)
        self.look(queue)

    def freed(self, jobs: int) -> None:
        """So many jobs became ready, or their children may have, in queues that nobody named."""
        if jobs:
            self._save(jobs)
            self._has_news = True
            self._wake.set()

    def idle(self) -> None:
        """A worker looked for nothing."""
        self._save(1.0)

    def keep_house(self) -> None:
        """Look for queues in which jobs wait too long, now and then."""
        now = asyncio.get_running_loop().time()
        if now >= self._house_at:
            self._house_at = now + TOO_LONG
            self._keeps_house = True
            self._wake.set()

    async def run(self) -> None:
        """Ring the queues of which something is known or feared; runs until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            began = loop.time()
            try:
                await self._ring_around()
            except StokerError as error:
                log.debug("the store cannot say which queues have jobs: %s", error)
            await asyncio.sleep(max(PAUSE, GENTLE * (loop.time() - began)))

    async def _ring_around(self) -> None:
        has_news, self._has_news = self._has_news, False
        keeps_house, self._keeps_house = self._keeps_house, False
        counts = await self._inner.counts()
        now = asyncio.get_running_loop().time()
        self._late = {queue: late for queue, late in self._late.items() if queue in counts.oldest}
        for queue, since in counts.oldest.items():
            waited = (counts.now - since).total_seconds()
            if keeps_house and waited >= TOO_LONG and self._is_due(queue, since, now):
                self._broker.ring([Ring(self.store, queue, Priority.MEDIUM)])
            elif has_news:
                self.look(queue)

    def _is_due(self, queue: str, since: datetime, now: float) -> bool:
        """Whether to ring again for a queue's oldest job: later each time, while it is the same."""
        late = self._late.get(queue)
        if late is None or late.since != since:
            self._late[queue] = _Late(since, now + TOO_LONG, TOO_LONG)
            return True
        if now < late.next_at:
            return False
        late.pause = min(SELDOM, 2 * late.pause)
        late.next_at = now + late.pause
        return True

    def _settled(
        self, settlements: Sequence[Settlement], answers: Sequence[Settled]
    ) -> Mapping[str, bool]:
        """Return the queues in which the outcomes may have made jobs ready.

        With each, whether the same exchange could lease them: one that is repeated after no time
        is due, and promoted by the next exchange.
        """
        ready: dict[str, bool] = {}
        flows = 0
        for settlement, answer in zip(settlements, answers, strict=True):
            queue, in_flow = self.mine.get(settlement.id, ("", False))
            if answer is not Settled.OK or not queue:
                continue
            if _lives_on(settlement):
                ready[queue] = ready.get(queue, True) and settlement.outcome in _AGAIN
                self._save(1.0)
            elif in_flow:
                flows += 1
        self.freed(flows)
        return ready

    def _forget(self) -> None:
        if len(self.mine) > REMEMBERED:
            for job_id in list(self.mine)[: REMEMBERED // 2]:
                del self.mine[job_id]

    def _save(self, coins: float) -> None:
        self._purse = min(PURSE, self._purse + coins)

    def _pay(self) -> bool:
        if self._purse < 1.0:
            return False
        self._purse -= 1.0
        return True


def _lives_on(settlement: Settlement) -> bool:
    """Whether an attempt that ended so makes the same job ready at once."""
    if settlement.outcome in _AGAIN:
        return True
    soon = settlement.retry_in is not None and settlement.retry_in <= 0
    return settlement.outcome in _LATER and soon


def _dry(answer: Exchanged, queues: Mapping[str, int], want: int) -> Collection[str]:
    """Return the queues of which an exchange has leased all that there was."""
    if len(answer.leased) >= want:
        return ()
    taken = Counter(lease.queue for lease in answer.leased)
    return {name for name, most in queues.items() if taken[name] < most}
