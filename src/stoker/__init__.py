"""Stoker, a distributed task queue: nothing accepted is lost, and everybody can see what happened.

::

    from stoker import Stoker

    app = Stoker()

    @app.task
    def shout(text: str) -> str:
        return text.upper()

    shout.submit("hi").result(timeout="10s")
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "stoker.app": {
        "AppTask",
        "BoundTask",
        "Call",
        "Flow",
        "Job",
        "JobOptions",
        "Node",
        "Stoker",
        "WorkflowRun",
    },
    "stoker.core.context": {"JobContext", "current_job"},
    "stoker.core.job": {"JobRecord", "Priority"},
    "stoker.core.lifecycle": {"State"},
    "stoker.core.records": {"JobQuery"},
    "stoker.core.retry": {"RetryPolicy"},
}
"""Where a public name lives; what stands nowhere here is an error class."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first asked for: the shell must start at once."""
        if name not in __all__:
            raise AttributeError(f"module 'stoker' has no attribute {name!r}")
        home = next((m for m, names in _HOMES.items() if name in names), "stoker.core.errors")
        value = globals()[name] = getattr(importlib.import_module(home), name)
        return value
