"""Bringing ended jobs back to life, with what depends on them."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from stoker.core import rules
from stoker.core.errors import InvalidPayload, InvalidQuery
from stoker.core.events import Kind
from stoker.core.lifecycle import TERMINAL, Event, State
from stoker.core.records import Answer, JobQuery
from stoker.stores.sqlite.choosing import choose, in_order
from stoker.stores.sqlite.phrases import CODES, COMPLETED, HAS_CHILDREN, STATES, phrase
from stoker.stores.sqlite.submitting import INLINE
from stoker.stores.sqlite.transaction import Card, Transaction, to_json

_TERMINAL = frozenset(CODES[state] for state in TERMINAL)
_REVIVAL = {
    State.BLOCKED: Event.REBLOCK,
    State.SCHEDULED: Event.RESCHEDULE,
    State.QUEUED: Event.REQUEUE,
}
_KEYS = """
    SELECT json_group_array(json_array(seq, tenant, task, unique_key)) FROM jobs
    WHERE unique_key IS NOT NULL AND seq IN (SELECT value FROM json_each(?))"""
_HELD_KEYS = phrase("""
    SELECT json_group_array(json_array(k.tenant, k.task, k.unique_key))
    FROM jobs AS k JOIN jobs AS j
      ON j.unique_key = k.unique_key AND j.task = k.task AND j.tenant IS k.tenant
    WHERE k.seq IN (SELECT value FROM json_each(?)) AND k.unique_key IS NOT NULL
      AND j.unique_key IS NOT NULL AND j.{live}""")
_CHILDREN = phrase("""
    SELECT json_group_array(json_array({card}, coalesce(j.error ->> 'code', '')))
    FROM jobs AS j WHERE j.seq IN (
        SELECT e.child FROM json_each(?) AS p JOIN edges AS e ON e.parent = p.value)""")
_BLOCK_MORE = """
    UPDATE jobs SET waiting_for = coalesce(waiting_for, 0) + c.n
    FROM (SELECT e.child, count(*) AS n FROM json_each(?) AS p JOIN edges AS e ON e.parent = p.value
          GROUP BY e.child) AS c
    WHERE jobs.seq = c.child AND jobs.state = 0"""
_LIVE_PARENTS = phrase("""
    SELECT json_group_array(json_array(x.child, x.n)) FROM (
        SELECT e.child, count(*) AS n
        FROM json_each(?1) AS c JOIN edges AS e ON e.child = c.value
        JOIN jobs AS j ON j.seq = e.parent
        WHERE j.{live} OR j.seq IN (SELECT value FROM json_each(?1))
        GROUP BY e.child) AS x""")
_KEEP_COMPLETED = """
    INSERT INTO attempts (
        job, epoch, attempt, nonce, session, leased_at, started_at, finished_at, outcome)
    SELECT seq, epoch, attempt, nonce, session, leased_at, started_at, finished_at, 'completed'
    FROM jobs WHERE state = 6 AND seq IN (SELECT value FROM json_each(?))"""
_REVIVE = """
    UPDATE jobs SET
        state = r.value ->> 1, due_at = r.value ->> 2, waiting_for = r.value ->> 3,
        failed = 0, lost = 0, result = NULL, error = NULL, progress = NULL, note = NULL,
        finished_at = NULL, cancel_requested = NULL, expires_at = ? + expires
    FROM jsonb_each(?) AS r WHERE jobs.seq = r.value ->> 0 AND jobs.state >= 6"""
_SET_PAYLOAD = "UPDATE jobs SET payload = ? WHERE seq = ?"
_DROP_PAYLOAD = "DELETE FROM payloads WHERE job = ?"
_ADD_PAYLOAD = "INSERT INTO payloads (job, payload) VALUES (?, ?)"

UniqueKey = tuple[str | None, str, str]


class _Child(msgspec.Struct, array_like=True, gc=False):
    card: Card
    code: str


_read_children = msgspec.json.Decoder(list[_Child]).decode


def requeue(
    tx: Transaction,
    query: JobQuery,
    *,
    downstream: bool,
    payload: bytes | None,
    interval: float,
    actor: str,
    reason: str,
    limit: int,
) -> list[Answer]:
    """See `Store.requeue`."""
    if payload is not None and len(query.ids) != 1:
        raise InvalidQuery("a new payload goes to a single job; name exactly one id")
    cards = choose(tx, query, _TERMINAL, limit)
    workers = tx.workers(card.session for card in cards)
    keys = _Keys(tx)
    keys.look(cards)
    revived: dict[int, Card] = {}
    due: dict[int, float] = {}
    answers: dict[str, Answer] = {}
    for card in cards:
        free = card.state in _TERMINAL and keys.take(card)
        answers[card.id] = Answer(card.id, "requeued" if free else "refused")
        if free:
            due[card.seq] = tx.now + len(revived) * interval
            revived[card.seq] = card
            tx.log(
                Kind.JOB_REQUEUED,
                actor,
                job_id=card.id,
                queue=card.queue,
                worker=workers.get(card.session or 0),
                reason=reason,
            )
    if revived and payload is not None:
        _set_payload(tx, next(iter(revived)), payload)
    _drag(tx, keys, revived, downstream=downstream)
    _revive(tx, revived, due)
    return in_order(query, answers)


class _Keys:
    """The unique keys of jobs that want to live again, and of those that live."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._wanted: dict[int, UniqueKey] = {}
        self._taken: set[UniqueKey] = set()

    def look(self, cards: Iterable[Card]) -> None:
        """Look up the keys of some jobs, and which of them live jobs hold."""
        rows = to_json([card.seq for card in cards])
        for seq, tenant, task, key in msgspec.json.decode(self._tx.value(_KEYS, rows)):
            self._wanted[seq] = (tenant, task, key)
        if self._wanted:
            held = msgspec.json.decode(self._tx.value(_HELD_KEYS, rows))
            self._taken |= {(tenant, task, key) for tenant, task, key in held}

    def take(self, card: Card) -> bool:
        """Take the job's key; False if another live job holds it."""
        key = self._wanted.get(card.seq)
        if key is None:
            return True
        if key in self._taken:
            return False
        self._taken.add(key)
        return True


