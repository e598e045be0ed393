"""Rows to `JobRecord`: the job's own row, its attempts, its parents, its log."""

from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from stoker.core.duration import optional_when, when
from stoker.core.job import Attempt, ErrorInfo, JobRecord, LogLine
from stoker.core.retry import RetryPolicy
from stoker.stores.sqlite.phrases import (
    COMPLETED,
    HAS_PARENTS,
    LEASED_CODES,
    STATES,
    priority_of,
)
from stoker.stores.sqlite.transaction import in_parts, to_json

_DEFAULT_RETRIES = RetryPolicy().max_retries
_ROWS = """
    SELECT json_group_array(json_array(
        j.seq, j.id, j.state, j.queue, j.priority, j.due_at, j.task, j.submitted_at, j.attempt,
        j.epoch, j.session, j.leased_at, j.started_at, j.deadline_at, j.finished_at, j.links,
        j.failed, j.lost, j.timeout, j.cancel_requested, j.soft_timeout, j.expires_at,
        j.max_retries, j.retry, j.waiting_for, j.workflow_id, j.node, j.tenant, j.unique_key,
        j.schedule, j.progress, j.note, j.error,
        coalesce(j.payload, (SELECT p.payload FROM payloads AS p WHERE p.job = j.seq)), j.result))
    FROM jobs AS j WHERE j.seq IN (SELECT value FROM json_each(?))"""
_BY_ID = """
    SELECT json_group_array(seq) FROM jobs WHERE id IN (SELECT value FROM json_each(?))"""
_ATTEMPTS = """
    SELECT json_group_array(json_array(
        job, attempt, epoch, session, leased_at, started_at, finished_at, outcome, error)
        ORDER BY job, epoch)
    FROM attempts WHERE job IN (SELECT value FROM json_each(?))"""
_NAMES = """
    SELECT json_group_array(json_array(seq, name)) FROM sessions
    WHERE seq IN (SELECT value FROM json_each(?))"""
_PARENTS = """
    SELECT json_group_array(
        json_array(e.child, coalesce(e.parent_id, (SELECT id FROM jobs WHERE seq = e.parent)))
        ORDER BY e.child, e.place)
    FROM edges AS e WHERE e.child IN (SELECT value FROM json_each(?))"""
_LOGS = """
    SELECT json_group_array(json_array(job, at, attempt, message) ORDER BY job, n)
    FROM logs WHERE job IN (SELECT value FROM json_each(?))"""
_MARKS = """
    SELECT json_group_object(j.id, json_array(
        j.state, j.epoch, j.cancel_requested, j.progress, j.note,
        (SELECT max(n) FROM logs WHERE job = j.seq)))
    FROM jobs AS j WHERE j.id IN (SELECT value FROM json_each(?))"""
Marks = dict[str, list[Any]]
"""What one sees of jobs that changed: by their ids."""


class Row(msgspec.Struct, array_like=True, gc=False):
    """A job's own row."""

    seq: int
    id: str
    state: int
    queue: str
    priority: int
    due_at: float
    task: str
    submitted_at: float
    attempt: int
    epoch: int
    session: int | None
    leased_at: float | None
    started_at: float | None
    deadline_at: float | None
    finished_at: float | None
    links: int
    failed: int
    lost: int
    timeout: float | None
    cancel_requested: int | None
    soft_timeout: float | None
    expires_at: float | None
    max_retries: int | None
    retry: str | None
    waiting_for: int | None
    workflow_id: str | None
    node: str | None
    tenant: str | None
    unique_key: str | None
    schedule: str | None
    progress: float | None
    note: str | None
    error: str | None
    payload: str
    result: str | None


class _Try(msgspec.Struct, array_like=True, gc=False):
    job: int
    attempt: int
    epoch: int
    session: int | None
    leased_at: float
    started_at: float | None
    finished_at: float | None
    outcome: str | None
    error: str | None


_read_rows = msgspec.json.Decoder(list[Row]).decode
_read_tries = msgspec.json.Decoder(list[_Try]).decode
_read_marks = msgspec.json.Decoder(Marks).decode
_read_error = msgspec.json.Decoder(ErrorInfo).decode


def get(db: apsw.Connection, ids: Sequence[str]) -> list[JobRecord | None]:
    """See `Store.get`."""
    seqs = msgspec.json.decode(_value(db, _BY_ID, to_json(list(dict.fromkeys(ids)))))
    found = {record.id: record for record in records_of(db, seqs, logs=True)}
    return [found.get(job_id) for job_id in ids]


def marks_of(db: apsw.Connection, ids: str) -> Marks:
    """Return for each job of a JSON list a mark that differs whenever it changed."""
    return _read_marks(_value(db, _MARKS, ids))


