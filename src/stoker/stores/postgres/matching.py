"""Which jobs a `JobQuery` means, as conditions of a statement.

The conditions are put together from constants; data go in as parameters. The state decides which
table is looked at, so that a search among a few live jobs does not wade through all that ended.
"""

import re
from typing import Any

from stoker.core.errors import InvalidQuery
from stoker.core.records import MAX_PAGE, JobQuery
from stoker.stores.postgres.phrases import CODES, LEASED_CODES, clean, fold

_FIRST_ENDED = 6
_EXACT = (
    ("tenant", "j.tenant = {}::text"),
    ("workflow_id", "j.workflow_id = {}::text"),
    ("schedule", "j.schedule = {}::text"),
    ("worker", "j.worker = {}::text"),
    ("submitted_after", "j.submitted_at >= {}::float8"),
    ("submitted_before", "j.submitted_at < {}::float8"),
)


class Conditions:
    """A WHERE clause, the table it is for, and the parameters."""

    def __init__(self, query: JobQuery, *, states: frozenset[int] | None = None) -> None:
        """Translate a query.

        Args:
            query: Which jobs.
            states: Numbers of the states to which the answer is narrowed besides.
        """
        self._parts: list[str] = []
        self._parameters: list[Any] = []
        wanted = frozenset(CODES[state] for state in query.states) or None
        if states is not None:
            wanted = states if wanted is None else wanted & states
        self._states = wanted
        for column, values in (("id", query.ids), ("queue", query.queues), ("task", query.tasks)):
            if values:
                self.add(f"j.{column} = ANY ({self.hold([clean(v) for v in values])}::text[])")
        for field, condition in _EXACT:
            value = getattr(query, field)
            if value is not None:
                place = self.hold(clean(value) if isinstance(value, str) else float(value))
                self.add(condition.format(place))
        if wanted is not None:
            self.add(f"j.state IN ({', '.join(str(code) for code in sorted(wanted))})")
            if wanted <= LEASED_CODES:
                self.add("j.state IN (3, 4)")
        if query.priorities:
            ranks = sorted({priority.rank for priority in query.priorities})
            self.add(f"j.priority IN ({', '.join(str(rank) for rank in ranks)})")
        if query.error is not None:
            self.add(f"strpos(j.error_fold, {self.hold(fold([query.error]))}::text) > 0")

    @property
    def impossible(self) -> bool:
        """Whether no job can match."""
        return self._states is not None and not self._states

    @property
    def table(self) -> str:
        """The table that holds all jobs that may match."""
        if self._states:
            if min(self._states) >= _FIRST_ENDED:
                return "@ended"
            if max(self._states) < _FIRST_ENDED:
                return "@live"
        return "@jobs"

    def add(self, condition: str) -> None:
        """Narrow the answer."""
        self._parts.append(condition)

    def hold(self, value: Any) -> str:
        """Take a parameter; return how a condition names it."""
        self._parameters.append(value)
        return f"${len(self._parameters)}"

    def where(self) -> str:
        """Return the clause."""
        return f"WHERE {' AND '.join(self._parts)}" if self._parts else ""

    def statement(self, text: str, *, limit: int) -> tuple[str, tuple[Any, ...]]:
        """Fill a statement with table, clause and limit; return it with its parameters."""
        most = f"{self.hold(limit)}::bigint"
        filled = text.replace("{where}", self.where()).replace("{table}", self.table)
        return filled.replace("{limit}", most), tuple(self._parameters)


def check_limit(limit: int) -> None:
    """Refuse a page size that no verb gives.

    Raises:
        InvalidQuery: Not between 1 and `MAX_PAGE`.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidQuery(f"the limit is {limit}; expected 1 to {MAX_PAGE}", limit=limit)


def place(cursor: str | None, kind: str) -> int:
    """Return the number that a cursor holds, or one beyond all numbers.

    Raises:
        InvalidQuery: Not a cursor of that kind.
    """
    if cursor is None:
        return 2**62
    if not re.fullmatch(kind + "[0-9]{1,18}", cursor):
        raise InvalidQuery(f"the cursor is {cursor[:100]!r}; expected one that a page gave")
    return int(cursor[1:])
