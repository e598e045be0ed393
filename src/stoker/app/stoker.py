"""The façade: declare tasks, submit jobs, look at what became of them."""

import asyncio
import atexit
import inspect
import os
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload

import msgspec

from stoker.app.calls import Call, JobOptions
from stoker.app.declared import changes
from stoker.app.job import Job, not_found
from stoker.app.joining import Joining, connection_of, refuse_connection, transactions_of
from stoker.app.portal import Portal
from stoker.app.task import (
    AppTask,
    CoroutineTask,
    FunctionTask,
    TaskDecorator,
)
from stoker.app.workflow import Flow, WorkflowRun, refuse
from stoker.connect import open_store
from stoker.core import codec
from stoker.core.clock import Clock, SystemClock
from stoker.core.duration import Duration
from stoker.core.errors import InvalidOption, QueueNotFound, UsageError
from stoker.core.job import (
    JobRecord,
    JobSpec,
    OnParentFailure,
    Priority,
    Submitted,
    WorkflowSpec,
)
from stoker.core.records import CatchUp, Counts, JobQuery, QueueInfo, ScheduleSpec
from stoker.core.retry import RetryPolicy
from stoker.core.store import Store
from stoker.core.task import Registry, Task, TaskOptions, own_first, unknown_task
from stoker.keeper.schedules import make_schedule
from stoker.settings import Settings, load
from stoker.tasks import register
from stoker.tracing import Tracing

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

ANNOUNCED_FOR = 1.0
"""Seconds for which the task names announced by workers are remembered."""

Run = Callable[[Callable[[Store], Awaitable[Any]]], Awaitable[Any]]
"""Runs work on a store, or on a part of it."""


