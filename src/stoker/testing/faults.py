"""A store that fails when a test wants it to, around any real one.

::

    store = FaultyStore(inner)
    store.plan("exchange", After())          # written, but the caller gets OutcomeUnknown
    store.plan("beat", Before(), None)       # the next beat fails, the one after it works
    hold = store.hold("submit")              # the next submit waits until hold.release()
"""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

from stoker.core.errors import OutcomeUnknown, StokerError, Unavailable
from stoker.core.events import Event, EventRecord
from stoker.core.job import (
    BeatReply,
    Command,
    Exchanged,
    HeldJob,
    JobRecord,
    JobSpec,
    SessionInfo,
    SessionSpec,
    Settlement,
    Submitted,
    WorkflowSpec,
)
from stoker.core.keys import KeyInfo, KeySpec
from stoker.core.records import (
    MAX_PAGE,
    Answer,
    Counts,
    EventQuery,
    Firing,
    JobQuery,
    Page,
    QueueInfo,
    Reaped,
    ScheduleInfo,
    ScheduleSpec,
    SchemaStatus,
    StoreInfo,
    Term,
    WorkflowInfo,
)
from stoker.core.store import Store
from stoker.core.transactions import Transactions

T = TypeVar("T")


@dataclass(frozen=True)
class Before:
    """The call fails before anything is written: `Unavailable`, unless another error is given."""

    error: type[StokerError] = Unavailable


@dataclass(frozen=True)
class After:
    """The call is carried out, and its answer is lost: `OutcomeUnknown`."""


@dataclass(frozen=True)
class Delay:
    """The call is carried out after so many seconds of the event loop."""

    seconds: float


