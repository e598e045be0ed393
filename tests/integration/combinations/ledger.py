"""Reads what the handlers wrote: the judge's evidence, outside of the system under test."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Line:
    """One line of the ledger.

    Attributes:
        what: ``begin``, ``effect``, ``failure`` or ``stop``.
        job: The job's id.
        epoch: Of the lease under which the handler ran.
        worker: The worker's name; the handler may have run in a child process of its.
        at: Seconds of the machine's monotonic clock, the same for all its processes.
    """

    what: str
    job: str
    epoch: int
    worker: str
    at: float


class Ledger:
    """The lines so far; `look` reads those that were added."""

    def __init__(self, file: Path) -> None:
        """Read a file that may not exist yet."""
        self._file = file
        self._offset = 0
        self._rest = b""
        self.lines: list[Line] = []
        self.counts: Counter[str] = Counter()
        self.open: dict[tuple[str, int], Line] = {}
        """Handlers that began and have not ended, by job and epoch."""

    def look(self) -> "Ledger":
        """Read what was added since the last look."""
        if self._file.exists():
            with self._file.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
            self._offset += len(new)
            *whole, self._rest = (self._rest + new).split(b"\n")
            for text in whole:
                self._add(_line(text.decode()))
        return self

    def _add(self, line: Line) -> None:
        self.lines.append(line)
        self.counts[line.what] += 1
        if line.what == "begin":
            self.open[line.job, line.epoch] = line
        else:
            self.open.pop((line.job, line.epoch), None)

    def tail(self, count: int = 20) -> str:
        """Return the last lines, for the message of a failure."""
        return "\n".join(str(line) for line in self.lines[-count:])


def _line(text: str) -> Line:
    what, job, epoch, worker, at = text.split()
    return Line(what, job, int(epoch), worker, int(at) / 1e9)