class Stoker:
    """An app: its tasks, and the way to its store.

    The store is opened at the first use, in a background thread for blocking code, or on the
    running loop with ``async with app:``. One app has one store; both kinds of code may use it.

    Attributes:
        settings: The configuration in force.
        registry: The tasks declared here.
        clock: Time and chance.
        actor: Whom the audit trail names for what this app does. Default ``"python"``.
        defaults: Options of jobs whose task is known by name only.
    """

    def __init__(
        self,
        store: str | None = None,
        *,
        broker: str | None = None,
        config: str | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Make an app. Nothing is opened yet.

        Args:
            store: URL of the store; wins over the configuration.
            broker: URL of the broker; wins over the configuration.
            config: Path of the configuration file; ``stoker.toml`` or ``stoker.yaml`` in the
                current folder if there is one.
            settings: The whole configuration, instead of reading it.
            clock: Time and chance; the system's if not given.

        Raises:
            InvalidConfig: The configuration cannot be used.
        """
        loaded = settings or load(config).settings
        changes = {k: v for k, v in (("store", store), ("broker", broker)) if v is not None}
        self.settings: Settings = msgspec.structs.replace(loaded, **changes)
        self.clock: Clock = clock or SystemClock()
        self.registry = Registry()
        self.actor = "python"
        self.defaults = TaskOptions(retry=self.settings.retry.policy())
        self._schedules: dict[str, ScheduleSpec] = {}
        self._standard: Registry | None = None
        self._portal: Portal | None = None
        self._store: Store | None = None
        self._opening: asyncio.Lock | None = None
        self._tracing: Tracing | None = None
        self._announced: tuple[float, frozenset[str]] = (float("-inf"), frozenset())
        _close_at_exit(self)

    # Declaring tasks

    @overload
    def task(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[P, R]: ...
    @overload
    def task(self, fn: Callable[P, R], /) -> FunctionTask[P, R]: ...
    @overload
    def task(
        self,
        name: str | None = None,
        /,
        *,
        queue: str = "default",
        priority: Priority | str = Priority.MEDIUM,
        retry: RetryPolicy | None = None,
        max_retries: int | None = None,
        timeout: Duration | None = 3600.0,
        soft_timeout: Duration | None = None,
        run_in: str | None = None,
        expires: Duration | None = None,
        max_lost: int = 3,
        memory: int | str | None = None,
    ) -> TaskDecorator: ...
    def task(self, target: Any = None, /, **options: Any) -> Any:
        """Make a task of a function: ``@app.task`` or ``@app.task("name", queue=...)``.

        Args:
            target: The function, or the task's name; the function's own name if not given.
            **options: ``queue``, ``priority``, ``retry``, ``max_retries``, ``timeout`` (hard limit
                of an attempt, default one hour), ``soft_timeout``, ``run_in`` (``"async"`` for
                ``async def``, else ``"thread"``; ``"process"`` is killable and crash-isolated),
                ``expires``, ``max_lost`` and ``memory`` (for ``"process"``).

        Raises:
            DuplicateTask: Another function has that name.
            InvalidTask, InvalidOption: The function or an option cannot be used.
        """
        if callable(target):
            return self._declare(target, None, {})
        return lambda fn: self._declare(fn, target, options)

    def _declare(self, fn: Callable[..., Any], name: str | None, given: dict[str, Any]) -> Any:
        is_async = inspect.iscoroutinefunction(fn)
        options = dict(given)
        options["run_in"] = given.get("run_in") or ("async" if is_async else "thread")
        options["retry"] = given.get("retry") or self.defaults.retry
        chosen = TaskOptions.make(**options)
        task: Task[..., Any] = Task(fn, name=name or fn.__name__, options=chosen)
        self.registry.add(task)
        return CoroutineTask(self, task) if is_async else FunctionTask(self, task)

    # Submitting

    def submit(
        self,
        task: str | AppTask[..., Any],
        payload: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Job[Any]:
        """Submit a job by its task's name.

        Args:
            task: The name. It must be known here or announced by a worker of the store.
            payload: The arguments by name.
            **options: See `JobOptions.make`.

        Raises:
            UnknownTask, InvalidArguments, InvalidPayload, PayloadTooLarge, InvalidOption: Bad
                input; nothing was submitted.
            Unavailable: The store cannot be reached; nothing was submitted.
        """
        name = task if isinstance(task, str) else task.name
        return self.submit_call(self.run(self.acall(name, payload, **options)))

    async def asubmit(
        self,
        task: str | AppTask[..., Any],
        payload: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Job[Any]:
        """See `submit`."""
        name = task if isinstance(task, str) else task.name
        return await self.asubmit_call(await self.acall(name, payload, **options))

    async def acall(
        self,
        name: str,
        payload: Mapping[str, Any] | None = None,
        *,
        from_text: bool = False,
        **options: Any,
    ) -> Call[Any]:
        """Make a call of a task known by name, and check it.

        Args:
            name: The task.
            payload: The arguments by name.
            from_text: Whether texts stand for other types, as in a shell: ``"720"`` for 720.
            **options: See `JobOptions.make`.

        Raises:
            UnknownTask, InvalidArguments, InvalidPayload, InvalidOption: Bad input.
        """
        chosen = JobOptions.make(**options)
        task = self.find_task(name)
        if task is None:
            await self._check_announced(name)
            return Call(name, codec.encode(payload or {}), chosen)
        if from_text:
            return Call(name, task.from_text(payload or {}), chosen, task)
        return Call(name, task.check(codec.encode(payload or {})), chosen, task)

    def submit_call(self, call: Call[R]) -> Job[R]:
        """Submit a call made by ``task.call(...)``."""
        return self.submit_many([call])[0]

    async def asubmit_call(self, call: Call[R]) -> Job[R]:
        """See `submit_call`."""
        return (await self.asubmit_many([call]))[0]

    def submit_many(self, calls: Sequence[Call[Any]], *, connection: Any = None) -> list[Job[Any]]:
        """Submit calls in one round trip and one commit; return their handles in order.

        Args:
            calls: Made by ``task.call(...)``.
            connection: Submit them in the transaction that is open there; see `JobOptions.make`.

        Raises:
            InvalidOption: More calls than ``limits.batch``; or a connection that cannot be used.
            StokerError: The first refusal of a single job; the others are submitted.
        """
        chosen = connection_of(calls, connection)
        if chosen is None:
            return self.run(self.asubmit_many(calls))
        # On this thread: the connection may belong to it.
        transactions = self.run(self.arun(transactions_of))
        with self._joining(chosen, self._specs(calls)) as joining:
            answers = joining.submit(transactions)
        joining.ring_later(transactions)
        return self._handles(calls, answers)

    async def asubmit_many(
        self, calls: Sequence[Call[Any]], *, connection: Any = None
    ) -> list[Job[Any]]:
        """See `submit_many`."""
        specs = self._specs(calls)
        chosen = connection_of(calls, connection)
        if chosen is None:
            return self._handles(calls, await self.asubmit_specs(specs))
        transactions = await self.arun(transactions_of)
        with self._joining(chosen, specs) as joining:
            answers = await joining.asubmit(transactions)
        joining.ring_later(transactions)
        return self._handles(calls, answers)

    def _specs(self, calls: Sequence[Call[Any]]) -> list[JobSpec]:
        return [call.spec(self.clock.new_id(), defaults=self.defaults) for call in calls]

    @contextmanager
    def _joining(self, connection: Any, specs: Sequence[JobSpec]) -> Iterator[Joining]:
        self.check_specs(specs)
        with self._spans(specs) as jobs:
            yield Joining(connection, jobs, actor=self.actor)

    def _handles(self, calls: Sequence[Call[Any]], answers: Sequence[Submitted]) -> list[Job[Any]]:
        refuse(answers)
        return [
            Job(
                self,
                answer.id,
                returns=Any if call.task is None else call.task.returns,
                created=answer.created,
            )
            for call, answer in zip(calls, answers, strict=True)
        ]

    async def asubmit_specs(
        self,
        specs: Sequence[JobSpec],
        *,
        actor: str | None = None,
        carrier: Mapping[str, str] | None = None,
        run: Run | None = None,
    ) -> list[Submitted]:
        """Submit jobs as a store takes them, after the checks of this app's limits.

        Args:
            specs: The jobs.
            actor: Whom the audit trail names.
            carrier: Headers that may carry the context of a trace.
            run: Instead of `arun`, for callers who may see a part of the store only.
        """
        self.check_specs(specs)
        who = actor or self.actor
        with self._spans(specs, carrier) as jobs:
            answers: list[Submitted] = await (run or self.arun)(
                lambda store: store.submit(jobs, actor=who)
            )
        return answers

    async def asubmit_workflow(
        self,
        workflow: WorkflowSpec,
        specs: Sequence[JobSpec],
        *,
        actor: str | None = None,
        run: Run | None = None,
    ) -> None:
        """Submit a workflow: all of its jobs, or none. ``run``: see `asubmit_specs`."""
        for spec in specs:
            self.check_spec(spec)
        who = actor or self.actor
        with self._spans(specs) as jobs:
            answers = await (run or self.arun)(
                lambda s: s.submit(jobs, workflow=workflow, actor=who)
            )
        refuse(answers)

    def workflow(self, name: str, *, on_parent_failure: OnParentFailure = "cancel") -> Flow:
        """Begin a workflow; see `Flow`."""
        return Flow(self, name, on_parent_failure=on_parent_failure)

    def get_workflow(self, workflow_id: str) -> WorkflowRun:
        """Return the handle of a submitted workflow."""
        return WorkflowRun(self, workflow_id)

    # Schedules

    def schedule(
        self,
        name: str,
        rule: str,
        call: Call[Any],
        *,
        timezone: str = "UTC",
        catch_up: CatchUp = "last",
    ) -> ScheduleSpec:
        """Declare a schedule. Workers, keepers and servers of this app put it into the store.

        A schedule that stands in the store already keeps its pause and its history.

        Args:
            name: Unique in the store.
            rule: Cron with five or six fields (``"0 3 * * *"``), ``"@daily"``, or
                ``"every 30s"``.
            call: What to submit: ``task.call(...)``.
            timezone: An IANA name; cron fields are wall time there.
            catch_up: What to do with firings missed while nobody kept house: ``"skip"`` them,
                fire the ``"last"`` one, or ``"all"``.

        Raises:
            InvalidSchedule: The rule, the time zone or the policy means nothing.
        """
        refuse_connection(call, "a schedule")
        spec = make_schedule(
            name,
            rule,
            call.spec("", defaults=self.defaults),
            timezone=timezone,
            catch_up=catch_up,
            now=self.clock.now(),
        )
        self._schedules[name] = spec
        return spec

    async def sync_schedules(self) -> list[str]:
        """Put the declared schedules that are new or changed into the store; return their names."""
        if not self._schedules:
            return []
        stored = {i.spec.name: i.spec for i in await self.arun(lambda s: s.schedules())}
        changed = changes(self._schedules, stored)
        if changed:
            await self.arun(lambda s: s.put_schedules(changed, actor=self.actor))
        return [spec.name for spec in changed]

    # Looking

    def get(self, job_id: str) -> Job[Any]:
        """Return the handle of a job.

        Raises:
            JobNotFound: No job has that id.
        """
        return self.run(self.aget(job_id))

    async def aget(self, job_id: str) -> Job[Any]:
        """See `get`."""
        [record] = await self.arun(lambda store: store.get([job_id]))
        if record is None:
            raise not_found(job_id)
        task = self.find_task(record.task)
        return Job(self, job_id, returns=Any if task is None else task.returns)

    def find(self, query: JobQuery | None = None, *, limit: int = 100) -> list[JobRecord]:
        """Return matching jobs, newest first."""
        return self.run(self.afind(query, limit=limit))

    async def afind(self, query: JobQuery | None = None, *, limit: int = 100) -> list[JobRecord]:
        """See `find`."""
        return (await self.arun(lambda s: s.find(query or JobQuery(), limit=limit))).jobs

    def counts(self, *, window: float = 0.0) -> Counts:
        """Count the jobs of the store; see `Store.counts`."""
        return self.run(self.arun(lambda store: store.counts(window=window)))

    def pause(self, queue: str) -> QueueInfo:
        """Stop leasing from a queue. Running jobs go on; submits are accepted."""
        return self.run(self.arun(lambda s: s.set_queue(queue, paused=True, actor=self.actor)))

    def resume(self, queue: str) -> QueueInfo:
        """Lease from a queue again."""
        return self.run(self.arun(lambda s: s.set_queue(queue, paused=False, actor=self.actor)))

    def find_task(self, name: str) -> Task[..., Any] | None:
        """Return a task declared here or a standard task; None if the name is not known here."""
        if name in self.registry:
            return self.registry.get(name)
        if self._standard is None:
            self._standard = Registry()
            if self.settings.tasks.standard:
                register(self._standard, self.settings.tasks, retry=self.defaults.retry)
        return self._standard.get(name) if name in self._standard else None

    async def aknown_tasks(self) -> tuple[str, ...]:
        """Return the tasks known here or announced by workers: own ones first, standard last."""
        self.find_task("")
        announced = await self._refresh_announced()
        return own_first(self.registry, announced, self._standard or ())

    # The store

    def configure(self, settings: Settings) -> None:
        """Replace the configuration, as the command line does.

        Raises:
            UsageError: The store is open already.
        """
        if self._store is not None:
            raise UsageError("the app is in use; configure it before its first job")
        self.settings = settings
        self.defaults = TaskOptions(retry=settings.retry.policy())
        self._standard = None

    async def arun(self, work: Callable[[Store], Awaitable[T]]) -> T:
        """Run work on the store, opening it first if need be, on the loop where it lives."""
        return await self._home().arun(self._with_store(work))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of this app from blocking code and wait for it."""
        return self._home().run(work if self.tracing is None else self.tracing.continued(work))

    @property
    def tracing(self) -> Tracing | None:
        """What opens spans; None while tracing is off.

        Raises:
            MissingExtra: It is on, and OpenTelemetry is not installed.
        """
        if self._tracing is None and self.settings.tracing.enabled:
            self._tracing = Tracing()
        return self._tracing

    def _spans(
        self, specs: Sequence[JobSpec], carrier: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Sequence[JobSpec]]:
        tracing = self.tracing
        return nullcontext(specs) if tracing is None else tracing.submitting(specs, carrier=carrier)

    @property
    def is_open(self) -> bool:
        """Whether the store is open."""
        return self._store is not None

    async def __aenter__(self) -> Self:
        """Open the store on the running loop."""
        if self._portal is None:
            self._portal = Portal(asyncio.get_running_loop())
        await self.arun(_nothing)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the store."""
        portal = self._portal
        if portal is not None:
            await portal.arun(self._close_store())
            self._portal = None
            portal.close()

    def close(self) -> None:
        """Close the store, if blocking code opened it. It opens again when it is needed."""
        portal, self._portal = self._portal, None
        if portal is None or portal.pid != os.getpid() or not portal.loop.is_running():
            return
        portal.run(self._close_store(), timeout=10)
        portal.close()

    def _home(self) -> Portal:
        if self._portal is not None and self._portal.pid != os.getpid():
            # After a fork: the thread and the connections stayed with the parent.
            self._portal = self._store = self._opening = None
        if self._portal is None:
            self._portal = Portal()
        return self._portal

    async def _with_store(self, work: Callable[[Store], Awaitable[T]]) -> T:
        if self._store is None:
            self._opening = self._opening or asyncio.Lock()
            async with self._opening:
                if self._store is None:
                    store = open_store(
                        self.settings.store,
                        broker=self.settings.broker,
                        clock=self.clock,
                        token=self.settings.token,
                    )
                    self._store = await store.__aenter__()
        return await work(self._store)

    async def _close_store(self) -> None:
        store, self._store, self._opening = self._store, None, None
        if store is not None:
            await store.__aexit__(None, None, None)

    def check_specs(self, specs: Sequence[JobSpec]) -> None:
        """Hold a batch against this app's limits and declared queues.

        Raises:
            InvalidOption, PayloadTooLarge, QueueNotFound: It does not fit.
        """
        most = self.settings.limits.batch
        if len(specs) > most:
            raise InvalidOption(f"the batch has {len(specs):,} jobs; the limit is {most:,}")
        for spec in specs:
            self.check_spec(spec)

    def check_spec(self, spec: JobSpec) -> None:
        """Hold a job against this app's limits and declared queues.

        Raises:
            PayloadTooLarge, QueueNotFound: It does not fit.
        """
        codec.check_size(len(spec.payload), limit=self.settings.limits.payload)
        declared = self.settings.queues
        if not declared or spec.queue in declared:
            return
        own = {self.registry.get(name).options.queue for name in self.registry}
        if spec.queue not in own:
            raise QueueNotFound(
                f"no queue is named {spec.queue!r}; the configuration declares "
                f"{', '.join(declared)}",
                queue=spec.queue,
            )

    async def _check_announced(self, name: str) -> None:
        if name not in self._announced[1] and name not in await self._refresh_announced():
            raise unknown_task(name, await self.aknown_tasks())

    async def _refresh_announced(self) -> frozenset[str]:
        now = self.clock.monotonic()
        if now - self._announced[0] >= ANNOUNCED_FOR:
            sessions = await self.arun(lambda store: store.sessions(ended=True))
            self._announced = (now, frozenset(t for s in sessions for t in s.tasks))
        return self._announced[1]

    def __repr__(self) -> str:
        """Show the number of tasks."""
        return f"<Stoker with {len(self.registry)} tasks>"


async def _nothing(_: Store) -> None:
    """Open the store and do nothing with it."""


def _close_at_exit(app: Stoker) -> None:
    reference = weakref.ref(app)

    def close() -> None:
        alive = reference()
        if alive is not None:
            alive.close()

    atexit.register(close)
