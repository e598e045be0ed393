"""Cancel, requeue, reap and purge: jobs are chosen first, and changed in a call that looks again.

What was chosen may have moved on before it is changed. The functions therefore check each job
themselves; a job that no longer fits is left alone.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from stoker.core.clock import Clock
from stoker.core.errors import InvalidQuery, TaskTimeout
from stoker.core.lifecycle import LIVE, TERMINAL, WAITING, State
from stoker.core.records import MAX_PAGE, Answer, JobQuery, Reaped
from stoker.core.retry import exception_names
from stoker.stores.redis.choosing import Run, Scan
from stoker.stores.redis.functions import CODES
from stoker.stores.redis.keys import KEYS
from stoker.stores.redis.records import pack, policy_of

REAPED = 500
"""The most jobs that one call of ``reap`` touches."""
PURGED = MAX_PAGE
"""The most jobs that one call of ``purge`` deletes."""
EVERYTHING = 10**9
_TIMEOUT_NAMES = exception_names(TaskTimeout(""))
Command = Callable[..., Awaitable[Any]]
"""Calls a command of the server on one of the namespace's keys."""


async def cancel(run: Run, query: JobQuery, *, actor: str, reason: str, limit: int) -> list[Answer]:
    """See `Store.cancel`."""
    ids = await _chosen(run, query, LIVE, limit)
    told = await run("cancel", pack((actor, reason, ids, not query.ids))) if ids else []
    return _in_order(query, told)


