"""Waiting for a job in a shell: a progress bar on a terminal, plain lines in a pipe.

Both go to stderr; stdout carries the answer alone.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from stoker.cli.output import Output
from stoker.cli.text import clean
from stoker.core.duration import seconds
from stoker.core.errors import ResultTimeout
from stoker.core.job import JobRecord, LogLine
from stoker.core.lifecycle import TERMINAL

if TYPE_CHECKING:
    from stoker.app.job import Job

STEP = 0.1
"""Share of progress between two plain lines."""


class Watcher(Protocol):
    """Shows how a job goes on."""

    def show(self, job: JobRecord) -> None:
        """Show the job as it is now."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


async def follow(job: "Job[Any]", out: Output, *, timeout: str | None) -> JobRecord:
    """Show a job until it has ended, and return it.

    Raises:
        ResultTimeout: It did not end in time. It goes on.
    """
    limit = None if timeout is None else seconds(timeout, name="--timeout-wait")
    is_watched = sys.stderr.isatty() and not out.as_json
    watcher: Watcher = BarWatcher(out) if is_watched else LineWatcher(out)
    state = "submitted"
    try:
        async with asyncio.timeout(limit):
            async for record in job.updates():
                state = str(record.state)
                watcher.show(record)
                if record.state in TERMINAL:
                    return record
    except TimeoutError:
        raise ResultTimeout(
            f"job {job.id} is {state} and did not end within {limit:g} s; it goes on: "
            f"stoker jobs show {job.id}",
            id=job.id,
            state=state,
        ) from None
    finally:
        watcher.close()
    return await job.arecord()


class LineWatcher:
    """One line when the state changes, at each tenth of progress, and for each log line."""

    def __init__(self, out: Output) -> None:
        """Begin."""
        self._out = out
        self._state = ""
        self._done = -1.0
        self._logs = LogTail()

    def show(self, job: JobRecord) -> None:
        """See `Watcher.show`."""
        for line in self._logs.fresh(job.logs):
            self._out.note(f"{job.id} | {line.message}")
        moved = job.progress is not None and job.progress - self._done >= STEP
        if moved or str(job.state) != self._state:
            self._state = str(job.state)
            self._done = job.progress if job.progress is not None else -1.0
            self._out.note(describe(job))

    def close(self) -> None:
        """See `Watcher.close`."""


class BarWatcher:
    """A progress bar, with log lines above it."""

    def __init__(self, out: Output) -> None:
        """Begin to draw."""
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        self._console = out.console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._row = self._bar.add_task("submitted", total=None)
        self._logs = LogTail()
        self._bar.start()

    def show(self, job: JobRecord) -> None:
        """See `Watcher.show`."""
        for line in self._logs.fresh(job.logs):
            self._console.print(clean(line.message), style="dim")
        known = job.progress is not None
        self._bar.update(
            self._row,
            description=clean(_short(job)),
            total=1.0 if known else None,
            completed=job.progress or 0.0,
        )

    def close(self) -> None:
        """See `Watcher.close`."""
        self._bar.stop()


class LogTail:
    """Remembers which log lines were shown; a store keeps the newest lines only."""

    def __init__(self) -> None:
        """Nothing was shown."""
        self._last: LogLine | None = None

    def fresh(self, lines: Sequence[LogLine]) -> Sequence[LogLine]:
        """Return the lines that were not returned before."""
        start = 0
        for index in range(len(lines) - 1, -1, -1):
            if lines[index] == self._last:
                start = index + 1
                break
        if lines:
            self._last = lines[-1]
        return lines[start:]


def describe(job: JobRecord) -> str:
    """Return a job's state as one line."""
    return f"{job.id} {_short(job)}" + (
        f" {job.progress:.0%}" if job.progress is not None and job.state not in TERMINAL else ""
    )


def _short(job: JobRecord) -> str:
    said = f"{job.state} (attempt {job.attempt})" if job.attempt > 1 else str(job.state)
    if job.progress_note and job.state not in TERMINAL:
        return f"{said}: {job.progress_note}"
    return said
