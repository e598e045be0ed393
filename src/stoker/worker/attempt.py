"""One try of a job inside a worker: its limits, what it reported, and how it was told to stop.

It is plain state. The dispatcher decides when it starts and ends, an executor runs it, and what
its end means is the runner's to say.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from enum import IntEnum
from typing import Any, Protocol

import msgspec

from stoker.core.clock import Clock
from stoker.core.duration import when
from stoker.core.errors import TaskTimeout
from stoker.core.job import ErrorInfo, Leased, LogLine, Outcome
from stoker.core.records import MAX_LOGS
from stoker.core.rules import DEADLINE_GRACE
from stoker.core.task import Task


class Stop(IntEnum):
    """Why a running attempt was told to stop; the greater reason wins."""

    SOFT = 1
    """Past its soft limit: it may tidy up and even succeed."""
    HARD = 2
    """Past its hard limit."""
    MEMORY = 3
    """Its process took more memory than it may."""
    RELEASE = 4
    """The worker gives it back: it shuts down, or may have lost its session."""
    CANCEL = 5
    """Somebody called the job off."""
    ABANDON = 6
    """The lease is lost: whatever it does now, nobody is told."""


class SoftLimit(TaskTimeout):
    """Raised inside a task at its soft limit."""

    def __init__(self) -> None:
        """Make it without arguments, as an exception raised into a thread must be."""
        super().__init__("the job ran past its soft limit")


class Interrupted(BaseException):
    """Raised inside a task that has to end now.

    No subclass of `Exception`, so that a task that catches those and goes on does not catch it.
    """


class Verdict(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How an attempt ended, before the fence makes it a settlement."""

    outcome: Outcome
    result: bytes | None = None
    """JSON, for completed."""
    error: ErrorInfo | None = None
    retry_in: float | None = None
    """Seconds until the next attempt, for failed (None: no more) and snoozed."""


class Attempt:
    """One leased job in the hands of this worker. Also the sink of its task's reports."""

    __slots__ = (
        "_clock",
        "context",
        "coroutine",
        "detail",
        "ended",
        "ended_at",
        "executor",
        "fresh",
        "handle",
        "hard_at",
        "kill_at",
        "leased",
        "leased_at",
        "lines",
        "note",
        "on_news",
        "share",
        "shown",
        "soft_at",
        "started",
        "stop",
        "task",
    )

    def __init__(
        self, leased: Leased, task: Task[..., Any], *, leased_at: float, clock: Clock
    ) -> None:
        """Take a leased job.

        Args:
            leased: The job and its fence.
            task: What runs it.
            leased_at: When its lease was asked for, on the monotonic clock.
            clock: Time.
        """
        self.leased = leased
        self.task = task
        self.leased_at = leased_at
        self._clock = clock
        self.executor: Executor | None = None
        self.handle: Any = None
        self.context: Context | None = None
        self.coroutine: Coroutine[Any, Any, Any] | None = None
        self.detail = ""
        self.started: float | None = None
        self.ended_at = 0.0
        self.ended = False
        self.soft_at: float | None = None
        # Until it begins, and however late it does, the store's deadline counts from the lease.
        timeout = leased.timeout
        self.hard_at = None if timeout is None else leased_at + timeout + DEADLINE_GRACE / 2
        self.kill_at: float | None = None
        self.stop: Stop | None = None
        self.shown = False
        self.fresh = False
        self.share: float | None = None
        self.note: str | None = None
        self.lines: deque[LogLine] | None = None
        self.on_news: Callable[[], None] | None = None

    def begin(self) -> None:
        """Start the clock of its limits.

        The hard limit counts from here, but never far past the store's deadline, which counts
        from the lease.
        """
        now = self._clock.monotonic()
        self.started = now
        leased = self.leased
        if leased.timeout is not None and self.hard_at is not None:
            self.hard_at = min(now + leased.timeout, self.hard_at)
        if leased.soft_timeout is not None:
            self.soft_at = now + leased.soft_timeout

    def finish(self) -> None:
        """Stop the clock; nobody else may end it any more."""
        self.ended = True
        self.ended_at = self._clock.monotonic()

    def deadline(self) -> float | None:
        """Return the wall clock's second of the hard limit."""
        if self.hard_at is None:
            return None
        return self._clock.now() + self.hard_at - self._clock.monotonic()

    def ask(self, stop: Stop) -> bool:
        """Note a reason to stop; False when there is one as good already."""
        if self.stop is not None and self.stop >= stop:
            return False
        self.stop = stop
        return True

    def is_called_off(self) -> bool:
        """Whether the task, when it looks, should give up by itself."""
        return self.stop is not None and self.stop >= Stop.RELEASE

    def ran_for(self) -> float | None:
        """Return the seconds since its handler began; None if it never did."""
        if self.started is None:
            return None
        return (self.ended_at if self.ended else self._clock.monotonic()) - self.started

    def progress(self, done: float, note: str | None) -> None:
        """See `Sink.progress`."""
        self.share = done
        self.note = note
        self._tell()

    def log(self, message: str) -> None:
        """See `Sink.log`."""
        self.add_lines((LogLine(when(self._clock.now()), message, self.leased.attempt),))

    def add_lines(self, lines: tuple[LogLine, ...]) -> None:
        """Keep lines until they are taken; of too many the oldest go."""
        if not lines:
            return
        if self.lines is None:
            self.lines = deque(maxlen=MAX_LOGS)
        self.lines.extend(lines)
        self._tell()

    def take_lines(self) -> tuple[LogLine, ...]:
        """Hand out the lines that were not yet handed out."""
        if not self.lines:
            return ()
        lines = self.lines
        return tuple(lines.popleft() for _ in range(len(lines)))

    def put_back(self, lines: tuple[LogLine, ...]) -> None:
        """Take back lines whose report was not answered."""
        if lines:
            newer = self.take_lines()
            self.add_lines(lines + newer)

    def _tell(self) -> None:
        if not self.fresh:
            self.fresh = True
            if self.on_news is not None:
                self.on_news()


class Executor(Protocol):
    """What runs attempts. All of it is called on the event loop and never blocks it.

    Attributes:
        patience: Seconds from being told to stop to `kill`, by reason; a reason that is missing
            never kills.
    """

    patience: Mapping[Stop, float]

    def has_room(self) -> bool:
        """Whether one more attempt can start at once."""
        ...

    def start(self, attempt: Attempt) -> None:
        """Run an attempt. Exactly one verdict follows."""
        ...

    def interrupt(self, attempt: Attempt, stop: Stop) -> None:
        """Tell a started attempt to stop, with whatever means there are."""
        ...

    def kill(self, attempt: Attempt) -> None:
        """Give the attempt up. Its verdict has been delivered when this returns."""
        ...

    async def aclose(self) -> None:
        """End what it keeps: tasks, threads, processes."""
        ...
