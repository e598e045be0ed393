"""One attempt: decode the payload, call the task, and say what its end means.

The same code runs on the event loop, in a worker thread and in a child process. It decides
nothing about the job's state: a `Verdict` is what the worker tells the store, and the store's
rules decide.
"""

import sys
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any

import msgspec

from stoker.core import codec
from stoker.core.context import JobContext, running
from stoker.core.duration import seconds
from stoker.core.effects import Find
from stoker.core.errors import (
    Cancelled,
    Discard,
    PayloadTooLarge,
    ResultTooLarge,
    Retry,
    Signal,
    Snooze,
    StokerError,
    TaskTimeout,
    WorkerCrashed,
)
from stoker.core.job import ErrorInfo, Leased, Outcome
from stoker.core.retry import RetryPolicy, exception_names
from stoker.worker.attempt import Attempt, Interrupted, Stop, Verdict
from stoker.worker.tracebacks import describe

Random = Callable[[], float]

MEMORY_EXCEEDED = "memory_exceeded"
"""The code of an attempt that was killed for its memory."""
POSTPONE_BASE = 1.0
"""Seconds for which a job that cannot run here is put off the first time."""
POSTPONE_CAP = 300.0
"""The longest that it is put off."""
_NULL = Verdict(Outcome.COMPLETED, b"null")
_INTERRUPTS = (Interrupted, TaskTimeout, Cancelled)