def records_of(db: apsw.Connection, seqs: Sequence[int], *, logs: bool) -> list[JobRecord]:
    """Return jobs as callers see them, in the order of their numbers that are given."""
    if not seqs:
        return []
    found = in_parts(lambda part: _read_rows(_value(db, _ROWS, to_json(part))), seqs)
    by_seq = {row.seq: row for row in found}
    rows = [by_seq[seq] for seq in seqs]
    everybody = to_json([row.seq for row in rows])
    tries: dict[int, list[_Try]] = {row.seq: [] for row in rows}
    for attempt in _read_tries(_value(db, _ATTEMPTS, everybody)):
        tries[attempt.job].append(attempt)
    for row in rows:
        if row.state in LEASED_CODES or row.state == COMPLETED:
            tries[row.seq].append(_present(row))
    names = _names(db, rows, tries)
    parents = _grouped(db, _PARENTS, [row.seq for row in rows if row.links & HAS_PARENTS])
    lines = _grouped(db, _LOGS, [row.seq for row in rows] if logs else [])
    return [
        _record(row, tries[row.seq], names, parents.get(row.seq, []), lines.get(row.seq, []))
        for row in rows
    ]


def _present(row: Row) -> _Try:
    done = row.state == COMPLETED
    return _Try(
        row.seq,
        row.attempt,
        row.epoch,
        row.session,
        row.submitted_at if row.leased_at is None else row.leased_at,
        row.started_at,
        row.finished_at if done else None,
        "completed" if done else None,
        None,
    )


def _names(
    db: apsw.Connection, rows: Sequence[Row], tries: dict[int, list[_Try]]
) -> dict[int, str]:
    wanted = {row.session for row in rows}
    wanted |= {attempt.session for found in tries.values() for attempt in found}
    numbers = [seq for seq in wanted if seq is not None]
    return dict(msgspec.json.decode(_value(db, _NAMES, to_json(numbers)))) if numbers else {}


def _grouped(db: apsw.Connection, statement: str, jobs: Sequence[int]) -> dict[int, list[Any]]:
    groups: dict[int, list[Any]] = {}
    if jobs:
        for seq, *rest in msgspec.json.decode(_value(db, statement, to_json(jobs))):
            groups.setdefault(seq, []).append(rest)
    return groups


def _record(
    row: Row,
    tries: Sequence[_Try],
    names: dict[int, str],
    parents: Sequence[list[str]],
    lines: Sequence[list[Any]],
) -> JobRecord:
    return JobRecord(
        id=row.id,
        task=row.task,
        queue=row.queue,
        priority=priority_of(row.priority),
        state=STATES[row.state],
        attempt=row.attempt,
        max_retries=_DEFAULT_RETRIES if row.max_retries is None else row.max_retries,
        payload=msgspec.Raw(row.payload.encode()),
        result=None if row.result is None else msgspec.Raw(row.result.encode()),
        error=None if row.error is None else _read_error(row.error),
        progress=row.progress,
        progress_note=row.note,
        submitted_at=when(row.submitted_at),
        run_at=when(row.due_at),
        started_at=optional_when(row.started_at),
        finished_at=optional_when(row.finished_at),
        failed=row.failed,
        lost=row.lost,
        worker=names.get(row.session or 0),
        deadline_at=optional_when(row.deadline_at),
        timeout=row.timeout,
        soft_timeout=row.soft_timeout,
        expires_at=optional_when(row.expires_at),
        unique_key=row.unique_key,
        tenant=row.tenant,
        workflow_id=row.workflow_id,
        node=row.node,
        parents=tuple(parent for (parent,) in parents),
        waiting_for=row.waiting_for or 0,
        schedule=row.schedule,
        cancel_requested=bool(row.cancel_requested),
        retry=msgspec.Raw(b"{}" if row.retry is None else row.retry.encode()),
        attempts=[_attempt(attempt, names) for attempt in tries],
        logs=[LogLine(when(at), message, attempt) for at, attempt, message in lines],
    )


def _attempt(attempt: _Try, names: dict[int, str]) -> Attempt:
    return Attempt(
        attempt=attempt.attempt,
        epoch=attempt.epoch,
        worker=names.get(attempt.session or 0, ""),
        leased_at=when(attempt.leased_at),
        started_at=optional_when(attempt.started_at),
        finished_at=optional_when(attempt.finished_at),
        outcome=attempt.outcome,
        error=None if attempt.error is None else _read_error(attempt.error),
    )


def _value(db: apsw.Connection, statement: str, *arguments: Any) -> Any:
    return db.execute(statement, arguments).get
