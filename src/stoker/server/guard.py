"""What every request passes before any route sees it.

A plain ASGI layer, because it must hold for unknown paths and broken requests too:

*Host*: a server on loopback has no authentication, so a web page must not reach it through a name
that its owner points at 127.0.0.1 (DNS rebinding). Only known names are answered.

*Origin*: nor may a page of another site send it a form, which browsers do without asking, or read
from it by a script.

*Body*: at most so many bytes and so many seconds, counted while they come in. What is too big is
read to its end and thrown away if that is near: a client that is cut off while it sends never
reads why.

*Headers*: a browser loads nothing from elsewhere, and no other site frames or reads the answers.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Collection, Mapping
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stoker.core.codec import MAX_PAYLOAD
from stoker.core.errors import PayloadTooLarge
from stoker.server.errors import error_response, internal_error, response_of

log = logging.getLogger(__name__)

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names under which a loopback server is asked."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OVERHEAD = 65_536
"""Bytes of a body beside its payload."""
BULK = 16
"""How many payloads of full size the body of a bulk route may hold."""
BODY_SECONDS = 30.0
"""How long a client may take to send a body."""
DISCARDED = 64 * 1_048_576
"""The most bytes of a body that are read only to be thrown away."""

Observe = Callable[[Scope, int, float], None]
"""Told the request, its status and the seconds until its response began."""

_DIGITS = 18
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", _POLICY.encode()),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


class Guard:
    """The layer around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Collection[str] | None,
        payload_limit: int = MAX_PAYLOAD,
        bulk_paths: Collection[str] = (),
        body_seconds: float = BODY_SECONDS,
        observe: Observe | None = None,
    ) -> None:
        """Wrap an application.

        Args:
            app: What is wrapped.
            hosts: Names that the ``Host`` header may have; None: any.
            payload_limit: Most bytes of one payload; a body may be a little bigger.
            bulk_paths: Paths whose bodies hold many payloads.
            body_seconds: How long a client may take to send a body.
            observe: Told of every answered request.
        """
        self._app = app
        self._hosts = None if hosts is None else frozenset(_plain(host) for host in hosts)
        self._limit = payload_limit + OVERHEAD
        self._bulk_limit = payload_limit * BULK + OVERHEAD
        self._bulk_paths = frozenset(bulk_paths)
        self._body_seconds = body_seconds
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        limit = self._bulk_limit if scope["path"] in self._bulk_paths else self._limit
        body = _Body(receive, limit, began + self._body_seconds)
        has_begun = False

        async def answer(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                _harden(message, close=body.is_cut)
                if self._observe is not None:
                    self._observe(scope, message["status"], loop.time() - began)
            await send(message)

        headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        refusal = self._refuse_host(headers) or _refuse_origin(scope, headers)
        refusal = refusal or _refuse_length(body, headers)
        try:
            await (refusal or self._app)(scope, body.receive, answer)
        except Exception:  # the border of a request: logged once, here
            log.exception("%s %s failed", scope["method"], scope["path"])
            if has_begun:
                raise
            await internal_error()(scope, body.receive, answer)

    def _refuse_host(self, headers: Mapping[bytes, bytes]) -> Response | None:
        if self._hosts is None:
            return None
        given = headers.get(b"host", b"").decode("latin-1")
        if _host_of(given) in self._hosts:
            return None
        return error_response(
            "host_not_allowed",
            f"this server does not answer for the host {given[:100]!r}; it is asked as "
            f"{', '.join(sorted(self._hosts))}",
        )


class _Body:
    """Counts a body while it comes in."""

    def __init__(self, receive: Receive, limit: int, deadline: float) -> None:
        self.limit = limit
        self.is_cut = False
        self._receive = receive
        self._deadline = deadline
        self._seen = 0
        self._is_complete = False

    async def receive(self) -> Message:
        if self._is_complete:
            return await self._receive()
        message = await self._next()
        if self._seen > self.limit:
            await self._discard_rest()
            raise self.too_large()
        return message

    async def _discard_rest(self) -> None:
        while not self._is_complete and self._seen <= DISCARDED:
            await self._next()
        self.is_cut = not self._is_complete

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            self.is_cut = True
            raise HTTPException(408, "the body did not arrive in time") from None
        self._is_complete = not message.get("more_body", False)
        self._seen += len(message.get("body", b""))
        return message

    def too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"the body has more than {self.limit:,} bytes. Store big data elsewhere and pass its "
            "address, or raise limits.payload",
            limit=self.limit,
        )


def _refuse_origin(scope: Scope, headers: Mapping[bytes, bytes]) -> Response | None:
    origin = headers.get(b"origin")
    # Following a link from elsewhere is a read without an origin: that is allowed. A script of
    # another site that reads, a stream of events for one, names its own.
    is_change = scope["method"] not in SAFE_METHODS
    fetched = headers.get(b"sec-fetch-site", b"")
    is_foreign = is_change and fetched in {b"cross-site", b"same-site"}
    if origin is not None and not is_foreign:
        is_foreign = _netloc(origin.decode("latin-1")) != headers.get(b"host", b"").decode(
            "latin-1"
        )
    if not is_foreign:
        return None
    return error_response(
        "origin_not_allowed",
        "a web page of another origin sent this request; this server answers its own pages and "
        "programs only",
    )


def _refuse_length(body: _Body, headers: Mapping[bytes, bytes]) -> Response | None:
    """Refuse at once what is too big to be thrown away, or what waits for a "continue"."""
    declared = headers.get(b"content-length", b"")
    if not declared.isdigit():
        return None
    size = int(declared) if len(declared) <= _DIGITS else DISCARDED + 1
    if size <= body.limit or (size <= DISCARDED and b"expect" not in headers):
        return None
    body.is_cut = True
    return response_of(body.too_large())


def _harden(message: Message, *, close: bool) -> None:
    headers = [*message.get("headers", ()), *_HEADERS]
    if not any(name == b"cache-control" for name, _ in headers):
        headers.append((b"cache-control", b"no-store"))
    if close:
        headers.append((b"connection", b"close"))
    message["headers"] = headers


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _host_of(header: str) -> str | None:
    match = _HOST.fullmatch(header)
    return None if match is None else _plain(match[1])


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()
