"""The gateway over HTTP: ``POST /gateway/v1/VERB`` with the parameters as the body.

An ASGI application of its own, so that it can stand beside the HTTP API or alone. It knows no
connection: each request shows its token, and a ``wait`` is a request that takes long.
"""

import asyncio
from collections.abc import Mapping

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from stoker.core.errors import FrameTooLarge, InvalidPayload, ProtocolError, StokerError
from stoker.core.wire.frames import MAX_ANSWER, too_large
from stoker.core.wire.messages import HELLO, Hello, check_json, error_body, read_params
from stoker.core.wire.verbs import VERBS
from stoker.server.errors import error_response, headers_of, status_of
from stoker.server.gateway.desk import Desk
from stoker.server.identity import Identity
from stoker.server.limits import network_of

PREFIX = "/gateway/v1"
PATHS = frozenset(f"{PREFIX}/{verb}" for verb in (HELLO, *VERBS))
"""Every path of the gateway."""
_JSON = "application/json"
_encode = msgspec.json.Encoder().encode


class HttpGateway:
    """An ASGI application that answers for a desk."""

    def __init__(self, desk: Desk) -> None:
        """Stand before a desk."""
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        refusal = _refuse(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        verb = scope["path"].rpartition("/")[2]
        try:
            # Before the body: of a stranger nothing is read.
            identity = await self._desk.admit(_token(Headers(scope=scope)), address=_from(scope))
            params = await self._body(receive)
            answer = await self._answer(verb, identity, params, receive)
        except StokerError as error:
            await _error(error)(scope, receive, send)
            return
        if answer is not None:
            body = b'{"ok":%b}' % answer
            await Response(body, media_type=_JSON)(scope, receive, send)

    async def _answer(
        self, verb: str, identity: Identity, params: msgspec.Raw, receive: Receive
    ) -> bytes | None:
        if verb == HELLO:
            hello = read_params(Hello, params)
            return _encode(await self._desk.welcome(hello, identity))
        if verb != "wait":
            return await self._desk.answer(identity, verb, params, most=MAX_ANSWER)
        waiting = self._wait(identity, params)
        # Only a wait is cut short when its caller goes away: what writes is carried out.
        async with asyncio.TaskGroup() as group:
            work = group.create_task(waiting)
            leaving = group.create_task(_until_gone(receive))
            await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            if not work.done():
                work.cancel()
                return None
        answer = work.result()
        if isinstance(answer, StokerError):
            raise answer
        return answer

    async def _wait(self, identity: Identity, params: msgspec.Raw) -> bytes | StokerError:
        try:
            return await self._desk.answer(identity, "wait", params, most=MAX_ANSWER)
        except StokerError as error:
            return error

    async def _body(self, receive: Receive) -> msgspec.Raw:
        data = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise InvalidPayload("the client went away before its body was complete")
            data += message.get("body", b"")
            if len(data) > self._desk.max_frame:
                raise too_large(len(data), self._desk.max_frame)
            if not message.get("more_body", False):
                break
        try:
            return check_json(bytes(data) or b"{}")
        except ValueError as error:
            raise ProtocolError(f"the body cannot be read: {error}") from None


async def _until_gone(receive: Receive) -> None:
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()


def _refuse(scope: Scope) -> Response | None:
    if scope["method"] != "POST":
        return error_response(
            "method_not_allowed", "the gateway takes POST only", headers={"allow": "POST"}
        )
    declared = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
    if declared != _JSON:
        return error_response(
            "unsupported_media_type", f"send JSON with the header 'Content-Type: {_JSON}'"
        )
    return None


def _from(scope: Scope) -> str:
    client = scope.get("client")
    return network_of(client[0]) if client else "unknown"


def _token(headers: Mapping[str, str]) -> str | None:
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" and token.strip() else None


def _error(error: StokerError) -> Response:
    status = status_of(error)
    headers = headers_of(error)
    if isinstance(error, FrameTooLarge):
        headers["connection"] = "close"
    body = _encode({"error": error_body(error)})
    return Response(body, status, headers, _JSON)
