"""How attempts end, and what follows for the children: one path for every end but plain success.

A caller lists `End`s. They are written together: the attempts into their table, the jobs with
their fence checked in the same statement, the events, and then the cascade through the workflow,
level by level, each level a few statements however many jobs it has.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from stoker.core import rules
from stoker.core.events import Kind
from stoker.core.job import ErrorInfo
from stoker.core.lifecycle import TERMINAL, Event
from stoker.stores.sqlite.ledger import spread
from stoker.stores.sqlite.phrases import (
    CODES,
    COMPLETED,
    HAS_CHILDREN,
    phrase,
)
from stoker.stores.sqlite.transaction import Card, Transaction, to_json

TERMINAL_CODES = frozenset(CODES[state] for state in TERMINAL)
_PARENT_FAILED = to_json(rules.PARENT_FAILED)

_KEEP_ATTEMPTS = """
    INSERT INTO attempts (
        job, epoch, attempt, nonce, session, leased_at, started_at, finished_at, outcome, error)
    SELECT j.seq, j.epoch, j.attempt, j.nonce, j.session, j.leased_at, e.value ->> 1, ?,
           e.value ->> 2, e.value ->> 3
    FROM jsonb_each(?) AS e JOIN jobs AS j ON j.seq = e.value ->> 0"""
_END = phrase("""
    UPDATE jobs SET
        state = e.value ->> 3, due_at = e.value ->> 4, attempt = e.value ->> 5,
        failed = e.value ->> 6, lost = e.value ->> 7, error = e.value ->> 8,
        started_at = e.value ->> 9, finished_at = e.value ->> 10, deadline_at = NULL
    FROM jsonb_each(?) AS e
    WHERE jobs.seq = e.value ->> 0 AND jobs.epoch = e.value ->> 1 AND jobs.nonce IS e.value ->> 2
      AND jobs.{leased}""")
_CHILDREN = phrase("""
    SELECT json_group_array(json_array({card}, x.ended, x.spoiled)) FROM (
        SELECT e.child, count(*) AS ended, max(p.value ->> 1) AS spoiled
        FROM jsonb_each(?) AS p JOIN edges AS e ON e.parent = p.value ->> 0
        GROUP BY e.child
    ) AS x JOIN jobs AS j ON j.seq = x.child
    WHERE j.state = 0""")
_SPOILED = phrase("""
    SELECT json_group_array(DISTINCT e.child)
    FROM json_each(?) AS c JOIN edges AS e ON e.child = c.value JOIN jobs AS j ON j.seq = e.parent
    WHERE j.state IN (7, 8)""")
_COUNT_DOWN = """
    UPDATE jobs SET waiting_for = waiting_for - (c.value ->> 1)
    FROM jsonb_each(?) AS c WHERE seq = c.value ->> 0 AND state = 0"""
_RELEASE = """
    UPDATE jobs SET state = c.value ->> 1, due_at = c.value ->> 2, waiting_for = NULL
    FROM jsonb_each(?) AS c WHERE seq = c.value ->> 0 AND state = 0"""
_CANCEL = phrase("""
    UPDATE jobs SET state = 8, finished_at = ?, error = coalesce(?, error), waiting_for = NULL
    WHERE seq IN (SELECT value FROM json_each(?)) AND {waiting}""")


class End(msgspec.Struct, gc=False):
    """The end of one attempt. The card's counters include it already."""

    card: Card
    event: Event
    outcome: str
    """As the attempt shows it."""
    error: str | None = None
    """Of the attempt, as JSON."""
    job_error: str | None = None
    """Of the job, as JSON: its last failure, which may be an older one."""
    uncounted: bool = False
    retry_in: float | None = None
    ran_for: float | None = None
    code: str = "task_error"
    """Of the job's error, for the audit trail."""


class _Child(msgspec.Struct, array_like=True, gc=False):
    card: Card
    ended: int
    spoiled: int


_read_children = msgspec.json.Decoder(list[_Child]).decode


