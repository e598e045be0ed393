"""Options that say which jobs, and the walk over all pages of an answer."""

import functools
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stoker.cli.output import Output
from stoker.core.duration import instant, seconds
from stoker.core.errors import InvalidOption, InvalidQuery
from stoker.core.job import JobRecord
from stoker.core.lifecycle import State
from stoker.core.records import MAX_PAGE, JobQuery

if TYPE_CHECKING:
    from stoker.core.clock import Clock
    from stoker.core.store import Store

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--queue", "-q", "queues", multiple=True, help="Only this queue; repeatable."),
    click.option("--task", "-t", "tasks", multiple=True, help="Only this task; repeatable."),
    click.option("--tenant", help="Only this tenant."),
    click.option("--workflow", "workflow_id", metavar="ID", help="Only jobs of this workflow."),
    click.option("--schedule", metavar="NAME", help="Only jobs that this schedule fired."),
    click.option("--error", metavar="TEXT", help="Only if the last error contains this."),
    click.option("--worker", metavar="NAME", help="Only jobs that this worker had."),
    click.option("--since", metavar="WHEN", help="Submitted since: 10m, 2h, or ISO 8601."),
    click.option("--until", metavar="WHEN", help="Submitted before: 10m, 2h, or ISO 8601."),
)


_NAMES = (
    "queues",
    "tasks",
    "tenant",
    "workflow_id",
    "schedule",
    "error",
    "worker",
    "since",
    "until",
)


def filter_options(fn: F) -> F:
    """Give a command the options that narrow jobs; it gets them as one dict ``wanted``."""

    @functools.wraps(fn)
    def call(*args: Any, **values: Any) -> Any:
        wanted = {name: values.pop(name) for name in _NAMES}
        return fn(*args, wanted=wanted, **values)

    command: Any = call
    for option in reversed(_OPTIONS):
        command = option(command)
    result: F = command
    return result


def state_option(fn: F) -> F:
    """Give a command ``--state``, repeatable."""
    return click.option(
        "--state",
        "-s",
        "states",
        multiple=True,
        type=click.Choice([str(state) for state in State]),
        help="Only this state; repeatable.",
    )(fn)


def job_query(
    wanted: dict[str, Any],
    *,
    clock: "Clock",
    states: Sequence[str] = (),
    ids: Sequence[str] = (),
) -> JobQuery:
    """Make a query of what the options say.

    Raises:
        InvalidOption: A moment that means nothing.
    """
    return JobQuery(
        ids=tuple(ids),
        states=tuple(State(state) for state in states),
        queues=tuple(wanted["queues"]),
        tasks=tuple(wanted["tasks"]),
        tenant=wanted["tenant"],
        workflow_id=wanted["workflow_id"],
        schedule=wanted["schedule"],
        error=wanted["error"],
        worker=wanted["worker"],
        submitted_after=read_moment(wanted["since"], clock=clock, name="--since"),
        submitted_before=read_moment(wanted["until"], clock=clock, name="--until"),
    )


def narrows(wanted: dict[str, Any]) -> bool:
    """Whether any of the options was given."""
    return any(wanted.values())


def read_moment(text: str | None, *, clock: "Clock", name: str) -> float | None:
    """Read a moment: ISO 8601 with an offset, or a duration, which means that long ago.

    Raises:
        InvalidOption: Neither.
    """
    if text is None:
        return None
    try:
        return clock.now() - seconds(text)
    except InvalidOption:
        pass
    try:
        return instant(text, name=name)
    except InvalidOption:
        raise InvalidOption(
            f"{name} is {text!r}; expected how long ago (10m, 2h, 1d) or a moment such as "
            "2030-01-31T09:00:00+00:00"
        ) from None


async def find_all(
    store: "Store", query: JobQuery, *, limit: int | None = None
) -> AsyncIterator[JobRecord]:
    """Yield matching jobs, newest first, over as many pages as it takes."""
    cursor: str | None = None
    left = limit
    while left is None or left > 0:
        size = MAX_PAGE if left is None else min(left, MAX_PAGE)
        page = await store.find(query, cursor=cursor, limit=size)
        for job in page.jobs:
            yield job
        left = None if left is None else left - len(page.jobs)
        cursor = page.next_cursor
        if cursor is None:
            return


def check_limit(limit: int) -> int:
    """Return a limit.

    Raises:
        InvalidQuery: Below 1.
    """
    if limit < 1:
        raise InvalidQuery(f"--limit is {limit}; expected at least 1")
    return limit


def confirm(out: Output, question: str, *, yes: bool) -> bool:
    """Ask before something that cannot be undone.

    Raises:
        InvalidOption: Nobody is there to be asked, and ``--yes`` was not given.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise InvalidOption(f"{question} Nobody is here to be asked; add --yes to do it.")
    if click.confirm(question, err=True):
        return True
    out.note("nothing was done")
    return False
