"""The task ``trial``: nothing but time, progress and, when asked for, failure.

It is there to try a system out: ``stoker generate`` and ``stoker send-test`` submit it.
"""

import threading

import msgspec

from stoker.core.clock import Clock, SystemClock
from stoker.core.context import running_job
from stoker.core.errors import InvalidArguments, StokerError
from stoker.settings import TaskSettings
from stoker.tasks.progress import Progress
from stoker.tasks.wiring import DEFAULTS

_CLOCK = SystemClock()
_LONGEST = 86_400.0
_MOST_STEPS = 10_000


class TrialFailed(StokerError):
    """The failure that a trial was asked for."""

    code = "trial_failed"
    retryable = True


class TrialEnd(msgspec.Struct, frozen=True):
    """What `trial` returns."""

    message: str
    seconds: float
    """How long it took."""
    steps: int
    attempt: int
    """The attempt that succeeded; 0 outside a job."""


def trial(
    seconds: float = 0.05,
    fail: float = 0.0,
    steps: int = 5,
    message: str = "",
    failures: int = 0,
    *,
    settings: TaskSettings = DEFAULTS,  # noqa: ARG001 - every standard task takes them
    clock: Clock = _CLOCK,
) -> TrialEnd:
    """Take some time in steps, with progress, and fail if asked to.

    Args:
        seconds: How long to take.
        fail: 0 to 1: how often to fail, decided by chance halfway.
        steps: In how many steps; each reports progress and looks for a cancel.
        message: Logged, and given back.
        failures: How many attempts fail before one succeeds, whatever chance says.
        settings: The worker's settings; none matters here.
        clock: Time and chance.

    Returns:
        The message and how long it took.

    Raises:
        InvalidArguments: A number outside its range.
        TrialFailed: As asked for.
        Cancelled: Somebody called the job off.
    """
    _check(seconds, fail, steps)
    job = running_job()
    attempt = 0 if job is None else job.attempt
    if job is not None and message:
        job.log("%s (attempt %d)", message, attempt)
    strikes = attempt <= failures if attempt else failures > 0
    strikes = strikes or clock.random() < fail
    begin = clock.monotonic()
    progress = Progress()
    for step in range(steps):
        progress.of(step, steps, f"step {step + 1} of {steps}")
        if strikes and step >= steps // 2:
            raise TrialFailed(f"attempt {attempt} failed because the payload asked for it")
        threading.Event().wait(seconds / steps)
    progress.to(1.0, "done")
    return TrialEnd(message, round(clock.monotonic() - begin, 3), steps, attempt)


def _check(seconds: float, fail: float, steps: int) -> None:
    if not 0.0 <= seconds <= _LONGEST:
        raise InvalidArguments(f"seconds is {seconds}; expected 0 to {_LONGEST:,.0f}")
    if not 0.0 <= fail <= 1.0:
        raise InvalidArguments(f"fail is {fail}; expected 0 to 1")
    if not 1 <= steps <= _MOST_STEPS:
        raise InvalidArguments(f"steps is {steps}; expected 1 to {_MOST_STEPS:,}")
