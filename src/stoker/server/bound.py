"""The part of a store that a key bound to a tenant, or to queues, can see and change.

A `Store` around another, so that a route cannot forget to look: whatever it asks is narrowed
before, and filtered after. What is not its own does not exist: unknown, absent, empty. What a
store does not count apart (figures by tenant) and what is nobody's own (workers, leaders, keys)
is refused.

A tenant's schedules are named ``TENANT:...``, so that two tenants cannot want the same name.

A workflow belongs to whoever owns one of its jobs, and shows him his jobs only. Cancelling and
retrying a job reaches those that wait for it, whosever they are; a tenant's own workflows hold
none but his.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, NoReturn, Self

import msgspec

from stoker.core.errors import Forbidden
from stoker.core.events import Event, EventRecord
from stoker.core.job import (
    ErrorInfo,
    JobRecord,
    JobSpec,
    SessionInfo,
    Submitted,
    WorkflowSpec,
)
from stoker.core.records import (
    MAX_PAGE,
    Answer,
    Counts,
    EventQuery,
    Firing,
    JobQuery,
    Page,
    QueueInfo,
    ScheduleInfo,
    ScheduleSpec,
    StoreInfo,
    WorkflowInfo,
)
from stoker.core.store import Store
from stoker.server.identity import Identity

SCANNED = 100_000
"""Events, and workflows, that one answer looks through for those of its caller."""

Change = Callable[[JobQuery], Awaitable[list[Answer]]]


class BoundStore:
    """A `Store` as a bound identity sees it. It is opened and closed by others."""

    def __init__(self, inner: Store, identity: Identity) -> None:
        """Narrow a store.

        Args:
            inner: The whole store, open.
            identity: Who asks.
        """
        self._inner = inner
        self._name = identity.name
        self._tenant = identity.tenant
        self._queues = identity.queues

    @property
    def info(self) -> StoreInfo:
        """See `Store.info`."""
        return msgspec.structs.replace(self._inner.info, url="", details={})

    @property
    def transactions(self) -> None:
        """See `Store.transactions`: nobody who is bound joins transactions through a server."""
        return None

    async def __aenter__(self) -> Self:
        """Do nothing: the store is open."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing: others use the store."""

    async def submit(
        self,
        jobs: Sequence[JobSpec],
        *,
        workflow: WorkflowSpec | None = None,
        actor: str = "system",
    ) -> list[Submitted]:
        """See `Store.submit`. A job gets the caller's tenant; that of another is refused."""
        foreign = await self._foreign_parents(jobs)
        refused = {
            place: told
            for place, job in enumerate(jobs)
            if (told := self._refusal(job, foreign)) is not None
        }
        if workflow is not None and refused:
            first = next(iter(refused.values()))
            return [refused.get(p) or _as(first, job.id) for p, job in enumerate(jobs)]
        passed = [self._owned(job) for place, job in enumerate(jobs) if place not in refused]
        given = await self._inner.submit(passed, workflow=workflow, actor=actor)
        answers = iter(await self._without_foreign(given))
        return [refused.get(place) or next(answers) for place in range(len(jobs))]

    async def exchange(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: workers come through the gateway."""
        self._refuse("run jobs here")

    async def beat(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: workers come through the gateway."""
        self._refuse("run jobs here")

    async def cancel(
        self, query: JobQuery, *, actor: str = "system", reason: str = "", limit: int = MAX_PAGE
    ) -> list[Answer]:
        """See `Store.cancel`."""
        return await self._change(
            query,
            lambda own: self._inner.cancel(own, actor=actor, reason=reason, limit=limit),
        )

    async def requeue(
        self,
        query: JobQuery,
        *,
        downstream: bool = False,
        payload: bytes | None = None,
        interval: float = 0.0,
        actor: str = "system",
        reason: str = "",
        limit: int = MAX_PAGE,
    ) -> list[Answer]:
        """See `Store.requeue`."""
        return await self._change(
            query,
            lambda own: self._inner.requeue(
                own,
                downstream=downstream,
                payload=payload,
                interval=interval,
                actor=actor,
                reason=reason,
                limit=limit,
            ),
        )

    async def reap(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: it would reach the jobs of others."""
        self._refuse("declare workers dead")

    async def purge(
        self,
        query: JobQuery,
        *,
        older_than: float = 0.0,
        keep: int = 0,
        limit: int = MAX_PAGE,
        actor: str = "system",
    ) -> int:
        """See `Store.purge`."""
        own = self._narrow(query)
        if own is None:
            return 0
        return await self._inner.purge(
            own, older_than=older_than, keep=keep, limit=limit, actor=actor
        )

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        """See `Store.get`."""
        found = await self._inner.get(ids)
        return [job if job is not None and self._is_own(job) else None for job in found]

    async def find(self, query: JobQuery, *, cursor: str | None = None, limit: int = 100) -> Page:
        """See `Store.find`."""
        own = self._narrow(query)
        return Page([]) if own is None else await self._inner.find(own, cursor=cursor, limit=limit)

    async def counts(self, *, window: float = 0.0) -> Counts:
        """See `Store.counts`: for queues. What is counted over all of them is left out."""
        self._refuse_tenant("the figures")
        found = await self._inner.counts(window=window)
        return Counts(
            now=found.now,
            tallies=[tally for tally in found.tallies if tally.queue in self._queues],
            oldest={name: at for name, at in found.oldest.items() if name in self._queues},
            activity=[line for line in found.activity if line.queue in self._queues],
        )

    async def workflows(
        self, ids: Sequence[str] = (), *, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[WorkflowInfo], str | None]:
        """See `Store.workflows`. A page may be shorter than asked for, and go on."""
        own: list[WorkflowInfo] = []
        looked = 0
        while True:
            found, cursor = await self._inner.workflows(ids, cursor=cursor, limit=limit - len(own))
            own += [flow for flow in found if await self._owns_some(flow.id)]
            looked += len(found)
            if cursor is None or len(own) >= limit or looked >= SCANNED:
                return own, cursor

    async def put_schedules(
        self,
        schedules: Sequence[ScheduleSpec] = (),
        *,
        remove: Sequence[str] = (),
        actor: str = "system",
    ) -> list[str]:
        """See `Store.put_schedules`."""
        for spec in schedules:
            self._check_schedule(spec)
        names = [*(spec.name for spec in schedules), *remove]
        found = await self._inner.schedules(names) if names else []
        foreign = {info.spec.name for info in found if not self._is_own_spec(info.spec.job)}
        taken = sorted(foreign & {spec.name for spec in schedules})
        if taken:
            raise Forbidden(f"a schedule is named {taken[0]!r} already; choose another name")
        owned = [msgspec.structs.replace(s, job=self._owned(s.job)) for s in schedules]
        own = [name for name in remove if name not in foreign]
        absent = await self._inner.put_schedules(owned, remove=own, actor=actor)
        return [*absent, *(name for name in remove if name in foreign)]

    async def schedules(self, names: Sequence[str] = ()) -> list[ScheduleInfo]:
        """See `Store.schedules`."""
        found = await self._inner.schedules(names)
        return [info for info in found if self._is_own_spec(info.spec.job)]

    async def fire(
        self, firings: Sequence[Firing], *, actor: str = "system"
    ) -> list[Submitted | None]:
        """See `Store.fire`."""
        found = await self.schedules([firing.name for firing in firings])
        own = {info.spec.name for info in found}
        passed = [firing for firing in firings if firing.name in own]
        if any(f.job is not None and not self._is_own_spec(f.job) for f in passed):
            self._refuse("submit that job")
        told = iter(await self._inner.fire(passed, actor=actor) if passed else [])
        return [next(told) if firing.name in own else None for firing in firings]

    async def set_queue(
        self,
        name: str,
        *,
        paused: bool | None = None,
        limit: int | None = None,
        actor: str = "system",
    ) -> QueueInfo:
        """See `Store.set_queue`: for a caller who is bound to queues alone."""
        self._refuse_tenant("queues, which all tenants share")
        if name not in self._queues:
            self._refuse(f"change the queue {name[:100]!r}")
        return await self._inner.set_queue(name, paused=paused, limit=limit, actor=actor)

    async def queues(self) -> list[QueueInfo]:
        """See `Store.queues`: for a caller who is bound to queues alone."""
        self._refuse_tenant("queues, which all tenants share")
        return [queue for queue in await self._inner.queues() if queue.name in self._queues]

    async def sessions(self, *, ended: bool = False) -> list[SessionInfo]:
        """See `Store.sessions`: those that work for the caller's queues."""
        self._refuse_tenant("workers, which all tenants share")
        found = await self._inner.sessions(ended=ended)
        return [session for session in found if self._queues & set(session.queues)]

    async def set_session(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: a worker works for others as well."""
        self._refuse("stop workers")

    async def put_keys(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: that takes an admin, who is not bound."""
        self._refuse("change keys")

    async def keys(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: that takes an admin, who is not bound."""
        self._refuse("see keys")

    async def lead(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: the keeper cares for all."""
        self._refuse("lead")

    async def resign(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: the keeper cares for all."""
        self._refuse("resign")

    async def record(self, events: Sequence[Event]) -> None:
        """See `Store.record`: what the server writes down about this caller."""
        await self._inner.record(events)

    async def events(self, query: EventQuery, *, limit: int = 100) -> list[EventRecord]:
        """See `Store.events`: those about the caller's jobs."""
        own: list[EventRecord] = []
        for _ in range(SCANNED // MAX_PAGE):
            found = await self._inner.events(query, limit=MAX_PAGE)
            own += await self._own_events(found)
            if query.after is None or len(found) < MAX_PAGE or own:
                break
            query = msgspec.structs.replace(query, after=found[-1].seq)
        return own[:limit]

    async def wait(
        self, queues: Sequence[str] = (), *, ids: Sequence[str] = (), timeout: float
    ) -> bool:
        """See `Store.wait`."""
        found = await self.get(ids) if ids else []
        own = [job.id for job in found if job is not None]
        lanes = [name for name in queues if name in self._queues]
        return await self._inner.wait(lanes, ids=own, timeout=timeout)

    async def migrate(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: the layout is everybody's."""
        self._refuse("migrate the store")

    def _is_own(self, job: JobRecord) -> bool:
        return self._holds(job.tenant, job.queue)

    def _is_own_spec(self, job: JobSpec) -> bool:
        return self._holds(job.tenant, job.queue)

    def _holds(self, tenant: str | None, queue: str) -> bool:
        if self._tenant is not None and tenant != self._tenant:
            return False
        return not self._queues or queue in self._queues

    def _owned(self, job: JobSpec) -> JobSpec:
        if self._tenant is None:
            return job
        return msgspec.structs.replace(job, tenant=self._tenant)

    def _narrow(self, query: JobQuery) -> JobQuery | None:
        """Return a query for what is the caller's of it; None: nothing can be."""
        tenant, queues = query.tenant, query.queues
        if self._tenant is not None:
            if tenant not in {None, self._tenant}:
                return None
            tenant = self._tenant
        if self._queues:
            wanted = set(queues) & self._queues if queues else self._queues
            if not wanted:
                return None
            queues = tuple(sorted(wanted))
        return msgspec.structs.replace(query, tenant=tenant, queues=queues)

    async def _change(self, query: JobQuery, change: Change) -> list[Answer]:
        own = self._narrow(query)
        if not query.ids:
            return [] if own is None else await change(own)
        # A job's tenant and queue never change: what is looked at here holds below.
        found = [] if own is None else await self.get(query.ids)
        ids = tuple(dict.fromkeys(job.id for job in found if job is not None))
        told = [] if own is None or not ids else await change(msgspec.structs.replace(own, ids=ids))
        known = {answer.id: answer for answer in told}
        rest = [answer for answer in told if answer.id not in set(query.ids)]
        return [known.get(i) or Answer(i, "unknown") for i in query.ids] + rest

    async def _owns_some(self, workflow_id: str) -> bool:
        return bool((await self.find(JobQuery(workflow_id=workflow_id), limit=1)).jobs)

    async def _own_events(self, found: Sequence[EventRecord]) -> list[EventRecord]:
        ids = list(dict.fromkeys(event.job_id for event in found if event.job_id is not None))
        jobs = await self.get(ids) if ids else []
        own = {job.id for job in jobs if job is not None}
        lanes = self._queues if self._tenant is None else frozenset()
        return [
            event
            for event in found
            if event.job_id in own or (event.job_id is None and event.queue in lanes)
        ]

    async def _foreign_parents(self, jobs: Sequence[JobSpec]) -> set[str]:
        here = {job.id for job in jobs}
        named = list(dict.fromkeys(p for job in jobs for p in job.parents if p not in here))
        if not named:
            return set()
        found = await self.get(named)
        return {name for name, job in zip(named, found, strict=True) if job is None}

    def _refusal(self, job: JobSpec, foreign: Iterable[str]) -> Submitted | None:
        if self._tenant is not None and job.tenant not in {None, self._tenant}:
            return _refused(job, "forbidden", f"the key {self._name!r} submits for its tenant only")
        if self._queues and job.queue not in self._queues:
            lanes = ", ".join(sorted(self._queues))
            message = f"the key {self._name!r} may use the queues {lanes}, not {job.queue!r}"
            return _refused(job, "forbidden", message)
        unknown = [parent for parent in job.parents if parent in set(foreign)]
        if unknown:
            return _refused(job, "invalid_workflow", f"there is no parent {unknown[0]!r}")
        return None

    async def _without_foreign(self, given: Sequence[Submitted]) -> list[Submitted]:
        """Say nothing of the job of another that has the same id."""
        old = [answer.id for answer in given if not answer.created and answer.error is None]
        found = await self.get(old) if old else []
        own = {job.id for job in found if job is not None}
        foreign = set(old) - own
        return [
            _taken(answer) if answer.id in foreign and not answer.created else answer
            for answer in given
        ]

    def _check_schedule(self, spec: ScheduleSpec) -> None:
        refusal = self._refusal(spec.job, ())
        if refusal is not None and refusal.error is not None:
            raise Forbidden(refusal.error.message)
        if self._tenant is not None and not spec.name.startswith(f"{self._tenant}:"):
            raise Forbidden(
                f"the schedules of the tenant {self._tenant!r} are named {self._tenant}:...; call "
                f"it '{self._tenant}:{spec.name}'"
            )

    def _refuse_tenant(self, what: str) -> None:
        if self._tenant is not None:
            raise Forbidden(
                f"the key {self._name!r} is bound to a tenant and may not see {what}: stores do "
                "not count tenants apart. GET /api/v1/jobs/count?state=queued, say, counts the "
                "tenant's own jobs, one by one"
            )

    def _refuse(self, deed: str) -> NoReturn:
        raise Forbidden(f"the key {self._name!r} is bound and may not {deed}")


def _refused(job: JobSpec, code: str, message: str) -> Submitted:
    return Submitted(job.id, created=False, error=ErrorInfo(code=code, message=message, type=""))


def _taken(answer: Submitted) -> Submitted:
    error = ErrorInfo(code="refused", message="another job has that id; choose one", type="")
    return Submitted(answer.id, created=False, error=error)


def _as(refusal: Submitted, job_id: str) -> Submitted:
    return msgspec.structs.replace(refusal, id=job_id)
