"""What a running task can ask and say: ``current_job()``.

The context is the same in all three executors; only its sink differs: it hands reports to the
worker's loop directly, from a thread, or over a pipe.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Protocol

from stoker.core.duration import optional_when
from stoker.core.effects import Find, JobTransaction
from stoker.core.errors import Cancelled, UsageError
from stoker.core.job import Leased

MAX_LOG_LINE = 8_192
"""Characters kept of one log line."""


class Sink(Protocol):
    """Where a job's reports go. Called from whatever thread the task runs in."""

    def progress(self, done: float, note: str | None) -> None:
        """Take a progress report."""
        ...

    def log(self, message: str) -> None:
        """Take a log line."""
        ...


class JobContext:
    """The running job, seen from inside its task."""

    def __init__(
        self,
        leased: Leased,
        sink: Sink,
        *,
        worker: str = "",
        deadline: float | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        results: Callable[[str], Any] | None = None,
        transactions: Find = lambda: None,
        is_async: bool = False,
    ) -> None:
        """Make the context of one attempt; done by the worker.

        Args:
            leased: The job.
            sink: Where reports go.
            worker: The worker's name.
            deadline: Seconds since 1970 at which the attempt is stopped; None: never.
            cancelled: Whether somebody called the job off.
            results: Gives a parent's decoded result by job id.
            transactions: Gives what the store does inside transactions, if it does anything.
            is_async: Whether the task is a coroutine function.
        """
        self._leased = leased
        self._sink = sink
        self._cancelled = cancelled
        self._results = results
        self._transactions = transactions
        self._is_async = is_async
        self.effects: JobTransaction | None = None
        self.id = leased.id
        self.task = leased.task
        self.queue = leased.queue
        self.attempt = leased.attempt
        self.epoch = leased.epoch
        self.tenant = leased.tenant
        self.workflow_id = leased.workflow_id
        self.headers: Mapping[str, str] = leased.headers or {}
        self.worker = worker
        self.deadline: datetime | None = optional_when(deadline)

    @property
    def idempotency_key(self) -> str:
        """A key that is the same in every attempt of this job, for services that take one."""
        return self.id

    @property
    def fence(self) -> str:
        """A text that is different in every attempt, and rises; see the guide on effects."""
        return f"{self.epoch:012d}-{self._leased.nonce}"

    def transaction(self) -> JobTransaction:
        """Return a transaction in which this task's own rows and the job's completion commit.

        ``with current_job().transaction() as conn:`` in a plain task, ``async with`` in an async
        one. ``conn`` is a connection to the store's database: of psycopg for PostgreSQL, of apsw
        for SQLite. It commits when the task has returned, with its result, if the job is still
        this worker's; else nothing is committed. See the guide on effects.
        """
        if self.effects is not None and self.effects.is_open:
            return self.effects
        self.effects = JobTransaction(self._leased, self._transactions, is_async=self._is_async)
        return self.effects

    @property
    def parents(self) -> Mapping[str, Any]:
        """Decoded results of the parents by node name (by job id outside workflows).

        A parent that did not complete has no entry.
        """
        results = self._leased.parents or {}
        names = self._leased.parent_names or {}
        if self._results is None:
            return {}
        return {names.get(job_id, job_id): self._results(job_id) for job_id in results}

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody called the job off."""
        return self._cancelled()

    def check_cancelled(self) -> None:
        """Raise `Cancelled` if somebody called the job off."""
        if self._cancelled():
            raise Cancelled(job_id=self.id)

    def progress(self, done: float, note: str | None = None) -> None:
        """Say how far the job is.

        Args:
            done: 0 to 1; what lies outside is cut.
            note: What it does now.
        """
        self._sink.progress(min(1.0, max(0.0, float(done))), note)

    def log(self, message: object, *args: object) -> None:
        """Keep a line with the job, shown with its attempts.

        Args:
            message: The line, or a ``%`` format for ``args``. Cut at 8,192 characters.
            *args: Values for the format.
        """
        text = str(message) % args if args else str(message)
        self._sink.log(text[:MAX_LOG_LINE])


_current: ContextVar[JobContext | None] = ContextVar("stoker_current_job", default=None)


def current_job() -> JobContext:
    """Return the job that is running here.

    Raises:
        UsageError: Called outside a running task.
    """
    job = _current.get()
    if job is None:
        raise UsageError("current_job() works inside a running task only; no job runs here")
    return job


def running_job() -> JobContext | None:
    """Return the job that is running here, or None; for tasks that can also be called plainly."""
    return _current.get()


@contextmanager
def running(context: JobContext) -> Iterator[None]:
    """Make a context the current one; done by the executors."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)
