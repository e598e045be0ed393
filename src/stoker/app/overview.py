"""The system on one page: what the first screen of a dashboard shows. Pure: facts in, view out."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from stoker.app.stats import ENDED, FAILURES, ErrorGroup, MinuteStats, Stats, summarize
from stoker.core.broker import BrokerStatus
from stoker.core.events import EventRecord, Kind
from stoker.core.job import SessionInfo
from stoker.core.lifecycle import State
from stoker.core.records import Activity, Counts, QueueInfo, Spread
from stoker.core.spread import added, percentile

WINDOW = 3600.0
"""Seconds that the first screen looks back."""
MOST_TASKS = 10
"""Failing tasks that are named."""
MOST_NAMES = 100
"""Queues or tasks whose activity is told one by one; those with the most of it."""
MINUTE = timedelta(minutes=1)
RECENT = 5 * MINUTE
"""How far the percentiles look back that are told as those of now."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs a second since the frame before."""

    over: float
    """Seconds between the two."""
    submitted: float
    completed: float
    failed: float
    """Attempts that failed, crashed, were lost or timed out."""


class FailingTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task whose attempts failed inside the window."""

    task: str
    completed: int
    failed: int
    dead: int
    """Jobs that became dead letters."""


class DeadLetters(msgspec.Struct, frozen=True, kw_only=True):
    """What the newest dead letters died of."""

    groups: list[ErrorGroup]
    scanned: int
    """Dead letters that were looked at, newest submitted first."""
    is_complete: bool
    """False when there are more of them than were looked at."""


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that half, 95 and 99 of a hundred attempts did not exceed.

    Classes of durations double, so each is right within a factor of two.
    """

    p50: float
    p95: float
    p99: float


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """How long attempts took that ended inside some time; None when none did."""

    wait: Percentiles | None
    """From due to leased: the start delay."""
    run: Percentiles | None
    """From started to settled."""


class MinuteTimes(Times, frozen=True, kw_only=True):
    """How long attempts took that ended in one minute."""

    minute_at: datetime


class StoreHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The store, as this server sees it."""

    engine: str
    version: str
    url: str
    """With every secret masked."""
    durability: str
    can_lose: str
    latency: float
    """Seconds that it took to answer a question about one job."""


class KeeperView(msgspec.Struct, frozen=True, kw_only=True):
    """Who keeps house."""

    holder: str
    elected_at: datetime


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The system on one page."""

    now: datetime
    """The store's clock."""
    stats: Stats
    """Over the last hour."""
    matrix: Mapping[str, Mapping[State, int]]
    """Jobs by priority and state."""
    rates: Rates | None
    """None in the first frame of a server that was not watched before."""
    times: Times
    """Over the last five minutes."""
    minutes: list[MinuteTimes]
    """Over the last hour, oldest first; minutes in which no attempt ended are left out."""
    failing: list[FailingTask]
    """The tasks with the most failures, the worst first."""
    dead_letters: DeadLetters
    store: StoreHealth
    broker: BrokerStatus | None
    """None when there is none: workers are woken by the store."""
    keeper: KeeperView | None
    """None when nobody was elected, or the last one resigned."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """What happened with one queue or task, minute by minute."""

    name: str
    submitted: list[int]
    """A number a minute, as long as the window."""
    completed: list[int]
    failed: list[int]
    mean_wait: float | None
    """Seconds from due to leased, over the attempts that ended inside the window."""
    mean_run: float | None
    """Seconds from started to settled."""
    times: Times


class ActivityView(msgspec.Struct, frozen=True, kw_only=True):
    """Activity by queue or by task."""

    now: datetime
    begin_at: datetime
    """Begin of the first minute; the others follow without a gap."""
    minutes: int
    series: list[Series]
    """By name."""
    is_complete: bool
    """False when there are more names than are told one by one."""


def look_over(
    counts: Counts,
    queues: Sequence[QueueInfo],
    sessions: Sequence[SessionInfo],
    *,
    rates: Rates | None,
    dead_letters: DeadLetters,
    store: StoreHealth,
    broker: BrokerStatus | None,
    keeper: KeeperView | None,
) -> Overview:
    """Put the page together."""
    stats = summarize(counts, sessions, queues, window=WINDOW)
    minutes = whole_minutes(counts.activity, now=counts.now, window=WINDOW)
    throughput = msgspec.structs.replace(stats.throughput, minutes=minutes)
    return Overview(
        now=counts.now,
        stats=msgspec.structs.replace(stats, throughput=throughput),
        matrix=matrix_of(counts),
        rates=rates,
        times=times_of(s for s in counts.spreads if s.minute_at > counts.now - RECENT),
        minutes=minute_times(counts.spreads),
        failing=failing_tasks(counts.activity),
        dead_letters=dead_letters,
        store=store,
        broker=broker,
        keeper=keeper,
    )


def matrix_of(counts: Counts) -> dict[str, dict[State, int]]:
    """Count jobs by priority and state."""
    found: dict[str, dict[State, int]] = {}
    for tally in counts.tallies:
        row = found.setdefault(str(tally.priority), {})
        row[tally.state] = row.get(tally.state, 0) + tally.count
    return found


def rates_between(before: Counts, after: Counts) -> Rates | None:
    """Return how fast jobs moved between two looks; None when no time passed."""
    over = (after.now - before.now).total_seconds()
    if over <= 0:
        return None

    def rate(outcomes: Iterable[str]) -> float:
        grown = sum(after.totals.get(o, 0) - before.totals.get(o, 0) for o in outcomes)
        return max(0.0, grown / over)

    return Rates(
        over=over,
        submitted=rate(("submitted",)),
        completed=rate(("completed",)),
        failed=rate(FAILURES),
    )


def has_moved(before: Counts, after: Counts) -> bool:
    """Whether any job changed its state between two looks, as far as counts can tell."""
    return before.totals != after.totals or before.tallies != after.tallies


def times_of(spreads: Iterable[Spread]) -> Times:
    """Return how long the attempts behind some spreads took."""
    some = list(spreads)
    return Times(
        wait=_percentiles(added(spread.waited for spread in some)),
        run=_percentiles(added(spread.ran for spread in some)),
    )


def minute_times(spreads: Sequence[Spread]) -> list[MinuteTimes]:
    """Return how long attempts took, minute by minute, oldest first."""
    minutes: dict[datetime, list[Spread]] = {}
    for spread in spreads:
        minutes.setdefault(spread.minute_at, []).append(spread)
    found = {minute_at: times_of(some) for minute_at, some in sorted(minutes.items())}
    return [
        MinuteTimes(minute_at=minute_at, wait=times.wait, run=times.run)
        for minute_at, times in found.items()
    ]


def failing_tasks(activity: Sequence[Activity], *, most: int = MOST_TASKS) -> list[FailingTask]:
    """Return the tasks with the most failures."""
    tasks: dict[str, Counter[str]] = {}
    for line in activity:
        counter = tasks.setdefault(line.task, Counter())
        counter["failed" if line.outcome in FAILURES else line.outcome] += line.count
    failing = [
        FailingTask(
            task=task, completed=found["completed"], failed=found["failed"], dead=found["dead"]
        )
        for task, found in tasks.items()
        if found["failed"] or found["dead"]
    ]
    failing.sort(key=lambda one: (-one.failed, -one.dead, one.task))
    return failing[:most]


def keeper_of(events: Sequence[EventRecord]) -> KeeperView | None:
    """Return who leads, from the newest event about the office."""
    for event in events[:1]:
        if event.kind is Kind.KEEPER_ELECTED:
            return KeeperView(holder=str(event.details.get("holder", "")), elected_at=event.at)
    return None


def whole_minutes(
    activity: Sequence[Activity], *, now: datetime, window: float
) -> list[MinuteStats]:
    """Return every minute of a window, those without activity too, oldest first."""
    begin, length = _span(now, window)
    found = [Counter[str]() for _ in range(length)]
    for line in activity:
        place = _place(line, begin)
        if 0 <= place < length:
            found[place][_column(line)] += line.count
    return [
        MinuteStats(
            minute_at=begin + place * MINUTE,
            submitted=minute["submitted"],
            completed=minute["completed"],
            failed=minute["failed"],
        )
        for place, minute in enumerate(found)
    ]


def activity_by(
    counts: Counts, kind: Literal["queue", "task"], *, window: float, most: int = MOST_NAMES
) -> ActivityView:
    """Sort the activity of a window by queue or by task."""
    begin, length = _span(counts.now, window)
    by_name: dict[str, list[Activity]] = {}
    for line in counts.activity:
        by_name.setdefault(line.queue if kind == "queue" else line.task, []).append(line)
    spreads: dict[str, list[Spread]] = {}
    for spread in counts.spreads:
        if spread.minute_at >= begin:
            name = spread.queue if kind == "queue" else spread.task
            spreads.setdefault(name, []).append(spread)
    busiest = sorted(by_name, key=lambda name: -sum(line.count for line in by_name[name]))
    return ActivityView(
        now=counts.now,
        begin_at=begin,
        minutes=length,
        series=[
            _series(name, by_name[name], times_of(spreads.get(name, ())), begin, length)
            for name in sorted(busiest[:most])
        ],
        is_complete=len(busiest) <= most,
    )


def _series(
    name: str, lines: Sequence[Activity], times: Times, begin: datetime, length: int
) -> Series:
    lines = [line for line in lines if line.minute_at >= begin]
    columns = {column: [0] * length for column in ("submitted", "completed", "failed")}
    for line in lines:
        place, column = _place(line, begin), _column(line)
        if 0 <= place < length and column in columns:
            columns[column][place] += line.count
    ended = sum(line.count for line in lines if line.outcome in ENDED)
    return Series(
        name=name,
        **columns,
        mean_wait=sum(line.waited for line in lines) / ended if ended else None,
        mean_run=sum(line.ran for line in lines) / ended if ended else None,
        times=times,
    )


def _percentiles(classes: Mapping[int, int]) -> Percentiles | None:
    p50, p95, p99 = (percentile(classes, share) for share in (0.5, 0.95, 0.99))
    if p50 is None or p95 is None or p99 is None:
        return None
    return Percentiles(p50=p50, p95=p95, p99=p99)


def _span(now: datetime, window: float) -> tuple[datetime, int]:
    """Return the begin of the first minute and the number of minutes; the last one still runs."""
    length = max(1, round(window / 60))
    last = minute_of(now)
    return last - (length - 1) * MINUTE, length


def minute_of(moment: datetime) -> datetime:
    """Return the begin of the minute."""
    return moment.replace(second=0, microsecond=0)


def _place(line: Activity, begin: datetime) -> int:
    return round((line.minute_at - begin) / MINUTE)


def _column(line: Activity) -> str:
    return "failed" if line.outcome in FAILURES else line.outcome
