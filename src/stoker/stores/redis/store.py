"""The verbs of the Redis store: each one call of a function, or a few bounded ones."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from stoker.core.clock import Clock, SystemClock
from stoker.core.errors import InvalidOption, NotOpen
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
from stoker.stores.redis import caring, exchanging, keyring, opening, planning, reading
from stoker.stores.redis.address import parse
from stoker.stores.redis.bell import Bell
from stoker.stores.redis.choosing import FARTHEST, Scan
from stoker.stores.redis.functions import STATES
from stoker.stores.redis.keys import KEYS, root
from stoker.stores.redis.records import pack, record_of, write_json
from stoker.stores.redis.submitting import Batch
from stoker.stores.redis.wire import Argument, Wire

_GOT = 500
"""The most jobs that one call of ``get`` returns."""
_READ = 1_000
"""The most events read in one call."""


class RedisStore:
    """A `stoker.core.store.Store` in a Redis or Valkey server.

    A handle belongs to one process and one event loop. It has one connection for its verbs and,
    once somebody waits, one that listens.
    """

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        """Make a handle, not yet open.

        Args:
            url: ``redis://HOST:PORT/DB``, ``rediss://`` for TLS, or ``valkey://``; with
                ``?namespace=NAME`` several stores share one server, with ``?timeout=SECONDS`` a
                call ends with an error after that time.
            clock: Time and chance of tests. Without one, or with the system's, time is the
                server's own, whatever the clocks of its callers say.

        Raises:
            InvalidConfig: Not a URL of a Redis server.
        """
        self._address = parse(url)
        self._chance = clock or SystemClock()
        self._clock = None if isinstance(self._chance, SystemClock) else self._chance
        self._wire: Wire | None = None
        self._bell: Bell | None = None
        self._info = StoreInfo(
            engine="redis",
            version="",
            url=self._address.url,
            durability="none",
            can_lose="unknown until the store is open",
            details={"namespace": self._address.namespace},
        )

    @property
    def info(self) -> StoreInfo:
        """See `Store.info`."""
        return self._info

    @property
    def transactions(self) -> None:
        """See `Store.transactions`: Redis has none that could hold somebody else's writes."""
        return None

    async def __aenter__(self) -> Self:
        """See `Store.__aenter__`."""
        wire = Wire(self._address)
        await wire.open()
        try:
            server = await opening.inspect(wire, self._address)
            identity = await opening.prepare(wire, self._address, self._chance.new_nonce())
        except BaseException:
            await wire.close()
            raise
        self._info = opening.describe(server, self._address, identity)
        self._wire = wire
        self._bell = Bell(self._run, self._address, self._clock)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """See `Store.__aexit__`."""
        wire, bell, self._wire, self._bell = self._wire, self._bell, None, None
        if bell is not None:
            await bell.close()
        if wire is not None:
            await wire.close()

    async def submit(
        self,
        jobs: Sequence[JobSpec],
        *,
        workflow: WorkflowSpec | None = None,
        actor: str = "system",
    ) -> list[Submitted]:
        """See `Store.submit`."""
        wire = self._open_wire()
        batch = Batch(jobs, workflow)
        refused = batch.refused()
        if refused is not None:
            return refused
        if workflow is None:
            return batch.answers(await wire.submit(self._moment(), batch.jobs))
        reply = await self._run("submit", batch.workflow_arguments(actor))
        return batch.workflow_answers(reply)

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
        asked = exchanging.exchange_arguments(
            session_id, settlements, queues=queues, want=want, nonce=nonce, aged=aged, ids=ids
        )
        return exchanging.exchanged(await self._run("exchange", asked), session_id, nonce)

    async def beat(self, session: SessionSpec, held: Sequence[HeldJob], *, ttl: float) -> BeatReply:
        """See `Store.beat`."""
        asked = exchanging.beat_arguments(session, held, ttl)
        return exchanging.beat_reply(await self._run("beat", asked))

    async def cancel(
        self, query: JobQuery, *, actor: str = "system", reason: str = "", limit: int = MAX_PAGE
    ) -> list[Answer]:
        """See `Store.cancel`."""
        return await caring.cancel(self._run, query, actor=actor, reason=reason, limit=limit)

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
        return await caring.requeue(
            self._run,
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
        return await caring.reap(
            self._run, self._chance, sessions, grace=grace, limit=limit, actor=actor
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
        return await caring.purge(
            self._run,
            self._read,
            query,
            older_than=older_than,
            keep=keep,
            limit=limit,
            actor=actor,
        )

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        """See `Store.get`."""
        wire = self._open_wire()
        wanted = list(dict.fromkeys(ids))
        found: dict[str, JobRecord] = {}
        for first in range(0, len(wanted), _GOT):
            asked = pack((wanted[first : first + _GOT],))
            for row in await wire.run("get", self._moment(), asked):
                record = record_of(row, STATES)
                found[record.id] = record
        return [found.get(job_id) for job_id in ids]

    async def find(self, query: JobQuery, *, cursor: str | None = None, limit: int = 100) -> Page:
        """See `Store.find`."""
        reading.check_limit(limit)
        before = reading.place(cursor, "j")
        position = FARTHEST if before is None else before - 1
        rows = await Scan(self._run, query, position=position).rows(limit + 1)
        more = f"j{int(rows[limit - 1][0])}" if len(rows) > limit else None
        return Page([record_of(row, STATES) for row in rows[:limit]], more)

    async def counts(self, *, window: float = 0.0) -> Counts:
        """See `Store.counts`."""
        return reading.counts_of(await self._run("counts", pack((min(window, reading.DAY),))))

    async def workflows(
        self, ids: Sequence[str] = (), *, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[WorkflowInfo], str | None]:
        """See `Store.workflows`."""
        reading.check_limit(limit)
        before = reading.place(cursor, "w")
        asked = pack((list(dict.fromkeys(ids)), before, limit + 1))
        rows = await self._run("flows", asked)
        rows.sort(key=reading.number_of_workflow, reverse=True)
        more = len(rows) > limit
        rows = rows[:limit]
        next_cursor = f"w{reading.number_of_workflow(rows[-1])}" if more else None
        return reading.workflows_of(rows), next_cursor

    async def put_schedules(
        self,
        schedules: Sequence[ScheduleSpec] = (),
        *,
        remove: Sequence[str] = (),
        actor: str = "system",
    ) -> list[str]:
        """See `Store.put_schedules`."""
        asked = planning.put_arguments(schedules, remove, actor)
        return [name.decode() for name in await self._run("put_schedules", asked)]

    async def schedules(self, names: Sequence[str] = ()) -> list[ScheduleInfo]:
        """See `Store.schedules`."""
        if names:
            packed = await self._read("HMGET", KEYS["SCHEDULES"].name, *dict.fromkeys(names))
        else:
            packed = await self._read("HVALS", KEYS["SCHEDULES"].name)
        found = [planning.schedule_of(text) for text in packed if text]
        return sorted(found, key=lambda info: info.spec.name)

    async def fire(
        self, firings: Sequence[Firing], *, actor: str = "system"
    ) -> list[Submitted | None]:
        """See `Store.fire`."""
        reply = await self._run("fire", planning.fire_arguments(firings, actor))
        return planning.fire_answers(firings, reply)

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
        details = write_json({"limit": limit or None})
        reply = await self._run("set_queue", pack((name, paused, limit, actor, details)))
        return reading.queues_of(*reply)[0]

    async def queues(self) -> list[QueueInfo]:
        """See `Store.queues`."""
        _, tallies, queues, _, _ = await self._run("counts", pack((0,)))
        return reading.queues_of(queues, tallies)

    async def sessions(self, *, ended: bool = False) -> list[SessionInfo]:
        """See `Store.sessions`."""
        return reading.sessions_of(await self._run("list_sessions", pack((ended,))))

    async def set_session(
        self, ids: Sequence[str], command: Command, *, actor: str = "system"
    ) -> list[str]:
        """See `Store.set_session`."""
        told = await self._run("set_session", pack((ids, command.value, actor)))
        return [session.decode() for session in told]

    async def put_keys(
        self,
        keys: Sequence[KeySpec] = (),
        *,
        revoke: Sequence[str] = (),
        used: Sequence[str] = (),
        actor: str = "system",
    ) -> list[str]:
        """See `Store.put_keys`."""
        asked = keyring.put_arguments(keys, revoke, used, actor)
        return [key_id.decode() for key_id in await self._run("put_keys", asked)]

    async def keys(self, ids: Sequence[str] = ()) -> list[KeyInfo]:
        """See `Store.keys`."""
        if ids:
            packed = await self._read("HMGET", KEYS["KEYRING"].name, *dict.fromkeys(ids))
        else:
            packed = await self._read("HVALS", KEYS["KEYRING"].name)
        found = [keyring.key_of(text) for text in packed if text]
        shown = [info for info in found if ids or info.spec.login_of is None]
        return sorted(shown, key=lambda info: (info.created_at, info.spec.id))

    async def lead(self, name: str, holder: str, *, ttl: float) -> Term | None:
        """See `Store.lead`."""
        moments = await self._run("lead", pack((name, holder, ttl)))
        return Term(name, holder, *map(float, moments)) if moments else None

    async def resign(self, term: Term) -> bool:
        """See `Store.resign`."""
        asked = pack((term.name, term.holder, term.elected_at))
        return bool(await self._run("resign", asked))

    async def record(self, events: Sequence[Event]) -> None:
        """See `Store.record`."""
        rows = [
            (
                event.kind.value,
                event.actor,
                event.job_id,
                event.queue,
                event.worker,
                write_json(event.details),
            )
            for event in events
        ]
        await self._run("record", pack(rows))

    async def events(self, query: EventQuery, *, limit: int = 100) -> list[EventRecord]:
        """See `Store.events`."""
        reading.check_limit(limit)
        newest_first = query.after is None
        position = "+" if newest_first else f"({query.after}-0"
        found: list[EventRecord] = []
        while True:
            ends = (position, "-") if newest_first else (position, "+")
            verb = "XREVRANGE" if newest_first else "XRANGE"
            part = await self._read(verb, KEYS["EVENTS"].name, *ends, "COUNT", _READ)
            matching = map(reading.event_of, part)
            found += [event for event in matching if reading.event_matches(event, query)]
            if len(part) < _READ or len(found) >= limit:
                return found[:limit]
            position = f"({part[-1][0].decode()}"

    async def wait(
        self, queues: Sequence[str] = (), *, ids: Sequence[str] = (), timeout: float
    ) -> bool:
        """See `Store.wait`."""
        if self._bell is None:
            raise _not_open()
        return await self._bell.wait(queues, ids, timeout)

    async def migrate(
        self,
        *,
        to: int | None = None,
        dry_run: bool = False,  # noqa: ARG002 - there is never a step to do
    ) -> SchemaStatus:
        """See `Store.migrate`. The layout has one version, without steps."""
        return await opening.status(self._open_wire(), self._address, to)

    async def _run(self, name: str, *arguments: Argument) -> Any:
        return await self._open_wire().run(name, self._moment(), *arguments)

    async def _read(self, command: str, key: str, *arguments: Argument) -> Any:
        whole = f"{root(self._address.namespace)}:{key}"
        return await self._open_wire().command(command, whole, *arguments)

    def _moment(self) -> str:
        """Return the moment to hand to a function; empty for the server's own."""
        return "" if self._clock is None else repr(float(self._clock.now()))

    def _open_wire(self) -> Wire:
        if self._wire is None:
            raise _not_open()
        return self._wire


def _not_open() -> NotOpen:
    return NotOpen("the store is not open; use it inside `async with`")