class Runner:
    """Runs attempts and judges their ends.

    Attributes:
        worker: The worker's name, for `JobContext`.
    """

    def __init__(
        self,
        *,
        worker: str,
        result_limit: int,
        random: Random,
        transactions: Find = lambda: None,
    ) -> None:
        """Make a runner.

        Args:
            worker: The worker's name.
            result_limit: The most bytes of a result.
            random: Chance for the jitter of retries.
            transactions: Gives what the store does inside transactions, if it does anything.
        """
        self.worker = worker
        self._transactions = transactions
        self._limit = result_limit
        self._random = random

    def context(self, attempt: Attempt) -> JobContext:
        """Make what ``current_job()`` returns."""
        leased = attempt.leased
        return JobContext(
            leased,
            attempt,
            worker=self.worker,
            deadline=None if leased.timeout is None else attempt.deadline(),
            cancelled=attempt.is_called_off,
            results=None if leased.parents is None else _results(leased),
            transactions=self._transactions,
            is_async=attempt.task.is_async,
        )

    def run_sync(self, attempt: Attempt) -> Verdict:
        """Run a plain function on this thread."""
        attempt.begin()
        if attempt.stop is not None:
            return self.judge(Interrupted(), attempt)
        try:
            args, kwargs = _arguments(attempt)
        except Exception as error:  # noqa: BLE001 - validators are the task's own code
            return self._unreadable(error, attempt)
        inner = attempt.context or copy_context()
        job = self.context(attempt)
        try:
            value = inner.run(_call, job, attempt.task.fn, args, kwargs)
            verdict = self.accept(value, attempt)
            if job.effects is not None and verdict.result is not None:
                job.effects.complete(verdict.result, ran_for=attempt.ran_for())
        except BaseException as error:  # noqa: BLE001 - the border of an attempt
            verdict = self.judge(error, attempt)
        finally:
            if job.effects is not None:
                job.effects.abandon()
        return verdict

    async def run_async(self, attempt: Attempt) -> Verdict:
        """Run a coroutine function on this event loop, as part of the present asyncio task."""
        attempt.begin()
        if attempt.stop is not None:
            return self.judge(Interrupted(), attempt)
        try:
            args, kwargs = _arguments(attempt)
        except Exception as error:  # noqa: BLE001 - validators are the task's own code
            return self._unreadable(error, attempt)
        inner = attempt.context or copy_context()
        job = self.context(attempt)
        try:
            coroutine = _contain(job, attempt.task.fn, args, kwargs)
            attempt.coroutine = coroutine
            value = await _inside(inner, coroutine)
            verdict = self.accept(value, attempt)
            if job.effects is not None and verdict.result is not None:
                await job.effects.acomplete(verdict.result, ran_for=attempt.ran_for())
        except BaseException as error:  # noqa: BLE001 - the border of an attempt
            verdict = self.judge(error, attempt)
        finally:
            if job.effects is not None:
                await job.effects.aabandon()
        return verdict

    def accept(self, value: Any, attempt: Attempt) -> Verdict:
        """Turn what a task returned into a verdict."""
        if value is None:
            return _NULL
        try:
            result = codec.encode(value, what="result")
            codec.check_size(len(result), limit=self._limit, what="result")
        except PayloadTooLarge:
            return _buried(ResultTooLarge(_too_large(value, self._limit)))
        except Exception as error:  # noqa: BLE001 - encoding calls the value's own code
            return self._buried_unless_stopped(error, attempt)
        return Verdict(Outcome.COMPLETED, result)

    def judge(self, error: BaseException, attempt: Attempt) -> Verdict:
        """Turn what a task raised into a verdict, in the light of what it was told."""
        stop = attempt.stop
        if stop is not None and is_interrupt(error):
            return self.stopped(attempt, stack=describe(error).traceback)
        if isinstance(error, Signal):
            return self._signalled(error, attempt.leased)
        if stop is Stop.RELEASE:
            # What breaks while a task is being interrupted is the interruption's doing.
            return self.stopped(attempt)
        if stop is Stop.HARD or stop is Stop.MEMORY:
            return self.stopped(attempt, stack=describe(error).traceback)
        return self._failed(describe(error), error, attempt.leased)

    def stopped(self, attempt: Attempt, *, stack: str | None = None) -> Verdict:
        """Say how an attempt ended that obeyed its `Attempt.stop`, or was killed for it.

        Args:
            attempt: The attempt.
            stack: Where it was, if that is known.
        """
        stop = attempt.stop
        if stop is Stop.RELEASE:
            return Verdict(Outcome.RELEASED)
        if stop is Stop.CANCEL or stop is Stop.ABANDON:
            return Verdict(Outcome.CANCELLED)
        if stop is Stop.MEMORY:
            return self._over_memory(attempt, stack)
        return self._over_time(attempt, stack)

    def died(self, attempt: Attempt, how: str, *, stack: str | None = None) -> Verdict:
        """Say how an attempt ended whose process died.

        Args:
            attempt: The attempt.
            how: Completes "the process that ran the job ...".
            stack: Where it was, if that is known.
        """
        if attempt.stop in {Stop.RELEASE, Stop.HARD, Stop.MEMORY}:
            return self.stopped(attempt, stack=stack)
        return Verdict(
            Outcome.CRASHED,
            error=ErrorInfo(
                code=WorkerCrashed.code,
                message=f"the process that ran the job {how}",
                type=WorkerCrashed.__name__,
                traceback=stack,
            ),
        )

    def postponed(self, error: ErrorInfo | None, leased: Leased) -> Verdict:
        """Put a job off that cannot run here, longer each time: another worker may be able to."""
        longest = min(POSTPONE_CAP, POSTPONE_BASE * 2.0 ** min(leased.epoch - 1, 16))
        wait = longest * (1.0 + self._random()) / 2.0
        return Verdict(Outcome.SNOOZED, error=error, retry_in=wait)

    def _unreadable(self, error: Exception, attempt: Attempt) -> Verdict:
        """Say that a payload does not fit its task: trying again would change nothing."""
        verdict = self._buried_unless_stopped(error, attempt)
        info = verdict.error
        if info is None or not isinstance(error, StokerError) or attempt.stop is not None:
            return verdict
        # The message tells all; the frames would be those of our own decoder.
        return Verdict(
            Outcome.FAILED, error=ErrorInfo(code=info.code, message=info.message, type=info.type)
        )

    def _buried_unless_stopped(self, error: Exception, attempt: Attempt) -> Verdict:
        # An interrupt may come while a payload is decoded or a result encoded.
        if attempt.stop is not None and is_interrupt(error):
            return self.judge(error, attempt)
        return _buried(error)

    def _over_time(self, attempt: Attempt, stack: str | None) -> Verdict:
        leased = attempt.leased
        soft = attempt.stop is Stop.SOFT
        limit = leased.soft_timeout if soft else leased.timeout
        named = "soft limit" if soft else "limit"
        length = "" if limit is None else f" of {limit:g} s"
        info = ErrorInfo(
            code=TaskTimeout.code,
            message=f"the job ran past its {named}{length} and was stopped",
            type=TaskTimeout.__name__,
            traceback=stack,
        )
        return self._failed(info, TaskTimeout(""), leased)

    def _over_memory(self, attempt: Attempt, stack: str | None) -> Verdict:
        info = ErrorInfo(
            code=MEMORY_EXCEEDED,
            message=attempt.detail or "the job took more memory than it may",
            type=MemoryError.__name__,
            traceback=stack,
        )
        return self._failed(info, MemoryError(), attempt.leased)

    def _failed(self, info: ErrorInfo, error: BaseException, leased: Leased) -> Verdict:
        try:
            policy = RetryPolicy.from_json(leased.retry)
        except StokerError:
            policy = RetryPolicy()
        retry_in = policy.decide(leased.failed + 1, exception_names(error), self._random)
        return Verdict(Outcome.FAILED, error=info, retry_in=retry_in)

    def _signalled(self, signal: Signal, leased: Leased) -> Verdict:
        try:
            if isinstance(signal, Retry):
                return Verdict(
                    Outcome.FAILED, error=describe(signal), retry_in=self._after(signal, leased)
                )
            if isinstance(signal, Snooze):
                return Verdict(
                    Outcome.SNOOZED,
                    error=_reason(signal),
                    retry_in=seconds(signal.delay, name="the delay of Snooze"),
                )
        except StokerError as error:
            return self._failed(describe(error), error, leased)
        if isinstance(signal, Discard):
            return _buried(signal)
        if isinstance(signal, Cancelled):
            return Verdict(Outcome.CANCELLED, error=_reason(signal))
        return self._failed(describe(signal), signal, leased)

    def _after(self, signal: Retry, leased: Leased) -> float:
        if signal.after is not None:
            return seconds(signal.after, name="after")
        policy = RetryPolicy.from_json(leased.retry)
        return policy.delay(leased.failed + 1, self._random)


