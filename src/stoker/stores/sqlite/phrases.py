"""Names for what the layout writes as numbers, and the statements' common phrases.

Statements are constants; data reach SQLite through parameters only. ``phrase`` fills in names
such as ``{leased}`` once, when a module is imported.
"""

from stoker.core.job import PRIORITIES, Priority
from stoker.core.lifecycle import State

STATES: tuple[State, ...] = (
    State.BLOCKED,
    State.SCHEDULED,
    State.QUEUED,
    State.ASSIGNED,
    State.RUNNING,
    State.RETRY_QUEUED,
    State.COMPLETED,
    State.DEAD_LETTER,
    State.CANCELLED,
)
"""State by its number in the file. The numbers are part of the layout: only append."""
CODES: dict[State, int] = {state: code for code, state in enumerate(STATES)}
"""State to its number."""
BLOCKED, SCHEDULED, QUEUED, ASSIGNED, RUNNING, RETRY_QUEUED, COMPLETED, DEAD, CANCELLED = range(9)
WAITING_CODES = frozenset({BLOCKED, SCHEDULED, QUEUED, RETRY_QUEUED})
LEASED_CODES = frozenset({ASSIGNED, RUNNING})
TALLIED = (BLOCKED, SCHEDULED, QUEUED, ASSIGNED, ASSIGNED, RETRY_QUEUED, COMPLETED, DEAD, CANCELLED)
"""State to the one under which it is tallied. Assigned and running jobs are tallied together, and
told apart when somebody asks: else every beat would write, and no settlement would know what to
subtract without a look at the row."""
HAS_PARENTS = 1
HAS_CHILDREN = 2

_CARD = (
    "json_array(j.seq, j.id, j.state, j.queue, j.priority, j.task, j.due_at, j.attempt, j.epoch,"
    " j.nonce, j.session, j.leased_at, j.started_at, j.links, j.failed, j.lost,"
    " coalesce(j.max_retries, 3), coalesce(j.max_lost, 3), coalesce(j.cancel_requested, 0),"
    " coalesce(j.waiting_for, 0), coalesce(j.run_anyway, 0), j.workflow_id, j.retry)"
)
_PHRASES = {
    "cards": "SELECT json_group_array({card}) FROM jobs AS j",
    "queued": "state = 2",
    "due": "state IN (1, 5)",
    "leased": "state IN (3, 4)",
    "j.leased": "j.state IN (3, 4)",
    "waiting": "state IN (0, 1, 2, 5)",
    "live": "state < 6",
    "card": _CARD,
}


def phrase(statement: str, **more: str) -> str:
    """Fill the names of common phrases, and of more that are given, into a statement."""
    for name, text in (more | _PHRASES).items():
        statement = statement.replace(f"{{{name}}}", text)
    return " ".join(statement.split())


def priority_of(rank: int) -> Priority:
    """Return the priority with that number."""
    return PRIORITIES[rank]


def clean(text: str) -> str:
    """Return a text that UTF-8 can hold: lone surrogates, as in odd file names, become ``?``."""
    return text.encode("utf-8", "replace").decode("utf-8")
