"""A store with a broker in front of it: the only module that knows that there is one.

`RingingStore` is a `Store` like any other. Every command goes to the store that it wraps, and
after its answer `Ringer` rings for what became ready. `Ears` turns what the broker delivers into
wakings. Nothing is ever decided from a ring, and no command waits for the broker.

Why ids that were rung are not leased first
    `Store.exchange` takes ids to lease before all others, and this store passes on those of its
    caller, but never adds those that a ring named. Suppose it did. If the exchange leases less
    than was wanted, then everything that could be leased is leased, with the ids or without them:
    they changed nothing. If it leases all that was wanted, the ids stand where jobs should stand
    that come before them by queue, priority or age: they did harm. There is no third case, and a
    process cannot know beforehand which of the two it will be, because what rang for the better
    jobs may lie in another process. So priority means the same with a broker as without, exactly.
    What the ids are for is to know when a ring is out of date, and what is left of it.

When a ring is done
    An exchange that asked a queue for jobs and got less than it wanted has seen all that was
    there: whatever rang for that queue before it was sent is answered. One that got all it wanted
    may have left some: what it did not lease is rung again, once, for somebody who is idle, within
    the bounds of `Ringer`. Either way the deliveries are acknowledged right after the answer, so
    nothing is unacknowledged while a job runs.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import msgspec

from stoker.brokers.ears import Ears
from stoker.brokers.ringer import Ringer
from stoker.core.broker import Broker, BrokerStatus
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
    SessionState,
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

log = logging.getLogger(__name__)


class RingingStore:
    """A `Store` around another one, whose workers are also woken by a `Broker`."""

    def __init__(self, inner: Store, broker: Broker) -> None:
        """Put a broker in front of a store. Opening and closing this opens and closes both."""
        self.inner = inner
        """The store that holds the jobs."""
        self._broker = broker
        self._ringer = Ringer(inner, broker)
        self._ears = Ears(broker, self._ringer)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def info(self) -> StoreInfo:
        """See `Store.info`: that of the store behind."""
        return self.inner.info

    @property
    def transactions(self) -> Transactions | None:
        """See `Store.transactions`: those of the store behind, for which nothing is rung.

        Whether and when the caller commits is not known here. Idle workers find the jobs.
        """
        return self.inner.transactions

    def broker_status(self) -> BrokerStatus:
        """See `stoker.core.broker.Rung.broker_status`."""
        return msgspec.structs.replace(self._broker.status(), foreign=self._ears.foreign)

    async def __aenter__(self) -> Self:
        """See `Store.__aenter__`. A broker that is away is not an error."""
        await self.inner.__aenter__()
        try:
            await self._broker.__aenter__()
        except BaseException:
            await self.inner.__aexit__(None, None, None)
            raise
        self._ringer.store = self._ears.store = self.inner.info.id
        # They live as long as the store is open, which is no block of one function: they are kept,
        # and awaited when it closes.
        self._tasks = [
            asyncio.create_task(work, name="stoker-broker")  # noqa: TID251 - see above
            for work in (self._ears.run(), self._ringer.run())
        ]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """See `Store.__aexit__`. What the last commands rang for is sent."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for ending in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ending, Exception):
                log.error("the bell had stopped working", exc_info=ending)
        self._ears.close()
        try:
            await self.inner.__aexit__(exc_type, exc, traceback)
        finally:
            await self._broker.__aexit__(exc_type, exc, traceback)

    async def submit(
        self,
        jobs: Sequence[JobSpec],
        *,
        workflow: WorkflowSpec | None = None,
        actor: str = "system",
    ) -> list[Submitted]:
        """See `Store.submit`."""
        answers = await self.inner.submit(jobs, workflow=workflow, actor=actor)
        self._ringer.submitted(zip(jobs, answers, strict=True))
        return answers

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
        """See `Store.exchange`, and this module's text."""
        heard = self._ears.take(queues) if want else []
        try:
            answer = await self.inner.exchange(
                session_id,
                settlements,
                queues=queues,
                want=want,
                nonce=nonce,
                aged=aged,
                ids=ids,
            )
        except BaseException:
            self._ears.put_back(heard)
            raise
        dry = self._ringer.exchanged(settlements, answer, queues, want)
        if heard:
            self._ears.looked(heard, dry)
        return answer

    async def beat(self, session: SessionSpec, held: Sequence[HeldJob], *, ttl: float) -> BeatReply:
        """See `Store.beat`."""
        reply = await self.inner.beat(session, held, ttl=ttl)
        if session.state is SessionState.LEFT:
            self._ringer.freed(1)
        return reply

    async def cancel(
        self, query: JobQuery, *, actor: str = "system", reason: str = "", limit: int = MAX_PAGE
    ) -> list[Answer]:
        """See `Store.cancel`."""
        answers = await self.inner.cancel(query, actor=actor, reason=reason, limit=limit)
        # Their children may have become ready.
        self._ringer.freed(sum(answer.answer == "cancelled" for answer in answers))
        return answers

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
        answers = await self.inner.requeue(
            query,
            downstream=downstream,
            payload=payload,
            interval=interval,
            actor=actor,
            reason=reason,
            limit=limit,
        )
        self._ringer.freed(sum(answer.answer == "requeued" for answer in answers))
        return answers

    async def reap(
        self,
        *,
        sessions: Sequence[str] = (),
        grace: float = 0.0,
        limit: int = MAX_PAGE,
        actor: str = "system",
    ) -> Reaped:
        """See `Store.reap`. Whoever keeps house also rings again for what waits too long."""
        reaped = await self.inner.reap(sessions=sessions, grace=grace, limit=limit, actor=actor)
        self._ringer.freed(len(reaped.requeued) + len(reaped.buried) + reaped.promoted)
        self._ringer.keep_house()
        return reaped

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
        return await self.inner.purge(
            query, older_than=older_than, keep=keep, limit=limit, actor=actor
        )

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        """See `Store.get`."""
        return await self.inner.get(ids)

    async def find(self, query: JobQuery, *, cursor: str | None = None, limit: int = 100) -> Page:
        """See `Store.find`."""
        return await self.inner.find(query, cursor=cursor, limit=limit)

    async def counts(self, *, window: float = 0.0) -> Counts:
        """See `Store.counts`."""
        return await self.inner.counts(window=window)

    async def workflows(
        self, ids: Sequence[str] = (), *, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[WorkflowInfo], str | None]:
        """See `Store.workflows`."""
        return await self.inner.workflows(ids, cursor=cursor, limit=limit)

    async def put_schedules(
        self,
        schedules: Sequence[ScheduleSpec] = (),
        *,
        remove: Sequence[str] = (),
        actor: str = "system",
    ) -> list[str]:
        """See `Store.put_schedules`."""
        return await self.inner.put_schedules(schedules, remove=remove, actor=actor)

    async def schedules(self, names: Sequence[str] = ()) -> list[ScheduleInfo]:
        """See `Store.schedules`."""
        return await self.inner.schedules(names)

    async def fire(
        self, firings: Sequence[Firing], *, actor: str = "system"
    ) -> list[Submitted | None]:
        """See `Store.fire`."""
        answers = await self.inner.fire(firings, actor=actor)
        self._ringer.submitted(
            (firing.job, answer)
            for firing, answer in zip(firings, answers, strict=True)
            if firing.job is not None and answer is not None
        )
        return answers

    async def set_queue(
        self,
        name: str,
        *,
        paused: bool | None = None,
        limit: int | None = None,
        actor: str = "system",
    ) -> QueueInfo:
        """See `Store.set_queue`."""
        info = await self.inner.set_queue(name, paused=paused, limit=limit, actor=actor)
        if not info.paused:
            self._ringer.opened(name)
        return info

    async def queues(self) -> list[QueueInfo]:
        """See `Store.queues`."""
        return await self.inner.queues()

    async def sessions(self, *, ended: bool = False) -> list[SessionInfo]:
        """See `Store.sessions`."""
        return await self.inner.sessions(ended=ended)

    async def set_session(
        self, ids: Sequence[str], command: Command, *, actor: str = "system"
    ) -> list[str]:
        """See `Store.set_session`."""
        return await self.inner.set_session(ids, command, actor=actor)

    async def put_keys(
        self,
        keys: Sequence[KeySpec] = (),
        *,
        revoke: Sequence[str] = (),
        used: Sequence[str] = (),
        actor: str = "system",
    ) -> list[str]:
        """See `Store.put_keys`."""
        return await self.inner.put_keys(keys, revoke=revoke, used=used, actor=actor)

    async def keys(self, ids: Sequence[str] = ()) -> list[KeyInfo]:
        """See `Store.keys`."""
        return await self.inner.keys(ids)

    async def lead(self, name: str, holder: str, *, ttl: float) -> Term | None:
        """See `Store.lead`."""
        return await self.inner.lead(name, holder, ttl=ttl)

    async def resign(self, term: Term) -> bool:
        """See `Store.resign`."""
        return await self.inner.resign(term)

    async def record(self, events: Sequence[Event]) -> None:
        """See `Store.record`."""
        await self.inner.record(events)

    async def events(self, query: EventQuery, *, limit: int = 100) -> list[EventRecord]:
        """See `Store.events`."""
        return await self.inner.events(query, limit=limit)

    async def wait(
        self, queues: Sequence[str] = (), *, ids: Sequence[str] = (), timeout: float
    ) -> bool:
        """See `Store.wait`. The store's own bell or a ring, whichever comes first."""
        if not (queues and self._tasks):
            return await self.inner.wait(queues, ids=ids, timeout=timeout)
        with self._ears.listening(queues) as ear:
            if ear.rung:
                # Whoever asks again and again must not keep the event loop to himself.
                await asyncio.sleep(0)
                return True
            try:
                async with asyncio.timeout(None) as scope:
                    ear.wakes(scope)
                    woken = await self.inner.wait(queues, ids=ids, timeout=timeout)
            except TimeoutError:
                if not ear.rung:
                    raise
                return True
        if not woken:
            self._ringer.idle()
        return woken

    async def migrate(self, *, to: int | None = None, dry_run: bool = False) -> SchemaStatus:
        """See `Store.migrate`."""
        return await self.inner.migrate(to=to, dry_run=dry_run)
