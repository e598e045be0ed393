"""The verbs of the embedded store: each hands its work to the writer's or a reader's thread."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import apsw

from stoker.core.clock import Clock
from stoker.core.errors import InvalidConfig, InvalidOption, NotOpen
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
from stoker.stores.sqlite import (
    beating,
    controlling,
    exchanging,
    keeping,
    keyring,
    planning,
    reading,
    records,
    reviving,
    schema,
    submitting,
)
from stoker.stores.sqlite.handle import Handle
from stoker.stores.sqlite.settling import Told
from stoker.stores.sqlite.transaction import Transaction
from stoker.stores.sqlite.transactions import Transactions

T = TypeVar("T")
_CAN_LOSE = {
    "full": "nothing that was answered, neither by a crash of a process nor of the machine",
    "fast": "nothing by a crash of a process; the last moments by a power failure or a crash of "
    "the machine",
}


class SQLiteStore:
    """A `stoker.core.store.Store` in one SQLite file, which several processes may share."""

    def __init__(self, path: str, *, durability: str = "full", clock: Clock) -> None:
        """Make a handle, not yet open.

        Args:
            path: The file. It is made when it does not exist; its folder is not.
            durability: ``"full"``: what was answered survives a power failure; ``"fast"``: a
                power failure may take the last moments along.
            clock: Time and chance. It is asked from several threads.

        Raises:
            InvalidConfig: Another durability.
        """
        if durability not in _CAN_LOSE:
            raise InvalidConfig(f"the durability is {durability!r}; expected 'full' or 'fast'")
        self._path = path
        self._file = str(Path(path).absolute())
        self._durability = durability
        self._clock = clock
        self._handle: Handle | None = None
        self._id = ""

    @property
    def info(self) -> StoreInfo:
        """See `Store.info`."""
        return StoreInfo(
            engine="sqlite",
            version=apsw.sqlite_lib_version(),
            url=f"sqlite:///{self._path}",
            durability=self._durability,
            can_lose=_CAN_LOSE[self._durability],
            details={"path": self._file},
            id=self._id,
        )

    @property
    def transactions(self) -> Transactions:
        """See `Store.transactions`."""
        return self._here().transactions

    async def __aenter__(self) -> Self:
        """See `Store.__aenter__`."""
        if self._handle is not None:
            raise NotOpen(f"the store {self._path!r} is open already; open a second handle instead")
        self._handle = await Handle.open(self._file, self._durability, self._clock)
        self._id = self._handle.identity
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """See `Store.__aexit__`."""
        handle, self._handle = self._handle, None
        if handle is not None:
            await handle.close()

    async def submit(
        self,
        jobs: Sequence[JobSpec],
        *,
        workflow: WorkflowSpec | None = None,
        actor: str = "system",
    ) -> list[Submitted]:
        """See `Store.submit`."""
        known = self._here().known_queues
        return await self._write(lambda tx: submitting.submit(tx, jobs, workflow, actor, known))

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
        handle = self._here()
        idle, told = handle.idle_nonces, Told(settlements, handle.given)
        done = await self._write(
            lambda tx: exchanging.exchange(
                tx,
                session_id,
                told,
                queues=queues,
                want=want,
                nonce=nonce,
                aged=aged,
                ids=ids,
                idle=idle,
            )
        )
        if done.leases is not None and not done.leases.again:
            handle.remember(done.leases.picks)
        return done.shown()

    async def beat(self, session: SessionSpec, held: Sequence[HeldJob], *, ttl: float) -> BeatReply:
        """See `Store.beat`."""
        given = self._here().given
        return await self._write(lambda tx: beating.beat(tx, session, held, ttl, given))

    async def cancel(
        self, query: JobQuery, *, actor: str = "system", reason: str = "", limit: int = MAX_PAGE
    ) -> list[Answer]:
        """See `Store.cancel`."""
        return await self._write(
            lambda tx: controlling.cancel(tx, query, actor=actor, reason=reason, limit=limit)
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
        return await self._write(
            lambda tx: reviving.requeue(
                tx,
                query,
                downstream=downstream,
                payload=payload,
                interval=interval,
                actor=actor,
                reason=reason,
                limit=limit,
            )
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
        return await self._write(
            lambda tx: keeping.reap(tx, sessions, grace=grace, limit=limit, actor=actor)
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
        return await self._write(
            lambda tx: keeping.purge(
                tx, query, older_than=older_than, keep=keep, limit=limit, actor=actor
            )
        )

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        """See `Store.get`."""
        return await self._read(lambda db: records.get(db, ids))

    async def find(self, query: JobQuery, *, cursor: str | None = None, limit: int = 100) -> Page:
        """See `Store.find`."""
        return await self._read(lambda db: reading.find(db, query, cursor, limit))

    async def counts(self, *, window: float = 0.0) -> Counts:
        """See `Store.counts`."""
        now = self._clock.now()
        return await self._read(lambda db: reading.counts(db, now, window))

    async def workflows(
        self, ids: Sequence[str] = (), *, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[WorkflowInfo], str | None]:
        """See `Store.workflows`."""
        return await self._read(lambda db: reading.workflows(db, ids, cursor, limit))

    async def put_schedules(
        self,
        schedules: Sequence[ScheduleSpec] = (),
        *,
        remove: Sequence[str] = (),
        actor: str = "system",
    ) -> list[str]:
        """See `Store.put_schedules`."""
        return await self._write(lambda tx: planning.put_schedules(tx, schedules, remove, actor))

    async def schedules(self, names: Sequence[str] = ()) -> list[ScheduleInfo]:
        """See `Store.schedules`."""
        return await self._read(lambda db: reading.schedules(db, names))

    async def fire(
        self, firings: Sequence[Firing], *, actor: str = "system"
    ) -> list[Submitted | None]:
        """See `Store.fire`."""
        known = self._here().known_queues
        return await self._write(lambda tx: planning.fire(tx, firings, actor, known))

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
        await self._write(
            lambda tx: controlling.set_queue(tx, name, paused=paused, limit=limit, actor=actor)
        )
        found = await self._read(reading.queues)
        return next(queue for queue in found if queue.name == name)

    async def queues(self) -> list[QueueInfo]:
        """See `Store.queues`."""
        return await self._read(reading.queues)

    async def sessions(self, *, ended: bool = False) -> list[SessionInfo]:
        """See `Store.sessions`."""
        now = self._clock.now()
        return await self._read(lambda db: reading.sessions(db, now, ended=ended))

    async def set_session(
        self, ids: Sequence[str], command: Command, *, actor: str = "system"
    ) -> list[str]:
        """See `Store.set_session`."""
        return await self._write(lambda tx: beating.command(tx, ids, command, actor))

    async def put_keys(
        self,
        keys: Sequence[KeySpec] = (),
        *,
        revoke: Sequence[str] = (),
        used: Sequence[str] = (),
        actor: str = "system",
    ) -> list[str]:
        """See `Store.put_keys`."""
        return await self._write(lambda tx: keyring.put_keys(tx, keys, revoke, used, actor))

    async def keys(self, ids: Sequence[str] = ()) -> list[KeyInfo]:
        """See `Store.keys`."""
        return await self._read(lambda db: keyring.keys(db, ids))

    async def lead(self, name: str, holder: str, *, ttl: float) -> Term | None:
        """See `Store.lead`."""
        return await self._write(lambda tx: planning.lead(tx, name, holder, ttl))

    async def resign(self, term: Term) -> bool:
        """See `Store.resign`."""
        return await self._write(lambda tx: planning.resign(tx, term))

    async def record(self, events: Sequence[Event]) -> None:
        """See `Store.record`."""

        def write(tx: Transaction) -> None:
            for event in events:
                tx.write(event)

        await self._write(write)

    async def events(self, query: EventQuery, *, limit: int = 100) -> list[EventRecord]:
        """See `Store.events`."""
        return await self._read(lambda db: reading.events(db, query, limit))

    async def wait(
        self, queues: Sequence[str] = (), *, ids: Sequence[str] = (), timeout: float
    ) -> bool:
        """See `Store.wait`."""
        return await self._here().bell.wait(queues, ids, timeout)

    async def migrate(self, *, to: int | None = None, dry_run: bool = False) -> SchemaStatus:
        """See `Store.migrate`."""
        handle = self._here()
        if dry_run:
            current = await handle.reader.run(lambda db: schema.version(db, self._path))
            return schema.status(current)

        def bring(db: apsw.Connection) -> SchemaStatus:
            schema.bring_to(db, self._path, schema.latest() if to is None else to)
            return schema.status(schema.version(db, self._path))

        handle.known_queues.clear()
        return await handle.writer.run_alone(bring)

    async def _write(self, work: Callable[[Transaction], T]) -> T:
        return await self._here().writer.run(work)

    async def _read(self, question: Callable[[apsw.Connection], T]) -> T:
        return await self._here().reader.run(question)

    def _here(self) -> Handle:
        handle = self._handle
        if handle is None:
            raise NotOpen(f"the store {self._path!r} is not open; use it inside 'async with'")
        if handle.process != os.getpid():
            raise NotOpen(
                f"the store {self._path!r} was opened before this process was forked, and SQLite "
                "does not survive a fork; open it anew here"
            )
        return handle
