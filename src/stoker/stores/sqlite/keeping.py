"""Housekeeping: what is lost is taken back, what is due is moved, what is old is deleted."""

from collections.abc import Sequence
from typing import Any

import msgspec

from stoker.core import rules
from stoker.core.errors import TaskTimeout
from stoker.core.events import Kind
from stoker.core.job import Outcome
from stoker.core.lifecycle import TERMINAL, Event
from stoker.core.records import JobQuery, Reaped
from stoker.core.retry import RetryPolicy, exception_names
from stoker.stores.sqlite.beating import log_lost, lose
from stoker.stores.sqlite.choosing import narrow
from stoker.stores.sqlite.ending import End, bury, cancel_waiting, cascade, end_attempts
from stoker.stores.sqlite.leasing import promote
from stoker.stores.sqlite.matching import Conditions
from stoker.stores.sqlite.phrases import (
    CANCELLED,
    CODES,
    DEAD,
    HAS_CHILDREN,
    WAITING_CODES,
    phrase,
)
from stoker.stores.sqlite.transaction import Card, Transaction, to_json

EVENTS_KEPT = 1_000_000
"""Lines of the audit trail; the oldest go first."""
TIMED_OUT = "timed_out"
"""How an attempt ended that ran past its deadline."""
_TIMEOUT_NAMES = exception_names(TaskTimeout(""))
_TERMINAL = frozenset(CODES[state] for state in TERMINAL)
_TIMED_OUT = to_json(rules.TIMED_OUT)
_EXPIRED = to_json(rules.EXPIRED)

_SILENT = """
    SELECT json_group_array(json_array(seq, id, name)) FROM sessions
    WHERE ended_at IS NULL AND (?1 - expires_at > ?2 OR id IN (SELECT value FROM json_each(?3)))"""
_DECLARE = """
    UPDATE sessions SET state = 'dead', ended_at = ?
    WHERE seq IN (SELECT value FROM json_each(?)) AND ended_at IS NULL"""
_FORGET_SESSIONS = """
    DELETE FROM sessions WHERE ended_at < ?1
      AND ended_at < coalesce(
        (SELECT submitted_at FROM jobs WHERE seq = (SELECT min(seq) FROM jobs)), 9e99)"""
_OF_THE_DEAD = phrase("""
    SELECT json_group_array({card}) FROM (
        SELECT j.* FROM sessions AS s INDEXED BY sessions_ended
        CROSS JOIN jobs AS j INDEXED BY jobs_leased ON j.session = s.seq
        WHERE s.ended_at >= ? AND s.state = 'dead' AND j.{leased} LIMIT ?) AS j""")
# The index has deadlines by session: from one session that holds something to the next.
_OVERDUE = phrase("""
    WITH RECURSIVE holders (session) AS (
        SELECT (SELECT min(session) FROM jobs INDEXED BY jobs_leased WHERE {leased})
        UNION ALL
        SELECT (SELECT min(session) FROM jobs INDEXED BY jobs_leased
                WHERE session > h.session AND {leased})
        FROM holders AS h WHERE h.session IS NOT NULL)
    SELECT json_group_array({card}) FROM (
        SELECT * FROM jobs AS j WHERE j.seq IN (
            SELECT held.seq FROM holders AS h
            CROSS JOIN jobs AS held INDEXED BY jobs_leased ON held.session = h.session
            WHERE held.deadline_at < ? AND {leased} ORDER BY held.deadline_at LIMIT ?)
        ORDER BY j.deadline_at) AS j""")
_EXPIRING = phrase("""
    SELECT json_group_array({card}) FROM (
        SELECT * FROM jobs AS j INDEXED BY jobs_expiring WHERE j.expires_at < ? AND j.{waiting}
        ORDER BY j.expires_at LIMIT ?) AS j""")
_EXPIRE = phrase("""
    UPDATE jobs SET state = 7, finished_at = ?, error = ?, waiting_for = NULL
    WHERE seq IN (SELECT value FROM json_each(?)) AND {waiting}""")
