"""The verbs of the reference store.

Each verb lets the event loop breathe once, as a store that does I/O would, and then does its whole
work without another ``await``: nobody ever sees half of it.
"""

import asyncio
import platform
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import msgspec

from stoker.core.clock import Clock
from stoker.core.duration import when
from stoker.core.errors import InvalidOption, NotOpen, SchemaMismatch
from stoker.core.events import Event, EventRecord, Kind
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
from stoker.stores.memory import accepting, caring, keyring, planning, reading, running
from stoker.stores.memory.bell import Waiter
from stoker.stores.memory.world import World


class MemoryStore:
    """A `stoker.core.store.Store` that lives and dies with its process.

    All handles of one data set are used from one event loop.

    Attributes:
        world: The data. Give it to another `MemoryStore` for a second handle onto it.
    """

    def __init__(self, *, clock: Clock, world: World | None = None) -> None:
        """Make a handle, not yet open.

        Args:
            clock: Time and chance.
            world: The data of another handle; a new, empty one if not given.
        """
        self.world = world or World(clock)
        self._open = False
        self._waiters: set[Waiter] = set()

    @property
    def info(self) -> StoreInfo:
        """See `Store.info`."""
        return StoreInfo(
            engine="memory",
            version=platform.python_version(),
            url="memory://",
            durability="none",
            can_lose="everything, when the process ends",
            shared=False,
            id=self.world.id,
        )

    @property
    def transactions(self) -> None:
        """See `Store.transactions`: what is in memory has no transactions."""
        return None

    async def __aenter__(self) -> Self:
        """See `Store.__aenter__`."""
        self._open = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """See `Store.__aexit__`."""
        self._open = False
        for waiter in self._waiters:
            waiter.close()

    async def submit(
        self,
        jobs: Sequence[JobSpec],
        *,
        workflow: WorkflowSpec | None = None,
        actor: str = "system",
    ) -> list[Submitted]:
        """See `Store.submit`."""
        return accepting.submit(await self._begin(), jobs, workflow, actor)

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
        world = await self._begin()
        session = running.living(world, session_id)
        running.promote(world)
        return Exchanged(
            settled=[running.settle(world, session, told) for told in settlements],
            leased=running.lease(
                world, session, queues=queues, want=want, nonce=nonce, aged=aged, ids=ids
            ),
        )

    async def beat(self, session: SessionSpec, held: Sequence[HeldJob], *, ttl: float) -> BeatReply:
        """See `Store.beat`."""
        return running.beat(await self._begin(), session, held, ttl)

    async def cancel(
        self, query: JobQuery, *, actor: str = "system", reason: str = "", limit: int = MAX_PAGE
    ) -> list[Answer]:
        """See `Store.cancel`."""
        world = await self._begin()
        return caring.cancel(world, query, actor=actor, reason=reason, limit=limit)

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
        return caring.requeue(
            await self._begin(),
            query,
            downstream=downstream,
            payload=payload,
            interval=interval,
            actor=actor,
            reason=reason,
            limit=limit,
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
        world = await self._begin()
        return caring.reap(world, sessions, grace=grace, limit=limit, actor=actor)

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
        world = await self._begin()
        return caring.purge(
            world, query, older_than=older_than, keep=keep, limit=limit, actor=actor
        )

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        """See `Store.get`."""
        jobs = (await self._begin()).jobs
        found = (jobs.get(job_id) for job_id in ids)
        return [None if job is None else reading.record(job, logs=True) for job in found]

    async def find(self, query: JobQuery, *, cursor: str | None = None, limit: int = 100) -> Page:
        """See `Store.find`."""
        return reading.find(await self._begin(), query, cursor, limit)

    async def counts(self, *, window: float = 0.0) -> Counts:
        """See `Store.counts`."""
        return reading.counts(await self._begin(), window)

    async def workflows(
        self, ids: Sequence[str] = (), *, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[WorkflowInfo], str | None]:
        """See `Store.workflows`."""
        return reading.workflows(await self._begin(), ids, cursor, limit)

    async def put_schedules(
        self,
        schedules: Sequence[ScheduleSpec] = (),
        *,
        remove: Sequence[str] = (),
        actor: str = "system",
    ) -> list[str]:
        """See `Store.put_schedules`."""
        return planning.put_schedules(await self._begin(), schedules, remove, actor)

    async def schedules(self, names: Sequence[str] = ()) -> list[ScheduleInfo]:
        """See `Store.schedules`."""
        return planning.schedules(await self._begin(), names)

    async def fire(
        self, firings: Sequence[Firing], *, actor: str = "system"
    ) -> list[Submitted | None]:
        """See `Store.fire`."""
        world = await self._begin()
        return [planning.fire(world, firing, actor) for firing in firings]

    async def set_queue(
        self,
        name: str,
        *,
        paused: bool | None = None,
        limit: int | None = None,
        actor: str = "system",
    ) -> QueueInfo:
        """See `Store.set_queue`."""
        if limit is not None and limit < 0:
            raise InvalidOption(f"the limit of queue {name!r} is {limit}; expected 0 or more")
        world = await self._begin()
        line = world.line(name)
        if paused is not None and paused != line.paused:
            line.paused = paused
            kind = Kind.QUEUE_PAUSED if paused else Kind.QUEUE_RESUMED
            world.log(kind, actor, queue=name)
        if limit is not None and (limit or None) != line.limit:
            line.limit = limit or None
            world.log(Kind.QUEUE_LIMITED, actor, queue=name, limit=line.limit)
        world.bell.ring(name)
        return reading.queue(world, line)

    async def queues(self) -> list[QueueInfo]:
        """See `Store.queues`."""
        world = await self._begin()
        return [reading.queue(world, world.lines[name]) for name in sorted(world.lines)]

    async def sessions(self, *, ended: bool = False) -> list[SessionInfo]:
        """See `Store.sessions`."""
        return reading.sessions(await self._begin(), ended=ended)

    async def set_session(
        self, ids: Sequence[str], command: Command, *, actor: str = "system"
    ) -> list[str]:
        """See `Store.set_session`."""
        world = await self._begin()
        known = ((job_id, world.sessions.get(job_id)) for job_id in dict.fromkeys(ids))
        told = {key: session for key, session in known if session and session.living}
        for session_id, session in told.items():
            session.command = command
            name, text = session.spec.name, command.value
            world.log(Kind.WORKER_COMMANDED, actor, worker=name, session=session_id, command=text)
        return list(told)

    async def put_keys(
        self,
        keys: Sequence[KeySpec] = (),
        *,
        revoke: Sequence[str] = (),
        used: Sequence[str] = (),
        actor: str = "system",
    ) -> list[str]:
        """See `Store.put_keys`."""
        return keyring.put_keys(await self._begin(), keys, revoke, used, actor)

    async def keys(self, ids: Sequence[str] = ()) -> list[KeyInfo]:
        """See `Store.keys`."""
        return keyring.keys(await self._begin(), ids)

    async def lead(self, name: str, holder: str, *, ttl: float) -> Term | None:
        """See `Store.lead`."""
        return planning.lead(await self._begin(), name, holder, ttl)

    async def resign(self, term: Term) -> bool:
        """See `Store.resign`."""
        return planning.resign(await self._begin(), term)

    async def record(self, events: Sequence[Event]) -> None:
        """See `Store.record`."""
        world = await self._begin()
        for event in events:
            told = msgspec.structs.asdict(event)
            seq = len(world.events) + 1
            world.events.append(EventRecord(seq=seq, at=when(world.now), **told))

    async def events(self, query: EventQuery, *, limit: int = 100) -> list[EventRecord]:
        """See `Store.events`."""
        return reading.events(await self._begin(), query, limit)

    async def wait(
        self,
        queues: Sequence[str] = (),
        *,
        ids: Sequence[str] = (),
        timeout: float,
    ) -> bool:
        """See `Store.wait`."""
        self._check_open()
        world = self.world
        waiter = Waiter()
        self._waiters.add(waiter)
        try:
            return await world.bell.wait(
                waiter, queues, ids, timeout=timeout, due_in=world.due_in(queues)
            )
        finally:
            self._waiters.discard(waiter)

    async def migrate(
        self,
        *,
        to: int | None = None,
        dry_run: bool = False,  # noqa: ARG002 - there is never a step to do
    ) -> SchemaStatus:
        """See `Store.migrate`. Memory has one layout, version 1, without steps."""
        await self._begin()
        if to not in {None, 1}:
            raise SchemaMismatch(f"version {to} was asked for; a memory store has version 1 only")
        return SchemaStatus(current=1, latest=1)

    async def _begin(self) -> World:
        self._check_open()
        await asyncio.sleep(0)
        # It may have been closed meanwhile.
        self._check_open()
        self.world.tick()
        return self.world

    def _check_open(self) -> None:
        if not self._open:
            raise NotOpen("the store is not open; use it inside `async with`")
