"""Dead letters: look, group by cause, replay, drop."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from stoker.app.stats import Cause, Grouping
from stoker.core.errors import InvalidOption
from stoker.core.job import JobRecord
from stoker.core.lifecycle import State
from stoker.core.records import MAX_PAGE, Answer, JobQuery
from stoker.server.access import Need, needs
from stoker.server.caller import PREFIX, Caller, reply
from stoker.server.counting import pages
from stoker.server.describe import answers, takes
from stoker.server.query import Cursor, DeadFilter, Limit, moment
from stoker.server.schemas import (
    DeadLetterBody,
    Dropped,
    ErrorGroups,
    ReplayBody,
    Replayed,
)
from stoker.server.sifting import Search, SearchPage, find

router = APIRouter(prefix=f"{PREFIX}/dead-letters", tags=["dead letters"])

SCANNED = 10_000
"""The most dead letters that one grouping looks at."""
_NARROWING = ("task", "queue", "tenant", "workflow", "error", "group", "since", "until")


@router.get("", responses=answers(SearchPage, ErrorGroups))
@needs(Need.READ)
async def list_dead_letters(
    request: Request,
    search: DeadFilter,
    group_by: Annotated[
        Literal["error"] | None, Query(description="Count by what they died of.")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Response:
    """List dead letters, newest submitted first, or group them by cause."""
    caller = Caller(request)
    if group_by is None:
        return reply(await find(caller.run, search, cursor=cursor, limit=limit))
    grouping = Grouping()
    is_complete = await _scan(caller, search, SCANNED, grouping.add)
    return reply(ErrorGroups(grouping.groups(), grouping.count, is_complete))


@router.post(
    "/replay",
    responses=answers(Replayed, body=True),
    openapi_extra=takes(ReplayBody, example={"task": "send_email", "rate": 50}),
)
@needs(Need.OPERATE)
async def replay_dead_letters(request: Request) -> Response:
    """Bring dead letters back to life, all at once or at a rate."""
    caller = Caller(request)
    body = await caller.body(ReplayBody)
    query = _query(caller, body)
    if body.dry_run:
        matched, is_complete = await _count(caller, query, body)
        would = Replayed(
            dry_run=True, matched=matched, replayed=0, is_complete=is_complete, answers=[]
        )
        return reply(would)
    refused: list[Answer] = []
    is_all: bool | None = None
    if body.ids:
        query, refused = await _only_dead(caller, body)
        is_all = True
    elif body.group is not None:
        query, is_all = await _of_group(caller, query, body)
    given = await _requeue(caller, body, query)
    replayed = sum(answer.answer == "requeued" for answer in given)
    done = Replayed(
        dry_run=False,
        matched=len(given),
        replayed=replayed,
        is_complete=len(given) < body.limit if is_all is None else is_all,
        answers=[*given, *refused],
    )
    return reply(done)


@router.post(
    "/drop",
    responses=answers(Dropped, body=True),
    openapi_extra=takes(DeadLetterBody, example={"ids": ["019a..."]}),
)
@needs(Need.OPERATE)
async def drop_dead_letters(request: Request) -> Response:
    """Delete dead letters for good."""
    caller = Caller(request)
    body = await caller.body(DeadLetterBody)
    query = _query(caller, body)
    if body.dry_run:
        matched, is_complete = await _count(caller, query, body)
        return reply(Dropped(dry_run=True, matched=matched, dropped=0, is_complete=is_complete))
    is_all: bool | None = None
    if body.group is not None:
        query, is_all = await _of_group(caller, query, body)
    dropped = 0
    if body.group is None or query.ids:
        dropped = await caller.run(
            lambda store: store.purge(query, limit=body.limit, actor=caller.actor)
        )
    is_complete = dropped < body.limit if is_all is None else is_all
    return reply(Dropped(dry_run=False, matched=dropped, dropped=dropped, is_complete=is_complete))


def _query(caller: Caller, body: DeadLetterBody) -> JobQuery:
    narrows = any(getattr(body, name) is not None for name in _NARROWING)
    if [bool(body.ids), narrows, body.all].count(True) != 1:
        raise InvalidOption(
            "the body says which dead letters: by 'ids', or by filters (task, queue, tenant, "
            "workflow, error, group, since, until), or all of them by 'all': true; give one of "
            "the three"
        )
    clock = caller.app.clock
    return JobQuery(
        ids=body.ids,
        states=(State.DEAD_LETTER,),
        tasks=(body.task,) if body.task else (),
        queues=(body.queue,) if body.queue else (),
        tenant=body.tenant,
        workflow_id=body.workflow,
        error=body.error or (body.group.literal() if body.group is not None else None),
        submitted_after=moment(body.since, clock=clock, name="since"),
        submitted_before=moment(body.until, clock=clock, name="until"),
    )


async def _only_dead(caller: Caller, body: ReplayBody) -> tuple[JobQuery, list[Answer]]:
    """Set aside the ids that name no dead letter: a replay must not run completed jobs again."""
    ids = tuple(dict.fromkeys(body.ids))
    dead: list[str] = []
    refused: list[Answer] = []
    for start in range(0, len(ids), MAX_PAGE):
        chunk = ids[start : start + MAX_PAGE]
        for job_id, job in zip(chunk, await _get(caller, chunk), strict=True):
            if job is not None and job.state is State.DEAD_LETTER:
                dead.append(job_id)
            else:
                refused.append(Answer(job_id, "unknown" if job is None else "refused"))
    return JobQuery(ids=tuple(dead)), refused


async def _requeue(caller: Caller, body: ReplayBody, query: JobQuery) -> list[Answer]:
    if (body.ids or body.group is not None) and not query.ids:
        return []
    options: dict[str, Any] = {
        "interval": 1 / body.rate if body.rate else 0.0,
        "reason": body.reason,
        "limit": max(body.limit, len(query.ids)),
    }
    return await caller.run(lambda store: store.requeue(query, actor=caller.actor, **options))


async def _get(caller: Caller, ids: tuple[str, ...]) -> list[JobRecord | None]:
    return await caller.run(lambda store: store.get(ids))


async def _count(caller: Caller, query: JobQuery, body: DeadLetterBody) -> tuple[int, bool]:
    """Return how many jobs match, up to a limit, and whether these are all."""
    if body.group is not None:
        found, is_complete = await _of_group(caller, query, body)
        return len(found.ids), is_complete
    matched = 0

    def count(_: JobRecord) -> None:
        nonlocal matched
        matched += 1

    is_complete = await _scan(caller, Search(query=query), body.limit, count)
    return matched, is_complete


async def _of_group(caller: Caller, query: JobQuery, body: DeadLetterBody) -> tuple[JobQuery, bool]:
    """Name the dead letters of one error group; say whether these are all.

    The store narrows by a text that all of them have; which group one belongs to is looked at
    here, for as many as a grouping looks at.
    """
    found: list[str] = []
    async for page in pages(caller, Search(query=query), most=SCANNED):
        own = [job.id for job in page.jobs if Cause.of(job) == body.group]
        found += own[: body.limit - len(found)]
        if page.next_cursor is None and len(found) < body.limit:
            return _named(query, found), True
        if len(found) >= body.limit:
            break
    return _named(query, found), False


def _named(query: JobQuery, ids: list[str]) -> JobQuery:
    # The state stays: one that was replayed meanwhile is left alone.
    return JobQuery(ids=tuple(ids), states=query.states)


async def _scan(
    caller: Caller, search: Search, limit: int, visit: Callable[[JobRecord], None]
) -> bool:
    """Show matching jobs to a visitor, up to a limit; return whether these are all."""
    is_complete = False
    async for page in pages(caller, search, most=limit):
        for job in page.jobs:
            visit(job)
        is_complete = page.next_cursor is None
        if page.looked_at:
            break
    return is_complete
