"""Schedules: checking a rule, and deciding which of its instants fire now.

Nothing here talks to a store. `make_schedule` turns what people write into a `ScheduleSpec`;
`due_firings` turns a schedule and the store's time into compare-and-sets for `Store.fire`. The id
of a fired job is made from the schedule's name and the instant, so a firing that is repeated
after an `OutcomeUnknown` submits the same job again, which is harmless.

What counts as missed: an instant that no keeper was there to fire, more than `FRESH` seconds ago.
``skip`` forgets missed instants (but for one that is less than a minute late), ``last`` fires the
latest of them if nothing has fired since, ``all`` fires each of them, at most `MAX_FIRINGS` a
pass and none older than `WINDOW`.
"""

import hashlib
import math
from typing import get_args

import msgspec

from stoker.core.clock import Clock, uuid7
from stoker.core.duration import Duration, seconds
from stoker.core.errors import InvalidOption, InvalidSchedule
from stoker.core.job import JobSpec
from stoker.core.records import CatchUp, Firing, ScheduleInfo, ScheduleSpec
from stoker.core.task import check_name
from stoker.keeper import cron

MIN_EVERY = 1.0
"""The shortest interval in seconds: what wants to run more often is a loop, not a schedule."""
FRESH = 5.0
"""Seconds within which an instant is not missed but on its way: each one fires."""
LATE = 60.0
"""Seconds by which ``skip`` lets its latest instant be late: a change of keepers takes some."""
WINDOW = 7 * 86_400.0
"""Seconds for which ``all`` looks back: as long as completed jobs are kept by default."""
MAX_FIRINGS = 100
"""The most firings of one schedule in one pass."""

Rule = Duration
"""A cron expression, ``"every 30s"``, or a duration (``"10m"``, seconds, a timedelta)."""


def make_schedule(
    name: str,
    rule: Rule,
    job: JobSpec,
    *,
    now: float,
    timezone: str = "UTC",
    catch_up: str = "last",
    paused: bool = False,
    previous: ScheduleInfo | None = None,
) -> ScheduleSpec:
    """Check a schedule as people write it and fix its next instant.

    Args:
        name: Its name, its identity.
        rule: A cron expression (five or six fields, or ``@daily``), ``"every 30s"``, or a duration.
        job: The template of its jobs; the id does not matter.
        now: Seconds since 1970, by the store's clock if it is known.
        timezone: IANA name; the cron fields are wall time there. Intervals ignore it.
        catch_up: ``skip``, ``last`` or ``all``.
        paused: Whether it waits to be resumed.
        previous: The schedule of that name as the store has it. If its rule is the same, its next
            instant is kept: a program that declares its schedules whenever it starts must neither
            push an interval ahead of itself for ever nor forget what was missed.

    Raises:
        InvalidSchedule: A rule, time zone or policy that means nothing, a rule that never fires,
            or a template that cannot be repeated.
        InvalidOption: A name that is none.
    """
    check_name(name, what="schedule's name")
    if catch_up not in get_args(CatchUp):
        raise InvalidSchedule(f"catch_up is {catch_up!r}; expected skip, last or all")
    _check_template(name, job)
    expression, every = read_rule(rule)
    cron.check_timezone(timezone)
    spec = ScheduleSpec(
        name=name,
        job=msgspec.structs.replace(job, id="", schedule=name),
        cron=expression,
        every=every,
        timezone=timezone,
        catch_up=catch_up,  # type: ignore[arg-type]
        paused=paused,
    )
    if previous is not None and _same_rule(spec, previous.spec):
        return msgspec.structs.replace(spec, next_at=previous.spec.next_at)
    first = _first_instant(spec, now)
    if first is None:
        raise InvalidSchedule(
            f"the cron expression {expression!r} does not fire within fifty years; "
            "'0 3 * * *' is every day at 03:00"
        )
    return msgspec.structs.replace(spec, next_at=first)