@dataclass(frozen=True)
class Hold:
    """The call waits, before anything is written, until it is released."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the call has come this far."""
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Let the call go on."""
        self._released.set()

    async def pause(self) -> None:
        """Wait for the release; done by the store."""
        self.reached.set()
        await self._released.wait()


Fault = Before | After | Delay | Hold | None
"""What happens to one call; None: nothing."""


class FaultyStore:
    """A `Store` around another one that fails by plan."""

    def __init__(self, inner: Store) -> None:
        """Wrap a store. Opening and closing this one opens and closes that one."""
        self.inner = inner
        self.calls: Counter[str] = Counter()
        """How often each verb was called."""
        self.rule: Callable[[str], Fault] = lambda verb: None  # noqa: ARG005 - by default none
        """Asked for each call that has no plan: gives its fault."""
        self._plans: defaultdict[str, deque[Fault]] = defaultdict(deque)

    def plan(self, verb: str, *faults: Fault) -> None:
        """Say what happens to the next calls of a verb, one each, in order."""
        if verb.startswith("_") or not hasattr(Store, verb):
            raise ValueError(f"a store has no verb {verb!r}")
        self._plans[verb].extend(faults)

    def hold(self, verb: str) -> Hold:
        """Stop the next call of a verb until the answer's ``release()``."""
        hold = Hold()
        self.plan(verb, hold)
        return hold

    async def _call(self, verb: str, run: Callable[[], Awaitable[T]]) -> T:
        self.calls[verb] += 1
        plans = self._plans[verb]
        fault = plans.popleft() if plans else self.rule(verb)
        if isinstance(fault, Before):
            raise fault.error(f"{verb} failed before anything was written, as planned")
        if isinstance(fault, Delay):
            await asyncio.sleep(fault.seconds)
        if isinstance(fault, Hold):
            await fault.pause()
        answer = await run()
        if isinstance(fault, After):
            raise OutcomeUnknown(f"{verb} was carried out and its answer lost, as planned")
        return answer

    @property
    def info(self) -> StoreInfo:
        """See `Store.info`."""
        return self.inner.info

    @property
    def transactions(self) -> Transactions | None:
        """See `Store.transactions`; these are never made to fail."""
        return self.inner.transactions

    async def __aenter__(self) -> Self:
        """See `Store.__aenter__`."""
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """See `Store.__aexit__`."""
        await self.inner.__aexit__(exc_type, exc, traceback)

    async def submit(
        self,
        jobs: Sequence[JobSpec],
        *,
        workflow: WorkflowSpec | None = None,
        actor: str = "system",
    ) -> list[Submitted]:
        """See `Store.submit`."""
        return await self._call(
            "submit", lambda: self.inner.submit(jobs, workflow=workflow, actor=actor)
        )

    async def exchange(
        self,
        session_id: str,
        settlements: Sequence[Settlement],
        *,
        queues: Mapping[str, int],
        want: int,
        nonce: str,
        aged: int = 0,
        ids: Sequence[str] = (),
    ) -> Exchanged:
        """See `Store.exchange`."""
        return await self._call(
            "exchange",
            lambda: self.inner.exchange(
                session_id,
                settlements,
                queues=queues,
                want=want,
                nonce=nonce,
                aged=aged,
                ids=ids,
            ),
        )

    async def beat(self, session: SessionSpec, held: Sequence[HeldJob], *, ttl: float) -> BeatReply:
        """See `Store.beat`."""
        return await self._call("beat", lambda: self.inner.beat(session, held, ttl=ttl))

    async def cancel(
        self, query: JobQuery, *, actor: str = "system", reason: str = "", limit: int = MAX_PAGE
    ) -> list[Answer]:
        """See `Store.cancel`."""
        return await self._call(
            "cancel", lambda: self.inner.cancel(query, actor=actor, reason=reason, limit=limit)
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
        return await self._call(
            "requeue",
            lambda: self.inner.requeue(
                query,
                downstream=downstream,
                payload=payload,
                interval=interval,
                actor=actor,
                reason=reason,
                limit=limit,
            ),
        )

    async def reap(
        self,
        *,
        sessions: Sequence[str] = (),
        grace: float = 0.0,
        limit: int = MAX_PAGE,
        actor: str = "system",
    ) -> Reaped:
        """See `Store.reap`."""
        return await self._call(
            "reap",
            lambda: self.inner.reap(sessions=sessions, grace=grace, limit=limit, actor=actor),
        )

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
        return await self._call(
            "purge",
            lambda: self.inner.purge(
                query, older_than=older_than, keep=keep, limit=limit, actor=actor
            ),
        )

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        """See `Store.get`."""
        return await self._call("get", lambda: self.inner.get(ids))

    async def find(self, query: JobQuery, *, cursor: str | None = None, limit: int = 100) -> Page:
        """See `Store.find`."""
        return await self._call("find", lambda: self.inner.find(query, cursor=cursor, limit=limit))

    async def counts(self, *, window: float = 0.0) -> Counts:
        """See `Store.counts`."""
        return await self._call("counts", lambda: self.inner.counts(window=window))

    async def workflows(
        self, ids: Sequence[str] = (), *, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[WorkflowInfo], str | None]:
        """See `Store.workflows`."""
        return await self._call(
            "workflows", lambda: self.inner.workflows(ids, cursor=cursor, limit=limit)
        )

    async def put_schedules(
        self,
        schedules: Sequence[ScheduleSpec] = (),
        *,
        remove: Sequence[str] = (),
        actor: str = "system",
    ) -> list[str]:
        """See `Store.put_schedules`."""
        return await self._call(
            "put_schedules",
            lambda: self.inner.put_schedules(schedules, remove=remove, actor=actor),
        )

    async def schedules(self, names: Sequence[str] = ()) -> list[ScheduleInfo]:
        """See `Store.schedules`."""
        return await self._call("schedules", lambda: self.inner.schedules(names))

    async def fire(
        self, firings: Sequence[Firing], *, actor: str = "system"
    ) -> list[Submitted | None]:
        """See `Store.fire`."""
        return await self._call("fire", lambda: self.inner.fire(firings, actor=actor))

    async def set_queue(
        self,
        name: str,
        *,
        paused: bool | None = None,
        limit: int | None = None,
        actor: str = "system",
    ) -> QueueInfo:
        """See `Store.set_queue`."""
        return await self._call(
            "set_queue",
            lambda: self.inner.set_queue(name, paused=paused, limit=limit, actor=actor),
        )

    async def queues(self) -> list[QueueInfo]:
        """See `Store.queues`."""
        return await self._call("queues", self.inner.queues)

    async def sessions(self, *, ended: bool = False) -> list[SessionInfo]:
        """See `Store.sessions`."""
        return await self._call("sessions", lambda: self.inner.sessions(ended=ended))

    async def set_session(
        self, ids: Sequence[str], command: Command, *, actor: str = "system"
    ) -> list[str]:
        """See `Store.set_session`."""
        return await self._call(
            "set_session", lambda: self.inner.set_session(ids, command, actor=actor)
        )

    async def put_keys(
        self,
        keys: Sequence[KeySpec] = (),
        *,
        revoke: Sequence[str] = (),
        used: Sequence[str] = (),
        actor: str = "system",
    ) -> list[str]:
        """See `Store.put_keys`."""
        return await self._call(
            "put_keys",
            lambda: self.inner.put_keys(keys, revoke=revoke, used=used, actor=actor),
        )

    async def keys(self, ids: Sequence[str] = ()) -> list[KeyInfo]:
        """See `Store.keys`."""
        return await self._call("keys", lambda: self.inner.keys(ids))

    async def lead(self, name: str, holder: str, *, ttl: float) -> Term | None:
        """See `Store.lead`."""
        return await self._call("lead", lambda: self.inner.lead(name, holder, ttl=ttl))

    async def resign(self, term: Term) -> bool:
        """See `Store.resign`."""
        return await self._call("resign", lambda: self.inner.resign(term))

    async def record(self, events: Sequence[Event]) -> None:
        """See `Store.record`."""
        return await self._call("record", lambda: self.inner.record(events))

    async def events(self, query: EventQuery, *, limit: int = 100) -> list[EventRecord]:
        """See `Store.events`."""
        return await self._call("events", lambda: self.inner.events(query, limit=limit))

    async def wait(
        self, queues: Sequence[str] = (), *, ids: Sequence[str] = (), timeout: float
    ) -> bool:
        """See `Store.wait`."""
        return await self._call("wait", lambda: self.inner.wait(queues, ids=ids, timeout=timeout))

    async def migrate(self, *, to: int | None = None, dry_run: bool = False) -> SchemaStatus:
        """See `Store.migrate`."""
        return await self._call("migrate", lambda: self.inner.migrate(to=to, dry_run=dry_run))
