"""What a worker tells and asks: the arguments of ``exchange`` and ``beat``, and their answers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from stoker.core import rules
from stoker.core.errors import LeaseLost
from stoker.core.job import (
    BeatReply,
    Command,
    Exchanged,
    HeldJob,
    Leased,
    Outcome,
    SessionSpec,
    Settled,
    Settlement,
)
from stoker.stores.postgres.lines import Rows
from stoker.stores.postgres.phrases import clean, fold_of, to_json


def _places(count: int) -> str:
    return ", ".join(f"${n}" for n in range(1, count + 1))


EXCHANGE = "SELECT * FROM @exchange({places})".replace("{places}", _places(30))
BEAT = """
    SELECT alive, command, cancelled, owned, rung, changed
    FROM @beat({places})""".replace("{places}", _places(19))
_HEADER, _LEASE, _PARENT, _REFUSED = range(4)
_QUICK = 1
_LIVING = frozenset({"alive", "draining"})
_by_id = attrgetter("id")
_read_headers = msgspec.json.Decoder(dict[str, str]).decode

Lines = tuple[list[int], list[float], list[int], list[str]]
Told = HeldJob | Settlement


class Talk:
    """One exchange: what is sent, and what came back."""

    def __init__(self, session_id: str, settlements: Sequence[Settlement], nonce: str) -> None:
        """Sort settlements into the quick ones and all others."""
        self._session_id = session_id
        self._nonce = nonce
        self._settlements = settlements
        self._quick, self._rest = _sorted_out(settlements)
        self.rung: Sequence[str] = ()
        self.changed: Sequence[str] = ()

    def sent(
        self,
        now: float | None,
        *,
        queues: Mapping[str, int],
        want: int,
        aged: int,
        ids: Sequence[str],
        repeated: bool,
    ) -> tuple[Any, ...]:
        """Return the arguments of the function ``exchange``."""
        quick = [self._settlements[place] for place in self._quick]
        rest = [self._settlements[place] for place in self._rest]
        return (
            now, clean(self._session_id), clean(self._nonce), repeated, want, aged,
            [clean(name) for name in queues], list(queues.values()),
            [clean(job_id) for job_id in dict.fromkeys(ids)],
            [told.id for told in quick], [told.epoch for told in quick],
            [told.nonce for told in quick], [told.result for told in quick],
            [_float(told.ran_for) for told in quick],
            [clean(told.id) for told in rest], [told.epoch for told in rest],
            [clean(told.nonce) for told in rest], [told.outcome.value for told in rest],
            [told.result for told in rest], [_float(told.ran_for) for told in rest],
            [_float(told.retry_in) for told in rest],
            [None if told.error is None else to_json(told.error) for told in rest],
            [fold_of(told.error) for told in rest],
            [clean(told.error.code) if told.error else "task_error" for told in rest],
            [_float(told.progress) for told in rest],
            [None if told.note is None else to_json(told.note) for told in rest],
            *_lines(rest),
        )  # fmt: skip

    def heard(self, rows: Rows) -> Exchanged:
        """Take the answer.

        Raises:
            LeaseLost: The session may not work any more.
        """
        settled = [Settled.OK] * len(self._settlements)
        leases: list[tuple[Any, ...]] = []
        parents: dict[str, list[tuple[Any, ...]]] = {}
        for row in rows:
            kind = row[0]
            if kind == _LEASE:
                leases.append(row)
            elif kind == _PARENT:
                parents.setdefault(row[1], []).append(row)
            elif kind == _REFUSED:
                places = self._quick if row[5] == _QUICK else self._rest
                answer = Settled.REPEATED if row[15] else Settled.LEASE_LOST
                settled[places[row[6] - 1]] = answer
            else:
                self._check_session(row[1])
                self.rung, self.changed = row[17], row[18]
        self.changed = [*self.changed, *map(_by_id, self._settlements), *(row[1] for row in leases)]
        return Exchanged(settled, [self._leased(row, parents) for row in leases])

    def _check_session(self, state: str | None) -> None:
        if state not in _LIVING:
            raise LeaseLost(
                f"session {self._session_id} is {state or 'unknown'}; drop its jobs and beat with "
                "a new id",
                session=self._session_id,
            )

    def _leased(
        self, row: tuple[Any, ...], families: Mapping[str, list[tuple[Any, ...]]]
    ) -> Leased:
        (_, job_id, task, payload, queue, attempt, epoch, timeout, soft_timeout, failed, lost,
         retry, tenant, workflow_id, headers, cancel_requested, linked, _, _) = row  # fmt: skip
        results = names = None
        if linked:
            family = families.get(job_id, [])
            results = {p[2]: p[3] if p[3] is not None else b"null" for p in family if p[15]}
            if workflow_id is not None:
                names = {p[2]: p[4] for p in family if p[4] is not None}
        return Leased(
            job_id,
            task,
            payload,
            queue,
            attempt,
            epoch,
            self._nonce,
            timeout,
            soft_timeout,
            failed,
            lost,
            b"{}" if retry is None else retry.encode(),
            results,
            names,
            tenant,
            workflow_id,
            None if headers is None else _read_headers(headers),
            cancel_requested,
        )


def beat_sent(
    now: float | None, session: SessionSpec, held: Sequence[HeldJob], ttl: float
) -> tuple[Any, ...]:
    """Return the arguments of the function ``beat``."""
    told = sorted(held, key=_by_id)
    return (
        now, clean(session.id), clean(session.name), session.state.value, to_json(session),
        clean(session.host), session.pid, float(ttl), rules.CONFIRM_SHARE,
        [clean(job.id) for job in told], [job.epoch for job in told],
        [clean(job.nonce) for job in told], [_float(job.ran_for) for job in told],
        [_float(job.progress) for job in told],
        [None if job.note is None else to_json(job.note) for job in told],
        *_lines(told),
    )  # fmt: skip


def beat_heard(row: tuple[Any, ...], held: Sequence[HeldJob]) -> BeatReply:
    """Return what the answer of the function ``beat`` says."""
    alive, command, cancelled, owned, _, _ = row
    mine, off = set(owned), set(cancelled)
    lost = tuple(job.id for job in held if clean(job.id) not in mine)
    if command is None or not alive:
        return BeatReply(alive, tuple(job.id for job in held if job.id in off), lost)
    cancel = tuple(job.id for job in held if job.id in off)
    return BeatReply(alive, cancel, lost, Command(command))


def _sorted_out(settlements: Sequence[Settlement]) -> tuple[list[int], list[int]]:
    """Return the places of quick settlements, in the order of their jobs' ids, and of all others.

    The order is that in which the rows are locked; a job that is settled twice is not quick.
    """
    times = Counter(map(_by_id, settlements))
    quick: list[int] = []
    rest: list[int] = []
    for place, told in enumerate(settlements):
        (quick if _is_quick(told) and times[told.id] == 1 else rest).append(place)
    quick.sort(key=lambda place: settlements[place].id)
    return quick, rest


def _is_quick(told: Settlement) -> bool:
    return (
        told.outcome is Outcome.COMPLETED
        and told.progress is None
        and told.note is None
        and not told.logs
        and told.id.isascii()
        and "\0" not in told.id
        and "\0" not in told.nonce
    )


def _lines(told: Sequence[Told]) -> Lines:
    """Return all log lines, each with the place of its job in the list, from 1."""
    lines: Lines = ([], [], [], [])
    for place, job in enumerate(told, 1):
        for line in job.logs:
            lines[0].append(place)
            lines[1].append(line.at.timestamp())
            lines[2].append(line.attempt)
            lines[3].append(to_json(line.message))
    return lines


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)
