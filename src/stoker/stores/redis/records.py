"""How jobs are packed, and packed jobs to `JobRecord`.

A job is kept in two parts. `Life` is what its moves change: an array, whose places the Lua files
know as ``F.NAME``; what is not set is false or left out at the end. A *spec* is what was submitted:
four bytes of length, `Spec`, and the payload as it came.
"""

import struct
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import msgspec

from stoker.core.duration import optional_when, when
from stoker.core.job import (
    PRIORITIES,
    Attempt,
    ErrorInfo,
    JobRecord,
    JobSpec,
    LogLine,
)
from stoker.core.lifecycle import State
from stoker.core.retry import RetryPolicy

T = TypeVar("T")
No = Literal[False]
Packed = tuple[Any, ...]
"""A job as the functions take it: see `JOB`."""
INLINE = 256
"""The longest result, in bytes, that is kept in the job's own record."""

HEAD = (
    "QUEUE", "RANK", "TASK", "MAX_RETRIES", "MAX_LOST", "TIMEOUT", "EXPIRES", "RUNS_ON_FAILURE",
    "WORKFLOW_ID", "TENANT", "SCHEDULE",
)  # fmt: skip
"""What never changes and the functions need; equal for many jobs, and then read once."""
JOB = ("HEAD", "ID", "DELAY", "RUN_AT", "UNIQUE", "NODE", "PARENTS", "SPEC")
"""A job as it is handed to the functions."""
SETTLED = (
    "ID", "EPOCH", "NONCE", "OUTCOME", "RAN_FOR", "RESULT", "LARGE_RESULT", "ERROR", "ERROR_CODE",
    "RETRY_IN", "PROGRESS", "NOTE", "LOGS",
)  # fmt: skip
"""A settlement as it is handed to the functions."""
SESSION = (
    "SEQ", "NAME", "STATE", "SPEC", "STARTED_AT", "SEEN_AT", "EXPIRES_AT", "ENDED_AT", "COMMAND",
)  # fmt: skip
QUERY = (
    "STATES", "QUEUES", "TASKS", "TENANT", "WORKFLOW_ID", "SCHEDULE", "WORKER", "FAILED", "AFTER",
    "BEFORE", "LOOSE", "RANKS",
)  # fmt: skip
TRY = (
    "ATTEMPT", "EPOCH", "NONCE", "WORKER", "DUE_AT", "LEASED_AT", "STARTED_AT", "ENDED_AT",
    "OUTCOME", "ERROR",
)  # fmt: skip


class Life(msgspec.Struct, array_like=True, gc=False):
    """What the moves of a job change. The fields of the present or last attempt stand together."""

    head: msgspec.Raw
    id: str
    state: int
    due_at: float
    submitted_at: float
    attempt: int
    epoch: int
    session: str | No = False
    try_attempt: int | No = False
    try_epoch: int | No = False
    nonce: str | No = False
    worker: str | No = False
    try_due_at: float | No = False
    leased_at: float | No = False
    started_at: float | No = False
    ended_at: float | No = False
    outcome: str | No = False
    try_error: str | No = False
    finished_at: float | No = False
    result: str | bool = False
    deadline_at: float | No = False
    failed: int | No = False
    lost: int | No = False
    waiting_for: int | No = False
    error: str | No = False
    error_code: str | No = False
    progress: float | No = False
    note: str | No = False
    cancel_requested: bool = False
    expires_at: float | No = False
    unique: str | No = False
    node: str | No = False
    has_parents: bool = False
    has_children: bool = False
    has_logs: bool = False


class Try(msgspec.Struct, array_like=True, gc=False):
    """An attempt, in the order of `TRY`."""

    attempt: int
    epoch: int
    nonce: str
    worker: str
    due_at: float
    leased_at: float
    started_at: float | No
    ended_at: float | No
    outcome: str | No
    error: str | No


class Spec(msgspec.Struct, array_like=True, gc=False):
    """What was submitted, without the payload."""

    id: str
    task: str
    queue: str
    rank: int
    retry: bytes
    max_retries: int
    timeout: float | None
    soft_timeout: float | None
    workflow_id: str | None
    tenant: str | None
    headers: dict[str, str] | None
    has_parents: bool
    parents: tuple[str, ...] = ()
    unique_key: str | None = None
    node: str | None = None
    schedule: str | None = None


pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.decode
_read_life = msgspec.msgpack.Decoder(Life).decode
_read_try = msgspec.msgpack.Decoder(Try).decode
_read_spec = msgspec.msgpack.Decoder(Spec).decode
_read_error = msgspec.json.Decoder(ErrorInfo).decode
_read_line = msgspec.json.Decoder(LogLine).decode
_write_json = msgspec.json.Encoder().encode
_LENGTH = struct.Struct(">I")
_SMALL = struct.Struct(">BB")
_LARGE = struct.Struct(">BI")


