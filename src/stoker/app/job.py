"""The handle of a submitted job: look at it, wait for it, call it off."""

from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

from stoker.app.home import Home
from stoker.core import codec
from stoker.core.clock import Clock
from stoker.core.duration import Duration, optional_seconds
from stoker.core.errors import Cancelled, JobFailed, JobNotFound, Refused, ResultTimeout
from stoker.core.job import JobRecord
from stoker.core.lifecycle import TERMINAL, State
from stoker.core.records import JobQuery
from stoker.core.store import Store

R_co = TypeVar("R_co", covariant=True)

LOOK_AGAIN = 1.0
"""Seconds after which a waiter looks by itself, should a wake-up get lost."""


class Job(Generic[R_co]):
    """A submitted job. Cheap: it holds the id and asks the store.

    Each verb comes twice: plain for blocking code, with an ``a`` in front for async code.

    Attributes:
        id: The job's id.
        created: False when the submit found it there already (same id or unique key).
    """

    __slots__ = ("_app", "_returns", "created", "id")

    def __init__(self, app: Home, job_id: str, *, returns: Any = Any, created: bool = True) -> None:
        """Make a handle; users get one from ``submit`` or `Stoker.get`."""
        self._app = app
        self._returns = returns
        self.id = job_id
        self.created = created

    def record(self) -> JobRecord:
        """Return everything about the job, as it is now.

        Raises:
            JobNotFound: It does not exist (any more).
        """
        return self._app.run(self.arecord())

    async def arecord(self) -> JobRecord:
        """See `record`."""
        return await self._app.arun(lambda store: fetch(store, self.id))

    @property
    def state(self) -> State:
        """The job's state, asked for now."""
        return self.record().state

    def to_dict(self) -> dict[str, Any]:
        """Return the job's flat JSON, decoded; the same as on HTTP."""
        return self.record().to_dict()

    def wait(self, timeout: Duration | None = None) -> JobRecord:
        """Block until the job has ended, however it ended, and return it.

        Raises:
            ResultTimeout: It had not ended in time. It goes on.
        """
        return self._app.run(self.await_end(timeout))

    async def await_end(self, timeout: Duration | None = None) -> JobRecord:
        """See `wait`."""
        limit = optional_seconds(timeout, name="timeout")
        clock = self._app.clock
        return await self._app.arun(lambda store: _ended(store, clock, self.id, limit))

    def result(self, timeout: Duration | None = None) -> R_co:
        """Block until the job has ended and return what its task returned.

        Args:
            timeout: How long to wait; None: for ever.

        Raises:
            JobFailed: It is a dead letter; carries the remote traceback.
            Cancelled: It was called off.
            ResultTimeout: It had not ended in time. It goes on.
        """
        return self._app.run(self.aresult(timeout))

    async def aresult(self, timeout: Duration | None = None) -> R_co:
        """See `result`."""
        record = await self.await_end(timeout)
        if record.state is State.CANCELLED:
            reason = record.error.message if record.error else "the job was cancelled"
            raise Cancelled(reason, job_id=self.id)
        if record.state is State.DEAD_LETTER:
            raise _failure(record)
        value: R_co = codec.decode_result(record.result, self._returns)
        return value

    def cancel(self, reason: str = "") -> str:
        """Call the job off.

        Returns:
            ``"cancelled"``: it was waiting. ``"requested"``: it runs, and was told to stop.
            ``"too_late"``: it had ended.

        Raises:
            JobNotFound: It does not exist.
        """
        return self._app.run(self.acancel(reason))

    async def acancel(self, reason: str = "") -> str:
        """See `cancel`."""
        query = JobQuery(ids=(self.id,))
        actor = self._app.actor
        answers = await self._app.arun(lambda s: s.cancel(query, actor=actor, reason=reason))
        if answers[0].answer == "unknown":
            raise not_found(self.id)
        return answers[0].answer

    def retry(self) -> None:
        """Bring the ended job back to life.

        Raises:
            JobNotFound: It does not exist.
            Refused: It has not ended, or its unique key is taken.
        """
        self._app.run(self.aretry())

    async def aretry(self) -> None:
        """See `retry`."""
        query = JobQuery(ids=(self.id,))
        actor = self._app.actor
        answers = await self._app.arun(lambda s: s.requeue(query, actor=actor))
        if answers[0].answer == "unknown":
            raise not_found(self.id)
        if answers[0].answer != "requeued":
            raise Refused(f"job {self.id} has not ended, or another live job has its unique key")

    async def updates(self) -> AsyncIterator[JobRecord]:
        """Yield the job whenever it changed, the last time when it has ended."""
        before: tuple[Any, ...] = ()
        while True:
            record = await self.arecord()
            now = mark(record)
            if now != before:
                before = now
                yield record
            if record.state in TERMINAL:
                return
            await self._app.arun(lambda s: s.wait(ids=[self.id], timeout=LOOK_AGAIN))

    def __repr__(self) -> str:
        """Show the id."""
        return f"<Job {self.id}>"


def mark(record: JobRecord) -> tuple[Any, ...]:
    """Return what of a job changes while it lives, to tell whether it did."""
    return (
        record.state,
        record.attempt,
        record.progress,
        record.progress_note,
        record.cancel_requested,
        len(record.logs),
        record.logs[-1].at if record.logs else None,
        len(record.attempts),
    )


def not_found(job_id: str) -> JobNotFound:
    """Make the error for an id that nobody knows."""
    return JobNotFound(
        f"no job has the id {job_id[:100]!r}; it never existed here or was purged",
        id=job_id[:100],
    )


async def fetch(store: Store, job_id: str) -> JobRecord:
    """Return one job.

    Raises:
        JobNotFound: It does not exist.
    """
    [record] = await store.get([job_id])
    if record is None:
        raise not_found(job_id)
    return record


async def _ended(store: Store, clock: Clock, job_id: str, limit: float | None) -> JobRecord:
    deadline = None if limit is None else clock.monotonic() + limit
    while True:
        record = await fetch(store, job_id)
        if record.state in TERMINAL:
            return record
        left = LOOK_AGAIN if deadline is None else deadline - clock.monotonic()
        if left <= 0:
            raise ResultTimeout(
                f"job {job_id} is {record.state} and did not end within {limit:g} s; it goes on, "
                "ask again or raise the timeout",
                id=job_id,
                state=str(record.state),
            )
        await store.wait(ids=[job_id], timeout=min(left, LOOK_AGAIN))


def _failure(record: JobRecord) -> JobFailed:
    error = record.error
    said = str(error) if error else "no error was recorded"
    return JobFailed(
        f"job {record.id} ({record.task}) is a dead letter after attempt {record.attempt}: {said}",
        job_id=record.id,
        traceback=error.traceback if error else None,
    )
