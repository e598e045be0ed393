"""What stands behind the question mark: filters, pages and moments."""

import re
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Query, Request

from stoker.core.clock import Clock
from stoker.core.duration import instant, seconds
from stoker.core.errors import InvalidOption, InvalidQuery
from stoker.core.job import Priority
from stoker.core.lifecycle import State
from stoker.core.records import MAX_PAGE, JobQuery
from stoker.server.search import LONGEST, QUALIFIERS, read_search
from stoker.server.sifting import Search

MAX_TEXT = 500
"""Characters of a filter's text."""
_SIGN_LOST = re.compile(r" (\d\d:?\d\d)$")

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Records in one page.")]
Cursor = Annotated[
    str | None,
    Query(max_length=MAX_TEXT, description="`next_cursor` of the page before."),
]
Text = Annotated[str | None, Query(max_length=MAX_TEXT)]
Texts = Annotated[list[str] | None, Query(max_length=100, description="May be repeated.")]
When = Annotated[
    str | None,
    Query(
        max_length=MAX_TEXT,
        description="ISO 8601 with an offset, seconds since 1970, or how long ago: `10m`, `2h`.",
    ),
]
Typed = Annotated[
    str | None,
    Query(
        max_length=LONGEST,
        description="A search, as in the dashboard: `state:dead_letter queue:mail error:refused`.",
        examples=["state:queued,running task:send_email since:2h"],
    ),
]


async def job_filter(
    request: Request,
    *,
    q: Typed = None,
    state: Annotated[list[State] | None, Query(description="May be repeated.")] = None,
    queue: Texts = None,
    task: Texts = None,
    priority: Annotated[list[Priority] | None, Query(description="May be repeated.")] = None,
    tenant: Text = None,
    workflow: Text = None,
    schedule: Text = None,
    error: Annotated[
        str | None,
        Query(
            max_length=MAX_TEXT,
            description="Text that the last error's code, type or message contains.",
        ),
    ] = None,
    worker: Text = None,
    since: When = None,
    until: When = None,
) -> Search:
    """Read the filters of a list of jobs."""
    clock: Clock = request.app.state.stoker.clock
    query = JobQuery(
        states=tuple(state or ()),
        queues=tuple(queue or ()),
        tasks=tuple(task or ()),
        priorities=tuple(priority or ()),
        tenant=tenant,
        workflow_id=workflow,
        schedule=schedule,
        error=error,
        worker=worker,
        submitted_after=moment(since, clock=clock, name="since"),
        submitted_before=moment(until, clock=clock, name="until"),
    )
    if q is None:
        return Search(query=query)
    typed = search(q, clock=clock)
    return Search(query=both(query, typed.query), held=typed.held)


async def dead_filter(
    request: Request,
    *,
    q: Typed = None,
    queue: Texts = None,
    task: Texts = None,
    priority: Annotated[list[Priority] | None, Query(description="May be repeated.")] = None,
    tenant: Text = None,
    workflow: Text = None,
    schedule: Text = None,
    error: Text = None,
    worker: Text = None,
    since: When = None,
    until: When = None,
) -> Search:
    """Read the filters of a list of dead letters."""
    return await job_filter(
        request,
        q=q,
        state=[State.DEAD_LETTER],
        queue=queue,
        task=task,
        priority=priority,
        tenant=tenant,
        workflow=workflow,
        schedule=schedule,
        error=error,
        worker=worker,
        since=since,
        until=until,
    )


JobFilter = Annotated[Search, Depends(job_filter)]
DeadFilter = Annotated[Search, Depends(dead_filter)]


def search(text: str, *, clock: Clock) -> Search:
    """Read a search.

    Raises:
        InvalidQuery: It means nothing; ``details.position`` says where.
    """

    def read_moment(value: str, name: str) -> float:
        return moment(value, clock=clock, name=name) or 0.0

    return read_search(text, moment=read_moment)


def both(one: JobQuery, other: JobQuery) -> JobQuery:
    """Return the query that narrows by the fields of two.

    Raises:
        InvalidQuery: Both say something about the same field.
    """
    empty = JobQuery()
    given = {
        field: getattr(other, field)
        for field in other.__struct_fields__
        if getattr(other, field) != getattr(empty, field)
    }
    for qualifier, field in QUALIFIERS.items():
        if field in given and getattr(one, field) != getattr(empty, field):
            raise InvalidQuery(
                f"the search says {qualifier}:, and there is a parameter for the same; say it once"
            )
    return msgspec.structs.replace(one, **given)


def moment(value: Any, *, clock: Clock, name: str) -> float | None:
    """Read a moment as people write it: absolute, or how long ago.

    Raises:
        InvalidQuery: Neither.
    """
    if value is None:
        return None
    if isinstance(value, str):
        # A plus sign that was not escaped arrives as a space.
        value = _SIGN_LOST.sub(r"+\1", value.strip()) if "T" in value else value.strip()
    try:
        return instant(float(value), name=name)
    except (ValueError, OverflowError, InvalidOption):
        pass
    try:
        return clock.now() - seconds(value, name=name)
    except InvalidOption:
        pass
    try:
        return instant(value, name=name)
    except InvalidOption:
        raise InvalidQuery(
            f"{name} is {str(value)[:100]!r}; expected ISO 8601 with an offset, such as "
            "2030-01-31T09:00:00+00:00, seconds since 1970, or how long ago, such as 10m"
        ) from None
