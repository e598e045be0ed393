"""The first screen: as it is now, live, and minute by minute; and the settings in force."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from stoker.app.overview import ActivityView, activity_by
from stoker.server.access import Need, needs
from stoker.server.caller import PREFIX, Caller, reply
from stoker.server.describe import answers
from stoker.server.feed import Feed
from stoker.server.schemas import SettingsView
from stoker.server.watch import Frame, Watch
from stoker.settings import shown

router = APIRouter(prefix=PREFIX, tags=["system"])


@router.get("/overview", responses=answers(Frame))
@needs(Need.READ)
async def get_overview(request: Request) -> Response:
    """Return the system on one page; at most a second old, and shared by all who look."""
    Caller(request).need_whole("the overview")
    watch: Watch = request.app.state.watch
    seen = await watch.now()
    return Response(seen.data, media_type="application/json")


@router.get(
    "/live",
    responses={
        **answers(Frame, refuses=(429,)),
        200: {"description": "Server-sent events", "content": {"text/event-stream": {}}},
    },
)
@needs(Need.READ)
async def follow_overview(request: Request) -> Response:
    """Follow the first screen live, as server-sent events.

    `overview`: a whole frame, about every `every` seconds whether anything happened or not; lists
    are old when its `revision` has changed. `trouble`: the store does not answer; the error says
    why. `drain`: the server goes away. A client that comes back is told the present frame.
    """
    caller = Caller(request)
    caller.need_whole("the overview")
    feed: Feed = request.app.state.feed
    return feed.open(caller, request.headers.get("last-event-id"))


@router.get("/activity", responses=answers(ActivityView))
@needs(Need.READ)
async def get_activity(
    request: Request,
    by: Annotated[Literal["queue", "task"], Query(description="What to sort by.")] = "queue",
    window: Annotated[int, Query(ge=60, le=3600, description="Seconds to look back.")] = 3600,
) -> Response:
    """Return what happened with each queue or task, minute by minute."""
    Caller(request).need_whole("the activity")
    watch: Watch = request.app.state.watch
    seen = await watch.now()
    return reply(activity_by(seen.counts, by, window=window))


@router.get("/settings", responses=answers(SettingsView))
@needs(Need.ADMIN)
async def get_settings(request: Request) -> Response:
    """Return the configuration in force; secrets are masked."""
    caller = Caller(request)
    return reply(SettingsView(dict(shown(caller.app.settings))))
