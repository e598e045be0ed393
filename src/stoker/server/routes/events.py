"""The audit trail."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from stoker.core.events import Kind
from stoker.core.records import EventQuery
from stoker.server.access import Need, needs
from stoker.server.caller import PREFIX, Caller, reply
from stoker.server.describe import answers
from stoker.server.query import Limit, Text, When, moment
from stoker.server.schemas import EventList

router = APIRouter(prefix=f"{PREFIX}/events", tags=["events"])

After = Annotated[
    int | None,
    Query(
        ge=0,
        le=2**63 - 1,
        description="Only events after this `seq`, oldest first; without, the newest first.",
    ),
]


@router.get("", responses=answers(EventList))
@needs(Need.READ)
async def list_events(
    request: Request,
    *,
    after: After = None,
    kind: Annotated[list[Kind] | None, Query(description="May be repeated.")] = None,
    job_id: Text = None,
    queue: Text = None,
    worker: Text = None,
    actor: Text = None,
    since: When = None,
    limit: Limit = 100,
) -> Response:
    """Read what happened to the system, and who did it."""
    caller = Caller(request)
    query = EventQuery(
        after=after,
        kinds=tuple(kind or ()),
        job_id=job_id,
        queue=queue,
        worker=worker,
        actor=actor,
        since=moment(since, clock=caller.app.clock, name="since"),
    )
    found = await caller.run(lambda store: store.events(query, limit=limit))
    return reply(EventList(found, max((event.seq for event in found), default=None)))