_STATES = """
    SELECT json_group_array(json_array(seq, state)) FROM jobs
    WHERE seq IN (SELECT value FROM json_each(?))"""
_FORGET_EVENTS = "DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - ?"

_CARDS = phrase("""
    SELECT json_group_array({card}) FROM (
        SELECT * FROM jobs AS j {where} ORDER BY j.seq LIMIT ?) AS j""")
_COUNT = "SELECT count(*) FROM jobs AS j {where}"
_OLD = phrase("""
    SELECT json_group_array({card}) FROM (
        SELECT * FROM (
            SELECT * FROM jobs AS j {where} ORDER BY j.finished_at, j.seq LIMIT ?) AS j
        WHERE ? - j.finished_at >= ? AND (j.workflow_id IS NULL OR NOT EXISTS (
            SELECT 1 FROM jobs AS m
            WHERE m.workflow_id = j.workflow_id AND m.finished_at IS NULL))
        LIMIT ?) AS j""")
_FORGET = (
    """UPDATE edges SET parent = NULL, parent_id = (SELECT id FROM jobs WHERE seq = parent)
    WHERE parent IN (SELECT value FROM json_each(?))""",
    "DELETE FROM edges WHERE child IN (SELECT value FROM json_each(?))",
    "DELETE FROM attempts WHERE job IN (SELECT value FROM json_each(?))",
    "DELETE FROM logs WHERE job IN (SELECT value FROM json_each(?))",
    "DELETE FROM payloads WHERE job IN (SELECT value FROM json_each(?))",
    "DELETE FROM jobs WHERE seq IN (SELECT value FROM json_each(?))",
)
_FORGET_FLOWS = """
    DELETE FROM workflows WHERE id IN (SELECT value FROM json_each(?))
      AND NOT EXISTS (SELECT 1 FROM jobs WHERE workflow_id = workflows.id)"""


def reap(
    tx: Transaction, sessions: Sequence[str], *, grace: float, limit: int, actor: str
) -> Reaped:
    """See `Store.reap`."""
    dead = _declare_dead(tx, sessions, grace, actor)
    taken: list[Card] = tx.cards(_OF_THE_DEAD, tx.now - rules.SESSION_KEEP, limit)
    lose(tx, taken, actor)
    latest = tx.now - grace - rules.DEADLINE_GRACE
    overdue = tx.cards(_OVERDUE, latest, max(0, limit - len(taken)))
    _time_out(tx, overdue, actor)
    taken += overdue
    expired = tx.cards(_EXPIRING, tx.now, max(0, limit - len(taken)))
    _expire(tx, expired, actor)
    taken += expired
    after = _states_after(tx, taken)
    promoted = promote(tx, limit - len(taken))
    tx.forget_minutes()
    tx.run(_FORGET_SESSIONS, tx.now - rules.SESSION_KEEP)
    tx.run(_FORGET_EVENTS, EVENTS_KEPT)
    return Reaped(
        sessions=tuple(dead),
        requeued=tuple(card.id for card in taken if after.get(card.seq) in WAITING_CODES),
        buried=tuple(card.id for card in taken if after.get(card.seq) == DEAD),
        promoted=promoted,
    )


def purge(
    tx: Transaction, query: JobQuery, *, older_than: float, keep: int, limit: int, actor: str
) -> int:
    """See `Store.purge`."""
    doomed = _old(tx, query, older_than, keep, limit)
    waiting = _waiting(tx, query, limit - len(doomed))
    cascade(tx, [(seq, 1) for seq in cancel_waiting(tx, waiting, None)])
    for card in waiting:
        card.state = CANCELLED
    doomed += waiting
    if doomed:
        _forget(tx, doomed)
        tx.log(Kind.JOBS_PURGED, actor, count=len(doomed))
    return len(doomed)