def blob(data: bytes) -> msgspec.Raw:
    """Return bytes in a form that the functions read: their MessagePack is older than ``bin``."""
    size = len(data)
    if size < 1 << 8:
        return msgspec.Raw(_SMALL.pack(0xD9, size) + data)
    return msgspec.Raw(_LARGE.pack(0xDB, size) + data)


def pack_spec(spec: JobSpec, workflow_id: str | None, retry: bytes, parents: bool) -> bytes:  # noqa: FBT001 - see below
    """Return what is kept of a submitted job.

    Args:
        spec: As submitted.
        workflow_id: The workflow it becomes part of.
        retry: Its policy as JSON.
        parents: Whether it waits for any.
    """
    head = pack(
        Spec(
            spec.id,
            spec.task,
            spec.queue,
            spec.priority.rank,
            retry,
            spec.retry.max_retries,
            spec.timeout,
            spec.soft_timeout,
            workflow_id,
            spec.tenant,
            dict(spec.headers) or None,
            parents,
            spec.parents,
            spec.unique_key,
            spec.node,
            spec.schedule,
        )
    )
    return _LENGTH.pack(len(head)) + head + spec.payload


def read_spec(data: bytes) -> tuple[Spec, bytes]:
    """Return what was submitted, and the payload."""
    end = 4 + _LENGTH.unpack_from(data)[0]
    return _read_spec(memoryview(data)[4:end]), data[end:]


def read_life(data: bytes) -> Life:
    """Return the changing part of a job."""
    return _read_life(data)


def write_json(value: Any) -> str:
    """Return JSON as text, which the functions hand on without a look."""
    return _write_json(value).decode()


def error_of(text: str | No) -> ErrorInfo | None:
    """Return an error that was kept as JSON."""
    return _read_error(text) if text else None


def record_of(row: Sequence[Any], states: Sequence[State]) -> JobRecord:
    """Return a job as callers see it, from a row that a function gave."""
    _, packed, kept, result, tries, lines = row
    life = _read_life(packed)
    spec, payload = read_spec(kept)
    attempts = [_attempt(_read_try(text)) for text in tries if text]
    present = _present(life)
    if present is not None:
        attempts.append(_attempt(present))
    return JobRecord(
        id=life.id,
        task=spec.task,
        queue=spec.queue,
        priority=PRIORITIES[spec.rank],
        state=states[life.state - 1],
        attempt=life.attempt,
        max_retries=spec.max_retries,
        payload=msgspec.Raw(payload),
        result=_result(life, result),
        error=error_of(life.error),
        progress=_some(life.progress),
        progress_note=_some(life.note),
        submitted_at=when(life.submitted_at),
        run_at=when(life.due_at),
        started_at=_moment(life.started_at),
        finished_at=_moment(life.finished_at),
        failed=life.failed or 0,
        lost=life.lost or 0,
        worker=_some(life.worker),
        deadline_at=_moment(life.deadline_at),
        timeout=spec.timeout,
        soft_timeout=spec.soft_timeout,
        expires_at=_moment(life.expires_at),
        unique_key=spec.unique_key,
        tenant=spec.tenant,
        workflow_id=spec.workflow_id,
        node=spec.node,
        parents=spec.parents,
        waiting_for=life.waiting_for or 0,
        schedule=spec.schedule,
        cancel_requested=life.cancel_requested,
        retry=msgspec.Raw(spec.retry),
        attempts=attempts,
        logs=[_read_line(line) for line in lines],
    )


def policy_of(kept: bytes) -> RetryPolicy:
    """Return the retry policy in a spec."""
    return RetryPolicy.from_json(read_spec(kept)[0].retry)


def _result(life: Life, kept: bytes | None) -> msgspec.Raw | None:
    if isinstance(life.result, str):
        return msgspec.Raw(life.result.encode())
    return None if kept is None else msgspec.Raw(kept)


def _present(life: Life) -> Try | None:
    if life.try_attempt is False:
        return None
    return Try(
        life.try_attempt,
        life.try_epoch or 0,
        life.nonce or "",
        life.worker or "",
        life.try_due_at or 0.0,
        life.leased_at or 0.0,
        life.started_at,
        life.ended_at,
        life.outcome,
        life.try_error,
    )


def _attempt(attempt: Try) -> Attempt:
    return Attempt(
        attempt=attempt.attempt,
        epoch=attempt.epoch,
        worker=attempt.worker,
        leased_at=when(attempt.leased_at),
        started_at=_moment(attempt.started_at),
        finished_at=_moment(attempt.ended_at),
        outcome=_some(attempt.outcome),
        error=error_of(attempt.error),
    )


def _some(value: T | No) -> T | None:
    return None if value is False else value


def _moment(value: float | No) -> Any:
    return optional_when(None if value is False else value)
