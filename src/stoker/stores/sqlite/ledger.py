"""What commands did to the books, noted until the commit writes it."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import msgspec

from stoker.core.spread import (
    MICROSECONDS,
    RAN_MARKS,
    RAN_SUM,
    WAITED_MARKS,
    WAITED_SUM,
    count_classes,
)


class Changes(Collection[str]):
    """Ids of jobs. Many are read from their rows only if somebody asks for them."""

    __slots__ = ("_known", "_unread")

    def __init__(self) -> None:
        """Begin with none."""
        self._known: list[str] = []
        self._unread: list[Callable[[], Iterable[str]]] = []

    def __bool__(self) -> bool:
        """Whether there is any; reads none."""
        return bool(self._known or self._unread)

    def __len__(self) -> int:
        """Count them, the same one as often as it was added."""
        return len(self._read())

    def __iter__(self) -> Iterator[str]:
        """Go through them."""
        return iter(self._read())

    def __contains__(self, job_id: object) -> bool:
        """Whether a job is among them."""
        return job_id in self._read()

    def append(self, job_id: str) -> None:
        """Add one."""
        self._known.append(job_id)

    def extend(self, ids: Iterable[str]) -> None:
        """Add some."""
        self._known.extend(ids)

    def extend_by(self, read: Callable[[], Iterable[str]]) -> None:
        """Add what a function gives, which is called only if somebody asks."""
        self._unread.append(read)

    def take(self, other: "Changes") -> None:
        """Add what another one holds."""
        self._known += other._known  # noqa: SLF001 - of its own kind
        self._unread += other._unread  # noqa: SLF001 - of its own kind

    def _read(self) -> list[str]:
        while self._unread:
            self._known.extend(self._unread.pop()())
        return self._known


class Spread(msgspec.Struct, gc=False):
    """Waits and runs of some attempts, as the books keep them."""

    marks: list[tuple[str, int]]
    """Lines of activity, and how many attempts each counts."""
    sums: list[tuple[str, int]]
    """What the totals gain, in microseconds."""


def spread(waits: Collection[float], runs: Collection[float]) -> Spread:
    """Count the classes that waits and runs of attempts fall into; all in seconds."""
    found = Spread([], [])
    for durations, marks, whole in ((waits, WAITED_MARKS, WAITED_SUM), (runs, RAN_MARKS, RAN_SUM)):
        classes = count_classes(durations)
        found.marks += [(marks[number], n) for number, n in classes]
        if classes:
            found.sums.append((whole, round(sum(durations) * MICROSECONDS)))
    return found


class Ledger:
    """What one command, or all commands of a commit, did to the books."""

    __slots__ = (
        "activity",
        "changed",
        "events",
        "flows",
        "freed",
        "moved",
        "queues",
        "rung",
        "totals",
    )

    def __init__(self) -> None:
        """Make an empty ledger."""
        self.moved: dict[tuple[str, int, int], int] = {}
        self.flows: dict[tuple[str, int], int] = {}
        self.activity: dict[tuple[int, str, str, str], list[float]] = {}
        self.totals: dict[str, int] = {}
        self.events: list[tuple[Any, ...]] = []
        self.queues: set[str] = set()
        """Queues that have a row for sure, once this is committed."""
        self.rung: set[str] = set()
        """Queues in which a job became leasable, or due at some moment."""
        self.freed: set[str] = set()
        """Queues in which a lease ended: one more may be allowed there."""
        self.changed = Changes()

    def add(self, other: "Ledger") -> None:
        """Take over what another ledger holds."""
        for key, n in other.moved.items():
            self.moved[key] = self.moved.get(key, 0) + n
        for flow, n in other.flows.items():
            self.flows[flow] = self.flows.get(flow, 0) + n
        for outcome, n in other.totals.items():
            self.totals[outcome] = self.totals.get(outcome, 0) + n
        for cell, values in other.activity.items():
            mine = self.activity.setdefault(cell, [0, 0.0, 0.0])
            for i, value in enumerate(values):
                mine[i] += value
        self.events += other.events
        self.queues |= other.queues
        self.rung |= other.rung
        self.freed |= other.freed
        self.changed.take(other.changed)
