"""The yardstick: a bare loop on SQLite that submits, runs and settles jobs in batches.

No leases, fences, limits, timeouts, retries or history: what any queue on this machine, with this
engine, this durability and these batches must pay at the least.
"""

import asyncio
from pathlib import Path

import apsw
import msgspec

from stoker.core.clock import Clock

_LAYOUT = """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY, uid TEXT UNIQUE, task TEXT, payload BLOB, state TEXT, result BLOB
);
CREATE INDEX ready ON jobs (state, id);
"""
_LEASE = """
UPDATE jobs SET state = 'running' WHERE id IN (
    SELECT id FROM jobs WHERE state = 'queued' ORDER BY id LIMIT ?
) RETURNING id, payload
"""
_SETTLE = "UPDATE jobs SET state = 'completed', result = ? WHERE id = ?"
_SUBMIT = "INSERT INTO jobs (uid, task, payload, state) VALUES (?, 'nothing', ?, 'queued')"


class Bare:
    """A table of jobs, and the two loops around it."""

    def __init__(self, file: Path, *, clock: Clock) -> None:
        """Make the table, with the durability of Stoker's default."""
        self._clock = clock
        self._db = apsw.Connection(str(file))
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute(_LAYOUT)

    def submit(self, count: int, *, batch: int) -> None:
        """Insert jobs, a commit a batch."""
        encode = msgspec.json.encode
        for start in range(0, count, batch):
            rows = [
                (self._clock.new_id(), encode({"number": number}))
                for number in range(start, min(start + batch, count))
            ]
            with self._db:
                self._db.executemany(_SUBMIT, rows)

    async def drain(self, *, batch: int) -> int:
        """Run all jobs: settle the batch before and lease the next in one commit."""
        done: list[tuple[bytes, int]] = []
        count = 0
        while True:
            with self._db:
                self._db.executemany(_SETTLE, done)
                leased = list(self._db.execute(_LEASE, (batch,)))
            if not leased:
                return count
            done = [await _run(job_id, payload) for job_id, payload in leased]
            count += len(done)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


async def _run(job_id: int, payload: bytes) -> tuple[bytes, int]:
    number = msgspec.json.decode(payload)["number"]
    result = await asyncio.create_task(_nothing(number))  # noqa: TID251 - as a worker runs one
    return msgspec.json.encode(result), job_id


async def _nothing(number: int) -> int:
    return number
