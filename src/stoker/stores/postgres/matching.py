"""Which jobs a `JobQuery` means, as conditions of a statement.

The conditions are put together from constants; data go in as parameters. The state decides which
tables are looked at, so that a search among a few live jobs does not wade through all that ended.

Which index leads, the server decides by what it knows about the values: a page of a task that most
jobs have is found soon in the order of submission, one of a rare task by the index of tasks. So one
value is compared by ``=``, and the statement is planned anew each time; see `Handle.search`.
"""

import re
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from stoker.core.errors import InvalidQuery
from stoker.core.lifecycle import TERMINAL, WAITING
from stoker.core.records import MAX_PAGE, JobQuery
from stoker.stores.postgres.phrases import CODES, LEASED_CODES, clean, fold

_EXACT = (
    ("tenant", "j.tenant = {}::text"),
    ("workflow_id", "j.workflow_id = {}::text"),
    ("schedule", "j.schedule = {}::text"),
    ("worker", "j.worker = {}::text"),
    ("submitted_after", "j.submitted_at >= {}::float8"),
    ("submitted_before", "j.submitted_at < {}::float8"),
)

# The names of all tasks, a step of the index each.
_TASKS_OF = """
    SELECT name FROM (
        WITH RECURSIVE t (name) AS (
            SELECT min(task) FROM {table} AS x {having}
            UNION ALL
            SELECT (SELECT min(x.task) FROM {table} AS x {having} AND x.task > t.name) FROM t
            WHERE t.name IS NOT NULL)
        SELECT name FROM t WHERE name IS NOT NULL) AS n"""
_ARM = "SELECT * FROM {table} AS j {where} ORDER BY j.seq {order} LIMIT {limit}"
_ALL_ARMS = "SELECT * FROM (({arms})) AS j ORDER BY j.seq {order} LIMIT {limit}"


class Arm(msgspec.Struct, frozen=True):
    """Some states, of which a search goes through the jobs by itself."""

    table: str
    codes: frozenset[int]

    def holds(self) -> str:
        """Return the condition that its indexes are made under."""
        return f"{{j}}.state IN ({_listed(self.codes)})" if self.table == "@live" else "true"


# Each is looked into in its own best way: taken together, a table in which there is nothing to be
# found would be read whole, in the order of submission.
_ARMS = (
    Arm("@live", frozenset(CODES[state] for state in WAITING)),
    Arm("@live", LEASED_CODES),
    Arm("@ended", frozenset(CODES[state] for state in TERMINAL)),
)


class Conditions:
    """A WHERE clause, the tables it is for, and the parameters."""

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
        self._of_any_task = bool(query.queues) and not (query.tasks or query.ids)
        for column, values in (("id", query.ids), ("queue", query.queues), ("task", query.tasks)):
            self._add_one_of(f"j.{column}", [clean(value) for value in values])
        for field, condition in _EXACT:
            value = getattr(query, field)
            if value is not None:
                place = self.hold(clean(value) if isinstance(value, str) else float(value))
                self.add(condition.format(place))
        if query.priorities:
            ranks = frozenset(priority.rank for priority in query.priorities)
            self.add(f"j.priority IN ({_listed(ranks)})")
        if query.error is not None:
            self.add(f"strpos(j.error_fold, {self.hold(fold([query.error]))}::text) > 0")

    @property
    def impossible(self) -> bool:
        """Whether no job can match."""
        return self._states is not None and not self._states

    def add(self, condition: str) -> None:
        """Narrow the answer."""
        self._parts.append(condition)

    def hold(self, value: Any) -> str:
        """Take a parameter; return how a condition names it."""
        self._parameters.append(value)
        return f"${len(self._parameters)}"

    def where(self) -> str:
        """Return the clause for jobs that have ended."""
        return self._where(_ARMS[-1])

    def statement(
        self, text: str, *, limit: int, order: Literal["ASC", "DESC"] = "ASC"
    ) -> tuple[str, tuple[Any, ...]]:
        """Fill a statement with the jobs that are found; return it with its parameters.

        Args:
            text: With ``{found}`` where it takes the jobs from, or ``{where}`` for the clause for
                jobs that have ended.
            limit: The most jobs.
            order: Of submission.
        """
        arms = [self._arm(arm) for arm in _ARMS if self._states is None or self._states & arm.codes]
        found = (
            arms[0] if len(arms) == 1 else _ALL_ARMS.replace("{arms}", ") UNION ALL (".join(arms))
        )
        most = f"{self.hold(limit)}::bigint"
        filled = text.replace("{found}", found).replace("{where}", self.where())
        filled = filled.replace("{order}", order)
        return filled.replace("{limit}", most), tuple(self._parameters)

    def _arm(self, arm: Arm) -> str:
        return _ARM.replace("{table}", arm.table).replace("{where}", self._where(arm))

    def _where(self, arm: Arm) -> str:
        parts = list(self._parts)
        wanted = arm.codes if self._states is None else arm.codes & self._states
        if wanted != arm.codes:
            parts.append(f"j.state IN ({_listed(wanted)})")
        having = arm.holds()
        parts.append(having.replace("{j}", "j"))
        if self._of_any_task:
            names = _TASKS_OF.replace("{having}", f"WHERE {having.replace('{j}', 'x')}")
            parts.append(f"j.task = ANY (ARRAY({names.replace('{table}', arm.table)}))")
        return f"WHERE {' AND '.join(parts)}"

    def _add_one_of(self, column: str, values: list[str]) -> None:
        if len(values) == 1:
            self.add(f"{column} = {self.hold(values[0])}::text")
        elif values:
            self.add(f"{column} = ANY ({self.hold(values)}::text[])")


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


def _listed(codes: Iterable[int]) -> str:
    return ", ".join(str(code) for code in sorted(codes))
