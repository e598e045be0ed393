"""Schedules and leaders: each change a compare-and-set, so that any number of keepers agree."""

from collections.abc import Sequence
from typing import Any

import msgspec

from stoker.core.events import Kind
from stoker.core.job import JobSpec, Submitted
from stoker.core.records import Firing, ScheduleSpec, Term
from stoker.core.retry import RetryPolicy
from stoker.stores.sqlite.submitting import submit
from stoker.stores.sqlite.transaction import Transaction

_TICK = 1e-6
"""Seconds between two terms of one name, should the clock stand still: a term is its moment."""

_FIND = "SELECT spec FROM schedules WHERE name = ?"
_PUT = """
    INSERT INTO schedules (name, spec, paused, next_at, created_at, updated_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?5)
    ON CONFLICT DO UPDATE SET
        spec = excluded.spec, paused = excluded.paused, next_at = excluded.next_at,
        updated_at = excluded.updated_at"""
_REMOVE = "DELETE FROM schedules WHERE name = ?"
_EXISTS = "SELECT EXISTS (SELECT 1 FROM schedules WHERE name = ?)"
_MOVE = """
    UPDATE schedules SET next_at = ? WHERE name = ? AND next_at IS ? AND NOT paused"""
_FIRED = """
    UPDATE schedules SET last_at = ?, last_job_id = ?, fired = fired + 1 WHERE name = ?"""

_TERM = "SELECT holder, elected_at, expires_at FROM terms WHERE name = ?"
_PROLONG = "UPDATE terms SET expires_at = ? WHERE name = ?"
_ELECT = """
    INSERT INTO terms (name, holder, elected_at, expires_at) VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
        holder = excluded.holder, elected_at = excluded.elected_at,
        expires_at = excluded.expires_at"""
_RESIGN = """
    UPDATE terms SET holder = '', expires_at = 0
    WHERE name = ? AND holder = ? AND elected_at = ? AND expires_at > 0"""


def put_schedules(
    tx: Transaction, specs: Sequence[ScheduleSpec], remove: Sequence[str], actor: str
) -> list[str]:
    """See `Store.put_schedules`."""
    new = [spec.name for spec in specs if not tx.value(_EXISTS, spec.name)]
    for spec in specs:
        _put(tx, spec, actor)
    missing = [name for name in remove if not tx.value(_EXISTS, name)]
    for name in remove:
        if tx.run(_REMOVE, name):
            tx.log(Kind.SCHEDULE_REMOVED, actor, name=name)
    return new + missing


def fire(
    tx: Transaction, firings: Sequence[Firing], actor: str, known_queues: set[str]
) -> list[Submitted | None]:
    """See `Store.fire`."""
    return [_fire(tx, firing, actor, known_queues) for firing in firings]


def lead(tx: Transaction, name: str, holder: str, ttl: float) -> Term | None:
    """See `Store.lead`."""
    until = tx.now + ttl
    row: tuple[str, float, float] | None = tx.db.execute(_TERM, (name,)).fetchone()
    if row is not None and row[2] > tx.now:
        if row[0] != holder:
            return None
        tx.run(_PROLONG, until, name)
        return Term(name, holder, row[1], until)
    elected = tx.now if row is None else max(tx.now, row[1] + _TICK)
    tx.run(_ELECT, name, holder, elected, until)
    tx.log(Kind.KEEPER_ELECTED, f"keeper:{holder}", name=name, holder=holder)
    return Term(name, holder, elected, until)


def resign(tx: Transaction, term: Term) -> bool:
    """See `Store.resign`."""
    if not tx.run(_RESIGN, term.name, term.holder, term.elected_at):
        return False
    tx.log(Kind.KEEPER_RESIGNED, f"keeper:{term.holder}", name=term.name, holder=term.holder)
    return True


def encode_spec(spec: ScheduleSpec) -> str:
    """Return a schedule as it is kept; ``paused`` and ``next_at`` stand in their columns."""
    plain = msgspec.structs.replace(spec, paused=False, next_at=None)
    return msgspec.json.encode(plain, enc_hook=_policy_to_plain).decode()


def decode_spec(text: str, *, paused: bool, next_at: float | None) -> ScheduleSpec:
    """Return a schedule from what is kept."""
    spec = msgspec.json.decode(text, type=ScheduleSpec, dec_hook=_policy_from_plain)
    return msgspec.structs.replace(spec, paused=paused, next_at=next_at)


def _put(tx: Transaction, spec: ScheduleSpec, actor: str) -> None:
    text = encode_spec(spec)
    before = tx.db.execute(
        "SELECT spec, paused, next_at FROM schedules WHERE name = ?", (spec.name,)
    ).fetchone()
    tx.run(_PUT, spec.name, text, int(spec.paused), spec.next_at, tx.now)
    if before is None or (before[0], before[2]) != (text, spec.next_at):
        tx.log(Kind.SCHEDULE_PUT, actor, name=spec.name)
    if before is not None and bool(before[1]) != spec.paused:
        kind = Kind.SCHEDULE_PAUSED if spec.paused else Kind.SCHEDULE_RESUMED
        tx.log(kind, actor, name=spec.name)


def _fire(tx: Transaction, firing: Firing, actor: str, known_queues: set[str]) -> Submitted | None:
    if firing.manual:
        if not tx.value(_EXISTS, firing.name):
            return None
    elif not tx.run(_MOVE, firing.next_at, firing.name, firing.expect):
        return None
    if firing.job is None:
        return Submitted(id="", created=False)
    made = submit(tx, [firing.job], None, actor, known_queues)[0]
    tx.run(_FIRED, firing.at, made.id, firing.name)
    job: JobSpec | None = None if made.error else firing.job
    tx.log(
        Kind.SCHEDULE_FIRED,
        actor,
        job_id=made.id if job else None,
        queue=job.queue if job else None,
        name=firing.name,
        at=firing.at,
    )
    return made


def _policy_to_plain(value: Any) -> Any:
    if isinstance(value, RetryPolicy):
        return msgspec.Raw(value.to_json())
    raise NotImplementedError(f"a {type(value).__name__} has no JSON form")


def _policy_from_plain(wanted: type, value: Any) -> Any:
    if wanted is RetryPolicy:
        return RetryPolicy.from_json(msgspec.json.encode(value))
    raise NotImplementedError(f"cannot make a {wanted.__name__} of JSON")
