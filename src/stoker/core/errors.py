"""Every error that Stoker raises.

::

    StokerError                  .code (stable) · .retryable · .details · a message for people
    ├── UsageError               the caller's mistake; trying again changes nothing
    │   ├── UnknownTask · DuplicateTask · InvalidTask · InvalidArguments · InvalidPayload
    │   ├── PayloadTooLarge · InvalidOption · InvalidWorkflow · InvalidSchedule · InvalidQuery
    │   └── InvalidConfig · MissingExtra · NotOpen
    ├── NotFound                 JobNotFound · QueueNotFound · WorkerNotFound
    │                            FleetNotFound · ScheduleNotFound · WorkflowNotFound · KeyNotFound
    ├── Refused                  a correct request that the present state forbids
    │   └── IllegalTransition · DuplicateJob · PortInUse
    ├── LeaseLost                this worker no longer owns the job, or its session is dead
    ├── BackendError             a store or broker failed
    │   ├── Unavailable          nothing was done; try again                    (retryable)
    │   │   └── StoreFull
    │   ├── OutcomeUnknown       it may have been done; idempotent calls may try again (retryable)
    │   ├── NotAStore · ReadOnlyStore · SchemaMismatch · Unsupported
    │   ├── ProtocolError        a peer of the gateway broke the protocol
    │   │   └── FrameTooLarge
    │   └── Unauthenticated · Forbidden · RateLimited
    ├── JobFailed · ResultTimeout    what waiting for a result can end in (and Cancelled)
    ├── TaskTimeout · WorkerCrashed · ResultTooLarge    how an attempt can end besides its own error
    └── Signal                   raised by task code to say how the attempt ends; not a failure
        └── Retry(after) · Snooze(delay) · Discard(reason) · Cancelled

A message says what was found, what was expected and what to do. Decisions are taken on the type
or on ``code``, never on the text. A code once released keeps its meaning.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar


class StokerError(Exception):
    """The root of all errors of Stoker.

    Attributes:
        code: A stable name in snake case, the same in Python, on HTTP and in the shell.
        retryable: Whether the same call may succeed later without being changed.
        details: More facts for programs; JSON-able.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **details: Any) -> None:
        """Make an error.

        Args:
            message: What was found, what was expected, what to do.
            **details: Facts for programs, JSON-able.
        """
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, Any] = details


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error and what lies below it, each once.

    Drivers raise the same error again from what it had led to: such a chain has no end.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


class UsageError(StokerError):
    """The caller's mistake; trying again changes nothing."""

    code = "usage"


class UnknownTask(UsageError):
    """No task of that name is known here or announced by any worker."""

    code = "unknown_task"


class DuplicateTask(UsageError):
    """Two functions want the same task name."""

    code = "duplicate_task"


class InvalidTask(UsageError):
    """A function, module or option that cannot become a task."""

    code = "invalid_task"


class InvalidArguments(UsageError):
    """A payload that does not fit the task's signature."""

    code = "invalid_arguments"


class InvalidPayload(UsageError):
    """Not a JSON object, or JSON that loses its meaning: NaN, duplicate keys, too deep."""

    code = "invalid_payload"


class PayloadTooLarge(UsageError):
    """A payload over the configured size."""

    code = "payload_too_large"


class InvalidOption(UsageError):
    """An option of a task, a job or a command with a value that means nothing."""

    code = "invalid_option"


class InvalidWorkflow(UsageError):
    """A graph with a cycle, an unknown parent, two nodes of one name, or no node."""

    code = "invalid_workflow"


class InvalidSchedule(UsageError):
    """A cron expression, interval, time zone or policy that means nothing."""

    code = "invalid_schedule"


class InvalidQuery(UsageError):
    """A filter or cursor that means nothing."""

    code = "invalid_query"


class InvalidConfig(UsageError):
    """A configuration file or variable that cannot be used."""

    code = "invalid_config"


class MissingExtra(UsageError):
    """A part of Stoker whose libraries are not installed; the message holds the command."""

    code = "missing_extra"


class NotOpen(UsageError):
    """A store was used before it was opened or after it was closed."""

    code = "not_open"


class NotFound(StokerError):
    """The named thing does not exist."""

    code = "not_found"


class JobNotFound(NotFound):
    """No job has that id."""

    code = "job_not_found"


class QueueNotFound(NotFound):
    """No queue has that name: none was declared, and no job was ever in it."""

    code = "queue_not_found"


class WorkerNotFound(NotFound):
    """No worker has that id or name."""

    code = "worker_not_found"


class FleetNotFound(NotFound):
    """No fleet has that id or name."""

    code = "fleet_not_found"


class ScheduleNotFound(NotFound):
    """No schedule has that name."""

    code = "schedule_not_found"


class WorkflowNotFound(NotFound):
    """No workflow has that id."""

    code = "workflow_not_found"


class KeyNotFound(NotFound):
    """No valid API key has that id or name."""

    code = "key_not_found"


class Refused(StokerError):
    """A correct request that the present state forbids."""

    code = "refused"


class IllegalTransition(Refused):
    """The job's state does not allow that event."""

    code = "illegal_transition"


class DuplicateJob(Refused):
    """Another live job holds the same unique key."""

    code = "duplicate_job"