def read_rule(rule: Rule) -> tuple[str | None, float | None]:
    """Return a rule's cron expression or its interval in seconds; the other one is None.

    Raises:
        InvalidSchedule: It is neither.
    """
    if not isinstance(rule, str):
        return None, _interval(rule)
    text = " ".join(rule.split())
    if text.lower().startswith("every "):
        return None, _interval(text[6:].replace(" ", ""))
    if text.lower().startswith("@every "):
        raise InvalidSchedule(f"the rule is {rule!r}; write an interval as 'every 30s'")
    if cron.is_cron(text):
        cron.check(text)
        return text, None
    return None, _interval(text)


def paused(info: ScheduleInfo) -> ScheduleSpec:
    """Return a schedule that waits until it is resumed."""
    return msgspec.structs.replace(info.spec, paused=True)


def resumed(info: ScheduleInfo, *, now: float) -> ScheduleSpec:
    """Return a schedule that fires again from now on.

    What fell into the pause was not missed but not wanted, so nothing is caught up. An interval
    keeps its phase.
    """
    spec = info.spec
    upcoming = spec.next_at
    if upcoming is not None and upcoming <= now:
        upcoming = following(spec, now)
    return msgspec.structs.replace(spec, paused=False, next_at=upcoming)


def manual_firing(spec: ScheduleSpec, *, now: float, clock: Clock) -> Firing:
    """Return a firing that a person asked for: now, whatever the rule says.

    Make it once and repeat the same one if its outcome is unknown: its job has an id of its own.
    """
    return Firing(
        name=spec.name,
        at=now,
        expect=spec.next_at,
        next_at=spec.next_at,
        job=msgspec.structs.replace(spec.job, id=clock.new_id(), schedule=spec.name),
        manual=True,
    )


def following(spec: ScheduleSpec, instant: float) -> float | None:
    """Return the first instant of a schedule after an instant; intervals keep their phase."""
    if spec.every is None:
        return cron.next_after(spec.cron or "", spec.timezone, instant)
    if spec.next_at is None:
        return None
    steps = math.floor((instant - spec.next_at) / spec.every) + 1
    at = _grid(spec.next_at + steps * spec.every)
    # Rounding to the grid may land on the instant itself.
    return at if at > instant else _grid(at + spec.every)


def preview(spec: ScheduleSpec, count: int) -> list[float]:
    """Return the next instants of a schedule, fewer if it ends."""
    found: list[float] = []
    at = spec.next_at
    while at is not None and len(found) < count:
        found.append(at)
        at = following(spec, at)
    return found


def due_firings(info: ScheduleInfo, now: float) -> list[Firing]:
    """Return what to fire now: each firing expects the ``next_at`` that the one before it left.

    Args:
        info: The schedule as the store has it.
        now: The store's time.

    Returns:
        Nothing if it is paused or not due. One firing without a job if all that is due was missed
        and is to be skipped.

    Raises:
        InvalidSchedule: The rule cannot be read here: a newer version wrote it, or the zone is
            not installed.
    """
    spec = info.spec
    if spec.paused or spec.next_at is None or spec.next_at > now:
        return []
    latest = _latest(spec, now)
    instants = _chosen(spec, latest, now)
    if not instants:
        return [_firing(spec, latest, expect=spec.next_at, job=False)]
    firings: list[Firing] = []
    expect = spec.next_at
    for at in instants:
        firing = _firing(spec, at, expect=expect)
        firings.append(firing)
        if firing.next_at is None:
            break
        expect = firing.next_at
    return firings


def corrected(info: ScheduleInfo, now: float) -> Firing | None:
    """Return what moves a stored instant that its rule does not give (any more), if it is wrong.

    The rules of time zones change with the machine's zone data; a stored instant was computed
    with those of its day. The rule, the zone and what fired last are the truth.

    Raises:
        InvalidSchedule: As `due_firings`.
    """
    spec = info.spec
    if spec.cron is None or spec.paused or spec.next_at is None or spec.next_at <= now:
        return None
    right = following(spec, max(now, info.last_at or now))
    if right == spec.next_at:
        return None
    return Firing(name=spec.name, at=now, expect=spec.next_at, next_at=right, job=None)


