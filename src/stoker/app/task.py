"""Tasks as users hold them: still plain functions, and able to submit themselves."""

from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from stoker.app.calls import Call, JobOptions
from stoker.app.job import Job
from stoker.core.duration import Duration
from stoker.core.job import Priority
from stoker.core.retry import RetryPolicy
from stoker.core.task import Task

P = ParamSpec("P")
R = TypeVar("R")


class Submitter(Protocol):
    """The app, as its tasks see it."""

    def submit_call(self, call: Call[R]) -> Job[R]:
        """Submit a call and return its handle."""
        ...

    async def asubmit_call(self, call: Call[R]) -> Job[R]:
        """See `submit_call`."""
        ...


class BoundTask(Generic[P, R]):
    """A task with the options of one job: what ``task.options(...)`` gives."""

    def __init__(self, app: Submitter, task: Task[P, R], options: JobOptions) -> None:
        """Bind options to a task."""
        self._app = app
        self._task = task
        self._options = options

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Check the arguments and return a call to submit, schedule or make a node of."""
        payload = self._task.bind(*args, **kwargs)
        return Call(self._task.name, payload, self._options, self._task)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Submit a job and return its handle; once this returns, the job is not lost.

        With ``options(connection=...)`` it exists, and is visible, once that transaction commits.

        Raises:
            InvalidArguments: The arguments do not fit the task's signature.
            PayloadTooLarge: They are too big.
            Unavailable: The store cannot be reached; nothing was submitted.
        """
        return self._app.submit_call(self.call(*args, **kwargs))

    async def asubmit(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """See `submit`."""
        return await self._app.asubmit_call(self.call(*args, **kwargs))


class AppTask(BoundTask[P, R]):
    """A task of an app: a plain function that can also be submitted.

    Attributes:
        name: What jobs call it.
        task: Its definition: function, signature, options.
    """

    def __init__(self, app: Submitter, task: Task[P, R]) -> None:
        """Make a task; users do it with ``@app.task``."""
        super().__init__(app, task, JobOptions())
        self.name = task.name
        self.task = task
        self.__doc__ = task.fn.__doc__
        self.__name__ = getattr(task.fn, "__name__", task.name)
        self.__wrapped__ = task.fn

    def options(
        self,
        *,
        queue: str | None = None,
        priority: Priority | str | None = None,
        retry: RetryPolicy | None = None,
        max_retries: int | None = None,
        timeout: Duration | None = None,
        soft_timeout: Duration | None = None,
        delay: Duration | None = None,
        run_at: datetime | str | float | None = None,
        expires: Duration | None = None,
        unique_key: str | None = None,
        tenant: str | None = None,
        headers: Mapping[str, str] | None = None,
        connection: Any = None,
    ) -> BoundTask[P, R]:
        """Return the task with options of one job; they are explained at `JobOptions.make`.

        Raises:
            InvalidOption: A value means nothing.
        """
        chosen = JobOptions.make(
            queue=queue,
            priority=priority,
            retry=retry,
            max_retries=max_retries,
            timeout=timeout,
            soft_timeout=soft_timeout,
            delay=delay,
            run_at=run_at,
            expires=expires,
            unique_key=unique_key,
            tenant=tenant,
            headers=headers,
            connection=connection,
        )
        return BoundTask(self._app, self.task, chosen)

    def __repr__(self) -> str:
        """Show the name."""
        return f"<task {self.name!r}>"


class FunctionTask(AppTask[P, R]):
    """A task made of a plain function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now, as if it were no task."""
        result: R = self.task.fn(*args, **kwargs)
        return result


class CoroutineTask(AppTask[P, R]):
    """A task made of an ``async def`` function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Call the function here and now, as if it were no task; await what it returns."""
        work: Coroutine[Any, Any, R] = self.task.fn(*args, **kwargs)
        return work


class TaskDecorator(Protocol):
    """What ``app.task("name", ...)`` gives: it turns a function into a task."""

    # The order matters: an async function fits the second overload too, with a coroutine as R.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> FunctionTask[P, R]: ...
