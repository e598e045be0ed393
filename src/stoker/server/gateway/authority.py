"""Who a client is, and which sessions are his.

A client proves who he is by a token, by a certificate, or by both if both are configured for
him. Nobody is believed a name: the name follows from the proof.
"""

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import msgspec

from stoker.core.errors import InvalidConfig, LeaseLost, Unauthenticated
from stoker.core.keys import Scope, included
from stoker.core.wire.messages import GatewayScope
from stoker.server.identity import EVERYBODY, Identity
from stoker.settings import GatewayClient, GatewaySettings, Secret

MIN_TOKEN = 16
"""Characters of the shortest token; a random one of 32 is better."""
SESSIONS_KEPT = 100_000
"""Sessions whose owners are remembered; the one unused for longest goes first."""
_SCOPES = {"full": included([Scope.ADMIN]), "worker": frozenset({Scope.WORKER})}
_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")


class _Client(msgspec.Struct, frozen=True):
    identity: Identity
    digest: bytes | None
    """SHA-256 of the token; None: a certificate has to do."""


class Authority:
    """Knows the configured clients."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Read the configuration.

        Raises:
            InvalidConfig: A client that could never prove anything, or a token that proves
                nothing.
        """
        self._by_certificate = settings.client_ca is not None
        named = {
            name: _client(name, client, certified=self._by_certificate)
            for name, client in settings.clients.items()
        }
        self._certified = named
        self._clients = [
            *named.values(),
            *_simple("full", "full", settings.token, "gateway.token"),
            *_simple("worker", "worker", settings.worker_token, "gateway.worker_token"),
        ]
        if self._by_certificate and not named:
            raise InvalidConfig(
                "gateway.client_ca is set and no client is: name those whose certificates may "
                "enter as [gateway.clients.NAME]"
            )

    @property
    def is_open(self) -> bool:
        """Whether everybody may do everything, because nobody is configured."""
        return not self._clients

    def identify(self, token: str | None, certificate: Mapping[str, Any] | None = None) -> Identity:
        """Return who shows this.

        Args:
            token: What he said, if anything.
            certificate: What TLS verified, as `ssl.SSLSocket.getpeercert` returns it.

        Raises:
            Unauthenticated: It proves nothing.
        """
        if certificate:
            return self._from_certificate(certificate, token)
        if self.is_open:
            return EVERYBODY
        if token is None:
            raise Unauthenticated(
                "the gateway asks for a token and got none; set STOKER_TOKEN, or put "
                "?token_file=PATH into the URL"
            )
        found = self._by_token(token)
        if found is None:
            raise Unauthenticated("the token is not one that the gateway knows")
        return found

    def _by_token(self, token: str) -> Identity | None:
        shown = _sha256(token)
        found: Identity | None = None
        # All are compared, whoever matches: the time tells nothing.
        for client in self._clients:
            if client.digest is not None and hmac.compare_digest(shown, client.digest):
                found = client.identity
        return found

    def _from_certificate(self, certificate: Mapping[str, Any], token: str | None) -> Identity:
        names = list(certificate_names(certificate))
        found = next((self._certified[name] for name in names if name in self._certified), None)
        if found is None:
            shown = ", ".join(repr(name[:100]) for name in names[:5]) or "nobody"
            raise Unauthenticated(f"the certificate is that of {shown}, whom the gateway knows not")
        if found.digest is not None and not hmac.compare_digest(_sha256(token or ""), found.digest):
            raise Unauthenticated("the token is not that of the certificate's owner")
        return found.identity


class SessionBook:
    """Remembers whose each session is: whoever used it first.

    A session's id is random, so nobody guesses another's; the book sees to it that knowing one is
    not enough. It is memory of this process. After a restart, whoever comes first with an id has
    it, which is its owner: nobody else was ever told it.
    """

    def __init__(self, kept: int = SESSIONS_KEPT) -> None:
        """Begin empty."""
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._kept = kept

    def check(self, session_id: str, identity: Identity) -> None:
        """Let a client use a session: his own, or a new one, which becomes his.

        Raises:
            LeaseLost: It is somebody else's.
        """
        owner = self._owners.setdefault(session_id, identity.owner)
        if owner != identity.owner:
            raise LeaseLost(f"session {session_id!r} is not one of {identity.name!r}; begin one")
        self._owners.move_to_end(session_id)
        if len(self._owners) > self._kept:
            self._owners.popitem(last=False)

    def owns(self, session_id: str, identity: Identity) -> bool:
        """Whether a session is known to be that client's."""
        return self._owners.get(session_id) == identity.owner

    def is_foreign(self, session_id: str, identity: Identity) -> bool:
        """Whether a session is known to be somebody else's."""
        return self._owners.get(session_id, identity.owner) != identity.owner


def certificate_names(certificate: Mapping[str, Any]) -> Iterable[str]:
    """Yield whom a certificate names: its alternative names, then its common name."""
    for kind, value in certificate.get("subjectAltName", ()):
        if kind in {"DNS", "URI", "email", "IP Address"}:
            yield value
    for entry in certificate.get("subject", ()):
        for key, value in entry:
            if key == "commonName":
                yield value


def _client(name: str, client: GatewayClient, *, certified: bool) -> _Client:
    key = f"gateway.clients.{name}"
    if client.scope not in get_args(GatewayScope):
        raise InvalidConfig(f"{key}.scope is {client.scope!r}; expected worker or full")
    if client.token is None and not certified:
        raise InvalidConfig(
            f"{key} has no token, and gateway.client_ca is not set: nobody could prove to be it"
        )
    if client.scope == "full" and client.queues:
        raise InvalidConfig(f"{key} has queues and the scope full, which knows no bounds")
    digest = None if client.token is None else _digest(client.token, f"{key}.token")
    identity = Identity(name, _SCOPES[client.scope], frozenset(client.queues))
    return _Client(identity, digest)


def _simple(name: str, scope: str, token: Secret | None, key: str) -> list[_Client]:
    if token is None:
        return []
    return [_Client(Identity(name, _SCOPES[scope]), _digest(token, key))]


def _digest(token: Secret, key: str) -> bytes:
    text = token.reveal()
    stored = _DIGEST.fullmatch(text)
    if stored is not None:
        return bytes.fromhex(stored[1])
    if text.startswith("sha256:") or len(text) < MIN_TOKEN:
        raise InvalidConfig(
            f"{key} is no token: expected at least {MIN_TOKEN} characters (python -c 'import "
            "secrets; print(secrets.token_urlsafe(32))'), or sha256: and 64 hexadecimal digits",
            key=key,
        )
    return _sha256(text)


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
