"""Leasing: which jobs come next, and handing them out."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple, TypeVar

import msgspec

from stoker.core import rules
from stoker.core.job import Leased
from stoker.core.lifecycle import Event, State, move
from stoker.stores.sqlite.phrases import ASSIGNED, CODES, HAS_PARENTS, QUEUED, phrase
from stoker.stores.sqlite.transaction import Transaction, in_parts, to_json

T = TypeVar("T")
_CELL = attrgetter("queue", "priority")

_DUE = phrase("""
    {cards} WHERE j.seq IN (
        SELECT seq FROM jobs INDEXED BY jobs_due
        WHERE {due} AND due_at <= ? ORDER BY due_at, seq LIMIT ?)""")
_PROMOTE = phrase(
    "UPDATE jobs SET state = 2 WHERE seq IN (SELECT value FROM json_each(?)) AND {due}"
)

_OFTEN = (
    "j.seq, j.id, j.task, j.payload, j.queue, j.priority, j.due_at, j.attempt, j.epoch, j.timeout"
)
_RARELY = """
    j.soft_timeout, j.failed, j.lost, j.retry, j.links, j.tenant, j.workflow_id, j.headers,
    j.cancel_requested"""
# What most jobs do not have is left out where it is missing, for each value costs SQLite a write
# into the text; a `Pick` has the same defaults.
_PICKS = f"""
    SELECT json_group_array(
        CASE WHEN coalesce(j.soft_timeout, j.retry, j.tenant, j.workflow_id, j.headers,
                           j.cancel_requested) IS NULL AND j.failed + j.lost + j.links = 0
        THEN json_array({_OFTEN}) ELSE json_array({_OFTEN}, {_RARELY}) END)"""
_BEST = phrase(
    """
    {picks}, count(*), min(j.seq), max(j.seq), min(j.priority), max(j.priority),
        max(j.payload IS NULL OR j.links OR j.workflow_id IS NOT NULL)
    FROM (
        SELECT {columns} FROM jobs AS j INDEXED BY jobs_ready
        WHERE {queued} AND queue = ? AND (expires_at IS NULL OR expires_at >= ?)
        ORDER BY priority, due_at, seq LIMIT ?) AS j""",
    picks=_PICKS,
    columns=f"{_OFTEN}, {_RARELY}",
)
_OLDEST_OF = """
    SELECT * FROM (
        SELECT seq, due_at FROM jobs INDEXED BY jobs_ready
        WHERE {queued} AND queue = ?1 AND priority = %d AND (expires_at IS NULL OR expires_at >= ?2)
        ORDER BY due_at, seq LIMIT ?3)"""
_OLDEST = phrase(
    """
    {picks} FROM jobs AS j WHERE j.seq IN (
        SELECT seq FROM ({each}) ORDER BY due_at, seq LIMIT ?3)""",
    picks=_PICKS,
    each=" UNION ALL ".join(_OLDEST_OF % rank for rank in range(3)),
)
_HAS_RANK = """
    EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_ready
            WHERE {queued} AND queue = ?1 AND priority = %d)"""
_RANKS = phrase("SELECT {each}", each=" + ".join(_HAS_RANK % rank for rank in range(3)))
_NAMED = phrase(
    """
    {picks} FROM jobs AS j
    WHERE j.id IN (SELECT value FROM json_each(?)) AND j.{queued}
      AND (j.expires_at IS NULL OR j.expires_at >= ?)""",
    picks=_PICKS,
)
_HELD = phrase(
    """
    {picks} FROM jobs AS j INDEXED BY jobs_leased
    WHERE j.session = ? AND j.nonce = ? AND j.{leased}""",
    picks=_PICKS,
)
_STOCKED = phrase("""
    SELECT json_group_array(q.value ORDER BY q.key) FROM json_each(?) AS q
    WHERE EXISTS (SELECT 1 FROM jobs WHERE {queued} AND queue = q.value)""")
_LEASING = """
    UPDATE jobs NOT INDEXED SET
        state = 3, attempt = attempt + 1, epoch = epoch + 1, nonce = ?1, session = ?2,
        leased_at = ?3, started_at = NULL, deadline_at = ?3 + timeout
    WHERE {which} AND {queued}"""
_LEASE = phrase(_LEASING, which="seq IN (SELECT value FROM json_each(?4))")
_LEASE_ROW = phrase(_LEASING, which="seq BETWEEN ?4 AND ?5")
_PAYLOADS = """
    SELECT json_group_array(json_array(job, payload)) FROM payloads
    WHERE job IN (SELECT value FROM json_each(?))"""
_EDGES = """
    SELECT json_group_array(json_array(child, parent) ORDER BY child, place) FROM edges
    WHERE child IN (SELECT value FROM json_each(?)) AND parent IS NOT NULL"""
_PARENTS = """
    SELECT json_group_array(json_array(seq, id, node, state = 6, result)) FROM jobs
    WHERE seq IN (SELECT value FROM json_each(?))"""

if move(State.QUEUED, Event.LEASE) is not State.ASSIGNED or CODES[State.ASSIGNED] != ASSIGNED:
    raise AssertionError("a lease writes 'assigned', and the table says otherwise")


class Pick(msgspec.Struct, array_like=True, gc=False):
    """A job as it is leased."""

    seq: int
    id: str
    task: str
    payload: str | None
    """None: it is big, and read apart."""
    queue: str
    priority: int
    due_at: float
    attempt: int
    epoch: int
    timeout: float | None
    soft_timeout: float | None = None
    failed: int = 0
    lost: int = 0
    retry: str | None = None
    links: int = 0
    tenant: str | None = None
    workflow_id: str | None = None
    headers: str | None = None
    cancel_requested: int | None = None
    nonce: str = ""
    leased_at: float = 0.0

    @property
    def is_plain(self) -> bool:
        """Whether its completion concerns no other job and no workflow."""
        return not self.links and self.workflow_id is None


class Restriction(msgspec.Struct, array_like=True, gc=False):
    """What keeps jobs of a queue from being leased."""

    queue: str
    paused: int
    limit: int | None


class _Parent(msgspec.Struct, array_like=True, gc=False):
    seq: int
    id: str
    node: str | None
    completed: int
    result: str | None


Families = dict[int, list[_Parent]]
_read_picks = msgspec.json.Decoder(list[Pick]).decode
_read_parents = msgspec.json.Decoder(list[_Parent]).decode
_read_edges = msgspec.json.Decoder(list[tuple[int, int]]).decode
_read_payloads = msgspec.json.Decoder(list[tuple[int, str]]).decode
_read_headers = msgspec.json.Decoder(dict[str, str]).decode


class _Best(NamedTuple):
    """The best jobs of a queue."""

    text: str
    """All of them, to be read as picks."""
    n: int
    first: int
    last: int
    low: int
    high: int
    """Priorities."""
    special: int
    """Whether something of any stands in another table, or in the books of a workflow."""

    def is_row(self) -> bool:
        """Whether there are some, side by side and of one priority, and none is special."""
        if not self.n or self.special or self.low != self.high:
            return False
        return self.last - self.first == self.n - 1


class _Row:
    """Plain jobs of one priority, side by side, as SQLite gave them.

    To lease them nothing more must be known of them. So they are read when the transaction is over,
    by whoever needs them, and not by the thread that writes.
    """

    def __init__(self, text: str, n: int, nonce: str, leased_at: float) -> None:
        self.n = n
        self._text = text
        self._nonce = nonce
        self._leased_at = leased_at
        self._picks: list[Pick] | None = None

    def picks(self) -> list[Pick]:
        if self._picks is None:
            picks = _read_picks(self._text)
            _hand_out(picks, self._nonce, self._leased_at)
            self._picks = picks
        return self._picks

    def ids(self) -> list[str]:
        return [pick.id for pick in self.picks()]


class Leases:
    """Jobs handed out in one exchange, before they take the shape that callers see."""

    def __init__(
        self, parts: Sequence[list[Pick] | _Row], families: Families, *, again: bool
    ) -> None:
        """Take the jobs, in their order.

        Args:
            parts: The jobs.
            families: The parents of those that have some.
            again: Whether they were handed out before; their rows may know more by now than a
                lease says.
        """
        self._parts = parts
        self._families = families
        self.again = again
        self.n = sum(part.n if isinstance(part, _Row) else len(part) for part in parts)

    @cached_property
    def picks(self) -> list[Pick]:
        """All of them; reads what is not read yet."""
        return [
            pick
            for part in self._parts
            for pick in (part.picks() if isinstance(part, _Row) else part)
        ]

    def shown(self) -> list[Leased]:
        """Return what the session gets."""
        return [_leased(pick, self._families.get(pick.seq)) for pick in self.picks]


def promote(tx: Transaction, limit: int) -> int:
    """Make the jobs whose moment has come leasable; return how many."""
    cards = tx.cards(_DUE, tx.now, limit) if limit > 0 else []
    for card in cards:
        tx.moves(card, Event.DUE)
    if cards:
        tx.run(_PROMOTE, to_json([card.seq for card in cards]))
    return len(cards)


def held(tx: Transaction, session: int, nonce: str) -> Leases:
    """Return what a session holds from an exchange with that nonce."""
    picks = _read_picks(tx.value(_HELD, session, nonce))
    picks.sort(key=lambda pick: (pick.priority, pick.due_at, pick.seq))
    for pick in picks:
        pick.nonce = nonce
    return _complete(tx, [picks], again=True)


def lease(
    tx: Transaction,
    session: int,
    *,
    queues: Mapping[str, int],
    restrictions: Sequence[Restriction],
    want: int,
    nonce: str,
    aged: int,
    ids: Sequence[str],
) -> Leases:
    """Lease up to ``want`` jobs; see `Store.exchange` for which."""
    taker = _Taker(tx, session, nonce, _room(tx, queues, restrictions))
    if ids:
        taker.take_named(ids, want)
    by_age, _ = rules.aged_first(want - taker.n, aged)
    if by_age and not taker.goes_by_age():
        taker.take_oldest(by_age)
    taker.take_best(want)
    return _complete(tx, taker.parts, again=False)


def _room(
    tx: Transaction, queues: Mapping[str, int], restrictions: Sequence[Restriction]
) -> dict[str, int]:
    """Return how many jobs of each queue may be leased, leaving out those with none."""
    room = dict(queues)
    for queue, paused, limit in ((r.queue, r.paused, r.limit) for r in restrictions):
        if queue in room:
            if paused:
                room[queue] = 0
            elif limit is not None:
                room[queue] = min(room[queue], limit - tx.leased_in(queue))
    if len(room) > 3:  # noqa: PLR2004 - a look at each queue costs more than one at all from here on
        stocked: list[str] = msgspec.json.decode(tx.value(_STOCKED, to_json(list(room))))
        room = {queue: room[queue] for queue in stocked}
    return {queue: n for queue, n in room.items() if n > 0}


class _Taker:
    def __init__(self, tx: Transaction, session: int, nonce: str, room: dict[str, int]) -> None:
        self._tx = tx
        self._session = session
        self._nonce = nonce
        self._room = room
        self.parts: list[list[Pick] | _Row] = []
        self.n = 0

    def take_named(self, ids: Sequence[str], want: int) -> None:
        found = _read_picks(self._tx.value(_NAMED, to_json(list(dict.fromkeys(ids))), self._tx.now))
        place = {job_id: i for i, job_id in enumerate(ids)}
        found.sort(key=lambda pick: place[pick.id])
        self._take(self._that_fit(found, want - self.n))

    def goes_by_age(self) -> bool:
        """Whether the best jobs are the oldest ones: of one queue, and of one priority."""
        return len(self._room) == 1 and self._tx.value(_RANKS, *self._room) <= 1

    def take_oldest(self, want: int) -> None:
        found: list[Pick] = []
        for queue, room in self._room.items():
            if room > 0:
                most = min(room, want)
                found += _read_picks(self._tx.value(_OLDEST, queue, self._tx.now, most))
        found.sort(key=lambda pick: (pick.due_at, pick.seq))
        self._take(self._that_fit(found, want))

    def take_best(self, want: int) -> None:
        found: list[Pick] = []
        left = want - self.n
        for queue, room in self._room.items():
            most = min(room, left)
            if most > 0:
                best = _Best(*self._tx.row(_BEST, queue, self._tx.now, most))
                left -= best.n
                if best.is_row():
                    self._take(found)
                    found = []
                    self._take_row(queue, best)
                else:
                    found += _read_picks(best.text)
        self._take(found)

    def _that_fit(self, found: Sequence[Pick], want: int) -> list[Pick]:
        room = dict(self._room)
        fit: list[Pick] = []
        for pick in found:
            if len(fit) < want and room.get(pick.queue, 0) > 0:
                room[pick.queue] -= 1
                fit.append(pick)
        return fit

    def _take(self, picks: list[Pick]) -> None:
        if not picks:
            return
        tx = self._tx
        changed = self._write([pick.seq for pick in picks])
        if changed != len(picks):
            raise RuntimeError(f"{len(picks)} jobs were to be leased, {changed} were")
        _hand_out(picks, self._nonce, tx.now)
        for flow in [pick.workflow_id for pick in picks if pick.workflow_id is not None]:
            _note_flow(tx, flow)
        tx.books.changed.extend([pick.id for pick in picks])
        for (queue, priority), n in Counter(map(_CELL, picks)).items():
            self._note(queue, priority, n)
        self.parts.append(picks)

    def _take_row(self, queue: str, best: "_Best") -> None:
        tx, n = self._tx, best.n
        changed = tx.run(_LEASE_ROW, self._nonce, self._session, tx.now, best.first, best.last)
        if changed != n:
            raise RuntimeError(f"{n} jobs were to be leased, {changed} were")
        row = _Row(best.text, n, self._nonce, tx.now)
        tx.books.changed.extend_by(row.ids)
        self._note(queue, best.low, n)
        self.parts.append(row)

    def _note(self, queue: str, priority: int, n: int) -> None:
        self.n += n
        self._room[queue] -= n
        moved = self._tx.books.moved
        for state, sign in ((QUEUED, -1), (ASSIGNED, 1)):
            cell = (queue, priority, state)
            moved[cell] = moved.get(cell, 0) + sign * n

    def _write(self, seqs: list[int]) -> int:
        """Lease rows; return how many were."""
        tx, first, last = self._tx, min(seqs), max(seqs)
        if last - first == len(seqs) - 1:
            # Rows side by side, as a backlog has them: SQLite walks along them, and needs no list.
            return tx.run(_LEASE_ROW, self._nonce, self._session, tx.now, first, last)
        return tx.run(_LEASE, self._nonce, self._session, tx.now, to_json(seqs))


def _note_flow(tx: Transaction, workflow_id: str) -> None:
    for state, n in ((QUEUED, -1), (ASSIGNED, 1)):
        key = (workflow_id, state)
        tx.books.flows[key] = tx.books.flows.get(key, 0) + n


def _hand_out(picks: Sequence[Pick], nonce: str, now: float) -> None:
    for pick in picks:
        pick.attempt += 1
        pick.epoch += 1
        pick.nonce = nonce
        pick.leased_at = now


def _complete(tx: Transaction, parts: Sequence[list[Pick] | _Row], *, again: bool) -> Leases:
    """Add what stands apart from the rows of the jobs: big payloads, and parents' results."""
    picks = [pick for part in parts if not isinstance(part, _Row) for pick in part]
    big = {pick.seq: pick for pick in picks if pick.payload is None}
    if big:
        for seq, payload in in_parts(_reading(tx, _PAYLOADS, _read_payloads), list(big)):
            big[seq].payload = payload
    children = [pick.seq for pick in picks if pick.links & HAS_PARENTS]
    return Leases(parts, _families(tx, children) if children else {}, again=again)


