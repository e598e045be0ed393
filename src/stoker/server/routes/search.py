"""Searching jobs and acting on what was found: count, suggest, export, bulk."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from stoker.server.access import Need, needs
from stoker.server.bulk import act
from stoker.server.caller import PREFIX, Caller, reply
from stoker.server.counting import count_jobs
from stoker.server.describe import answers, takes
from stoker.server.exporting import Format, export
from stoker.server.query import MAX_TEXT, JobFilter
from stoker.server.schemas import BulkAnswer, BulkBody, JobCount, SuggestionList
from stoker.server.suggesting import suggest

router = APIRouter(prefix=f"{PREFIX}/jobs", tags=["jobs"])

_EXAMPLE = {
    "action": "retry",
    "q": "state:dead_letter task:send_email error:refused",
    "reason": "the mail server is back",
    "rate": 50,
}


@router.get("/count", responses=answers(JobCount))
@needs(Need.READ)
async def count_matching_jobs(request: Request, search: JobFilter) -> Response:
    """Count the jobs that match, at most 10,000 of them one by one.

    States and queues alone are counted by the store itself, however many jobs there are.
    """
    return reply(await count_jobs(Caller(request), search))


@router.get("/suggestions", responses=answers(SuggestionList))
@needs(Need.READ)
async def suggest_search(
    request: Request,
    text: Annotated[
        str,
        Query(
            max_length=MAX_TEXT,
            description="The term that is being typed, such as `ta` or `task:send`.",
        ),
    ] = "",
) -> Response:
    """Say how a search may go on: qualifiers, or values that the store knows."""
    return reply(SuggestionList(await suggest(Caller(request), text)))


@router.get(
    "/export",
    responses={
        **answers(JobCount),
        200: {
            "description": "The file",
            "content": {"application/x-ndjson": {}, "text/csv": {}},
        },
    },
)
@needs(Need.READ)
async def export_jobs(
    request: Request,
    search: JobFilter,
    form: Annotated[
        Format,
        Query(alias="format", description="JSON lines, or a table for a spreadsheet."),
    ] = "jsonl",
    limit: Annotated[int, Query(ge=1, le=100_000, description="The most jobs.")] = 10_000,
) -> Response:
    """Download jobs, newest submitted first, without their log lines."""
    return await export(Caller(request), search, form=form, most=limit)


@router.post(
    "/bulk",
    responses=answers(BulkAnswer, body=True),
    openapi_extra=takes(BulkBody, example=_EXAMPLE),
)
@needs(Need.OPERATE)
async def act_on_jobs(request: Request) -> Response:
    """Cancel, retry or delete many jobs, a batch at a time.

    With `dry_run` it only counts. Go on with `next_cursor` until it is null; jobs submitted after
    the first batch are not taken, and a job that moved on meanwhile is left alone.
    """
    caller = Caller(request)
    return reply(await act(caller, await caller.body(BulkBody)))