def _waiting(tx: Transaction, query: JobQuery, limit: int) -> list[Card]:
    """Return waiting jobs outside workflows that match, oldest first."""
    conditions = Conditions(query, states=WAITING_CODES)
    if conditions.impossible or limit <= 0 or not (query.states or query.ids):
        return []
    conditions.add("j.workflow_id IS NULL")
    narrow(tx, conditions)
    return tx.cards(conditions.fill(_CARDS), *conditions.parameters, limit)


def _old(tx: Transaction, query: JobQuery, older_than: float, keep: int, limit: int) -> list[Card]:
    conditions = Conditions(query, states=_TERMINAL)
    if conditions.impossible or conditions.states is None:
        return []
    conditions.add("j.finished_at IS NOT NULL")
    if keep:
        if conditions.only_states:
            matching = tx.tallied(conditions.states)
        else:
            matching = tx.value(conditions.fill(_COUNT), *conditions.parameters)
        most = max(0, matching - keep)
    else:
        most = -1
        conditions.add("j.finished_at <= ?", tx.now - older_than)
    return tx.cards(conditions.fill(_OLD), *conditions.parameters, most, tx.now, older_than, limit)


def _forget(tx: Transaction, doomed: Sequence[Card]) -> None:
    rows = to_json([card.seq for card in doomed])
    for statement in _FORGET:
        tx.run(statement, rows)
    for card in doomed:
        tx.tally(card.queue, card.priority, card.state, card.workflow_id, -1)
    flows = {card.workflow_id for card in doomed if card.workflow_id is not None}
    if flows:
        tx.run(_FORGET_FLOWS, to_json(list(flows)))


def _declare_dead(tx: Transaction, named: Sequence[str], grace: float, actor: str) -> list[str]:
    rows: list[list[Any]]
    rows = msgspec.json.decode(tx.value(_SILENT, tx.now, grace, to_json(list(named))))
    if rows:
        tx.run(_DECLARE, tx.now, to_json([seq for seq, _, _ in rows]))
    for _, session_id, name in rows:
        tx.log(Kind.WORKER_DIED, actor, worker=name, session=session_id)
    return [session_id for _, session_id, _ in rows]


def _time_out(tx: Transaction, cards: Sequence[Card], actor: str) -> None:
    workers = tx.workers(card.session for card in cards)
    ends = []
    for card in cards:
        card.failed += 1
        code = rules.TIMED_OUT.code
        log_lost(tx, card, actor, code, workers.get(card.session or 0))
        policy = RetryPolicy.from_json((card.retry or "{}").encode())
        retry_in = policy.decide(card.failed, _TIMEOUT_NAMES, tx.clock.random)
        event = rules.ending(
            Outcome.FAILED,
            failed=card.failed,
            lost=card.lost,
            max_retries=card.max_retries,
            max_lost=card.max_lost,
            retry_in=retry_in,
            cancel_requested=bool(card.cancel_requested),
        )
        ends.append(
            End(
                card,
                event,
                TIMED_OUT,
                error=_TIMED_OUT,
                job_error=_TIMED_OUT,
                retry_in=retry_in,
                code=code,
            )
        )
    end_attempts(tx, ends, actor)


def _expire(tx: Transaction, cards: Sequence[Card], actor: str) -> None:
    if not cards:
        return
    workers = tx.workers(card.session for card in cards)
    for card in cards:
        tx.moves(card, Event.EXPIRE)
        bury(tx, card, actor, rules.EXPIRED.code, worker=workers.get(card.session or 0))
    tx.run(_EXPIRE, tx.now, _EXPIRED, to_json([card.seq for card in cards]))
    cascade(tx, [(card.seq, 1) for card in cards if card.links & HAS_CHILDREN])


def _states_after(tx: Transaction, cards: Sequence[Card]) -> dict[int, int]:
    if not cards:
        return {}
    rows = to_json([card.seq for card in cards])
    return dict(msgspec.json.decode(tx.value(_STATES, rows)))
