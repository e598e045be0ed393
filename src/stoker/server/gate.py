"""What every request passes before its route: who asks, and may he?

Deny by default. A route is reached by whoever has the scope that it declares; nobody else learns
more than that it exists. The order: is it open to all, who asks, is the key valid still, is it his
turn, has he the scope, and, if a browser brought a cookie by itself, has its page said so, too.
"""

import hashlib
import hmac

from fastapi import Request

from stoker.core.clock import Clock
from stoker.core.errors import Forbidden, Unauthenticated
from stoker.core.keys import LOGIN_PREFIX, Scope
from stoker.server.access import Need, need_of
from stoker.server.gateway.desk import Desk
from stoker.server.guard import SAFE_METHODS
from stoker.server.identity import EVERYBODY, NOBODY, Identity
from stoker.server.limits import Buckets, network_of
from stoker.settings import ServerSettings

IDENTITY = "stoker.identity"
"""Where a request keeps who asks."""
CSRF_HEADER = "x-csrf-token"
LOGINS = 20
"""Log-ins with one key until it has to wait: each is a row of the store for hours."""
LOGIN_RATE = 0.1
"""Log-ins a second with one key after that."""
BURST_SECONDS = 2.0
"""How many seconds' worth of requests may come at once."""


class Gate:
    """Lets requests in."""

    def __init__(
        self, desk: Desk, *, anonymous: bool, settings: ServerSettings, clock: Clock
    ) -> None:
        """Stand before the routes.

        Args:
            desk: Knows whom the configuration and the store know.
            anonymous: Whether callers without a key are let in where the setting
                ``server.require_key`` does not forbid it: this machine's, or those of a network
                that somebody vouched for.
            settings: Of the server.
            clock: Time.
        """
        self._desk = desk
        self._anonymous = anonymous and settings.require_key != "always"
        self._until_keys = settings.require_key == "auto"
        self._logins = Buckets(rate=LOGIN_RATE, burst=LOGINS, clock=clock)
        self._addresses = _buckets(settings.address_rate, clock)
        self._keys = _buckets(settings.key_rate, clock)

    async def admit(self, request: Request) -> Identity:
        """Return who asks, having made sure that the route is for him.

        Raises:
            Unauthenticated: He did not show a valid key.
            Forbidden: His key lacks the scope, or a page of another site may have sent this.
            RateLimited: He asks too often.
        """
        need = need_of(request.scope["endpoint"])
        if need is Need.OPEN:
            if not await self._is_free():
                self._addresses.take(address_of(request))
            return NOBODY
        identity = await self._identify(request)
        if identity.key:
            self._keys.take(identity.key)
        if need is None or (need is not Need.KNOWN and Scope(need) not in identity.scopes):
            raise Forbidden(
                f"the key {identity.name!r} may do {', '.join(sorted(identity.scopes))}; this "
                f"takes the scope {need}",
                scope=str(need),
            )
        if identity.login and request.method not in SAFE_METHODS:
            _check_csrf(request)
        return identity

    async def check(self, identity: Identity) -> None:
        """Refuse somebody whose key was revoked, or ran out, since he came.

        Raises:
            Unauthenticated: It was.
        """
        await self._desk.check(identity)

    async def prove(self, text: str, address: str) -> Identity:
        """Return whose key this is; wrong ones slow their address down.

        Raises:
            Unauthenticated: Nobody's.
            RateLimited: Too many wrong ones came from there.
        """
        identity = await self._desk.identify(text, address=address)
        if identity is EVERYBODY:
            # No client is configured for the gateway: it would take any token for no token.
            raise self._desk.wrong("the key is not one that this server knows", address)
        return identity

    async def log_in(self, text: str, address: str) -> Identity:
        """Return who logs in with this key.

        Raises:
            Unauthenticated: Nobody.
            RateLimited: Too many wrong keys came from there, or this one logs in too often.
        """
        identity = await self.prove(text, address)
        if not identity.key or identity.login:
            raise Unauthenticated("log in with a key that stoker keys create, or an admin, made")
        self._logins.take(identity.key)
        return identity

    async def _identify(self, request: Request) -> Identity:
        shown = token_of(request)
        if shown is not None:
            if shown.startswith(f"{LOGIN_PREFIX}_"):
                raise Unauthenticated("a log-in is shown as a cookie, a key in a header")
            return await self.prove(shown, address_of(request))
        cookie = request.cookies.get(cookie_name(request))
        if cookie is not None and cookie.startswith(f"{LOGIN_PREFIX}_"):
            return await self.prove(cookie, address_of(request))
        if await self._is_free():
            return EVERYBODY
        self._addresses.take(address_of(request))
        raise Unauthenticated(
            "this server asks for a key: send it as 'Authorization: Bearer KEY' or 'X-API-Key: "
            "KEY', or log in at /. stoker keys create NAME --scope SCOPE makes one"
        )

    async def _is_free(self) -> bool:
        """Whether nobody has to show anything."""
        if not self._anonymous:
            return False
        return not (self._until_keys and await self._desk.keyring.are_any())


async def admit(request: Request) -> None:
    """Let a request in, as a dependency of every route."""
    gate: Gate = request.app.state.gate
    request.scope[IDENTITY] = await gate.admit(request)


def token_of(request: Request) -> str | None:
    """Return the key that a request shows in a header."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("x-api-key") or None


def address_of(request: Request) -> str:
    """Return where a request comes from, as it is counted."""
    return network_of(request.client.host) if request.client else "unknown"


def cookie_name(request: Request) -> str:
    """Return the name of the log-in's cookie; with TLS one that no other host can set."""
    return "__Host-stoker_login" if request.url.scheme == "https" else "stoker_login"


def csrf_of(login: str) -> str:
    """Return what a page must send along with each change, made of its log-in's cookie."""
    return hashlib.sha256(f"csrf:{login}".encode()).hexdigest()


def _check_csrf(request: Request) -> None:
    shown = request.headers.get(CSRF_HEADER, "")
    expected = csrf_of(request.cookies.get(cookie_name(request), ""))
    if not hmac.compare_digest(shown.encode(), expected.encode()):
        raise Forbidden(
            "a change by a page that is logged in needs its token: send what GET /api/v1/me calls "
            "csrf as the header X-CSRF-Token"
        )


def _buckets(rate: float, clock: Clock) -> Buckets:
    return Buckets(rate=rate, burst=max(1.0, rate * BURST_SECONDS), clock=clock)
