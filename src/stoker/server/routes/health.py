"""Whether the server is alive, whether it can serve, and its figures for Prometheus."""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from stoker.core.errors import Unavailable
from stoker.server.access import Need, needs
from stoker.server.caller import Caller, reply
from stoker.server.describe import answers
from stoker.server.metrics import expose
from stoker.server.schemas import Health

router = APIRouter(tags=["system"])

READY_SECONDS = 1.0
"""How long the store may take to answer."""


@router.get("/health", responses=answers(Health))
@needs(Need.OPEN)
async def get_health(request: Request) -> Response:
    """Say that the server is alive, without asking the store."""
    return reply(Health("alive", request.app.version))


@router.get("/ready", responses=answers(Health))
@needs(Need.OPEN)
async def get_ready(request: Request) -> Response:
    """Say whether the store answers within a second."""
    caller = Caller(request)
    try:
        async with asyncio.timeout(READY_SECONDS):
            await caller.run(lambda store: store.get(["ready"]))
    except TimeoutError:
        raise Unavailable(f"the store did not answer within {READY_SECONDS:g} s") from None
    return reply(Health("ready", request.app.version))


@router.get(
    "/metrics",
    responses={
        **answers(Health),
        200: {"description": "Prometheus text", "content": {"text/plain": {}}},
    },
)
@needs(Need.READ)
async def get_metrics(request: Request) -> Response:
    """Return the store's and the server's figures in the format of Prometheus."""
    Caller(request).need_whole("the metrics")
    state = request.app.state
    accept = request.headers.get("accept", "")
    data, media_type = await expose(state.watch, state.traffic, state.streams, accept=accept)
    return Response(data, media_type=media_type)
