"""What people and the keeper do to jobs: which ones are meant, and what the answers say."""

from collections.abc import Callable, Sequence
from typing import Any

from stoker.core import rules
from stoker.core.errors import InvalidPayload, InvalidQuery, TaskTimeout
from stoker.core.lifecycle import LIVE, TERMINAL, WAITING
from stoker.core.records import Answer, JobQuery, Reaped
from stoker.core.retry import RetryPolicy, exception_names
from stoker.stores.postgres.lines import Rows
from stoker.stores.postgres.matching import Conditions
from stoker.stores.postgres.phrases import CODES, clean

CANCEL = "SELECT ids, answers, rung, changed FROM @cancel($1, $2, $3, $4)"
REQUEUE = "SELECT ids, answers, rung, changed FROM @requeue($1, $2, $3, $4, $5, $6, $7)"
OVERDUE = "SELECT id, epoch, failed, retry FROM @overdue($1, $2, $3)"
REAP = """SELECT dead, requeued, buried, promoted, rung, changed
    FROM @reap($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"""
PURGE = "SELECT deleted, rung, changed FROM @purge($1, $2, $3, $4, $5)"
EVENTS_KEPT = 1_000_000
"""Lines of the audit trail; the oldest go first."""

LIVE_CODES = frozenset(CODES[state] for state in LIVE)
TERMINAL_CODES = frozenset(CODES[state] for state in TERMINAL)
WAITING_CODES = frozenset(CODES[state] for state in WAITING)
_TIMEOUT_NAMES = exception_names(TaskTimeout(""))
_CHOICE = "SELECT j.id FROM ({found}) AS j ORDER BY j.seq"
_OLD = """
    SELECT x.id FROM (
        SELECT j.id, j.seq, j.finished_at, j.workflow_id FROM @ended AS j {where}
        ORDER BY j.finished_at, j.seq) AS x
    WHERE {old} AND (x.workflow_id IS NULL OR (SELECT count(*) FROM (
        SELECT 1 FROM @live AS m WHERE m.workflow_id = x.workflow_id LIMIT 1) AS y) = 0)
    LIMIT {limit}"""
_OLD_ENOUGH = """coalesce(CAST({now} AS float8), extract(epoch FROM clock_timestamp())::float8)
    - {column} >= {age}"""
_SPARED = """(j.finished_at, j.seq) < (
    SELECT j.finished_at, j.seq FROM @ended AS j {where}
    ORDER BY j.finished_at DESC, j.seq DESC LIMIT 1 OFFSET {offset})"""

Statement = tuple[str, tuple[Any, ...]]


def named(query: JobQuery) -> list[str] | None:
    """Return the ids that a query names, if it says nothing else."""
    if query.ids and query == JobQuery(ids=query.ids):
        return [clean(job_id) for job_id in dict.fromkeys(query.ids)]
    return None


def choice(query: JobQuery, states: frozenset[int], limit: int) -> Statement | None:
    """Return the statement that finds jobs, oldest first; None: there can be none.

    Those that are named by id are found in any state, others in some states.
    """
    conditions = Conditions(query, states=None if query.ids else states)
    if conditions.impossible:
        return None
    most = len(query.ids) if query.ids else limit
    return conditions.statement(_CHOICE, limit=max(0, most))


def in_query_order(query: JobQuery, found: Sequence[str]) -> list[str]:
    """Return ids that were found in the order in which the query names them."""
    if not query.ids:
        return list(found)
    known = set(found)
    return [job_id for job_id in dict.fromkeys(query.ids) if job_id in known]


def answers(query: JobQuery, rows: Rows) -> list[Answer]:
    """Return an answer for each id that was named, or all answers if none was."""
    told = {job_id: Answer(job_id, text) for job_id, text in zip(*rows[0][:2], strict=True)}
    if not query.ids:
        return list(told.values())
    return [told.get(job_id) or Answer(job_id, "unknown") for job_id in query.ids]


def check_payload(query: JobQuery, payload: bytes | None) -> None:
    """Refuse a new payload that nobody can have.

    Raises:
        InvalidQuery: It is for several jobs.
        InvalidPayload: It is not UTF-8.
    """
    if payload is None:
        return
    if len(query.ids) != 1:
        raise InvalidQuery("a new payload goes to a single job; name exactly one id")
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise InvalidPayload(f"the payload is not UTF-8: {error}") from None


def decisions(
    rows: Rows, random: Callable[[], float]
) -> tuple[list[str], list[int], list[float | None]]:
    """Decide by their retry policies what becomes of jobs that ran past their deadline."""
    retries = [
        RetryPolicy.from_json((retry or "{}").encode()).decide(failed + 1, _TIMEOUT_NAMES, random)
        for _, _, failed, retry in rows
    ]
    return [row[0] for row in rows], [row[1] for row in rows], retries


def reaped(row: Sequence[Any]) -> Reaped:
    """Return what the answer of the function ``reap`` says."""
    dead, requeued, buried, promoted = row[:4]
    return Reaped(tuple(dead), tuple(requeued), tuple(buried), promoted)


def old(
    query: JobQuery, now: float | None, *, older_than: float, keep: int, limit: int
) -> Statement | None:
    """Return the statement that finds ended jobs to delete, oldest first."""
    conditions = Conditions(query, states=TERMINAL_CODES)
    if conditions.impossible or limit <= 0:
        return None
    moment, age = conditions.hold(now), conditions.hold(float(older_than))
    where = conditions.where()
    if keep > 0:
        offset = conditions.hold(keep - 1)
        conditions.add(_SPARED.format(where=where, offset=f"{offset}::bigint"))
    else:
        conditions.add(_OLD_ENOUGH.format(now=moment, column="j.finished_at", age=age))
    enough = _OLD_ENOUGH.format(now=moment, column="x.finished_at", age=age)
    return conditions.statement(_OLD.replace("{old}", enough), limit=limit)


def waiting(query: JobQuery, limit: int) -> Statement | None:
    """Return the statement that finds waiting jobs outside workflows to delete."""
    conditions = Conditions(query, states=WAITING_CODES)
    if conditions.impossible or limit <= 0 or not (query.states or query.ids):
        return None
    conditions.add("j.workflow_id IS NULL")
    return conditions.statement(_CHOICE, limit=limit)


def reap_sent(
    now: float | None,
    actor: str,
    sessions: Sequence[str],
    *,
    grace: float,
    limit: int,
    overdue: tuple[list[str], list[int], list[float | None]],
) -> tuple[Any, ...]:
    """Return the arguments of the function ``reap``."""
    return (
        now, clean(actor), [clean(session) for session in sessions], float(grace), limit,
        rules.SESSION_KEEP, float(grace) + rules.DEADLINE_GRACE, EVENTS_KEPT, *overdue,
    )  # fmt: skip
