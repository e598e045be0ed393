"""Settlements: whether the fence is right, and what each one leads to.

Almost all of them say ``completed``. These take the fast path: one statement for all, with the
fence in it, and no objects. The others are rare and go through `ending`.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from stoker.core import rules
from stoker.core.job import HeldJob, Outcome, Settled, Settlement
from stoker.core.lifecycle import Event, State, move
from stoker.stores.sqlite.ending import End, cascade, end_attempts, error_json
from stoker.stores.sqlite.phrases import (
    CODES,
    COMPLETED,
    HAS_CHILDREN,
    LEASED_CODES,
    STATES,
    phrase,
)
from stoker.stores.sqlite.reporting import keep_reports
from stoker.stores.sqlite.transaction import Card, Transaction, to_json

_LOOK = """
    SELECT json_group_array(json_array(
        j.seq, j.state, j.epoch IS s.value ->> 1 AND j.nonce IS s.value ->> 2, j.queue, j.priority,
        j.task, j.due_at, j.leased_at, j.started_at, j.links, j.workflow_id) ORDER BY s.key)
    FROM jsonb_each(?) AS s LEFT JOIN jobs AS j ON j.id = s.value ->> 0"""
_COMPLETE = phrase("""
    UPDATE jobs SET
        state = 6, result = s.value ->> 3, started_at = s.value ->> 4, finished_at = ?,
        deadline_at = NULL
    FROM jsonb_each(?) AS s
    WHERE jobs.seq = s.value ->> 0 AND jobs.epoch = s.value ->> 1 AND jobs.nonce = s.value ->> 2
      AND jobs.{leased}""")
_CARDS = phrase("{cards} WHERE j.seq IN (SELECT value FROM json_each(?))")
_ERRORS = """
    SELECT json_group_array(json_array(seq, error)) FROM jobs
    WHERE error IS NOT NULL AND seq IN (SELECT value FROM json_each(?))"""
_OBEYED = """
    SELECT EXISTS (
        SELECT 1 FROM attempts WHERE job = ? AND epoch = ? AND nonce = ? AND outcome = ?)"""


class _Look(msgspec.Struct, array_like=True, gc=False):
    seq: int | None
    state: int | None
    fits: int
    queue: str | None
    priority: int | None
    task: str | None
    due_at: float | None
    leased_at: float | None
    started_at: float | None
    links: int | None
    workflow_id: str | None


_read_looks = msgspec.json.Decoder(list[_Look]).decode
_OUTCOME_STATE = {code: CODES[move(STATES[code], Event.COMPLETE)] for code in LEASED_CODES}
if set(_OUTCOME_STATE.values()) != {CODES[State.COMPLETED]}:
    raise AssertionError("the fast path writes 'completed', and the table says otherwise")


def settle(tx: Transaction, settlements: Sequence[Settlement], actor: str) -> list[Settled]:
    """Obey settlements; see `Store.exchange`."""
    if not settlements:
        return []
    asked = to_json([(told.id, told.epoch, told.nonce) for told in settlements])
    looks = _read_looks(tx.value(_LOOK, asked))
    answers: list[Settled] = []
    completed: list[tuple[_Look, Settlement]] = []
    others: dict[int, Settlement] = {}
    taken: dict[int, Settlement] = {}
    reports: list[tuple[int, HeldJob | Settlement]] = []
    for told, look in zip(settlements, looks, strict=True):
        seq = look.seq
        if seq is None or not look.fits or look.state not in LEASED_CODES or seq in taken:
            first = taken.get(seq) if seq is not None else None
            answers.append(_second_answer(tx, told, look, first))
            continue
        answers.append(Settled.OK)
        taken[seq] = told
        if told.outcome is Outcome.COMPLETED:
            completed.append((look, told))
        else:
            others[seq] = told
        if told.progress is not None or told.note is not None or told.logs:
            reports.append((seq, told))
    keep_reports(tx, reports)
    _complete(tx, completed)
    _end_others(tx, others, actor)
    return answers


def _second_answer(
    tx: Transaction, told: Settlement, look: _Look, first: Settlement | None
) -> Settled:
    """Answer a settlement whose fence is not that of a live lease."""
    if first is not None and look.fits:
        repeated = first.outcome is told.outcome
    elif look.seq is None:
        repeated = False
    elif look.fits and look.state == COMPLETED and told.outcome is Outcome.COMPLETED:
        repeated = True
    else:
        outcome = told.outcome.value
        repeated = bool(tx.value(_OBEYED, look.seq, told.epoch, told.nonce, outcome))
    return Settled.REPEATED if repeated else Settled.LEASE_LOST


def _complete(tx: Transaction, completed: Sequence[tuple[_Look, Settlement]]) -> None:
    if not completed:
        return
    now, books = tx.now, tx.books
    rows: list[tuple[Any, ...]] = []
    moved: dict[tuple[str, int, int], int] = {}
    sums: dict[tuple[str, str], list[float]] = {}
    parents: list[tuple[int, int]] = []
    for look, told in completed:
        started_at = look.started_at
        if started_at is None and told.ran_for is not None:
            started_at = now - told.ran_for
        result = None if told.result is None else told.result.decode("utf-8", "replace")
        rows.append((look.seq, told.epoch, told.nonce, result, started_at))
        key: Any = (look.queue, look.priority, look.state)
        moved[key] = moved.get(key, 0) + 1
        cell = sums.setdefault((look.queue, look.task), [0, 0.0, 0.0])  # type: ignore[arg-type]
        cell[0] += 1
        cell[1] += look.leased_at - look.due_at  # type: ignore[operator]
        if started_at is not None:
            cell[2] += now - started_at
        if look.links:
            _note_links(look, parents)
        if look.workflow_id is not None:
            _note_flow(tx, look)
        books.changed.append(told.id)
    changed = tx.run(_COMPLETE, now, to_json(rows))
    if changed != len(rows):
        raise RuntimeError(f"{len(rows)} leases were to be completed, {changed} were")
    for (queue, priority, state), n in moved.items():
        for code, sign in ((state, -1), (COMPLETED, 1)):
            cell_key = (queue, priority, code)
            books.moved[cell_key] = books.moved.get(cell_key, 0) + sign * n
        books.freed.add(queue)
    for (queue, task), (n, waited, ran) in sums.items():
        tx.count(queue, task, Outcome.COMPLETED.value, int(n), waited, ran)
    cascade(tx, parents)


def _note_links(look: _Look, parents: list[tuple[int, int]]) -> None:
    if look.seq is not None and look.links is not None and look.links & HAS_CHILDREN:
        parents.append((look.seq, 0))


def _note_flow(tx: Transaction, look: _Look) -> None:
    for code, n in ((look.state, -1), (COMPLETED, 1)):
        key: Any = (look.workflow_id, code)
        tx.books.flows[key] = tx.books.flows.get(key, 0) + n


def _end_others(tx: Transaction, others: dict[int, Settlement], actor: str) -> None:
    if not others:
        return
    wanted = to_json(list(others))
    cards = {card.seq: card for card in tx.cards(_CARDS, wanted)}
    errors: dict[int, str] = dict(msgspec.json.decode(tx.value(_ERRORS, wanted)))
    ends = [_end(cards[seq], told, errors.get(seq)) for seq, told in others.items()]
    end_attempts(tx, ends, actor)


def _end(card: Card, told: Settlement, older: str | None) -> End:
    card.failed += told.outcome is Outcome.FAILED
    card.lost += told.outcome is Outcome.CRASHED
    error = error_json(told.error)
    counts = told.outcome in {Outcome.FAILED, Outcome.CRASHED}
    return End(
        card=card,
        event=rules.ending(
            told.outcome,
            failed=card.failed,
            lost=card.lost,
            max_retries=card.max_retries,
            max_lost=card.max_lost,
            retry_in=told.retry_in,
            cancel_requested=bool(card.cancel_requested),
        ),
        outcome=told.outcome.value,
        error=error,
        job_error=error if counts else older,
        uncounted=told.outcome in rules.UNCOUNTED,
        retry_in=told.retry_in,
        ran_for=told.ran_for,
        code=told.error.code if told.error else "task_error",
    )
