"""What people do to live jobs and to queues."""

from typing import Literal

from stoker.core.events import Kind
from stoker.core.lifecycle import LEASED, LIVE, TERMINAL, Event
from stoker.core.records import Answer, JobQuery
from stoker.stores.sqlite.choosing import choose, in_order
from stoker.stores.sqlite.ending import cancel_waiting, cascade
from stoker.stores.sqlite.phrases import CODES, phrase
from stoker.stores.sqlite.transaction import Card, Transaction, to_json

_LIVE = frozenset(CODES[state] for state in LIVE)
_LEASED = frozenset(CODES[state] for state in LEASED)
_TERMINAL = frozenset(CODES[state] for state in TERMINAL)
_REQUEST = phrase("""
    UPDATE jobs SET cancel_requested = 1
    WHERE seq IN (SELECT value FROM json_each(?)) AND {leased}""")
_SET_PAUSED = """
    INSERT INTO queues (name, paused) VALUES (?1, ?2)
    ON CONFLICT DO UPDATE SET paused = excluded.paused WHERE paused <> excluded.paused"""
_SET_LIMIT = """
    INSERT INTO queues (name, lease_limit) VALUES (?1, ?2)
    ON CONFLICT DO UPDATE SET lease_limit = excluded.lease_limit
    WHERE lease_limit IS NOT excluded.lease_limit"""
_MAKE = "INSERT INTO queues (name) VALUES (?) ON CONFLICT DO NOTHING"


def cancel(
    tx: Transaction, query: JobQuery, *, actor: str, reason: str, limit: int
) -> list[Answer]:
    """See `Store.cancel`."""
    cards = choose(tx, query, _LIVE, limit)
    workers = tx.workers(card.session for card in cards)
    answers: dict[str, Answer] = {}
    waiting: list[Card] = []
    leased: list[Card] = []
    for card in cards:
        if card.state in _TERMINAL:
            answers[card.id] = Answer(card.id, "too_late")
            continue
        requested = card.state in _LEASED
        answer: Literal["requested", "cancelled"] = "requested" if requested else "cancelled"
        answers[card.id] = Answer(card.id, answer)
        if requested and card.cancel_requested:
            continue
        (leased if requested else waiting).append(card)
        tx.log(
            Kind.JOB_CANCELLED,
            actor,
            job_id=card.id,
            queue=card.queue,
            worker=workers.get(card.session or 0),
            answer=answer,
            reason=reason,
        )
    if leased:
        _ask(tx, leased)
    # Jobs that were named are cancelled by their own right first, what depends on them after.
    cascade(tx, [(seq, 1) for seq in cancel_waiting(tx, waiting, None)])
    return in_order(query, answers)


def set_queue(
    tx: Transaction, name: str, *, paused: bool | None, limit: int | None, actor: str
) -> None:
    """See `Store.set_queue`."""
    tx.run(_MAKE, name)
    if paused is not None and tx.run(_SET_PAUSED, name, int(paused)):
        tx.log(Kind.QUEUE_PAUSED if paused else Kind.QUEUE_RESUMED, actor, queue=name)
    if limit is not None and tx.run(_SET_LIMIT, name, limit or None):
        tx.log(Kind.QUEUE_LIMITED, actor, queue=name, limit=limit or None)
    tx.books.queues.add(name)
    tx.books.rung.add(name)


def _ask(tx: Transaction, leased: list[Card]) -> None:
    for card in leased:
        tx.moves(card, Event.REQUEST_CANCEL)
    tx.run(_REQUEST, to_json([card.seq for card in leased]))
