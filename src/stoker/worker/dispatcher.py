"""Who holds what: leased jobs on their way through the slots of this worker.

A job that is leased is *held* until the store has answered its settlement. In between it waits in
the buffer, runs in an executor, and lies in the outbox. This module moves it, keeps its limits,
and is the only one that tells attempts to stop. It talks to no store.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from stoker.core.clock import Clock
from stoker.core.errors import UnknownTask
from stoker.core.job import ErrorInfo, Leased, Outcome, Settled, Settlement
from stoker.core.task import Registry
from stoker.worker.attempt import Attempt, Executor, Stop, Verdict
from stoker.worker.runner import Runner

SOON = 0.075
"""Seconds that a job runs before the store is told that it does."""
STALE = 1.0
"""Seconds in the buffer after which a job is given back: the slots are slower than they were, and
another worker may be free."""
NO_EXECUTOR = "no_executor"
"""The code of jobs put off because this worker cannot run tasks of their kind."""

log = logging.getLogger(__name__)


class Dispatcher:
    """The jobs in the hands of one worker.

    Attributes:
        held: All of them that the store believes to be ours, by id.
        running: Those in an executor, abandoned ones included: they fill slots, too.
        buffer: Those that wait for a slot.
        outbox: Settlements that no exchange has taken along yet.
        load: Waiting and running jobs by queue, kept only when ``count_load``.
        finished: How many attempts ended since the worker began.
        outcomes: The same by outcome.
        refused: Settlements that the store answered with a lost lease.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        runner: Runner,
        clock: Clock,
        concurrency: int,
        count_load: bool = False,
    ) -> None:
        """Make a dispatcher; give it executors and listeners before it is used."""
        self._registry = registry
        self._runner = runner
        self._clock = clock
        self._count_load = count_load
        self.concurrency = concurrency
        self.executors: Mapping[str, Executor] = {}
        self.isolation: Executor | None = None
        self.on_news: Callable[[], None] = _nobody
        self.on_start: Callable[[], None] = _nobody
        self.held: dict[str, Attempt] = {}
        self.running: set[Attempt] = set()
        self.buffer: deque[Attempt] = deque()
        self.outbox: deque[Settlement] = deque()
        self.load: Counter[str] = Counter()
        self.finished = 0
        self.outcomes: Counter[Outcome] = Counter()
        self.refused = 0
        self.closing = False
        self.fenced = False

    @property
    def free(self) -> int:
        """Slots without a job."""
        return self.concurrency - len(self.running)

    @property
    def busy(self) -> int:
        """Slots with a job."""
        return len(self.running)

    def accept(self, leased: Iterable[Leased], leased_at: float) -> None:
        """Take what an exchange gave.

        Args:
            leased: The jobs.
            leased_at: When the exchange was sent, on the monotonic clock.
        """
        for job in leased:
            self._take(job, leased_at)
        if self.closing:
            self.release_buffer()
        self.fill()

    def give_back(self, leased: Iterable[Leased]) -> None:
        """Take none of what an exchange gave."""
        verdict = Verdict(Outcome.RELEASED)
        self.outbox.extend(_settlement(job, verdict) for job in leased)

    def fill(self) -> None:
        """Start waiting jobs while there are free slots."""
        if self.closing or self.fenced:
            return
        blocked: list[Attempt] = []
        while self.buffer and len(self.running) < self.concurrency:
            attempt = self.buffer.popleft()
            executor = attempt.executor
            if executor is None or not executor.has_room():
                blocked.append(attempt)
                continue
            self.running.add(attempt)
            executor.start(attempt)
            self.on_start()
        self.buffer.extendleft(reversed(blocked))

    def done(self, attempt: Attempt, verdict: Verdict) -> None:
        """Take the verdict of an attempt; called by its executor."""
        attempt.finish()
        self.running.discard(attempt)
        self.finished += 1
        self.outcomes[verdict.outcome] += 1
        if self._count_load:
            self.load[attempt.leased.queue] -= 1
        if attempt.stop is not Stop.ABANDON:
            self._settle(attempt, verdict)
        self.fill()
        self.on_news()

    def answered(self, settlements: Sequence[Settlement], answers: Sequence[Settled]) -> None:
        """Let go of the jobs whose settlements the store has answered."""
        for settlement, answer in zip(settlements, answers, strict=True):
            attempt = self.held.get(settlement.id)
            if attempt is not None and attempt.leased.epoch == settlement.epoch:
                del self.held[settlement.id]
            if answer is Settled.LEASE_LOST:
                self.refused += 1
                log.warning(
                    "job %s had been taken back when it was settled as %s; nothing was recorded",
                    settlement.id,
                    settlement.outcome.value,
                )

    def call_off(self, attempt: Attempt) -> None:
        """Obey a cancel."""
        if self._unbuffer(attempt):
            self._end_unstarted(attempt, Verdict(Outcome.CANCELLED))
        else:
            self.tell(attempt, Stop.CANCEL)

    def lose(self, attempt: Attempt) -> None:
        """Drop a job that the store gave to nobody or somebody else."""
        if self.held.get(attempt.leased.id) is attempt and not attempt.ended:
            del self.held[attempt.leased.id]
            if self._unbuffer(attempt):
                self._unload(attempt)
            else:
                self.tell(attempt, Stop.ABANDON)
            log.warning("job %s was taken back while it was held here", attempt.leased.id)

    def abandon(self) -> None:
        """Drop everything: the session is dead, and nothing that is held is ours any more."""
        for attempt in self.buffer:
            self._unload(attempt)
        self.buffer.clear()
        self.outbox.clear()
        self.held.clear()
        self.stop_running(Stop.ABANDON)

    def close(self) -> None:
        """Start nothing any more, and give back what has not started."""
        self.closing = True
        self.release_buffer()

    def release_buffer(self, *, older_than: float | None = None) -> bool:
        """Give back jobs that wait for a slot; whether there were any.

        Args:
            older_than: Only those that were leased before this moment.
        """
        old = [a for a in self.buffer if older_than is None or a.leased_at < older_than]
        for attempt in old:
            self.buffer.remove(attempt)
            self._end_unstarted(attempt, Verdict(Outcome.RELEASED))
        return bool(old)

    def stop_running(self, stop: Stop) -> None:
        """Tell all running attempts to stop."""
        for attempt in list(self.running):
            self.tell(attempt, stop)

    def tell(self, attempt: Attempt, stop: Stop) -> None:
        """Tell a running attempt to stop, unless it was told so with a better reason."""
        if not attempt.ended and attempt.ask(stop):
            self._interrupt(attempt, stop)

    def tick(self, now: float) -> bool:
        """Keep the limits; whether there is something to tell the store soon."""
        news = False
        for attempt in list(self.running):
            if not attempt.ended:
                self._limit(attempt, now)
            news = news or attempt.fresh or self._unknown_to_store(attempt, now)
        if self.buffer and self.release_buffer(older_than=now - STALE):
            self.on_news()
        return news

    def _unknown_to_store(self, attempt: Attempt, now: float) -> bool:
        started = attempt.started
        return not attempt.shown and started is not None and now - started > SOON

    def _limit(self, attempt: Attempt, now: float) -> None:
        if attempt.kill_at is not None and now >= attempt.kill_at:
            if attempt.executor is not None:
                attempt.executor.kill(attempt)
        elif attempt.hard_at is not None and now >= attempt.hard_at:
            attempt.hard_at = None
            # Even an attempt that was told to stop for a better reason ends here at the latest.
            attempt.ask(Stop.HARD)
            self._interrupt(attempt, Stop.HARD)
        elif attempt.soft_at is not None and now >= attempt.soft_at:
            attempt.soft_at = None
            self.tell(attempt, Stop.SOFT)

    def _interrupt(self, attempt: Attempt, stop: Stop) -> None:
        executor = attempt.executor
        if executor is None:
            return
        patience = executor.patience.get(stop)
        if patience is not None:
            latest = self._clock.monotonic() + patience
            attempt.kill_at = latest if attempt.kill_at is None else min(attempt.kill_at, latest)
        executor.interrupt(attempt, stop)

    def _take(self, leased: Leased, leased_at: float) -> None:
        try:
            task = self._registry.get(leased.task)
        except UnknownTask as error:
            info = ErrorInfo(code=error.code, message=error.message, type=type(error).__name__)
            self._put_off(leased, info)
            return
        attempt = Attempt(leased, task, leased_at=leased_at, clock=self._clock)
        executor = self.executors.get(task.options.run_in)
        if leased.lost and self.isolation is not None:
            # It, or a neighbour, took a whole process with it: from now on it runs by itself.
            executor = self.isolation
        if executor is None:
            where = f"this worker cannot run tasks in a {task.options.run_in}"
            self._put_off(leased, ErrorInfo(code=NO_EXECUTOR, message=where))
            return
        attempt.executor = executor
        self.held[leased.id] = attempt
        if self._count_load:
            self.load[leased.queue] += 1
        if leased.cancel_requested:
            self._end_unstarted(attempt, Verdict(Outcome.CANCELLED))
        else:
            self.buffer.append(attempt)

    def _put_off(self, leased: Leased, info: ErrorInfo) -> None:
        verdict = self._runner.postponed(info, leased)
        log.warning(
            "job %s (%s) was put off for %.1f s: %s",
            leased.id,
            leased.task,
            verdict.retry_in or 0.0,
            info.message,
        )
        self.outbox.append(_settlement(leased, verdict))
        self.on_news()

    def _unbuffer(self, attempt: Attempt) -> bool:
        if attempt not in self.buffer:
            return False
        self.buffer.remove(attempt)
        return True

    def _unload(self, attempt: Attempt) -> None:
        if self._count_load:
            self.load[attempt.leased.queue] -= 1

    def _end_unstarted(self, attempt: Attempt, verdict: Verdict) -> None:
        attempt.ended = True
        self._unload(attempt)
        self.outcomes[verdict.outcome] += 1
        self.outbox.append(_settlement(attempt.leased, verdict))
        self.on_news()

    def _settle(self, attempt: Attempt, verdict: Verdict) -> None:
        leased = attempt.leased
        fresh = attempt.fresh
        self.outbox.append(
            Settlement(
                leased.id,
                leased.epoch,
                leased.nonce,
                verdict.outcome,
                verdict.result,
                verdict.error,
                verdict.retry_in,
                attempt.ran_for(),
                attempt.share if fresh else None,
                attempt.note if fresh else None,
                attempt.take_lines() if fresh else (),
            )
        )


def _settlement(leased: Leased, verdict: Verdict) -> Settlement:
    return Settlement(
        leased.id,
        leased.epoch,
        leased.nonce,
        verdict.outcome,
        error=verdict.error,
        retry_in=verdict.retry_in,
    )


def _nobody() -> None:
    pass
