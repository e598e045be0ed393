"""Who asks, and the app that answers: what every route begins with."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from stoker.app.bodies import read_body
from stoker.app.stoker import Stoker
from stoker.core import codec
from stoker.core.errors import Forbidden, InvalidPayload, InvalidQuery
from stoker.core.job import JobSpec, Submitted
from stoker.core.store import Store
from stoker.server.bound import BoundStore
from stoker.server.errors import error_response
from stoker.server.gate import IDENTITY, Gate
from stoker.server.identity import EVERYBODY, NOBODY, Identity

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
        identity: Who asks.
        actor: ``key:`` and the name of his key; without one ``api:`` and his address.
    """

    __slots__ = ("_gate", "_request", "actor", "app", "identity")

    def __init__(self, request: Request) -> None:
        """Look at a request.

        Raises:
            InvalidQuery: It has a query parameter that its route does not know.
        """
        self._request = request
        self.app: Stoker = request.app.state.stoker
        self._gate: Gate = request.app.state.gate
        # Without it nobody was let in: `Gate` puts it there.
        self.identity: Identity = request.scope[IDENTITY]
        self.actor = _actor(request, self.identity)
        if request.scope["query_string"]:
            _check_query(request)

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the request, by lower-case names."""
        return self._request.headers

    async def run(self, work: Callable[[Store], Awaitable[T]]) -> T:
        """Run work on the store, or on the part of it that the caller may see.

        Raises:
            Unauthenticated: His key was revoked meanwhile.
        """
        await self.check()
        if not self.identity.is_bound:
            return await self.app.arun(work)
        identity = self.identity
        return await self.app.arun(lambda store: work(BoundStore(store, identity)))

    async def submit(self, specs: Sequence[JobSpec]) -> list[Submitted]:
        """Submit jobs, checked against the limits of the app."""
        return await self.app.asubmit_specs(
            specs, actor=self.actor, carrier=self.headers, run=self.run
        )

    async def check(self) -> None:
        """Refuse a caller whose key was revoked since he came: for what goes on for long.

        Raises:
            Unauthenticated: It was.
        """
        await self._gate.check(self.identity)

    def need_whole(self, what: str) -> None:
        """Refuse a caller who is bound to a tenant or to queues what is about the whole store.

        Raises:
            Forbidden: He is.
        """
        if self.identity.is_bound:
            raise Forbidden(
                f"the key {self.identity.name!r} is bound to a tenant or to queues and may not "
                f"see {what}, which is about all of them; GET /api/v1/jobs/count?state=queued, "
                "say, counts its own jobs, one by one"
            )

    async def now(self) -> float:
        """Return the time by the store's clock, which decides what is due."""
        return (await self.app.arun(lambda store: store.counts())).now.timestamp()

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


def _actor(request: Request, identity: Identity) -> str:
    if identity.key:
        return f"key:{identity.name}"
    if identity not in {EVERYBODY, NOBODY}:
        return f"client:{identity.name}"
    return f"api:{request.client.host}" if request.client else "api:unknown"


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


def _check_query(request: Request) -> None:
    """Refuse what is unknown, and what is given twice where one would be passed over."""
    known: Mapping[str, Mapping[str, bool]] = request.app.parameters
    route = request.scope["route"].path_format
    allowed = known.get(f"{request.method} {route}", {})
    unknown = sorted(set(request.query_params) - allowed.keys())
    if unknown:
        expected = f"known are {', '.join(sorted(allowed))}" if allowed else "there is none here"
        raise InvalidQuery(f"the parameter {unknown[0][:100]!r} is unknown; {expected}")
    for name, repeats in allowed.items():
        times = len(request.query_params.getlist(name))
        if times > 1 and not repeats:
            raise InvalidQuery(f"the parameter {name!r} is given {times} times; give it once")