def _drag(tx: Transaction, keys: _Keys, revived: dict[int, Card], *, downstream: bool) -> None:
    """Add to the revived jobs what comes back to life with them, level by level."""
    level = [card.seq for card in revived.values() if card.links & HAS_CHILDREN]
    seen = set(revived)
    while level:
        children = [
            child
            for child in _read_children(tx.value(_CHILDREN, to_json(level)))
            if child.card.seq not in seen
        ]
        seen |= {child.card.seq for child in children}
        keys.look([child.card for child in children])
        level = []
        for child in children:
            card = child.card
            ended = card.state in _TERMINAL
            comes = ended if downstream else _fell_with_parent(child)
            if comes and keys.take(card):
                revived[card.seq] = card
            elif not downstream or ended:
                continue
            if card.links & HAS_CHILDREN:
                level.append(card.seq)


def _fell_with_parent(child: _Child) -> bool:
    cancelled = STATES[child.card.state] is State.CANCELLED
    return cancelled and child.code == rules.PARENT_FAILED.code


def _revive(tx: Transaction, revived: dict[int, Card], due: dict[int, float]) -> None:
    if not revived:
        return
    everybody = to_json(list(revived))
    parents = [card.seq for card in revived.values() if card.links & HAS_CHILDREN]
    if parents:
        tx.run(_BLOCK_MORE, to_json(parents))
    waiting: dict[int, int] = dict(msgspec.json.decode(tx.value(_LIVE_PARENTS, everybody)))
    if any(card.state == COMPLETED for card in revived.values()):
        tx.run(_KEEP_COMPLETED, everybody)
    rows: list[Sequence[Any]] = []
    for seq, card in revived.items():
        waiting_for, due_at = waiting.get(seq, 0), due.get(seq, tx.now)
        state = rules.first_state(waiting_for=waiting_for, due_at=due_at, now=tx.now)
        rows.append((seq, tx.moves(card, _REVIVAL[state]), due_at, waiting_for or None))
    tx.run(_REVIVE, tx.now, to_json(rows))


def _set_payload(tx: Transaction, seq: int, payload: bytes) -> None:
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise InvalidPayload(f"the payload is not UTF-8: {error}") from None
    tx.run(_DROP_PAYLOAD, seq)
    tx.run(_SET_PAYLOAD, text if len(text) <= INLINE else None, seq)
    if len(text) > INLINE:
        tx.run(_ADD_PAYLOAD, seq, text)
