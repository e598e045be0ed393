"""What workers tell about jobs on the way: progress, notes and log lines."""

from collections.abc import Sequence
from typing import Any

import msgspec

from stoker.core.job import HeldJob, LogLine, Settlement
from stoker.core.records import MAX_LOGS
from stoker.stores.sqlite.transaction import Transaction, to_json

Told = HeldJob | Settlement

_PROGRESS = """
    UPDATE jobs SET
        progress = coalesce(r.value ->> 1, progress), note = coalesce(r.value ->> 2, note)
    FROM jsonb_each(?) AS r WHERE jobs.seq = r.value ->> 0"""
_KNOWN_LINES = """
    SELECT json_group_array(json_array(job, at, attempt, message)) FROM logs
    WHERE job IN (SELECT value FROM json_each(?))"""
_LAST_LINES = """
    SELECT json_group_array(json_array(job, n)) FROM (
        SELECT job, max(n) AS n FROM logs WHERE job IN (SELECT value FROM json_each(?))
        GROUP BY job)"""
_ADD_LINES = """
    INSERT INTO logs (job, n, at, attempt, message)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM jsonb_each(?)"""
_CUT_LINES = """
    DELETE FROM logs WHERE (job, n) IN (
        SELECT l.job, l.n FROM jsonb_each(?) AS c JOIN logs AS l
          ON l.job = c.value ->> 0 AND l.n <= c.value ->> 1)"""


def keep_reports(tx: Transaction, reports: Sequence[tuple[int, Told]]) -> None:
    """Keep what was told about jobs. Lines told before are not kept twice."""
    if not reports:
        return
    news = [
        (seq, t.progress, t.note)
        for seq, t in reports
        if t.progress is not None or t.note is not None
    ]
    if news:
        tx.run_rows(_PROGRESS, news)
    spoken = [(seq, told.logs) for seq, told in reports if told.logs]
    if spoken:
        _keep_lines(tx, spoken)
    tx.books.changed.extend(told.id for _, told in reports)


def _keep_lines(tx: Transaction, spoken: Sequence[tuple[int, tuple[LogLine, ...]]]) -> None:
    jobs = to_json([seq for seq, _ in spoken])
    known = {tuple(line) for line in msgspec.json.decode(tx.value(_KNOWN_LINES, jobs))}
    last: dict[int, int] = dict(msgspec.json.decode(tx.value(_LAST_LINES, jobs)))
    rows: list[tuple[Any, ...]] = []
    cuts: list[tuple[int, int]] = []
    for seq, lines in spoken:
        n = last.get(seq, 0)
        for line in dict.fromkeys(lines):
            row = (seq, line.at.timestamp(), line.attempt, line.message)
            if row not in known:
                n += 1
                rows.append((seq, n, *row[1:]))
        last[seq] = n
        if n > MAX_LOGS:
            cuts.append((seq, n - MAX_LOGS))
    if rows:
        tx.run_rows(_ADD_LINES, rows)
    if cuts:
        tx.run(_CUT_LINES, to_json(cuts))