async def requeue(
    run: Run,
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
    ids = await _chosen(run, query, TERMINAL, limit)
    if not ids:
        return _in_order(query, [])
    asked = pack((actor, reason, ids, not query.ids, downstream, interval))
    more = () if payload is None else (payload,)
    return _in_order(query, await run("requeue", asked, *more))


async def reap(
    run: Run, clock: Clock, sessions: Sequence[str], *, grace: float, limit: int, actor: str
) -> Reaped:
    """See `Store.reap`."""
    found = Reaped()
    while True:
        left = limit - len(found.requeued) - len(found.buried) - found.promoted
        most = min(left, REAPED)
        verdicts = await _verdicts(run, clock, grace, most)
        asked = pack((actor, list(sessions), grace, most, verdicts))
        dead, requeued, buried, promoted = await run("reap", asked)
        found = Reaped(
            sessions=(*found.sessions, *_texts(dead)),
            requeued=(*found.requeued, *_texts(requeued)),
            buried=(*found.buried, *_texts(buried)),
            promoted=found.promoted + promoted,
        )
        if len(requeued) + len(buried) + promoted < most or left <= most:
            return found


async def purge(
    run: Run,
    command: Command,
    query: JobQuery,
    *,
    older_than: float,
    keep: int,
    limit: int,
    actor: str,
) -> int:
    """See `Store.purge`."""
    source = await _source(run, command, query)
    allowed = max(0, source.total - keep)
    count = 0
    while allowed > 0 and count < limit:
        part = await source.next(min(allowed, PURGED, limit - count))
        if not part:
            break
        numbers = [number for _, number in part]
        deleted, now, kept = await run("purge", pack((actor, older_than, numbers, [])))
        count += deleted
        allowed -= len(part)
        source.kept(set(_texts(kept)))
        if float(now) - part[-1][0] < older_than:
            break
    return count + await _purge_waiting(run, query, limit - count, actor)


async def _purge_waiting(run: Run, query: JobQuery, limit: int, actor: str) -> int:
    if not (query.states or query.ids) or limit <= 0:
        return 0
    scan = Scan(
        run,
        query,
        states=WAITING,
        forwards=True,
        position=0,
        light=True,
        outside_workflows=True,
    )
    waiting = [number for number, _ in await scan.lives(limit)]
    count = 0
    for first in range(0, len(waiting), PURGED):
        part = waiting[first : first + PURGED]
        deleted, _, _ = await run("purge", pack((actor, 0, [], part)))
        count += deleted
    return count


class _Sorted:
    """Ended jobs that match a query with more than states, oldest end first."""

    def __init__(self, ended: list[tuple[float, str]]) -> None:
        self._ended = sorted(ended)
        self.total = len(ended)
        self._next = 0

    async def next(self, most: int) -> list[tuple[float, str]]:
        part = self._ended[self._next : self._next + most]
        self._next += len(part)
        return part

    def kept(self, numbers: Collection[str]) -> None:
        """Take note of what was not deleted: nothing to do, the list does not move."""


class _Indexed:
    """Ended jobs by state, read from the sorted sets that keep them by the moment they ended."""

    def __init__(self, command: Command, totals: dict[State, int]) -> None:
        self._command = command
        self.total = sum(totals.values())
        self._passed = dict.fromkeys(totals, 0)
        self._given: list[tuple[float, str, State]] = []

    async def next(self, most: int) -> list[tuple[float, str]]:
        found: list[tuple[float, str, State]] = []
        for state, passed in self._passed.items():
            key = _ended_key(state)
            row = await self._command("ZRANGE", key, passed, passed + most - 1, "WITHSCORES")
            pairs = zip(row[1::2], row[::2], strict=True)
            found += [(float(score), number.decode(), state) for score, number in pairs]
        self._given = sorted(found)[:most]
        return [(score, number) for score, number, _ in self._given]

    def kept(self, numbers: Collection[str]) -> None:
        for _, number, state in self._given:
            self._passed[state] += number in numbers


async def _source(run: Run, command: Command, query: JobQuery) -> _Sorted | _Indexed:
    states = [s for s in query.states if s in TERMINAL] if query.states else sorted(TERMINAL)
    if query == JobQuery(states=query.states):
        totals = {state: await command("ZCARD", _ended_key(state)) for state in states}
        return _Indexed(command, totals)
    scan = Scan(run, query, states=TERMINAL, forwards=True, position=0, light=True)
    lives = await scan.lives(EVERYTHING)
    return _Sorted([(life.finished_at or 0.0, number) for number, life in lives])


def _ended_key(state: State) -> str:
    return f"{KEYS['ENDED'].name}{CODES[state]}"


async def _chosen(
    run: Run, query: JobQuery, states: Collection[State], limit: int
) -> Sequence[str]:
    """Return the ids of the jobs to change: those named, or live or ended ones, oldest first."""
    if query.ids and query == JobQuery(ids=query.ids):
        return query.ids
    wanted = () if query.ids else states
    scan = Scan(run, query, states=wanted, forwards=True, position=0, light=True)
    lives = await scan.lives(EVERYTHING if query.ids else limit)
    found = {life.id for _, life in lives}
    # Named jobs are taken in the order in which they were named.
    return [i for i in query.ids if i in found] if query.ids else [life.id for _, life in lives]


def _in_order(query: JobQuery, told: Sequence[bytes]) -> list[Answer]:
    texts = _texts(told)
    answers: dict[str, Any] = dict(zip(texts[::2], texts[1::2], strict=True))
    if not query.ids:
        return [Answer(job_id, answer) for job_id, answer in answers.items()]
    return [Answer(job_id, answers.get(job_id, "unknown")) for job_id in query.ids]


async def _verdicts(run: Run, clock: Clock, grace: float, most: int) -> list[tuple[Any, ...]]:
    """Ask the policies of overdue jobs whether and when they are tried again."""
    numbers, epochs, failed, specs = await run("overdue", pack((grace, most)))
    return [
        (number.decode(), epoch, policy_of(kept).decide(failures, _TIMEOUT_NAMES, clock.random))
        for number, epoch, failures, kept in zip(numbers, epochs, failed, specs, strict=True)
    ]


def _texts(values: Sequence[bytes]) -> list[str]:
    return [value.decode() for value in values]