def _buried(error: BaseException) -> Verdict:
    return Verdict(Outcome.FAILED, error=describe(error))


def _reason(signal: Signal) -> ErrorInfo | None:
    if not signal.message:
        return None
    return ErrorInfo(code=signal.code, message=signal.message, type=type(signal).__name__)


def is_interrupt(error: BaseException) -> bool:
    """Whether an exception is of the kind with which running tasks are stopped."""
    # CancelledError is asyncio's, and a child that runs plain functions never loads asyncio.
    cancelled = getattr(sys.modules.get("asyncio"), "CancelledError", None)
    return isinstance(error, _INTERRUPTS) or (
        cancelled is not None and isinstance(error, cancelled)
    )


def _too_large(value: Any, limit: int) -> str:
    return (
        f"the task returned a {type(value).__name__} whose JSON is over {limit:,} bytes; store "
        "it elsewhere and return its address, or raise limits.result"
    )


def _arguments(attempt: Attempt) -> tuple[tuple[Any, ...], dict[str, Any]]:
    leased = attempt.leased
    if leased.parents is None:
        return attempt.task.arguments(leased.payload)
    return attempt.task.arguments(leased.payload, _results(leased))


def _results(leased: Leased) -> Callable[[str], Any]:
    parents = leased.parents or {}

    def result(job_id: str) -> Any:
        data = parents.get(job_id)
        return None if data is None else msgspec.json.decode(data)

    return result


def _call(
    job: JobContext, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    with running(job):
        return fn(*args, **kwargs)


async def _contain(
    job: JobContext,
    fn: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    with running(job):
        return await fn(*args, **kwargs)


@types.coroutine
def _inside(context: Context, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Step a coroutine inside a context of its own, without an asyncio task of its own.

    Slots run one job after the other in one asyncio task: without this, a context variable that
    one job sets would be seen by the next.
    """
    run = context.run
    step: Callable[..., Any] = coroutine.send
    value: Any = None
    while True:
        try:
            yielded = run(step, value)
        except StopIteration as stop:
            return stop.value
        try:
            value = yield yielded
            step = coroutine.send
        except BaseException as error:  # noqa: BLE001 - handed on into the coroutine
            step, value = coroutine.throw, error
