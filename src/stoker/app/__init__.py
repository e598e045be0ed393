"""The façade that users import from ``stoker``."""

from stoker.app.calls import Call, JobOptions
from stoker.app.job import Job
from stoker.app.stoker import Stoker
from stoker.app.task import AppTask, BoundTask
from stoker.app.workflow import Flow, Node, WorkflowRun

__all__ = [
    "AppTask",
    "BoundTask",
    "Call",
    "Flow",
    "Job",
    "JobOptions",
    "Node",
    "Stoker",
    "WorkflowRun",
]
