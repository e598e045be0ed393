"""The way over HTTP, for networks that let nothing else through; needs ``stoker[remote]``.

Each call is one request. A request that found no connection was never sent (`Unavailable`); one
whose answer did not come may have been carried out (`OutcomeUnknown`).
"""

import asyncio
import contextlib
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec

from stoker.core.errors import (
    MissingExtra,
    NotAStore,
    NotOpen,
    OutcomeUnknown,
    PayloadTooLarge,
    ProtocolError,
    StokerError,
    Unavailable,
    causes,
)
from stoker.core.wire.messages import (
    HELLO,
    PROTOCOL,
    ErrorBody,
    Hello,
    Welcome,
    check_text,
    error_from,
)
from stoker.stores.remote.address import Address
from stoker.stores.remote.link import CONNECT_SECONDS, unreachable

if TYPE_CHECKING:
    import httpx2

CONNECTIONS = 256
"""The most at once: a call that waits has one for itself."""
KEPT = 10.0
"""Seconds for which an idle connection is kept: less than any server or proxy keeps it."""
_NEVER_SENT = {429, 503}
"""Statuses with which a server or a proxy says that it did not begin."""
_NO_GATEWAY = {404, 405, 421, 501}
_encode = msgspec.json.Encoder().encode


class _Reply(msgspec.Struct, frozen=True):
    """The body of a response."""

    ok: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: ErrorBody | msgspec.UnsetType = msgspec.UNSET


_replies = msgspec.json.Decoder(_Reply)


class HttpLink:
    """See `stoker.stores.remote.link.Link`."""

    def __init__(self, address: Address, *, client: str) -> None:
        """Make a way, not yet open.

        Raises:
            MissingExtra: The HTTP client is not installed.
        """
        try:
            import httpx2
        except ImportError:
            raise MissingExtra(
                f"a store at {address.scheme}:// needs an HTTP client: pip install 'stoker[remote]'"
            ) from None
        self._library = httpx2
        self._address = address
        self._name = client
        self._client: httpx2.AsyncClient | None = None
        self._welcome: Welcome | None = None
        self._under_way = 0
        self._calm = asyncio.Event()
        self._calm.set()

    @property
    def welcome(self) -> Welcome:
        """See `Link.welcome`."""
        if self._welcome is None:
            raise _not_open(self._address)
        return self._welcome

    async def open(self) -> None:
        """See `Link.open`."""
        self._client = self._make_client()
        hello = Hello(protocol=PROTOCOL, client=self._name, version=version("stoker"))
        try:
            answer = await self.call(HELLO, _encode(hello), timeout=CONNECT_SECONDS)
            self._welcome = msgspec.json.decode(answer, type=Welcome)
        except BaseException as error:
            await self.close()
            if isinstance(error, OutcomeUnknown):
                raise Unavailable(error.message, **error.details) from None
            if isinstance(error, msgspec.MsgspecError):
                raise _no_gateway(self._address, str(error)) from None
            raise

    async def close(self) -> None:
        """See `Link.close`."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._address.timeout):
                    await self._calm.wait()
            await client.aclose()

    async def call(self, verb: str, params: bytes, *, timeout: float) -> msgspec.Raw:
        """See `Link.call`."""
        client = self._client
        if client is None:
            raise _not_open(self._address)
        limit = None if self._welcome is None else self._welcome.max_frame
        if limit is not None and len(params) > limit:
            raise PayloadTooLarge(
                f"the call of {verb!r} has {len(params):,} bytes, and {self._address.shown} takes "
                f"{limit:,} at once. Send less at once, or raise gateway.frame on the server",
                size=len(params),
                limit=limit,
            )
        if verb == "wait":
            return await self._post(client, verb, params, timeout)
        self._under_way += 1
        self._calm.clear()
        try:
            return await self._post(client, verb, params, timeout)
        finally:
            self._under_way -= 1
            if self._under_way == 0:
                self._calm.set()

    async def _post(
        self, client: "httpx2.AsyncClient", verb: str, params: bytes, timeout: float
    ) -> msgspec.Raw:
        library = self._library
        limits = library.Timeout(timeout, connect=CONNECT_SECONDS, pool=timeout)
        try:
            response = await client.post(f"/gateway/v1/{verb}", content=params, timeout=limits)
        except (library.ConnectError, library.ConnectTimeout, library.PoolTimeout) as error:
            raise unreachable(self._address, _cause(error)) from None
        except library.HTTPError as error:
            raise OutcomeUnknown(
                f"{self._address.shown} did not answer {verb!r}: "
                f"{str(error) or type(error).__name__}"
            ) from None
        return _read(self._address, verb, response.status_code, response.content)

    def _make_client(self) -> "httpx2.AsyncClient":
        address = self._address
        headers = {"content-type": "application/json", "user-agent": f"stoker/{version('stoker')}"}
        if address.token is not None:
            headers["authorization"] = f"Bearer {address.token.reveal()}"
        host = f"[{address.host}]" if ":" in address.host else address.host
        limits = self._library.Limits(
            max_connections=CONNECTIONS, max_keepalive_connections=None, keepalive_expiry=KEPT
        )
        # No proxy and no .netrc from the environment: a token goes where the URL says.
        return self._library.AsyncClient(
            base_url=f"{address.scheme}://{host}:{address.port}{address.path}",
            headers=headers,
            verify=address.tls() or True,
            limits=limits,
            trust_env=False,
            follow_redirects=False,
        )


def _read(address: Address, verb: str, status: int, body: bytes) -> msgspec.Raw:
    try:
        check_text(body)
        reply = _replies.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _strange(address, verb, status) from None
    if not isinstance(reply.error, msgspec.UnsetType):
        raise _told(address, status, reply.error)
    if isinstance(reply.ok, msgspec.UnsetType):
        raise _strange(address, verb, status)
    return reply.ok


def _told(address: Address, status: int, body: ErrorBody) -> StokerError:
    if status in _NO_GATEWAY and body.code in {"not_found", "method_not_allowed"}:
        return _no_gateway(address, body.message)
    return error_from(body)


def _strange(address: Address, verb: str, status: int) -> StokerError:
    """Return the error for what no gateway says: a proxy speaks, or another server."""
    if status in _NEVER_SENT:
        return Unavailable(f"{address.shown} refused {verb!r} for now (status {status})")
    if status in _NO_GATEWAY:
        return _no_gateway(address, f"status {status}")
    if status >= 500:  # noqa: PLR2004 - what HTTP calls a server's mistake
        return OutcomeUnknown(f"{address.shown} answered {verb!r} with status {status}")
    return ProtocolError(f"{address.shown} answered {verb!r} with status {status} and no JSON")


def _cause(error: BaseException) -> BaseException:
    """Return what lies below a library's error, where TLS says what it wanted."""
    return next((cause for cause in causes(error) if isinstance(cause, OSError)), error)


def _no_gateway(address: Address, why: str) -> NotAStore:
    return NotAStore(f"what answers at {address.shown} is no gateway of Stoker: {why[:200]}")


def _not_open(address: Address) -> NotOpen:
    return NotOpen(f"the store {address.shown} is not open; use it with 'async with'")
