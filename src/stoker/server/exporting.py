"""Jobs as a file: JSON lines, or a table for a spreadsheet."""

import csv
import io
from collections.abc import AsyncIterator, Iterable
from typing import Any, Literal

import msgspec
from starlette.responses import Response, StreamingResponse

from stoker.core.job import JobRecord
from stoker.server.caller import Caller
from stoker.server.counting import pages
from stoker.server.sifting import Search, SearchPage

Format = Literal["jsonl", "csv"]
PAGE = 250
"""Jobs that are read and sent at once."""
_MEDIA = {"jsonl": "application/x-ndjson", "csv": "text/csv"}
_COLUMNS = (
    "id",
    "task",
    "queue",
    "priority",
    "state",
    "attempt",
    "max_retries",
    "failed",
    "lost",
    "submitted_at",
    "run_at",
    "started_at",
    "finished_at",
    "worker",
    "tenant",
    "workflow_id",
    "schedule",
    "error",
    "payload",
    "result",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula when a cell begins with it."""


async def export(caller: Caller, search: Search, *, form: Format, most: int) -> Response:
    """Answer with a file of the newest jobs that match.

    Raises:
        StokerError: The first page could not be read. Later the file ends early, and the client
            sees that it was cut.
    """
    found = pages(caller, search, most=most, size=PAGE)
    first = await anext(found, None)
    chunks = _chunks(first, found, form)
    headers = {"content-disposition": f'attachment; filename="jobs.{form}"'}
    return StreamingResponse(chunks, media_type=_MEDIA[form], headers=headers)


async def _chunks(
    first: SearchPage | None, rest: AsyncIterator[SearchPage], form: Format
) -> AsyncIterator[bytes]:
    write = _lines if form == "jsonl" else _rows
    if form == "csv":
        yield _table([_COLUMNS])
    if first is not None:
        yield write(first.jobs)
    async for page in rest:
        yield write(page.jobs)


def _lines(jobs: Iterable[JobRecord]) -> bytes:
    return b"".join(msgspec.json.encode(job) + b"\n" for job in jobs)


def _rows(jobs: Iterable[JobRecord]) -> bytes:
    return _table([[_cell(getattr(job, name)) for name in _COLUMNS] for job in jobs])


def _table(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    """Return a cell that no spreadsheet runs: payloads come from strangers."""
    if value is None:
        return ""
    if isinstance(value, msgspec.Raw):
        text = bytes(value).decode()
    elif isinstance(value, int | float):
        return str(value)
    else:
        text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
