"""Attempts that ended well: the fast path of nearly all settlements.

One statement writes them all, with the fence in it. What the books need besides is known from the
lease, if this handle gave it (`plain`), else from a look at the rows (`complete`).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from stoker.core.job import Outcome, Settlement
from stoker.core.lifecycle import LEASED, Event, State, move
from stoker.stores.sqlite.ending import cascade
from stoker.stores.sqlite.leasing import Pick
from stoker.stores.sqlite.ledger import Spread, spread
from stoker.stores.sqlite.phrases import ASSIGNED, COMPLETED, HAS_CHILDREN, phrase
from stoker.stores.sqlite.transaction import LONGEST_TEXT, Again, Transaction, to_json

_COMPLETE = phrase("""
    UPDATE jobs SET
        state = 6, result = s.value ->> 3, finished_at = ?1, deadline_at = NULL,
        started_at = coalesce(started_at, ?1 - (s.value ->> 4))
    FROM jsonb_each(?2) AS s
    WHERE jobs.seq = s.value ->> 0 AND jobs.epoch = s.value ->> 1 AND jobs.nonce = s.value ->> 2
      AND jobs.{leased}""")
# A child may have been submitted since the lease was given: then this is not the place.
_COMPLETE_CHILDLESS = _COMPLETE + " AND NOT jobs.links & 2"

if {move(state, Event.COMPLETE) for state in LEASED} != {State.COMPLETED}:
    raise AssertionError("the fast path writes 'completed', and the table says otherwise")


class Look(msgspec.Struct, array_like=True, gc=False):
    """What a look at the row of a job that is to be settled gives; ``seq`` 0: there is none."""

    seq: int
    state: int
    fits: int
    """Whether the fence is that of the job's last lease."""
    queue: str
    priority: int
    task: str
    due_at: float
    leased_at: float
    started_at: float | None
    links: int
    workflow_id: str | None


class Sum(msgspec.Struct, gc=False):
    """Completed attempts of one queue, priority and task."""

    queue: str
    priority: int
    task: str
    n: int
    waited: float
    """Seconds, of all together."""
    ran: float
    """Seconds, of all together."""
    spread: Spread

    def write(self, tx: Transaction) -> None:
        """Bring them into the books."""
        tx.tally(self.queue, self.priority, ASSIGNED, None, -self.n)
        tx.tally(self.queue, self.priority, COMPLETED, None, self.n)
        outcome = Outcome.COMPLETED.value
        tx.count(self.queue, self.task, outcome, n=self.n, waited=self.waited, ran=self.ran)
        tx.count_spread(self.queue, self.task, self.spread)
        tx.books.freed.add(self.queue)


class Plain(msgspec.Struct, gc=False):
    """Completions of leases that this handle gave, and all that they take, but the moment."""

    rows: str
    """For the statement that writes them."""
    n: int
    sums: list[Sum]
    ids: Callable[[], list[str]]


def plain(done: Sequence[tuple[Pick, Settlement]]) -> Plain | None:
    """Get completions ready to be written; None: they are too long for one statement.

    Needs no transaction, so that the thread that writes need not do it.
    """
    rows = to_json([_row(pick.seq, told) for pick, told in done])
    if len(rows) > LONGEST_TEXT:
        return None
    sums = []
    for kind, same in _kinds(done):
        waits = [pick.leased_at - pick.due_at for pick, _ in same]
        runs = [told.ran_for for _, told in same if told.ran_for is not None]
        sums.append(_sum(kind, waits, runs))
    return Plain(rows, len(done), sums, lambda: [told.id for _, told in done])


def complete_plain(tx: Transaction, done: Plain) -> None:
    """Complete jobs whose leases this handle gave.

    Raises:
        Again: Not all are as they were leased.
    """
    if tx.run(_COMPLETE_CHILDLESS, tx.now, done.rows) != done.n:
        raise Again
    for each in done.sums:
        each.write(tx)
    tx.books.changed.extend_by(done.ids)


def _row(seq: int, told: Settlement) -> tuple[Any, ...]:
    return (seq, told.epoch, told.nonce, _text(told.result), told.ran_for)


def _kinds(
    done: Sequence[tuple[Pick, Settlement]],
) -> Iterable[tuple[tuple[str, int, str], Sequence[tuple[Pick, Settlement]]]]:
    """Return them by queue, priority and task."""
    kinds = {(pick.queue, pick.priority, pick.task) for pick, _ in done}
    if len(kinds) == 1:
        return [(kinds.pop(), done)]
    groups: dict[tuple[str, int, str], list[tuple[Pick, Settlement]]] = {kind: [] for kind in kinds}
    for one in done:
        pick = one[0]
        groups[pick.queue, pick.priority, pick.task].append(one)
    return groups.items()


def _sum(kind: tuple[str, int, str], waits: list[float], runs: list[float]) -> Sum:
    return Sum(*kind, len(waits), sum(waits), sum(runs), spread(waits, runs))


def complete(tx: Transaction, done: Sequence[tuple[Look, Settlement]]) -> None:
    """Complete jobs that were looked at in this transaction, and tell their children."""
    if not done:
        return
    cells: dict[tuple[str, int, str], tuple[list[float], list[float]]] = {}
    parents: list[tuple[int, int]] = []
    for look, told in done:
        waits, runs = cells.setdefault((look.queue, look.priority, look.task), ([], []))
        waits.append(look.leased_at - look.due_at)
        ran = told.ran_for if look.started_at is None else tx.now - look.started_at
        if ran is not None:
            runs.append(ran)
        if look.links & HAS_CHILDREN:
            parents.append((look.seq, 0))
        if look.workflow_id is not None:
            for state, n in ((ASSIGNED, -1), (COMPLETED, 1)):
                key = (look.workflow_id, state)
                tx.books.flows[key] = tx.books.flows.get(key, 0) + n
    changed = tx.run_rows(_COMPLETE, [_row(look.seq, told) for look, told in done], tx.now)
    if changed != len(done):
        raise RuntimeError(f"{len(done)} leases were to be completed, {changed} were")
    for kind, (waits, runs) in cells.items():
        _sum(kind, waits, runs).write(tx)
    tx.books.changed.extend(told.id for _, told in done)
    cascade(tx, parents)


def _text(result: bytes | None) -> str | None:
    return None if result is None else result.decode("utf-8", "replace")