def _families(tx: Transaction, children: Sequence[int]) -> Families:
    families: Families = {seq: [] for seq in children}
    edges: list[tuple[int, int]] = _read_edges(tx.value(_EDGES, to_json(children)))
    seqs = list({parent for _, parent in edges})
    parents = {p.seq: p for p in in_parts(_reading(tx, _PARENTS, _read_parents), seqs)}
    for child, parent in edges:
        families[child].append(parents[parent])
    return families


def _reading(
    tx: Transaction, statement: str, decode: Callable[[str], list[T]]
) -> Callable[[list[int]], list[T]]:
    return lambda keys: decode(tx.value(statement, to_json(keys)))


def _leased(pick: Pick, parents: list[_Parent] | None) -> Leased:
    results = names = None
    if parents is not None:
        results = {p.id: (p.result or "null").encode() for p in parents if p.completed}
        if pick.workflow_id is not None:
            names = {p.id: p.node for p in parents if p.node is not None}
    return Leased(
        pick.id,
        pick.task,
        (pick.payload or "").encode(),
        pick.queue,
        pick.attempt,
        pick.epoch,
        pick.nonce,
        pick.timeout,
        pick.soft_timeout,
        pick.failed,
        pick.lost,
        b"{}" if pick.retry is None else pick.retry.encode(),
        results,
        names,
        pick.tenant,
        pick.workflow_id,
        None if pick.headers is None else _read_headers(pick.headers),
        bool(pick.cancel_requested),
    )
