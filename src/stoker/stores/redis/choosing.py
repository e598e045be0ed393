"""Which jobs a `JobQuery` means: the arguments of ``scan``, and its rows, page by page.

The function looks through a few blocks of jobs in a call, so that no query holds the server up,
however many jobs there are; here the calls are put together. What a job is or was last is compared
in the function. Whether its error holds a text is decided here, by Python's idea of letters.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Any

from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.stores.redis.functions import CODES
from stoker.stores.redis.records import Life, error_of, pack, read_life

FARTHEST = 10**15 - 1
"""A place beyond all jobs."""
A_CALL = 250
"""The most jobs asked for in one call."""
Run = Callable[..., Awaitable[Any]]
"""Calls a function with packed arguments."""


class Scan:
    """One look through the jobs that match a query."""

    def __init__(
        self,
        run: Run,
        query: JobQuery,
        *,
        states: Collection[State] = (),
        position: int = FARTHEST,
        forwards: bool = False,
        light: bool = False,
        outside_workflows: bool = False,
    ) -> None:
        """Begin a scan.

        Args:
            run: Calls a function.
            query: Which jobs.
            states: Only these, whatever the query says besides; all if empty.
            position: The number of the job where to begin.
            forwards: Oldest first; else newest first.
            light: Only the records, without specs, results and attempts.
            outside_workflows: Only jobs that are in none.
        """
        self._run = run
        self._query = query
        self._forwards = forwards
        self._light = light
        self._position: int | None = position
        wanted = [s for s in query.states if s in states] if states else query.states
        self._nothing = bool(states and query.states and not wanted)
        self._filter = _filter(query, wanted or sorted(states), outside_workflows)

    async def rows(self, most: int) -> list[Sequence[Any]]:
        """Return up to so many matching rows; fewer only when there are no more."""
        found: list[Sequence[Any]] = []
        async for row in self._each(most):
            found.append(row)
            if len(found) == most:
                break
        return found

    async def lives(self, most: int) -> list[tuple[str, Life]]:
        """Return the numbers and records of up to so many matching jobs."""
        return [(row[0].decode(), read_life(row[1])) for row in await self.rows(most)]

    async def _each(self, most: int) -> AsyncIterator[Sequence[Any]]:
        if self._nothing or most <= 0:
            return
        ids = self._query.ids or None
        while self._position is not None:
            wanted = min(most, A_CALL)
            asked = (self._position, self._forwards, wanted, self._light, self._filter, ids)
            self._position, rows = await self._run("scan", pack(asked))
            for row in rows:
                if self._query.error is None or _error_holds(row[1], self._query.error):
                    yield row


def _filter(query: JobQuery, states: Sequence[State], outside: bool) -> tuple[Any, ...]:  # noqa: FBT001 - private
    return (
        [CODES[state] for state in states] or None,
        query.queues or None,
        query.tasks or None,
        query.tenant,
        query.workflow_id,
        query.schedule,
        query.worker,
        query.error is not None or None,
        query.submitted_after,
        query.submitted_before,
        outside or None,
        [priority.rank for priority in query.priorities] or None,
    )


def _error_holds(packed: bytes, text: str) -> bool:
    error = error_of(read_life(packed).error)
    if error is None:
        return False
    wanted = text.casefold()
    return any(wanted in part.casefold() for part in (error.code, error.type, error.message))
