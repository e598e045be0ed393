"""The verbs of the PostgreSQL store: each is one call of a function in the database."""

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from stoker.core import rules
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
from stoker.stores.postgres import (
    caring,
    exchanging,
    keyring,
    planning,
    reading,
    records,
    submitting,
)
from stoker.stores.postgres.address import parse
from stoker.stores.postgres.faults import GraphRefusedError
from stoker.stores.postgres.handle import Handle
from stoker.stores.postgres.lines import Rows
from stoker.stores.postgres.phrases import clean, optional_clean, to_json
from stoker.stores.postgres.transactions import Transactions

_SET_QUEUE = "SELECT @set_queue($1, $2, $3, $4, $5)"
_SET_SESSION = "SELECT @set_session($1, $2, $3, $4)"
_RECORD = "SELECT @record($1, $2, $3, $4, $5, $6, $7)"


class PostgresStore:
    """A `stoker.core.store.Store` in a schema of a PostgreSQL database."""

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        """Make a handle, not yet open.

        Args:
            url: ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``, with what libpq knows besides
                (``sslmode``, several hosts, ``target_session_attrs``), and with

                * ``schema=NAME``: of the store's tables; ``stoker`` by default. Made at the first
                  opening; an older layout is changed by ``stoker db migrate`` only.
                * ``prepare=off``: behind a pooler that gives each transaction another connection.
                  Nothing is prepared then, nor listened to.
                * ``connections=N``: the most for commands, and as many for reads; 4 by default.
                * ``timeout=N``: seconds after which a call that is not answered is given up; 30.
            clock: Time and chance for tests. Without one, and with the system's, time is the
                server's.

        Raises:
            InvalidConfig: The URL means nothing.
        """
        self._address = parse(url)
        self._clock = None if isinstance(clock, SystemClock) else clock
        self._chance = clock or SystemClock()
        self._handle: Handle | None = None
        self._info = StoreInfo(
            engine="postgresql",
            version="",
            url=self._address.url,
            durability="unknown",
            can_lose="known once the store is open",
        )

    @property
    def info(self) -> StoreInfo:
        """See `Store.info`."""
        return self._info

    @property
    def transactions(self) -> Transactions:
        """See `Store.transactions`."""
        return self._here().transactions

    async def __aenter__(self) -> Self:
        """See `Store.__aenter__`."""
        if self._handle is not None:
            raise NotOpen("the store is open already; open a second handle instead")
        handle = Handle(self._address, self._clock, self._chance)
        try:
            self._info = await handle.open()
        except BaseException:
            await handle.close()
            raise
        self._handle = handle
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
        handle = self._here()
        batch = submitting.Batch(jobs, workflow)
        while batch.size:
            try:
                rows = await self._send(handle, batch, actor)
            except GraphRefusedError as refused:
                batch.refuse(refused)
            else:
                batch.take(rows)
        return batch.answers()

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
        talk = exchanging.Talk(session_id, settlements, nonce)
        sent = talk.sent(
            self._now(),
            queues=queues,
            want=want,
            aged=aged,
            ids=ids,
            repeated=handle.idle.get(session_id) == nonce,
        )
        answer = talk.heard(await handle.write(exchanging.EXCHANGE, sent))
        if want > 0 and not answer.leased:
            handle.note_idle(session_id, nonce)
        handle.bell.announce(talk.rung, talk.changed)
        return answer

    async def beat(self, session: SessionSpec, held: Sequence[HeldJob], *, ttl: float) -> BeatReply:
        """See `Store.beat`."""
        sent = exchanging.beat_sent(self._now(), session, held, ttl)
        [row] = await self._tell(exchanging.BEAT, sent)
        return exchanging.beat_heard(row, held)

    async def cancel(
        self, query: JobQuery, *, actor: str = "system", reason: str = "", limit: int = MAX_PAGE
    ) -> list[Answer]:
        """See `Store.cancel`."""
        chosen = await self._chosen(query, caring.LIVE_CODES, limit)
        sent = (self._now(), clean(actor), clean(reason), chosen)
        return caring.answers(query, await self._tell(caring.CANCEL, sent))

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
        caring.check_payload(query, payload)
        chosen = await self._chosen(query, caring.TERMINAL_CODES, limit)
        asked = (clean(actor), clean(reason), chosen, downstream, payload, float(interval))
        return caring.answers(query, await self._tell(caring.REQUEUE, (self._now(), *asked)))

    async def reap(
        self,
        *,
        sessions: Sequence[str] = (),
        grace: float = 0.0,
        limit: int = MAX_PAGE,
        actor: str = "system",
    ) -> Reaped:
        """See `Store.reap`."""
        latest = float(grace) + rules.DEADLINE_GRACE
        late = await self._here().write(caring.OVERDUE, (self._now(), latest, limit))
        overdue = caring.decisions(late, self._chance.random)
        sent = caring.reap_sent(
            self._now(), actor, sessions, grace=grace, limit=limit, overdue=overdue
        )
        [row] = await self._tell(caring.REAP, sent)
        return caring.reaped(row)

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
        now = self._now()
        wanted = caring.old(query, now, older_than=older_than, keep=keep, limit=limit)
        ended = await self._found(wanted)
        waiting = await self._found(caring.waiting(query, limit - len(ended)))
        if not (ended or waiting):
            return 0
        sent = (now, clean(actor), ended, waiting, float(older_than))
        [row] = await self._tell(caring.PURGE, sent)
        deleted: int = row[0]
        return deleted

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        """See `Store.get`."""
        wanted = [clean(job_id) for job_id in ids]
        rows = await self._here().read(records.GET, (list(dict.fromkeys(wanted)),))
        found = {row[1]: records.record(row) for row in rows}
        return [found.get(job_id) for job_id in wanted]

    async def find(self, query: JobQuery, *, cursor: str | None = None, limit: int = 100) -> Page:
        """See `Store.find`."""
        handle = self._here()
        asked = reading.page(query, cursor, limit)
        rows = [] if asked is None else await handle.search(*asked)
        more = f"j{rows[limit - 1][0]}" if len(rows) > limit else None
        return Page([records.record(row) for row in rows[:limit]], more)

    async def counts(self, *, window: float = 0.0) -> Counts:
        """See `Store.counts`."""
        sent = (self._now(), min(float(window), reading.DAY))
        [[text]] = await self._here().read(reading.COUNTS, sent)
        return reading.counts(text)

    async def workflows(
        self, ids: Sequence[str] = (), *, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[WorkflowInfo], str | None]:
        """See `Store.workflows`."""
        handle = self._here()
        before = reading.flows_before(cursor, limit)
        if ids:
            wanted = [clean(flow) for flow in ids]
            [[text]] = await handle.read(reading.SOME_FLOWS, (before, limit + 1, wanted))
        else:
            [[text]] = await handle.read(reading.ALL_FLOWS, (before, limit + 1))
        return reading.flows(text, limit)

    async def put_schedules(
        self,
        schedules: Sequence[ScheduleSpec] = (),
        *,
        remove: Sequence[str] = (),
        actor: str = "system",
    ) -> list[str]:
        """See `Store.put_schedules`."""
        sent = planning.put_sent(self._now(), actor, schedules, remove)
        [[names]] = await self._here().write(planning.PUT, sent)
        return list(names)

    async def schedules(self, names: Sequence[str] = ()) -> list[ScheduleInfo]:
        """See `Store.schedules`."""
        sent = (not names, [clean(name) for name in names])
        [[text]] = await self._here().read(reading.SCHEDULES, sent)
        return reading.schedules(text)

    async def fire(
        self, firings: Sequence[Firing], *, actor: str = "system"
    ) -> list[Submitted | None]:
        """See `Store.fire`."""
        handle = self._here()
        return [await self._fire(handle, firing, actor) for firing in firings]

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
        handle = self._here()
        sent = (self._now(), clean(actor), clean(name), paused, limit)
        await handle.write(_SET_QUEUE, sent)
        handle.bell.announce([clean(name)], ())
        return next(queue for queue in await self.queues() if queue.name == clean(name))

    async def queues(self) -> list[QueueInfo]:
        """See `Store.queues`."""
        [[text]] = await self._here().read(reading.QUEUES)
        return reading.queues(text)

    async def sessions(self, *, ended: bool = False) -> list[SessionInfo]:
        """See `Store.sessions`."""
        sent = (self._now(), ended, rules.SESSION_KEEP)
        [[text]] = await self._here().read(reading.SESSIONS, sent)
        return reading.sessions(text)

    async def set_session(
        self, ids: Sequence[str], command: Command, *, actor: str = "system"
    ) -> list[str]:
        """See `Store.set_session`."""
        wanted = [clean(session) for session in dict.fromkeys(ids)]
        sent = (self._now(), clean(actor), wanted, command.value)
        [[told]] = await self._here().write(_SET_SESSION, sent)
        return [session for session in wanted if session in set(told)]

    async def put_keys(
        self,
        keys: Sequence[KeySpec] = (),
        *,
        revoke: Sequence[str] = (),
        used: Sequence[str] = (),
        actor: str = "system",
    ) -> list[str]:
        """See `Store.put_keys`."""
        sent = keyring.sent(self._now(), actor, keys, revoke, used)
        [[done]] = await self._here().write(keyring.PUT, sent)
        return list(done)

    async def keys(self, ids: Sequence[str] = ()) -> list[KeyInfo]:
        """See `Store.keys`."""
        rows = await self._here().read(keyring.SHOW, (not ids, [clean(key_id) for key_id in ids]))
        return [keyring.key(row) for row in rows]

    async def lead(self, name: str, holder: str, *, ttl: float) -> Term | None:
        """See `Store.lead`."""
        sent = (self._now(), clean(name), clean(holder), float(ttl))
        [row] = await self._here().write(planning.LEAD, sent)
        return planning.term(name, row)

    async def resign(self, term: Term) -> bool:
        """See `Store.resign`."""
        sent = (self._now(), clean(term.name), clean(term.holder), term.elected_at)
        [[obeyed]] = await self._here().write(planning.RESIGN, sent)
        return bool(obeyed)

    async def record(self, events: Sequence[Event]) -> None:
        """See `Store.record`."""
        sent = (
            self._now(),
            [event.kind.value for event in events],
            [clean(event.actor) for event in events],
            [optional_clean(event.job_id) for event in events],
            [optional_clean(event.queue) for event in events],
            [optional_clean(event.worker) for event in events],
            [to_json(event.details) if event.details else None for event in events],
        )
        await self._here().write(_RECORD, sent)

    async def events(self, query: EventQuery, *, limit: int = 100) -> list[EventRecord]:
        """See `Store.events`."""
        asked = reading.events(query, limit)
        handle = self._here()
        if query.after is not None:
            await handle.read(reading.SETTLE_TRAIL)
        return [reading.event(row) for row in await handle.read(*asked)]

    async def wait(
        self, queues: Sequence[str] = (), *, ids: Sequence[str] = (), timeout: float
    ) -> bool:
        """See `Store.wait`."""
        return await self._here().bell.wait(queues, ids, timeout)

    async def migrate(self, *, to: int | None = None, dry_run: bool = False) -> SchemaStatus:
        """See `Store.migrate`.

        Works on a store that is not open, too: an older layout does not let itself be opened.
        """
        if self._handle is not None:
            return await self._handle.migrate(to, dry_run=dry_run)
        handle = Handle(self._address, self._clock, self._chance)
        try:
            return await handle.migrate(to, dry_run=dry_run)
        finally:
            await handle.close()

    async def _send(self, handle: Handle, batch: submitting.Batch, actor: str) -> Rows:
        if batch.is_plain:
            return await handle.batching.submit(batch.left())
        flow = submitting.flow_of(batch.workflow)
        sent = (self._now(), clean(actor), *flow, *batch.given())
        rows = await handle.write(submitting.CALL, sent)
        handle.bell.announce(rows[0][4], rows[0][5])
        return rows

    async def _fire(self, handle: Handle, firing: Firing, actor: str) -> Submitted | None:
        batch = submitting.Batch([] if firing.job is None else [firing.job])
        job = firing.job if batch.size else None
        try:
            sent = planning.fire_sent(self._now(), actor, firing, job)
            [row] = await handle.write(planning.FIRE, sent)
        except GraphRefusedError as refused:
            # A schedule whose job cannot be submitted moves on; it would fail at each look.
            batch.refuse(refused)
            sent = planning.fire_sent(self._now(), actor, firing, None)
            [row] = await handle.write(planning.FIRE, sent)
        obeyed, *answer = row
        if not obeyed:
            return None
        if firing.job is None:
            return Submitted(id="", created=False)
        if batch.size:
            batch.take([tuple(answer)])
            handle.bell.announce(row[5] or (), row[6] or ())
        return batch.answers()[0]

    async def _chosen(self, query: JobQuery, states: frozenset[int], limit: int) -> list[str]:
        named = caring.named(query)
        if named is not None:
            return named
        found = await self._found(caring.choice(query, states, limit))
        return caring.in_query_order(query, found)

    async def _found(self, asked: tuple[str, tuple[Any, ...]] | None) -> list[str]:
        return [] if asked is None else [row[0] for row in await self._here().search(*asked)]

    async def _tell(self, statement: str, parameters: Sequence[Any]) -> Rows:
        """Carry out a command whose answer ends with what rang and what changed."""
        handle = self._here()
        rows = await handle.write(statement, parameters)
        rung: Iterable[str] = rows[0][-2] or ()
        changed: Iterable[str] = rows[0][-1] or ()
        handle.bell.announce(rung, changed)
        return rows

    def _now(self) -> float | None:
        """Return the injected clock's time; None: let the server look at its own."""
        return None if self._clock is None else self._clock.now()

    def _here(self) -> Handle:
        if self._handle is None:
            raise NotOpen("the store is not open; use it inside 'async with'")
        return self._handle