def end_attempts(tx: Transaction, ends: Sequence[End], actor: str) -> None:
    """Write the ends of leased jobs, with everything that follows from them."""
    if not ends:
        return
    workers = tx.workers(end.card.session for end in ends)
    attempts, jobs = [], []
    finished: list[tuple[int, int]] = []
    for end in ends:
        card = end.card
        started_at = card.started_at
        if started_at is None and end.ran_for is not None:
            started_at = tx.now - end.ran_for
        ran = 0.0 if started_at is None else tx.now - started_at
        waited = 0.0 if card.leased_at is None else card.leased_at - card.due_at
        tx.count(card.queue, card.task, end.outcome, waited=waited, ran=ran)
        found = spread((waited,), () if started_at is None else (ran,))
        tx.count_spread(card.queue, card.task, found)
        attempts.append((card.seq, started_at, end.outcome, end.error))
        state = tx.moves(card, end.event)
        jobs.append(_ended_row(tx, end, state, started_at))
        if state in TERMINAL_CODES and card.links & HAS_CHILDREN:
            finished.append((card.seq, state != COMPLETED))
        if end.event is Event.BURY:
            bury(tx, card, actor, end.code, worker=workers.get(card.session or 0))
    tx.run_rows(_KEEP_ATTEMPTS, attempts, tx.now)
    changed = tx.run_rows(_END, jobs)
    if changed != len(jobs):
        raise RuntimeError(f"{len(jobs)} leases were to end, {changed} did")
    cascade(tx, finished)


def bury(tx: Transaction, card: Card, actor: str, code: str, *, worker: str | None) -> None:
    """Note that a job became a dead letter."""
    tx.count(card.queue, card.task, "dead")
    tx.log(
        Kind.JOB_DEAD,
        actor,
        job_id=card.id,
        queue=card.queue,
        worker=worker,
        code=code,
        task=card.task,
    )


def cancel_waiting(tx: Transaction, cards: Sequence[Card], error: str | None) -> list[int]:
    """Cancel jobs that nobody works on; return those that have children."""
    if not cards:
        return []
    for card in cards:
        tx.moves(card, Event.CANCEL)
    tx.run(_CANCEL, tx.now, error, to_json([card.seq for card in cards]))
    return [card.seq for card in cards if card.links & HAS_CHILDREN]


def cascade(tx: Transaction, ended: Iterable[tuple[int, int]]) -> None:
    """Tell the children of ended jobs: they become ready, or are cancelled with theirs.

    Args:
        tx: The transaction in which the parents ended.
        ended: The parents that have children, each with whether it ended otherwise than well.
    """
    level = list(ended)
    while level:
        children = _read_children(tx.value(_CHILDREN, to_json(level)))
        doomed, ready, waiting = _sort(children)
        if ready:
            # A parent that failed in an earlier life of its workflow, and was not revived with
            # the others, still spoils its child.
            spoiled = set(msgspec.json.decode(tx.value(_SPOILED, to_json([c.seq for c in ready]))))
            doomed += [c for c in ready if c.seq in spoiled and not c.run_anyway]
            ready = [c for c in ready if c.seq not in spoiled or c.run_anyway]
        if waiting:
            tx.run(_COUNT_DOWN, to_json(waiting))
        _release(tx, ready)
        level = [(seq, 1) for seq in cancel_waiting(tx, doomed, _PARENT_FAILED)]


def error_json(error: ErrorInfo | None) -> str | None:
    """Return an error as JSON."""
    return None if error is None else to_json(error)


def _ended_row(tx: Transaction, end: End, state: int, started_at: float | None) -> tuple[Any, ...]:
    card = end.card
    due_at = card.due_at
    if end.event in {Event.RETRY, Event.SNOOZE}:
        due_at = tx.now + max(0.0, end.retry_in or 0.0)
    return (
        card.seq,
        card.epoch,
        card.nonce,
        state,
        due_at,
        card.attempt - end.uncounted,
        card.failed,
        card.lost,
        end.job_error,
        started_at,
        tx.now if state in TERMINAL_CODES else None,
    )


def _sort(
    children: Sequence[_Child],
) -> tuple[list[Card], list[Card], list[tuple[int, int]]]:
    doomed: list[Card] = []
    ready: list[Card] = []
    waiting: list[tuple[int, int]] = []
    for child in children:
        card = child.card
        if child.spoiled and not card.run_anyway:
            doomed.append(card)
        elif card.waiting_for <= child.ended:
            ready.append(card)
        else:
            waiting.append((card.seq, child.ended))
    return doomed, ready, waiting


def _release(tx: Transaction, ready: Sequence[Card]) -> None:
    if not ready:
        return
    rows = []
    for card in ready:
        later = card.due_at > tx.now
        state = tx.moves(card, Event.DEFER if later else Event.UNBLOCK)
        rows.append((card.seq, state, max(card.due_at, tx.now)))
    tx.run(_RELEASE, to_json(rows))
