"""What handles need of the app they came from: less than all of it, so that they stand below it."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from stoker.core.clock import Clock
from stoker.core.job import JobSpec, WorkflowSpec
from stoker.core.store import Store
from stoker.core.task import TaskOptions

T = TypeVar("T")


class Home(Protocol):
    """The app, as its handles see it."""

    clock: Clock
    """Time and chance."""
    actor: str
    """Whom the audit trail names."""
    defaults: TaskOptions
    """Options of jobs whose task is known by name only."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine from blocking code and wait for it."""
        ...

    async def arun(self, work: Callable[[Store], Awaitable[T]]) -> T:
        """Run work on the store, on the loop where it lives."""
        ...

    async def asubmit_workflow(
        self, workflow: WorkflowSpec, specs: Sequence[JobSpec], *, actor: str | None = None
    ) -> None:
        """Submit a workflow: all of its jobs, or none."""
        ...
