"""A span around each attempt."""

from stoker.core.context import JobContext
from stoker.tracing import Tracing
from stoker.worker.attempt import Verdict
from stoker.worker.middleware import Call, Middleware


class Spans(Middleware):
    """Opens a span around each attempt; in a worker only when tracing is on."""

    def __init__(self, tracing: Tracing) -> None:
        """Use a way to open spans."""
        self._tracing = tracing

    async def around_attempt(self, job: JobContext, call: Call) -> Verdict:
        """Run the attempt inside its span, and write into it how it ended."""
        with self._tracing.processing(job) as span:
            verdict = await call()
            self._tracing.tell(span, verdict.outcome, verdict.error)
            return verdict