def job_id(name: str, at: float) -> str:
    """Return the id of the job that a schedule fires at an instant: always the same one."""
    digest = hashlib.sha256(f"{name}\n{at!r}".encode()).digest()
    low = int.from_bytes(digest[:2], "big") & 0xFFF
    # A UUIDv7 of the planned instant: it sorts among other jobs where it belongs.
    return uuid7(max(0, round(at * 1000)) << 12 | low, int.from_bytes(digest[8:16], "big"))


def _check_template(name: str, job: JobSpec) -> None:
    if job.parents or job.workflow_id is not None:
        raise InvalidSchedule(
            f"the job of schedule {name!r} belongs to a workflow; a schedule submits single jobs, "
            "and a job can submit a workflow"
        )
    if job.run_at is not None:
        raise InvalidSchedule(
            f"the job of schedule {name!r} has a run_at; its moment comes from the schedule's rule"
        )


def _interval(value: Duration) -> float:
    try:
        every = round(seconds(value, name="the interval"), 3)
    except InvalidOption as error:
        raise InvalidSchedule(
            f"{error.message}; a cron expression has five or six fields"
        ) from None
    if every < MIN_EVERY:
        raise InvalidSchedule(f"the interval is {value!r}; expected at least {MIN_EVERY:g} second")
    return every


def _same_rule(one: ScheduleSpec, other: ScheduleSpec) -> bool:
    return (one.cron, one.every, one.timezone) == (other.cron, other.every, other.timezone)


def _first_instant(spec: ScheduleSpec, now: float) -> float | None:
    return following(spec, now) if spec.every is None else _grid(now + spec.every)


def _latest(spec: ScheduleSpec, now: float) -> float:
    """Return the latest instant that is due; there is one, ``next_at``, or a later one."""
    first = spec.next_at if spec.next_at is not None else now
    if spec.every is not None:
        steps = math.floor((now - first) / spec.every)
        at = _grid(first + steps * spec.every)
        return at if at <= now else _grid(at - spec.every)
    at = cron.latest_until(spec.cron or "", spec.timezone, now) or first
    return max(at, first)


def _chosen(spec: ScheduleSpec, latest: float, now: float) -> list[float]:
    """Return the instants that fire now, oldest first."""
    first = spec.next_at if spec.next_at is not None else now
    if spec.catch_up == "all":
        return _instants(spec, max(first, now - WINDOW), now)
    fresh = _instants(spec, max(first, now - FRESH), now)
    if fresh:
        return fresh
    is_wanted = spec.catch_up == "last" or now - latest <= LATE
    return [latest] if is_wanted else []


def _instants(spec: ScheduleSpec, begin: float, until: float) -> list[float]:
    """Return the instants from ``begin`` to ``until``, both included, oldest first."""
    first = spec.next_at
    at = first if first is not None and first >= begin else _at_or_after(spec, begin)
    found: list[float] = []
    while at is not None and at <= until and len(found) < MAX_FIRINGS:
        found.append(at)
        at = following(spec, at)
    return found


def _at_or_after(spec: ScheduleSpec, instant: float) -> float | None:
    return following(spec, math.nextafter(instant, -math.inf))


def _firing(spec: ScheduleSpec, at: float, *, expect: float, job: bool = True) -> Firing:
    fired = msgspec.structs.replace(spec.job, id=job_id(spec.name, at), schedule=spec.name)
    return Firing(
        name=spec.name,
        at=at,
        expect=expect,
        next_at=following(spec, at),
        job=fired if job else None,
    )


def _grid(instant: float) -> float:
    """Round to milliseconds, so that a thousand additions do not drift."""
    return round(instant, 3)
