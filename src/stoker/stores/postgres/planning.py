"""Schedules and leaders: their arguments, and how a schedule is kept."""

from collections.abc import Sequence
from typing import Any

import msgspec

from stoker.core.job import JobSpec
from stoker.core.records import Firing, ScheduleSpec, Term
from stoker.core.retry import RetryPolicy
from stoker.stores.postgres.phrases import clean
from stoker.stores.postgres.submitting import Given, given

PUT = "SELECT @put_schedules($1, $2, $3, $4, $5, $6, $7)"
FIRE = """SELECT obeyed, states, places, ids, known, rung, changed
    FROM @fire($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"""
LEAD = "SELECT holder, elected_at, expires_at FROM @elect($1, $2, $3, $4)"
RESIGN = "SELECT @resign($1, $2, $3, $4)"


def put_sent(
    now: float | None, actor: str, specs: Sequence[ScheduleSpec], remove: Sequence[str]
) -> tuple[Any, ...]:
    """Return the arguments of the function ``put_schedules``."""
    return (
        now,
        clean(actor),
        [clean(spec.name) for spec in specs],
        [encode_spec(spec) for spec in specs],
        [spec.paused for spec in specs],
        [None if spec.next_at is None else float(spec.next_at) for spec in specs],
        [clean(name) for name in remove],
    )


def fire_sent(
    now: float | None, actor: str, firing: Firing, job: JobSpec | None
) -> tuple[Any, ...]:
    """Return the arguments of the function ``fire``; ``job`` is what can be submitted of it."""
    jobs: Given = given([] if job is None else [job])
    return (
        now,
        clean(actor),
        clean(firing.name),
        float(firing.at),
        None if firing.expect is None else float(firing.expect),
        None if firing.next_at is None else float(firing.next_at),
        firing.manual,
        job is not None,
        *jobs,
    )


def term(name: str, row: Sequence[Any]) -> Term | None:
    """Return what the answer of the function ``elect`` says."""
    holder, elected_at, expires_at = row
    return None if holder is None else Term(name, holder, elected_at, expires_at)


def encode_spec(spec: ScheduleSpec) -> str:
    """Return a schedule as it is kept; ``paused`` and ``next_at`` stand in their columns."""
    plain = msgspec.structs.replace(spec, paused=False, next_at=None)
    return msgspec.json.encode(plain, enc_hook=_policy_to_plain).decode()


def decode_spec(text: str, *, paused: bool, next_at: float | None) -> ScheduleSpec:
    """Return a schedule from what is kept."""
    spec = msgspec.json.decode(text, type=ScheduleSpec, dec_hook=_policy_from_plain)
    return msgspec.structs.replace(spec, paused=paused, next_at=next_at)


def _policy_to_plain(value: Any) -> Any:
    if isinstance(value, RetryPolicy):
        return msgspec.Raw(value.to_json())
    raise NotImplementedError(f"a {type(value).__name__} has no JSON form")


def _policy_from_plain(wanted: type, value: Any) -> Any:
    if wanted is RetryPolicy:
        return RetryPolicy.from_json(msgspec.json.encode(value))
    raise NotImplementedError(f"cannot make a {wanted.__name__} of JSON")
