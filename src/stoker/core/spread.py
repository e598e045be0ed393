"""How long jobs wait and run, as numbers of attempts by size: what percentiles come from.

A store keeps them among its activity, as lines with a *mark* in place of an outcome:
``waited_7`` counts attempts whose wait fell into class 7, ``ran_7`` those whose run did. Whoever
reads the books takes the marks apart again with `make_counts`. Classes double, from a millisecond
on: a few lines a minute and task, whatever happens, and sums of them are right whoever adds them.

The totals hold the marks too, and the sums of all seconds as ``waited_us`` and ``ran_us``, in whole
microseconds.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from stoker.core.records import (
    Activity,
    Counts,
    Spread,
    Tally,
    TotalSpread,
)

WAITED = "waited"
RAN = "ran"
BOUNDS: tuple[float, ...] = tuple(0.001 * 2**power for power in range(28))
"""Upper bounds of the classes in seconds, the bound included; one more class is beyond the last,
a day and a half."""
WAITED_MARKS = tuple(f"{WAITED}_{number}" for number in range(len(BOUNDS) + 1))
RAN_MARKS = tuple(f"{RAN}_{number}" for number in range(len(BOUNDS) + 1))
WAITED_SUM = f"{WAITED}_us"
RAN_SUM = f"{RAN}_us"
MICROSECONDS = 1e6

_CLASSES = {mark: (WAITED, number) for number, mark in enumerate(WAITED_MARKS)} | {
    mark: (RAN, number) for number, mark in enumerate(RAN_MARKS)
}


def class_of(seconds: float) -> int:
    """Return the number of the class that a duration falls into."""
    return bisect_left(BOUNDS, seconds)


def count_classes(durations: Iterable[float]) -> list[tuple[int, int]]:
    """Return how many of the durations fall into each class that has any."""
    found: list[tuple[int, int]] = []
    rising = sorted(durations)
    done = 0
    # Many durations, few classes: two searches a class instead of one a duration.
    while done < len(rising):
        number = class_of(rising[done])
        end = bisect_right(rising, BOUNDS[number], done) if number < len(BOUNDS) else len(rising)
        found.append((number, end - done))
        done = end
    return found


def make_counts(
    *,
    now: datetime,
    tallies: list[Tally],
    oldest: Mapping[str, datetime],
    activity: Iterable[Activity],
    totals: Mapping[str, int],
) -> Counts:
    """Make counts of what the books hold, with the marks taken apart.

    Args:
        now: The store's clock.
        tallies: As `Counts` has them.
        oldest: As `Counts` has them.
        activity: Lines of the books, minutes oldest first, marks among them.
        totals: Of the books, marks and sums among them.
    """
    told: list[Activity] = []
    marks: dict[tuple[datetime, str, str], tuple[dict[int, int], dict[int, int]]] = {}
    for line in activity:
        found = _CLASSES.get(line.outcome)
        if found is None:
            told.append(line)
        elif line.count:
            kind, number = found
            cell = marks.setdefault((line.minute_at, line.queue, line.task), ({}, {}))
            cell[kind == RAN][number] = line.count
    return Counts(
        now=now,
        tallies=tallies,
        oldest=oldest,
        activity=told,
        totals={name: n for name, n in totals.items() if not _is_mark(name)},
        spreads=[
            Spread(minute_at, queue, task, waited, ran)
            for (minute_at, queue, task), (waited, ran) in marks.items()
        ],
        spread=TotalSpread(
            waited=_picked(totals, WAITED_MARKS),
            ran=_picked(totals, RAN_MARKS),
            waited_sum=totals.get(WAITED_SUM, 0) / MICROSECONDS,
            ran_sum=totals.get(RAN_SUM, 0) / MICROSECONDS,
        ),
    )


def percentile(classes: Mapping[int, int], share: float) -> float | None:
    """Return the duration that a share of the attempts did not exceed; None without attempts.

    The place inside a class is taken as if its attempts were spread evenly over the logarithm: the
    answer is off by less than a factor of two, and by far less for many attempts.

    Args:
        classes: Number of the class to number of attempts.
        share: Between 0 and 1.
    """
    whole = sum(classes.values())
    if not whole:
        return None
    wanted = share * whole
    below = 0
    for number, count in sorted(classes.items()):
        if below + count >= wanted:
            inside = (wanted - below) / count
            return _inside(number, inside)
        below += count
    return BOUNDS[-1]


def added(spreads: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Return the sum of spreads."""
    whole: dict[int, int] = {}
    for classes in spreads:
        for number, count in classes.items():
            whole[number] = whole.get(number, 0) + count
    return whole


def _inside(number: int, share: float) -> float:
    if number == 0:
        return BOUNDS[0] * share
    if number >= len(BOUNDS):
        return BOUNDS[-1]
    return float(BOUNDS[number - 1] * 2.0**share)


def _picked(totals: Mapping[str, int], marks: Sequence[str]) -> dict[int, int]:
    return {number: totals[mark] for number, mark in enumerate(marks) if totals.get(mark)}


def _is_mark(name: str) -> bool:
    return name in _CLASSES or name in {WAITED_SUM, RAN_SUM}
