"""Stoker, a distributed task queue: nothing accepted is lost, and everybody can see what happened.

::

    from stoker import Stoker

    app = Stoker()

    @app.task
    def shout(text: str) -> str:
        return text.upper()

    shout.submit("hi").result(timeout="10s")
"""

from stoker.app import (
    AppTask,
    BoundTask,
    Call,
    Flow,
    Job,
    JobOptions,
    Node,
    Stoker,
    WorkflowRun,
)
from stoker.core.context import JobContext, current_job
from stoker.core.errors import (
    Cancelled,
    Discard,
    JobFailed,
    ResultTimeout,
    Retry,
    Snooze,
    StokerError,
    TaskTimeout,
)
from stoker.core.job import JobRecord, Priority
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.core.retry import RetryPolicy

__version__ = "0.1.0"

__all__ = [
    "AppTask",
    "BoundTask",
    "Call",
    "Cancelled",
    "Discard",
    "Flow",
    "Job",
    "JobContext",
    "JobFailed",
    "JobOptions",
    "JobQuery",
    "JobRecord",
    "Node",
    "Priority",
    "ResultTimeout",
    "Retry",
    "RetryPolicy",
    "Snooze",
    "State",
    "Stoker",
    "StokerError",
    "TaskTimeout",
    "WorkflowRun",
    "__version__",
    "current_job",
]
