"""API keys: make, look, revoke."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from stoker.app.keys import KeyView, NewKey, create_key, revoke_key, show_key
from stoker.core.duration import optional_seconds
from stoker.server.access import Need, needs
from stoker.server.caller import PREFIX, Caller, reply
from stoker.server.describe import answers, takes
from stoker.server.schemas import KeyBody, KeyList

router = APIRouter(prefix=f"{PREFIX}/api-keys", tags=["keys"])

_EXAMPLE = {"name": "ci", "scopes": ["submit"], "queues": ["default"], "expires": "30d"}


@router.get("", responses=answers(KeyList))
@needs(Need.ADMIN)
async def list_api_keys(request: Request) -> Response:
    """List the API keys, oldest first, with the revoked ones. Nothing of a key itself is kept."""
    caller = Caller(request)
    found = await caller.run(lambda store: store.keys())
    return reply(KeyList([show_key(info) for info in found]))


@router.post(
    "",
    status_code=201,
    responses=answers(NewKey, status=201, body=True, refuses=(409,)),
    openapi_extra=takes(KeyBody, example=_EXAMPLE),
)
@needs(Need.ADMIN)
async def make_api_key(request: Request) -> Response:
    """Make an API key. This answer is the only one that ever holds it."""
    caller = Caller(request)
    body = await caller.body(KeyBody)
    made = await caller.run(
        lambda store: create_key(
            store,
            caller.app.clock,
            actor=caller.actor,
            name=body.name,
            scopes=body.scopes,
            queues=body.queues,
            tenant=body.tenant,
            expires_in=optional_seconds(body.expires, name="expires"),
        )
    )
    request.app.state.gateway.keyring.forget()
    return reply(made, 201, headers={"location": f"{PREFIX}/api-keys/{made.id}"})


@router.delete("/{key}", responses=answers(KeyView, refuses=(404,)))
@needs(Need.ADMIN)
async def revoke_api_key(request: Request, key: str) -> Response:
    """Revoke an API key, by its id or its name, and end the log-ins made with it."""
    caller = Caller(request)
    info = await caller.run(lambda store: revoke_key(store, key, actor=caller.actor))
    request.app.state.gateway.keyring.forget()
    return reply(show_key(info))