class PortInUse(Refused):
    """Somebody else listens on that address already."""

    code = "port_in_use"


class LeaseLost(StokerError):
    """This worker no longer owns the job, or its session was declared dead."""

    code = "lease_lost"


class BackendError(StokerError):
    """A store or a broker failed."""

    code = "backend"


class Unavailable(BackendError):
    """The backend could not be reached or refused for now. Nothing was done."""

    code = "unavailable"
    retryable = True


class StoreFull(Unavailable):
    """No space left where the store keeps its data. Nothing was done."""

    code = "store_full"


class RateLimited(BackendError):
    """Whoever asks did so too often; ``details.retry_after`` says in how many seconds to repeat."""

    code = "rate_limited"
    retryable = True


class OutcomeUnknown(BackendError):
    """The call may or may not have been carried out. Only idempotent calls may try again."""

    code = "outcome_unknown"
    retryable = True


class NotAStore(BackendError):
    """What the URL points to exists and is not a Stoker store."""

    code = "not_a_store"


class ReadOnlyStore(BackendError):
    """The store can be read and not written."""

    code = "read_only"


class SchemaMismatch(BackendError):
    """The store's layout is newer than this Stoker, or older and not migrated."""

    code = "schema_mismatch"


class Unsupported(BackendError):
    """This engine cannot do that; the message says which can."""

    code = "unsupported"


class ProtocolError(BackendError):
    """A peer broke the protocol of the gateway; the connection is closed."""

    code = "protocol_error"


class FrameTooLarge(ProtocolError):
    """A peer announced a frame over the limit; the connection is closed."""

    code = "frame_too_large"


class Unauthenticated(BackendError):
    """One side did not prove who it is: a wrong token, or a certificate that is not trusted."""

    code = "unauthenticated"


class Forbidden(BackendError):
    """Whoever asks is known, and may not do that."""

    code = "forbidden"


class JobFailed(StokerError):
    """The job is a dead letter.

    Attributes:
        job_id: Which job.
        traceback: The remote traceback as text, or None.
    """

    code = "job_failed"

    def __init__(self, message: str, *, job_id: str = "", traceback: str | None = None) -> None:
        """Make the error of a job that failed for good."""
        super().__init__(message, job_id=job_id)
        self.job_id = job_id
        self.traceback = traceback

    def __str__(self) -> str:
        """Show the message, then the remote traceback."""
        if self.traceback is None:
            return self.message
        return f"{self.message}\n\nRemote traceback:\n{self.traceback}"


class ResultTimeout(StokerError):
    """The result was not there in time. The job goes on."""

    code = "result_timeout"
    retryable = True


class TaskTimeout(StokerError):
    """The attempt ran past its soft or hard limit."""

    code = "timeout"


class WorkerCrashed(StokerError):
    """The process that ran the attempt died."""

    code = "crashed"


class ResultTooLarge(StokerError):
    """The task returned more than the configured size."""

    code = "result_too_large"


class Signal(StokerError):
    """Raised by task code to say how the attempt ends. Not a failure by itself."""

    code = "signal"


class Retry(Signal):
    """Try again later. Counts as a failed attempt.

    Attributes:
        after: Seconds until the next attempt, or None for the task's own backoff.
    """

    code = "retry"

    def __init__(self, reason: str = "the task asked for a retry", *, after: Any = None) -> None:
        """Ask for another attempt.

        Args:
            reason: Kept as the attempt's error message.
            after: A duration (``30``, ``"10m"``, timedelta), or None for the task's own backoff.
        """
        super().__init__(reason)
        self.after = after


class Snooze(Signal):
    """Run again later, without counting an attempt.

    Attributes:
        delay: A duration until the job is due again.
    """

    code = "snooze"

    def __init__(self, delay: Any, reason: str = "") -> None:
        """Put the job off.

        Args:
            delay: A duration (``30``, ``"10m"``, timedelta).
            reason: Shown in the job's timeline.
        """
        super().__init__(reason)
        self.delay = delay


class Discard(Signal):
    """Fail for good, without another attempt."""

    code = "discarded"

    def __init__(self, reason: str = "the task discarded the job") -> None:
        """Give the job up.

        Args:
            reason: Kept as the job's error message.
        """
        super().__init__(reason)


class Cancelled(Signal):
    """The job was cancelled: raised inside the task, and by waiting for its result."""

    code = "cancelled"

    def __init__(self, reason: str = "the job was cancelled", *, job_id: str = "") -> None:
        """Make the signal."""
        super().__init__(reason, job_id=job_id)
        self.job_id = job_id


def _descendants(root: type[StokerError]) -> list[type[StokerError]]:
    found = [root]
    for child in root.__subclasses__():
        found += _descendants(child)
    return found


def error_classes() -> dict[str, type[StokerError]]:
    """Return every error class by its code, for tables and for `from_code`."""
    return {cls.code: cls for cls in _descendants(StokerError)}


def from_code(code: str, message: str) -> StokerError:
    """Make the error that a code stands for; an unknown code gives a plain `StokerError`."""
    cls = error_classes().get(code, StokerError)
    error = cls.__new__(cls)
    StokerError.__init__(error, message)
    return error
