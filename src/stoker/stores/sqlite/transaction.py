"""What a command works on: one connection inside a transaction, and the books that go with it.

Counting once per job would cost more than the job. So a command notes what it moved in a
`Ledger`, and the books (tallies, workflow tallies, activity, totals, events) are written once
per commit, in the same transaction as the moves themselves.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import apsw
import msgspec

from stoker.core.clock import Clock
from stoker.core.events import Event, Kind
from stoker.core.lifecycle import Event as Move
from stoker.core.lifecycle import move
from stoker.stores.sqlite.ledger import Ledger, Spread
from stoker.stores.sqlite.phrases import (
    CODES,
    LEASED_CODES,
    QUEUED,
    RETRY_QUEUED,
    SCHEDULED,
    STATES,
    TALLIED,
    clean,
    phrase,
)

T = TypeVar("T")
MINUTE = 60
LONGEST_TEXT = 64_000_000
"""Characters in one statement; SQLite takes some more, and memory is finite."""
encode = msgspec.json.Encoder().encode

_TALLY = """
    INSERT INTO tallies (queue, priority, state, n)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM jsonb_each(?) WHERE true
    ON CONFLICT DO UPDATE SET n = n + excluded.n"""
_FLOW = """
    INSERT INTO workflow_tallies (workflow_id, state, n)
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM jsonb_each(?) WHERE true
    ON CONFLICT DO UPDATE SET n = n + excluded.n"""
_ACTIVITY = """
    INSERT INTO activity (minute, queue, task, outcome, n, waited, ran)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
           value ->> 6
    FROM jsonb_each(?) WHERE true
    ON CONFLICT DO UPDATE SET
        n = n + excluded.n, waited = waited + excluded.waited, ran = ran + excluded.ran"""
_TOTAL = """
    INSERT INTO totals (outcome, n) SELECT value ->> 0, value ->> 1 FROM jsonb_each(?) WHERE true
    ON CONFLICT DO UPDATE SET n = n + excluded.n"""
_EVENT = """
    INSERT INTO events (at, kind, actor, job_id, queue, worker, details)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
           value ->> 6
    FROM jsonb_each(?)"""
_FORGET_MINUTES = "DELETE FROM activity WHERE minute < ?"
_LIMITED = "SELECT json_group_array(name) FROM queues WHERE paused OR lease_limit IS NOT NULL"
_LEASED_IN = phrase("SELECT coalesce(sum(n), 0) FROM tallies WHERE queue = ? AND {leased}")
_TALLIED = """
    SELECT coalesce(sum(n), 0) FROM tallies WHERE state IN (SELECT value FROM json_each(?))"""
_CLEAR_FLOWS = """
    DELETE FROM workflow_tallies
    WHERE n = 0 AND workflow_id IN (SELECT value FROM json_each(?))"""
_WORKERS = """
    SELECT json_group_object(seq, name) FROM sessions
    WHERE seq IN (SELECT value FROM json_each(?))"""
DAY = 86_400.0


class Card(msgspec.Struct, array_like=True, gc=False):
    """What every command but the fast path knows about a job. Read by the phrase ``card``."""

    seq: int
    id: str
    state: int
    queue: str
    priority: int
    task: str
    due_at: float
    attempt: int
    epoch: int
    nonce: str | None
    session: int | None
    leased_at: float | None
    started_at: float | None
    links: int
    failed: int
    lost: int
    max_retries: int
    max_lost: int
    cancel_requested: int
    waiting_for: int
    run_anyway: int
    workflow_id: str | None
    retry: str | None


read_cards = msgspec.json.Decoder(list[Card]).decode


def to_json(value: Any) -> str:
    """Encode what goes to SQLite as JSON; texts that UTF-8 cannot hold are cleaned."""
    try:
        return encode(value).decode()
    except UnicodeEncodeError:
        return encode(_cleaned(value)).decode()


def in_parts(read: Callable[[list[int]], list[T]], keys: Sequence[int]) -> list[T]:
    """Read rows by their keys as one JSON text, or in parts where that is too long for SQLite."""
    try:
        return read(list(keys))
    except apsw.TooBigError:
        if len(keys) == 1:
            raise
    half = len(keys) // 2
    return in_parts(read, keys[:half]) + in_parts(read, keys[half:])


class Again(Exception):
    """A command that trusted a memory, now forgotten, has to be undone and run again."""


class Transaction:
    """One open transaction. ``now`` is the moment of the present command."""

    def __init__(self, db: apsw.Connection, clock: Clock, *, fresh: bool = False) -> None:
        """Work on a connection inside ``BEGIN IMMEDIATE``.

        Args:
            db: The connection.
            clock: For the moment of each command.
            fresh: Nothing happened yet in the transaction. Then its first command is undone by
                undoing all of it, and needs no savepoint, which would copy each page it writes.
        """
        self.db = db
        self._fresh = fresh
        self.clock = clock
        self.now = clock.now()
        self.books = Ledger()
        """Of the present command."""
        self.total = Ledger()
        """Of the commands of this commit that succeeded."""

    def begin(self) -> None:
        """Begin a command."""
        self.now = self.clock.now()
        self.books = Ledger()
        if not self._fresh:
            self.db.execute("SAVEPOINT command")

    def keep(self) -> None:
        """End a command that succeeded."""
        if not self._fresh:
            self.db.execute("RELEASE command")
        self._fresh = False
        self.total.add(self.books)

    def undo(self) -> None:
        """End a command that failed, as if it had never begun."""
        if self._fresh:
            self.db.execute("ROLLBACK; BEGIN IMMEDIATE")
        else:
            self.db.execute("ROLLBACK TO command; RELEASE command")

    def run(self, statement: str, *arguments: Any) -> int:
        """Carry out a statement; return how many rows it changed."""
        self.db.execute(statement, arguments)
        return self.db.changes()

    def run_rows(self, statement: str, rows: Sequence[Any], *before: Any) -> int:
        """Carry out a statement on rows, given as one JSON text, or more where that is too long.

        Args:
            statement: Its last parameter takes the rows.
            rows: What `to_json` can encode.
            *before: The other parameters.
        """
        text = to_json(rows)
        if len(text) <= LONGEST_TEXT or len(rows) == 1:
            return self.run(statement, *before, text)
        half = len(rows) // 2
        first = self.run_rows(statement, rows[:half], *before)
        return first + self.run_rows(statement, rows[half:], *before)

    def value(self, statement: str, *arguments: Any) -> Any:
        """Return the one value that a statement gives; None if it gives no row."""
        return self.db.execute(statement, arguments).get

    def row(self, statement: str, *arguments: Any) -> tuple[Any, ...]:
        """Return the one row, of several columns, that a statement gives."""
        found: tuple[Any, ...] = self.db.execute(statement, arguments).get
        return found

    def cards(self, statement: str, *arguments: Any) -> list[Card]:
        """Return the jobs that a statement of phrase ``cards`` finds."""
        return read_cards(self.value(statement, *arguments))

    def moves(self, card: Card, event: Move) -> int:
        """Note that a job moves by the table; return the number of its next state."""
        after = CODES[move(STATES[card.state], event)]
        self.shift(card, after)
        return after

    def shift(self, card: Card, after: int) -> None:
        """Note that a job's state changes."""
        self.tally(card.queue, card.priority, card.state, card.workflow_id, -1)
        self.enter(card.queue, card.priority, after, card.workflow_id)
        if card.state in LEASED_CODES:
            self.books.freed.add(card.queue)
        self.books.changed.append(card.id)

    def enter(
        self, queue: str, priority: int, state: int, workflow_id: str | None, n: int = 1
    ) -> None:
        """Note that jobs come into a state."""
        self.tally(queue, priority, state, workflow_id, n)
        if state in {QUEUED, SCHEDULED, RETRY_QUEUED}:
            self.books.rung.add(queue)

    def tally(self, queue: str, priority: int, state: int, workflow_id: str | None, n: int) -> None:
        """Note that so many jobs more, or less, are in a state."""
        books, code = self.books, TALLIED[state]
        key = (queue, priority, code)
        books.moved[key] = books.moved.get(key, 0) + n
        if workflow_id is not None:
            flow = (workflow_id, code)
            books.flows[flow] = books.flows.get(flow, 0) + n

    def count(
        self,
        queue: str,
        task: str,
        outcome: str,
        *,
        n: int = 1,
        waited: float = 0.0,
        ran: float = 0.0,
    ) -> None:
        """Note activity of this minute."""
        minute = int(self.now // MINUTE) * MINUTE
        cell = self.books.activity.setdefault((minute, queue, task, outcome), [0, 0.0, 0.0])
        cell[0] += n
        cell[1] += waited
        cell[2] += ran
        self._add_total(outcome, n)

    def count_spread(self, queue: str, task: str, found: Spread) -> None:
        """Note what `spread` found of attempts of a task."""
        for mark, n in found.marks:
            self.count(queue, task, mark, n=n)
        for whole, microseconds in found.sums:
            self._add_total(whole, microseconds)

    def _add_total(self, name: str, n: int) -> None:
        self.books.totals[name] = self.books.totals.get(name, 0) + n

    def log(
        self,
        kind: Kind,
        actor: str,
        *,
        job_id: str | None = None,
        queue: str | None = None,
        worker: str | None = None,
        **details: Any,
    ) -> None:
        """Write a line into the audit trail."""
        self.write(
            Event(
                kind=kind, actor=actor, job_id=job_id, queue=queue, worker=worker, details=details
            )
        )

    def write(self, event: Event) -> None:
        """Write a line into the audit trail."""
        details = to_json(event.details) if event.details else None
        line = (self.now, event.kind, event.actor, event.job_id, event.queue, event.worker, details)
        self.books.events.append(line)

    def leased_in(self, queue: str) -> int:
        """Return how many jobs of a queue are leased at this point of the transaction."""
        written: int = self.value(_LEASED_IN, queue)
        noted = sum(
            n
            for ledger in (self.total, self.books)
            for (name, _, state), n in ledger.moved.items()
            if name == queue and state in LEASED_CODES
        )
        return written + noted

    def tallied(self, states: Collection[int]) -> int:
        """Return how many jobs are in some states at this point of the transaction.

        Assigned and running ones count as one state.
        """
        states = {TALLIED[state] for state in states}
        written: int = self.value(_TALLIED, to_json(list(states)))
        noted = sum(
            n
            for ledger in (self.total, self.books)
            for (_, _, state), n in ledger.moved.items()
            if state in states
        )
        return written + noted

    def workers(self, sessions: Iterable[int | None]) -> dict[int, str]:
        """Return the names of workers by the numbers of their sessions."""
        wanted = {seq for seq in sessions if seq is not None}
        if not wanted:
            return {}
        found: Mapping[str, str] = msgspec.json.decode(self.value(_WORKERS, to_json(list(wanted))))
        return {int(seq): name for seq, name in found.items()}

    def write_books(self) -> None:
        """Bring the counts up to what the commands of this commit did."""
        books = self.total
        self._add(_TALLY, [(*key, n) for key, n in books.moved.items() if n])
        self._add(_FLOW, [(*key, n) for key, n in books.flows.items() if n])
        if books.flows:
            self.run(_CLEAR_FLOWS, to_json(list({flow for flow, _ in books.flows})))
        self._add(_ACTIVITY, [(*key, *cell) for key, cell in books.activity.items()])
        self._add(_TOTAL, list(books.totals.items()))
        self._add(_EVENT, books.events)
        if books.freed:
            books.rung |= books.freed & set(msgspec.json.decode(self.value(_LIMITED)))

    def forget_minutes(self) -> None:
        """Delete activity older than a day."""
        self.run(_FORGET_MINUTES, self.now - DAY - MINUTE)

    def _add(self, statement: str, rows: Sequence[Any]) -> None:
        if rows:
            self.db.execute(statement, (to_json(rows),))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value
