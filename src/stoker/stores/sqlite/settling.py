"""Settlements: whether the fence is right, and what each one leads to."""

from collections.abc import Sequence

import msgspec

from stoker.core import rules
from stoker.core.job import HeldJob, Outcome, Settled, Settlement
from stoker.stores.sqlite.completing import Look, Plain, complete, complete_plain, plain
from stoker.stores.sqlite.ending import End, end_attempts, error_json
from stoker.stores.sqlite.leasing import Pick
from stoker.stores.sqlite.phrases import COMPLETED, LEASED_CODES, phrase
from stoker.stores.sqlite.reporting import keep_reports
from stoker.stores.sqlite.transaction import Card, Transaction, to_json

_LOOK = """
    SELECT json_group_array(json_array(
        coalesce(j.seq, 0), coalesce(j.state, 0),
        j.epoch IS s.value ->> 1 AND j.nonce IS s.value ->> 2,
        coalesce(j.queue, ''), coalesce(j.priority, 0), coalesce(j.task, ''),
        coalesce(j.due_at, 0), coalesce(j.leased_at, 0), j.started_at, coalesce(j.links, 0),
        j.workflow_id) ORDER BY s.key)
    FROM jsonb_each(?) AS s LEFT JOIN jobs AS j ON j.id = s.value ->> 0"""
_CARDS = phrase("{cards} WHERE j.seq IN (SELECT value FROM json_each(?))")
_ERRORS = """
    SELECT json_group_array(json_array(seq, error)) FROM jobs
    WHERE error IS NOT NULL AND seq IN (SELECT value FROM json_each(?))"""
_OBEYED = """
    SELECT EXISTS (
        SELECT 1 FROM attempts WHERE job = ? AND epoch = ? AND nonce = ? AND outcome = ?)"""

_read_looks = msgspec.json.Decoder(list[Look]).decode


class Told:
    """What a session tells, with all that can be done about it before the store is asked."""

    def __init__(self, settlements: Sequence[Settlement], given: dict[str, Pick]) -> None:
        """Sort settlements out.

        Args:
            settlements: What the session tells.
            given: Leases that this handle remembers; those that are settled are forgotten.
        """
        self.settlements = settlements
        done, rest = _recalled(settlements, given)
        self._plain = plain(done) if done else None
        self._rest: Sequence[int] = rest
        if done and self._plain is None:
            self._rest = range(len(settlements))

    def take(self) -> tuple[Plain | None, Sequence[int]]:
        """Return what ends plainly, and the places of the others.

        The second time all are others: who asks again saw that the memory was wrong.
        """
        taken = self._plain, self._rest
        self._plain, self._rest = None, range(len(self.settlements))
        return taken


def _recalled(
    settlements: Sequence[Settlement], given: dict[str, Pick]
) -> tuple[list[tuple[Pick, Settlement]], list[int]]:
    """Return what completes a remembered lease, and the places of the others."""
    quick: list[tuple[Pick, Settlement]] = []
    rest: list[int] = []
    completed, take = Outcome.COMPLETED, given.pop
    # What `_speaks` says is said here without a call: this is the loop of nearly all settlements.
    for place, told in enumerate(settlements):
        pick = take(told.id, None)
        if (
            pick is not None
            and told.outcome is completed
            and pick.epoch == told.epoch
            and pick.nonce == told.nonce
            and told.progress is None
            and told.note is None
            and not told.logs
        ):
            quick.append((pick, told))
        else:
            rest.append(place)
    return quick, rest


def settle(tx: Transaction, told: Told, actor: str) -> list[Settled]:
    """Obey settlements; see `Store.exchange`.

    Args:
        tx: The transaction.
        told: What the session tells.
        actor: Who settles, for the audit trail.

    Raises:
        Again: What was remembered is not so any more.
    """
    answers = [Settled.OK] * len(told.settlements)
    done, rest = told.take()
    if done is not None:
        complete_plain(tx, done)
    if rest:
        told_late = _settle_slowly(tx, [told.settlements[place] for place in rest], actor)
        for place, answer in zip(rest, told_late, strict=True):
            answers[place] = answer
    return answers


def _settle_slowly(tx: Transaction, settlements: Sequence[Settlement], actor: str) -> list[Settled]:
    """Obey settlements after a look at the rows of their jobs."""
    asked = to_json([(told.id, told.epoch, told.nonce) for told in settlements])
    looks = _read_looks(tx.value(_LOOK, asked))
    answers: list[Settled] = []
    completed: list[tuple[Look, Settlement]] = []
    others: dict[int, Settlement] = {}
    taken: dict[int, Settlement] = {}
    reports: list[tuple[int, HeldJob | Settlement]] = []
    for told, look in zip(settlements, looks, strict=True):
        if not look.fits or look.state not in LEASED_CODES or look.seq in taken:
            answers.append(_second_answer(tx, told, look, taken.get(look.seq)))
            continue
        answers.append(Settled.OK)
        taken[look.seq] = told
        if told.outcome is Outcome.COMPLETED:
            completed.append((look, told))
        else:
            others[look.seq] = told
        if _speaks(told):
            reports.append((look.seq, told))
    keep_reports(tx, reports)
    complete(tx, completed)
    _end_others(tx, others, actor)
    return answers


def _speaks(told: Settlement) -> bool:
    return told.progress is not None or told.note is not None or bool(told.logs)


def _second_answer(
    tx: Transaction, told: Settlement, look: Look, first: Settlement | None
) -> Settled:
    """Answer a settlement whose fence is not that of a live lease."""
    if first is not None and look.fits:
        repeated = first.outcome is told.outcome
    elif not look.seq:
        repeated = False
    elif look.fits and look.state == COMPLETED and told.outcome is Outcome.COMPLETED:
        repeated = True
    else:
        outcome = told.outcome.value
        repeated = bool(tx.value(_OBEYED, look.seq, told.epoch, told.nonce, outcome))
    return Settled.REPEATED if repeated else Settled.LEASE_LOST


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
