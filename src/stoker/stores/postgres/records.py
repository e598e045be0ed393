"""Rows to `JobRecord`: the job's own row, its attempts, its log."""

from typing import Any

import msgspec

from stoker.core.duration import optional_when, when
from stoker.core.job import Attempt, ErrorInfo, JobRecord, LogLine
from stoker.stores.postgres.phrases import COMPLETED, LEASED_CODES, STATES, priority_of, text_of

_COLUMNS = """
    j.seq, j.id, j.state, j.queue, j.priority, j.due_at, j.task, j.submitted_at, j.attempt,
    j.epoch, j.worker, j.leased_at, j.started_at, j.deadline_at, j.finished_at, j.failed, j.lost,
    j.timeout, j.cancel_requested, j.soft_timeout, j.expires_at, j.max_retries, j.retry,
    j.waiting_for, j.workflow_id, j.node, j.tenant, j.unique_key, j.schedule, j.progress, j.note,
    j.error, j.payload, j.result, j.parents,
    (SELECT json_agg(json_build_array(
        a.attempt, a.epoch, a.worker, a.leased_at, a.started_at, a.finished_at, a.outcome, a.error)
        ORDER BY a.epoch)::text
     FROM @attempts AS a WHERE a.job = j.seq)"""
_LINES = """
    (SELECT json_agg(json_build_array(l.at, l.attempt, l.message) ORDER BY l.n)::text
     FROM @logs AS l WHERE l.job = j.seq)"""
GET = (
    ("SELECT {columns}, {lines} FROM @jobs AS j WHERE j.id = ANY ($1::text[])")
    .replace("{columns}", _COLUMNS)
    .replace("{lines}", _LINES)
)
PAGE = """
    SELECT {columns}, NULL FROM ({found}) AS j
    ORDER BY j.seq DESC""".replace("{columns}", _COLUMNS)


class _Try(msgspec.Struct, array_like=True, gc=False):
    attempt: int
    epoch: int
    worker: str | None
    leased_at: float
    started_at: float | None
    finished_at: float | None
    outcome: str | None
    error: str | None


class _Line(msgspec.Struct, array_like=True, gc=False):
    at: float
    attempt: int
    message: str


_read_tries = msgspec.json.Decoder(list[_Try]).decode
_read_lines = msgspec.json.Decoder(list[_Line]).decode
_read_error = msgspec.json.Decoder(ErrorInfo).decode


def record(row: tuple[Any, ...]) -> JobRecord:
    """Return a job as callers see it, from a row of `GET` or `PAGE`."""
    (_, job_id, state, queue, priority, due_at, task, submitted_at, attempt, epoch, worker,
     leased_at, started_at, deadline_at, finished_at, failed, lost, timeout, cancel_requested,
     soft_timeout, expires_at, max_retries, retry, waiting_for, workflow_id, node, tenant,
     unique_key, schedule, progress, note, error, payload, result, parents, tries,
     lines) = row  # fmt: skip
    attempts = [] if tries is None else [_attempt(told) for told in _read_tries(tries)]
    if state in LEASED_CODES or state == COMPLETED:
        # The attempt that goes on, or that went well, stands in the job's own row.
        done = state == COMPLETED
        ended_at = finished_at if done else None
        outcome = "completed" if done else None
        present = (attempt, epoch, worker, leased_at, started_at, ended_at, outcome, None)
        attempts.append(_attempt(_Try(*present)))
    return JobRecord(
        id=job_id,
        task=task,
        queue=queue,
        priority=priority_of(priority),
        state=STATES[state],
        attempt=attempt,
        max_retries=max_retries,
        payload=msgspec.Raw(payload),
        result=None if result is None else msgspec.Raw(result),
        error=None if error is None else _read_error(error),
        progress=progress,
        progress_note=None if note is None else text_of(note),
        submitted_at=when(submitted_at),
        run_at=when(due_at),
        started_at=optional_when(started_at),
        finished_at=optional_when(finished_at),
        failed=failed,
        lost=lost,
        worker=worker,
        deadline_at=optional_when(deadline_at),
        timeout=timeout,
        soft_timeout=soft_timeout,
        expires_at=optional_when(expires_at),
        unique_key=unique_key,
        tenant=tenant,
        workflow_id=workflow_id,
        node=node,
        parents=tuple(parents or ()),
        waiting_for=waiting_for,
        schedule=schedule,
        cancel_requested=cancel_requested,
        retry=msgspec.Raw(b"{}" if retry is None else retry.encode()),
        attempts=attempts,
        logs=[] if lines is None else [_line(told) for told in _read_lines(lines)],
    )


def _attempt(told: _Try) -> Attempt:
    return Attempt(
        attempt=told.attempt,
        epoch=told.epoch,
        worker=told.worker or "",
        leased_at=when(told.leased_at),
        started_at=optional_when(told.started_at),
        finished_at=optional_when(told.finished_at),
        outcome=told.outcome,
        error=None if told.error is None else _read_error(told.error),
    )


def _line(told: _Line) -> LogLine:
    return LogLine(when(told.at), text_of(told.message), told.attempt)
