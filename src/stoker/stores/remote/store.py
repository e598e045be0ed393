"""The verbs of a remote store: each is one call to the server, where the truth is.

The store behind the server keeps the time, decides, and makes every promise; nothing is decided
or kept here. What this handle adds to its promises is the way: a call may end in `Unavailable` or
`OutcomeUnknown` because of it.
"""

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from stoker.core.clock import Clock
from stoker.core.errors import FrameTooLarge, NotOpen, OutcomeUnknown, PayloadTooLarge, Unavailable
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
from stoker.core.wire import records, verbs
from stoker.core.wire.verbs import Params, Verb
from stoker.settings import Secret
from stoker.stores.remote.address import read_address
from stoker.stores.remote.http import HttpLink
from stoker.stores.remote.link import MARGIN_SECONDS, Link
from stoker.stores.remote.tcp import TcpLink

A = TypeVar("A")

WAIT_SLICE = 20.0
"""Seconds of one call of ``wait``; a longer wait is several."""
MIGRATE_SECONDS = 3_600.0
"""How long the server may take to change a layout."""


class RemoteStore:
    """A `stoker.core.store.Store` behind a Stoker server."""

    def __init__(self, url: str, *, clock: Clock, token: Secret | None = None) -> None:
        """Make a handle, not yet open.

        Args:
            url: See `stoker.stores.remote.address.read_address`.
            clock: Chance, for pauses between attempts to connect. Never time: that is the
                server's.
            token: What to show when the URL names none.

        Raises:
            InvalidConfig: The URL is none.
            MissingExtra: ``http(s)://`` without an HTTP client.
        """
        self._address = read_address(url, token=token)
        client = f"{socket.gethostname()}:{os.getpid()}"
        self._link: Link = (
            TcpLink(self._address, clock, client=client)
            if self._address.scheme in {"tcp", "tls"}
            else HttpLink(self._address, client=client)
        )
        self._info: StoreInfo | None = None
        self._is_open = False

    @property
    def info(self) -> StoreInfo:
        """See `Store.info`. The promises are those of the store behind the server."""
        if self._info is None:
            raise self._not_open()
        return self._info

    @property
    def transactions(self) -> None:
        """See `Store.transactions`: the caller's transaction does not reach through a server."""
        return None

    async def __aenter__(self) -> Self:
        """See `Store.__aenter__`.

        Raises:
            Unauthenticated: The server does not believe this client, or this client the server.
            Unsupported: The server speaks another version of the protocol.
        """
        await self._link.open()
        welcome = self._link.welcome
        behind = welcome.info
        self._info = msgspec.structs.replace(
            behind,
            engine="remote",
            version=welcome.version,
            url=self._address.shown,
            shared=True,
            details={
                "engine": behind.engine,
                "engine_version": behind.version,
                "identity": welcome.identity,
                "scope": welcome.scope,
                "protocol": welcome.protocol,
            },
        )
        self._is_open = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """See `Store.__aexit__`."""
        self._is_open = False
        await self._link.close()

    async def submit(
        self,
        jobs: Sequence[JobSpec],
        *,
        workflow: WorkflowSpec | None = None,
        actor: str = "system",
    ) -> list[Submitted]:
        """See `Store.submit`."""
        shown = [records.show_job(spec) for spec in jobs]
        return await self._call(
            verbs.SUBMIT, verbs.SubmitParams(jobs=shown, workflow=workflow, actor=actor)
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
            verbs.EXCHANGE,
            verbs.ExchangeParams(
                session_id=session_id,
                settlements=[records.show_settlement(told) for told in settlements],
                queues=dict(queues),
                want=want,
                nonce=nonce,
                aged=aged,
                ids=tuple(ids),
            ),
        )

    async def beat(self, session: SessionSpec, held: Sequence[HeldJob], *, ttl: float) -> BeatReply:
        """See `Store.beat`."""
        shown = records.show_session(session)
        told = [records.show_held(job) for job in held]
        try:
            return await self._call(verbs.BEAT, verbs.BeatParams(session=shown, held=told, ttl=ttl))
        except PayloadTooLarge:
            halves = _halves(held)
            if halves is None:
                raise
        # Lines are kept in the order in which they come: the older halves first.
        await self.beat(session, halves[0], ttl=ttl)
        return await self.beat(session, halves[1], ttl=ttl)

    async def cancel(
        self, query: JobQuery, *, actor: str = "system", reason: str = "", limit: int = MAX_PAGE
    ) -> list[Answer]:
        """See `Store.cancel`."""
        return await self._call(
            verbs.CANCEL,
            verbs.CancelParams(
                query=records.show_query(query), actor=actor, reason=reason, limit=limit
            ),
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
        embedded = msgspec.UNSET if payload is None else records.embed(payload, what="payload")
        return await self._call(
            verbs.REQUEUE,
            verbs.RequeueParams(
                query=records.show_query(query),
                downstream=downstream,
                payload=embedded,
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
        params = verbs.ReapParams(sessions=tuple(sessions), grace=grace, limit=limit, actor=actor)
        return await self._call(verbs.REAP, params)

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
            verbs.PURGE,
            verbs.PurgeParams(
                query=records.show_query(query),
                older_than=older_than,
                keep=keep,
                limit=limit,
                actor=actor,
            ),
        )

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        """See `Store.get`."""
        try:
            return await self._call(verbs.GET, verbs.GetParams(ids=tuple(ids)))
        except FrameTooLarge:
            if len(ids) <= 1:
                raise
        middle = len(ids) // 2
        return [*await self.get(ids[:middle]), *await self.get(ids[middle:])]

    async def find(self, query: JobQuery, *, cursor: str | None = None, limit: int = 100) -> Page:
        """See `Store.find`."""
        return await self._call(
            verbs.FIND,
            verbs.FindParams(query=records.show_query(query), cursor=cursor, limit=limit),
        )

    async def counts(self, *, window: float = 0.0) -> Counts:
        """See `Store.counts`."""
        return await self._call(verbs.COUNTS, verbs.CountsParams(window=window))

    async def workflows(
        self, ids: Sequence[str] = (), *, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[WorkflowInfo], str | None]:
        """See `Store.workflows`."""
        return await self._call(
            verbs.WORKFLOWS, verbs.WorkflowsParams(ids=tuple(ids), cursor=cursor, limit=limit)
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
            verbs.PUT_SCHEDULES,
            verbs.PutSchedulesParams(
                schedules=[records.show_schedule(spec) for spec in schedules],
                remove=tuple(remove),
                actor=actor,
            ),
        )

    async def schedules(self, names: Sequence[str] = ()) -> list[ScheduleInfo]:
        """See `Store.schedules`."""
        return await self._call(verbs.SCHEDULES, verbs.SchedulesParams(names=tuple(names)))

    async def fire(
        self, firings: Sequence[Firing], *, actor: str = "system"
    ) -> list[Submitted | None]:
        """See `Store.fire`."""
        shown = [records.show_firing(firing) for firing in firings]
        return await self._call(verbs.FIRE, verbs.FireParams(firings=shown, actor=actor))

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
            verbs.SET_QUEUE,
            verbs.SetQueueParams(name=name, paused=paused, limit=limit, actor=actor),
        )

    async def queues(self) -> list[QueueInfo]:
        """See `Store.queues`."""
        return await self._call(verbs.QUEUES, verbs.QueuesParams())

    async def sessions(self, *, ended: bool = False) -> list[SessionInfo]:
        """See `Store.sessions`."""
        return await self._call(verbs.SESSIONS, verbs.SessionsParams(ended=ended))

    async def set_session(
        self, ids: Sequence[str], command: Command, *, actor: str = "system"
    ) -> list[str]:
        """See `Store.set_session`."""
        return await self._call(
            verbs.SET_SESSION,
            verbs.SetSessionParams(ids=tuple(ids), command=command, actor=actor),
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
            verbs.PUT_KEYS,
            verbs.PutKeysParams(
                keys=list(keys), revoke=tuple(revoke), used=tuple(used), actor=actor
            ),
        )

    async def keys(self, ids: Sequence[str] = ()) -> list[KeyInfo]:
        """See `Store.keys`."""
        return await self._call(verbs.KEYS, verbs.KeysParams(ids=tuple(ids)))

    async def lead(self, name: str, holder: str, *, ttl: float) -> Term | None:
        """See `Store.lead`."""
        return await self._call(verbs.LEAD, verbs.LeadParams(name=name, holder=holder, ttl=ttl))

    async def resign(self, term: Term) -> bool:
        """See `Store.resign`."""
        return await self._call(verbs.RESIGN, verbs.ResignParams(term=term))

    async def record(self, events: Sequence[Event]) -> None:
        """See `Store.record`."""
        await self._call(verbs.RECORD, verbs.RecordParams(events=list(events)))

    async def events(self, query: EventQuery, *, limit: int = 100) -> list[EventRecord]:
        """See `Store.events`."""
        return await self._call(
            verbs.EVENTS,
            verbs.EventsParams(query=records.show_event_query(query), limit=limit),
        )

    async def wait(
        self, queues: Sequence[str] = (), *, ids: Sequence[str] = (), timeout: float
    ) -> bool:
        """See `Store.wait`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            left = max(0.0, deadline - loop.time())
            now = min(left, WAIT_SLICE)
            params = verbs.WaitParams(queues=tuple(queues), ids=tuple(ids), timeout=now)
            if await self._call(verbs.WAIT, params, timeout=now + MARGIN_SECONDS):
                return True
            if now >= left or not self._is_open:
                return False

    async def migrate(self, *, to: int | None = None, dry_run: bool = False) -> SchemaStatus:
        """See `Store.migrate`."""
        params = verbs.MigrateParams(to=to, dry_run=dry_run)
        return await self._call(verbs.MIGRATE, params, timeout=MIGRATE_SECONDS)

    async def _call(self, verb: Verb[Any, A], params: Params, *, timeout: float | None = None) -> A:
        if not self._is_open:
            raise self._not_open()
        limit = self._address.timeout if timeout is None else timeout
        try:
            answer = await self._link.call(verb.name, verbs.write_params(params), timeout=limit)
        except OutcomeUnknown as error:
            if verb.reads:
                # What changes nothing has not been done, whatever became of it.
                raise Unavailable(error.message, **error.details) from None
            raise
        return verb.read_answer(answer)

    def _not_open(self) -> NotOpen:
        return NotOpen(f"the store {self._address.shown} is not open; use it with 'async with'")


def _halves(held: Sequence[HeldJob]) -> tuple[list[HeldJob], list[HeldJob]] | None:
    """Split the log lines of a beat into two beats that name the same jobs.

    Returns:
        Both, or None when there are no two lines.
    """
    left = sum(len(job.logs) for job in held) // 2
    if left == 0:
        return None
    first: list[HeldJob] = []
    second: list[HeldJob] = []
    for job in held:
        taken = min(left, len(job.logs))
        left -= taken
        first.append(msgspec.structs.replace(job, logs=job.logs[:taken]))
        second.append(msgspec.structs.replace(job, logs=job.logs[taken:]))
    return first, second
