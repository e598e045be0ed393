"""Logging in to the page with a key, logging out, and who one is.

The key is shown once and not kept by the page. What it gets is a cookie that no script can read
and that no other site can send along with a change, and a token that must come with each change.
"""

from fastapi import APIRouter, Request
from starlette.responses import Response

from stoker.core.keys import make_login
from stoker.core.store import Store
from stoker.server.access import Need, needs
from stoker.server.caller import PREFIX, Caller, reply
from stoker.server.describe import answers, takes
from stoker.server.gate import Gate, address_of, cookie_name, csrf_of
from stoker.server.identity import EVERYBODY, Identity
from stoker.server.schemas import LoginBody, Me

router = APIRouter(tags=["keys"])


@router.post(
    "/login",
    responses=answers(Me, body=True, refuses=(401, 429)),
    openapi_extra=takes(LoginBody),
)
@needs(Need.OPEN)
async def log_in(request: Request) -> Response:
    """Log in with an API key; answers with a cookie."""
    caller = Caller(request)
    gate: Gate = request.app.state.gate
    text = (await caller.body(LoginBody)).key
    identity = await gate.log_in(text, address_of(request))
    lives = float(caller.app.settings.server.login)

    async def keep(store: Store) -> str:
        [key] = await store.keys([identity.key])
        spec, shown = make_login(caller.app.clock, key.spec, expires_in=lives)
        await store.put_keys([spec], actor=f"key:{identity.name}")
        return shown

    login = await caller.run(keep)
    response = reply(_me(identity, csrf_of(login)))
    _set_cookie(response, request, login, max_age=int(lives))
    return response


@router.post("/logout", status_code=204, responses=answers(status=204))
@needs(Need.KNOWN)
async def log_out(request: Request) -> Response:
    """Log out: the cookie is worth nothing afterwards. Without one nothing happens."""
    caller = Caller(request)
    login = caller.identity.login
    if login:
        await caller.app.arun(lambda store: store.put_keys(revoke=[login], actor=caller.actor))
        request.app.state.gateway.keyring.forget()
    response = Response(status_code=204)
    _set_cookie(response, request, "", max_age=0)
    return response


@router.get(f"{PREFIX}/me", responses=answers(Me))
@needs(Need.KNOWN)
async def get_me(request: Request) -> Response:
    """Say who asks, and what he may."""
    caller = Caller(request)
    identity = caller.identity
    csrf = csrf_of(request.cookies.get(cookie_name(request), "")) if identity.login else None
    return reply(_me(identity, csrf))


def _me(identity: Identity, csrf: str | None) -> Me:
    return Me(
        name=identity.name,
        anonymous=identity is EVERYBODY,
        scopes=sorted(identity.scopes),
        queues=sorted(identity.queues),
        tenant=identity.tenant,
        csrf=csrf,
    )


def _set_cookie(response: Response, request: Request, value: str, *, max_age: int) -> None:
    response.set_cookie(
        cookie_name(request),
        value,
        max_age=max_age,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
