"""Fleets: look, have more or fewer workers, drain, stop, replace the workers one by one."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from stoker.app.fleets import NEWS, FleetOrder, acommand_fleet, afind_fleet, afleets
from stoker.core.fleets import FleetInfo
from stoker.server.access import Need, needs
from stoker.server.caller import PREFIX, Caller, reply
from stoker.server.describe import answers, takes
from stoker.server.identity import Identity
from stoker.server.schemas import FleetAnswer, FleetList, ReasonBody, ScaleFleetBody

router = APIRouter(prefix=f"{PREFIX}/fleets", tags=["fleets"])

_TOLD = answers(FleetAnswer, status=202, body=True, refuses=(404, 409))
_WHY = takes(ReasonBody, required=False)


@router.get("", responses=answers(FleetList))
@needs(Need.READ)
async def list_fleets(
    request: Request,
    *,
    ended: Annotated[
        bool, Query(description="Also those that left or died within the last day.")
    ] = False,
) -> Response:
    """List the fleets with their kinds and workers, by name."""
    caller = Caller(request)
    found = await caller.run(lambda store: afleets(store, ended=ended))
    return reply(FleetList([_own(fleet, caller.identity) for fleet in found]))


@router.post(
    "/{fleet:path}/scale",
    status_code=202,
    responses=_TOLD,
    openapi_extra=takes(ScaleFleetBody, example={"kind": "mail", "max": 8, "reason": "a sale"}),
)
@needs(Need.OPERATE)
async def scale_fleet(request: Request, fleet: str) -> Response:
    """Change how few and how many workers of a kind there may be, until the fleet is reloaded.

    Workers that are too many finish what they hold: nothing is interrupted.
    """
    caller = Caller(request)
    body = await caller.body(ScaleFleetBody)
    order = FleetOrder(
        action="scale", kind=body.kind, min=body.min, max=body.max, reason=body.reason
    )
    return await _command(caller, fleet, order)


@router.post("/{fleet:path}/drain", status_code=202, responses=_TOLD, openapi_extra=_WHY)
@needs(Need.OPERATE)
async def drain_fleet(request: Request, fleet: str) -> Response:
    """Ask a fleet to drain all of its workers, and to end."""
    caller = Caller(request)
    body = await caller.optional_body(ReasonBody)
    return await _command(caller, fleet, FleetOrder(action="drain", reason=body.reason))


@router.post("/{fleet:path}/stop", status_code=202, responses=_TOLD, openapi_extra=_WHY)
@needs(Need.OPERATE)
async def stop_fleet(request: Request, fleet: str) -> Response:
    """Ask a fleet to interrupt what its workers run, to give it back, and to end."""
    caller = Caller(request)
    body = await caller.optional_body(ReasonBody)
    return await _command(caller, fleet, FleetOrder(action="stop", reason=body.reason))


@router.post("/{fleet:path}/reload", status_code=202, responses=_TOLD, openapi_extra=_WHY)
@needs(Need.OPERATE)
async def reload_fleet(request: Request, fleet: str) -> Response:
    """Replace the workers of a fleet one by one, and go back to its configured bounds."""
    caller = Caller(request)
    body = await caller.optional_body(ReasonBody)
    return await _command(caller, fleet, FleetOrder(action="reload", reason=body.reason))


@router.get("/{fleet:path}", responses=answers(FleetInfo, refuses=(404, 409)))
@needs(Need.READ)
async def get_fleet(request: Request, fleet: str) -> Response:
    """Return a fleet, by the id of its session, its name, or NAME@HOST."""
    caller = Caller(request)
    found = await caller.run(lambda store: afind_fleet(store, fleet))
    return reply(_own(found, caller.identity))


async def _command(caller: Caller, name: str, order: FleetOrder) -> Response:
    # A fleet works for others as well.
    caller.need_whole("fleets")
    fleet, _ = await caller.run(
        lambda store: acommand_fleet(store, name, order, actor=caller.actor)
    )
    return reply(FleetAnswer(NEWS[order.action], fleet), 202)


def _own(fleet: FleetInfo, identity: Identity) -> FleetInfo:
    """Leave out the kinds that work for none of the caller's queues."""
    if not identity.queues:
        return fleet
    kinds = tuple(kind for kind in fleet.kinds if identity.queues & set(kind.queues))
    names = {kind.name for kind in kinds}
    workers = tuple(worker for worker in fleet.workers if worker.kind in names)
    return msgspec.structs.replace(fleet, kinds=kinds, workers=workers)
