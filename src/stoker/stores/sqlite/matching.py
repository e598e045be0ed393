"""Which jobs a `JobQuery` means, as conditions of a statement.

The conditions are put together from constants; data go in as parameters. How the jobs are found
is decided here too, by the tallies: without statistics SQLite would now and then sort a million
rows to show a hundred, or take the index of a queue in which nearly all of them are.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from stoker.core.errors import InvalidQuery
from stoker.core.records import MAX_PAGE, JobQuery
from stoker.stores.sqlite.phrases import BLOCKED, CODES, STATES
from stoker.stores.sqlite.transaction import to_json

FEW = 5_000
"""So many jobs are sorted without a second thought."""
_LISTED = "IN (SELECT value FROM json_each(?))"
_BY_STATE = {
    "queued": "SELECT seq FROM jobs WHERE state = 2",
    "due": "SELECT seq FROM jobs WHERE state IN (1, 5)",
    "leased": "SELECT seq FROM jobs WHERE state IN (3, 4)",
    "completed": "SELECT seq FROM jobs WHERE finished_at IS NOT NULL AND state = 6",
    "dead": "SELECT seq FROM jobs WHERE state = 7",
    "cancelled": "SELECT seq FROM jobs WHERE state = 8",
}
_INDEX_OF = ("", "due", "queued", "leased", "leased", "due", "completed", "dead", "cancelled")
_PLAIN = re.compile(r"[ !#-\[\]-~]+")
"""A text that JSON writes as it is."""
_ERROR_PARTS = ("code", "type", "message")
_EXACT = (
    ("tenant", "{tenant}j.tenant = ?"),
    ("workflow_id", "j.workflow_id = ?"),
    ("schedule", "{schedule}j.schedule = ?"),
    ("worker", "j.session IN (SELECT seq FROM sessions WHERE name = ?)"),
    ("submitted_after", "j.submitted_at >= ?"),
    ("submitted_before", "j.submitted_at < ?"),
)


_QUEUES = """
    WITH RECURSIVE q (name) AS (
        SELECT min(queue) FROM jobs
        UNION ALL SELECT (SELECT min(queue) FROM jobs WHERE queue > q.name) FROM q
        WHERE q.name IS NOT NULL)
    SELECT name FROM q WHERE name IS NOT NULL"""
_LANES = "SELECT seq FROM jobs INDEXED BY jobs_lanes WHERE queue IN ({queues}){tasks}"
_PROBE = "SELECT count(*) FROM ({lanes} LIMIT {most})"
_VALUES = "SELECT value FROM json_each(?)"
Ask = Callable[..., Any]
"""Runs a statement with its parameters; returns its one value."""


class Conditions:
    """A WHERE clause and its parameters."""

    def __init__(self, query: JobQuery, *, states: frozenset[int] | None = None) -> None:
        """Translate a query.

        Args:
            query: Which jobs.
            states: Numbers of the states to which the answer is narrowed besides.
        """
        self._parts: list[str] = []
        self.parameters: list[Any] = []
        wanted = frozenset(CODES[state] for state in query.states) or None
        if states is not None:
            wanted = states if wanted is None else wanted & states
        self.states = wanted
        """Numbers of the states that may match; None: all."""
        self.only_states = query == JobQuery(states=query.states)
        """Whether the states alone decide."""
        self._pointed = bool(query.ids) or query.workflow_id is not None
        self._leading = _leading(query)
        self._leads = ""
        self._lanes = (query.queues, query.tasks)
        for column, values in (("id", query.ids), ("queue", query.queues), ("task", query.tasks)):
            if values:
                self.add(f"j.{column} {_LISTED}", to_json(values))
        for field, condition in _EXACT:
            value = getattr(query, field)
            if value is not None:
                self.add(condition, _clean(value) if isinstance(value, str) else value)
        if wanted is not None:
            self.add(f"j.state IN ({', '.join(str(code) for code in sorted(wanted))})")
        if query.priorities:
            ranks = sorted({priority.rank for priority in query.priorities})
            self.add(f"j.priority IN ({', '.join(str(rank) for rank in ranks)})")
        if query.error is not None:
            self._add_error(query.error)

    def add(self, condition: str, *parameters: Any) -> None:
        """Narrow the answer."""
        self._parts.append(condition)
        self.parameters += parameters

    @property
    def impossible(self) -> bool:
        """Whether no job can match."""
        return self.states is not None and not self.states

    def narrow(self, in_states: int, in_all: int, ask: Ask) -> None:
        """Take the shortest way to the jobs, where it is not the order of submission.

        Few jobs in the wanted states, and their states' index leads; else one tenant's, or one
        schedule's, own; else, if there are few of them, that of queues and tasks.

        Args:
            in_states: How many jobs are in the wanted states.
            in_all: How many there are.
            ask: Asks the store.
        """
        if self._pointed:
            return
        has_index = self.states is not None and BLOCKED not in self.states
        few = in_states <= FEW
        if not (few and has_index):
            if self._leading:
                self._leads = self._leading
                return
            if any(self._lanes) and self._narrow_lanes(ask):
                return
        if has_index and self.states is not None and (few or in_states * 4 <= in_all):
            ways = dict.fromkeys(_INDEX_OF[code] for code in sorted(self.states))
            ways_text = " UNION ALL ".join(_BY_STATE[way] for way in ways)
            self.add(f"j.seq IN ({ways_text})")

    def _narrow_lanes(self, ask: Ask) -> bool:
        """Take the way by queues and tasks, if there are few jobs on it."""
        queues, tasks = self._lanes
        lanes = _LANES.replace("{queues}", _VALUES if queues else _QUEUES)
        lanes = lanes.replace("{tasks}", f" AND task IN ({_VALUES})" if tasks else "")
        given = [to_json(values) for values in self._lanes if values]
        probe = _PROBE.replace("{lanes}", lanes).replace("{most}", str(FEW + 1))
        if ask(probe, *given) > FEW:
            return False
        self.add(f"j.seq IN ({lanes})", *given)
        return True

    def fill(self, statement: str) -> str:
        """Put the clause where a statement says ``{where}``."""
        clause = f"WHERE {' AND '.join(self._parts)}" if self._parts else ""
        for column in ("tenant", "schedule"):
            # A plus before a column keeps its index out of the plan.
            clause = clause.replace(f"{{{column}}}", "" if column == self._leads else "+")
        return statement.replace("{where}", clause)

    def _add_error(self, text: str) -> None:
        # SQLite folds ASCII by itself; for the rest Python is asked, row by row.
        fold = "lower" if text.isascii() else "folded"
        needle = text.lower() if text.isascii() else text.casefold()
        parts = [f"instr({fold}(coalesce(j.error ->> '{p}', '')), ?)" for p in _ERROR_PARTS]
        self.add("j.error IS NOT NULL")
        if _PLAIN.fullmatch(needle):
            # It stands in the JSON as it is: most errors are passed over without being read.
            self.add("instr(lower(j.error), ?)", needle)
        self.add(f"({' OR '.join(parts)})", *([needle] * len(parts)))


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


def _leading(query: JobQuery) -> str:
    """Return the column of which one value is asked for, and that has an index."""
    if query.tenant is not None:
        return "tenant"
    return "" if query.schedule is None else "schedule"


def _clean(text: str) -> str:
    cleaned: str = msgspec.json.decode(to_json(text))
    return cleaned


ALL_CODES = frozenset(range(len(STATES)))
