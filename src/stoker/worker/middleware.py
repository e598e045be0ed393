"""What may wrap an attempt: open a span, bind a tenant, take a lock, change how it ends.

One of the two extension points (the other wraps submitting). A worker without middleware does not
pass through here at all.
"""

from collections.abc import Awaitable, Callable, Sequence

from stoker.core.context import JobContext
from stoker.worker.attempt import Verdict

Call = Callable[[], Awaitable[Verdict]]
"""Runs the attempt, or the next middleware around it."""


class Middleware:
    """Wraps attempts, on the worker's event loop, in all three executors."""

    async def around_attempt(self, job: JobContext, call: Call) -> Verdict:  # noqa: ARG002
        """Run the attempt and return how it ended.

        What this raises counts as raised by the task. Context variables set before ``call`` are
        seen by the task unless it runs in a process.

        Args:
            job: The running job.
            call: Runs it; call it once, or not at all to end the attempt in its place.
        """
        return await call()


def wrap(chain: Sequence[Middleware], job: JobContext, call: Call) -> Call:
    """Put middleware around a call, the first one outermost."""
    for middleware in reversed(chain):
        call = _around(middleware, job, call)
    return call


def _around(middleware: Middleware, job: JobContext, call: Call) -> Call:
    def run() -> Awaitable[Verdict]:
        return middleware.around_attempt(job, call)

    return run
