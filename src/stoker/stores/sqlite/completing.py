"""Attempts that ended well: the fast path of nearly all settlements.

One statement writes them all, with the fence in it. What the books need besides is known from the
lease, if this handle gave it (`complete_given`), else from a look at the rows (`complete`).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from stoker.core.job import Outcome, Settlement
from stoker.core.lifecycle import LEASED, Event, State, move
from stoker.stores.sqlite.ending import cascade
from stoker.stores.sqlite.leasing import Pick
from stoker.stores.sqlite.phrases import ASSIGNED, COMPLETED, HAS_CHILDREN, phrase
from stoker.stores.sqlite.transaction import Again, Transaction

_COMPLETE = phrase("""
    UPDATE jobs SET
        state = 6, result = s.value ->> 3, started_at = coalesce(started_at, s.value ->> 4),
        finished_at = ?, deadline_at = NULL
    FROM jsonb_each(?) AS s
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


def complete_given(tx: Transaction, done: Sequence[tuple[Pick, Settlement]]) -> None:
    """Complete jobs whose leases this handle gave.

    Raises:
        Again: Not all are as they were leased.
    """
    if not done:
        return
    now = tx.now
    rows = [
        (
            pick.seq,
            told.epoch,
            told.nonce,
            None if told.result is None else told.result.decode("utf-8", "replace"),
            None if told.ran_for is None else now - told.ran_for,
        )
        for pick, told in done
    ]
    if tx.run_rows(_COMPLETE_CHILDLESS, rows, now) != len(rows):
        raise Again
    sums = _Sums()
    for kind, same in _kinds(done):
        waits = [pick.leased_at - pick.due_at for pick, _ in same]
        sums.add_all(kind, waits, [told.ran_for for _, told in same if told.ran_for is not None])
    sums.write(tx)
    tx.books.changed += [told.id for _, told in done]


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


def complete(tx: Transaction, done: Sequence[tuple[Look, Settlement]]) -> None:
    """Complete jobs that were looked at in this transaction, and tell their children."""
    if not done:
        return
    sums = _Sums()
    rows: list[tuple[Any, ...]] = []
    parents: list[tuple[int, int]] = []
    for look, told in done:
        started_at = look.started_at
        if started_at is None:
            started_at = _began(tx.now, told.ran_for)
        rows.append((look.seq, told.epoch, told.nonce, _text(told.result), started_at))
        ran = None if started_at is None else tx.now - started_at
        sums.add(look.queue, look.priority, look.task, look.leased_at - look.due_at, ran)
        if look.links & HAS_CHILDREN:
            parents.append((look.seq, 0))
        if look.workflow_id is not None:
            for state, n in ((ASSIGNED, -1), (COMPLETED, 1)):
                key = (look.workflow_id, state)
                tx.books.flows[key] = tx.books.flows.get(key, 0) + n
    changed = tx.run_rows(_COMPLETE, rows, tx.now)
    if changed != len(rows):
        raise RuntimeError(f"{len(rows)} leases were to be completed, {changed} were")
    sums.write(tx)
    tx.books.changed += [told.id for _, told in done]
    cascade(tx, parents)


class _Sums:
    """Completed attempts by queue, priority and task."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, int, str], tuple[list[float], list[float]]] = {}

    def add(self, queue: str, priority: int, task: str, waited: float, ran: float | None) -> None:
        self.add_all((queue, priority, task), (waited,), () if ran is None else (ran,))

    def add_all(
        self, kind: tuple[str, int, str], waits: Iterable[float], runs: Iterable[float]
    ) -> None:
        cell = self._cells.setdefault(kind, ([], []))
        cell[0].extend(waits)
        cell[1].extend(runs)

    def write(self, tx: Transaction) -> None:
        outcome = Outcome.COMPLETED.value
        for (queue, priority, task), (waits, runs) in self._cells.items():
            n = len(waits)
            tx.tally(queue, priority, ASSIGNED, None, -n)
            tx.tally(queue, priority, COMPLETED, None, n)
            tx.count(queue, task, outcome, n=n, waited=sum(waits), ran=sum(runs))
            tx.spread(queue, task, waits, runs)
            tx.books.freed.add(queue)


def _began(now: float, ran_for: float | None) -> float | None:
    return None if ran_for is None else now - ran_for


def _text(result: bytes | None) -> str | None:
    return None if result is None else result.decode("utf-8", "replace")
