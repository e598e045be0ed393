"""Who asks, and the app that answers: what every route begins with."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from stoker.app.bodies import read_body
from stoker.app.stoker import Stoker
from stoker.core import codec
from stoker.core.errors import InvalidPayload, InvalidQuery
from stoker.core.store import Store
from stoker.server.errors import error_response

T = TypeVar("T")

PREFIX = "/api/v1"
_BIG = 65_536
"""Bytes from which a body is parsed in a thread: others on the loop go on meanwhile."""
_encoder = msgspec.json.Encoder()


class UnsupportedMediaType(Exception):
    """A body that is not declared as JSON."""

    def response(self) -> Response:
        """Return what the client is told."""
        return error_response("unsupported_media_type", str(self))


class Caller:
    """One request, its app, and whom the audit trail names for it.

    Attributes:
        app: The app behind the server.
        actor: ``api:`` and the client's address.
    """

    __slots__ = ("_request", "actor", "app")

    def __init__(self, request: Request) -> None:
        """Look at a request.

        Raises:
            InvalidQuery: It has a query parameter that its route does not know.
        """
        self._request = request
        self.app: Stoker = request.app.state.stoker
        self.actor = f"api:{request.client.host}" if request.client else "api:unknown"
        if request.scope["query_string"]:
            _refuse_unknown(request)

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the request, by lower-case names."""
        return self._request.headers

    async def run(self, work: Callable[[Store], Awaitable[T]]) -> T:
        """Run work on the store."""
        return await self.app.arun(work)

    async def body(self, kind: type[T]) -> T:
        """Read the body.

        Raises:
            UnsupportedMediaType, InvalidPayload, PayloadTooLarge, InvalidOption: It cannot be used.
        """
        return read_body(await self.read_object(), kind)

    async def optional_body(self, kind: type[T]) -> T:
        """Read the body if there is one; an absent one is an empty object."""
        data = await _read(self._request)
        return read_body(await _parse(self._request, data) if data else {}, kind)

    async def read_object(self) -> dict[str, Any]:
        """Read the body as a JSON object, strictly."""
        return await _parse(self._request, await _read(self._request))


def reply(value: Any, status: int = 200, *, headers: Mapping[str, str] | None = None) -> Response:
    """Return a record as a response, encoded straight to bytes."""
    return Response(
        _encoder.encode(value),
        status_code=status,
        media_type="application/json",
        headers=None if headers is None else dict(headers),
    )


async def _read(request: Request) -> bytes:
    try:
        return await request.body()
    except ClientDisconnect:
        raise InvalidPayload("the client went away before its body was complete") from None


async def _parse(request: Request, data: bytes) -> dict[str, Any]:
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != "application/json" and not (
        declared.startswith("application/") and declared.endswith("+json")
    ):
        raise UnsupportedMediaType(
            f"the body is declared as {declared[:100] or 'nothing'!r}; "
            "send JSON with the header 'Content-Type: application/json'"
        )
    if len(data) > _BIG:
        return await asyncio.to_thread(_strictly, data)
    return _strictly(data)


def _strictly(data: bytes) -> dict[str, Any]:
    value: dict[str, Any] = codec.parse_object(data, limit=len(data), what="body")
    _check_text(data, value)
    return value


def _check_text(data: bytes, value: Any) -> None:
    """Refuse what Python reads and no other program can write: halves of surrogate pairs."""
    if b"\\ud" not in data and b"\\uD" not in data:
        return
    try:
        _encoder.encode(value)
    except UnicodeError:
        raise InvalidPayload(
            "the body holds half of a surrogate pair, which is no character; send both halves, "
            "or the character itself"
        ) from None


def _refuse_unknown(request: Request) -> None:
    known: Mapping[str, frozenset[str]] = request.app.parameters
    route = request.scope["route"].path_format
    allowed = known.get(f"{request.method} {route}", frozenset())
    unknown = sorted(set(request.query_params) - allowed)
    if unknown:
        expected = f"known are {', '.join(sorted(allowed))}" if allowed else "there is none here"
        raise InvalidQuery(f"the parameter {unknown[0][:100]!r} is unknown; {expected}")
