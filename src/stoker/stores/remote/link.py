"""What a remote store needs of a way to its server; `tcp` and `http` are the two ways."""

import asyncio
import ssl
from typing import Protocol

import msgspec

from stoker.core.errors import NotAStore, StokerError, Unauthenticated, Unavailable
from stoker.core.wire.messages import Welcome
from stoker.stores.remote.address import Address

CONNECT_SECONDS = 10.0
"""How long a connection may take, TLS and hello included."""
MARGIN_SECONDS = 10.0
"""How much longer than itself a ``wait`` may take."""


class Link(Protocol):
    """A way to a server. Errors of sockets and libraries do not leave it."""

    @property
    def welcome(self) -> Welcome:
        """What the server said last."""
        ...

    async def open(self) -> None:
        """Connect and say hello.

        Raises:
            StokerError: The server is not there, or does not want us.
        """
        ...

    async def close(self) -> None:
        """Let calls under way end, except waits; then hang up."""
        ...

    async def call(self, verb: str, params: bytes, *, timeout: float) -> msgspec.Raw:
        """Call a verb; return its answer as JSON.

        Raises:
            Unavailable: It never left this process.
            OutcomeUnknown: It did, and the answer did not come.
            StokerError: What the server answered.
        """
        ...


def unreachable(address: Address, error: BaseException) -> StokerError:
    """Return the error that a failed connection stands for."""
    where = address.shown
    if isinstance(error, ssl.SSLCertVerificationError):
        return Unauthenticated(
            f"the certificate of {where} is not trusted: {error.verify_message}; give its "
            "authority with ?ca=FILE, or its name with &server_name=NAME",
            url=where,
        )
    if isinstance(error, ssl.SSLError) and error.reason is not None:
        return _tls_error(where, error.reason)
    if isinstance(error, TimeoutError | asyncio.CancelledError):
        reason = f"no answer within {CONNECT_SECONDS:g} seconds"
    else:
        reason = str(error) or type(error).__name__
    return Unavailable(
        f"cannot reach the server at {where}: {reason}. Is 'stoker server --gateway-port "
        f"{address.port}' running there?"
        if address.scheme in {"tcp", "tls"}
        else f"cannot reach the server at {where}: {reason}. Is 'stoker server' running there?",
        url=where,
    )


def no_word(address: Address, *, known: bool) -> StokerError:
    """Return the error for a server that takes the connection and hangs up without a word.

    Over TLS that is how most servers refuse a certificate: the handshake of TLS 1.3 is over for
    the client before the server has judged his. One who was let in before is not told so.
    """
    where = address.shown
    if address.is_tls and not known:
        return Unauthenticated(
            f"{where} hung up after the TLS handshake: it does not believe the client's "
            "certificate, or asks for one; give it with ?cert=FILE&key=FILE",
            url=where,
        )
    hint = "its log says why" if address.is_tls else "if it speaks TLS, use tls://"
    return Unavailable(f"{where} hung up without a word; {hint}", url=where)


def _tls_error(where: str, reason: str) -> StokerError:
    if reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}:
        return NotAStore(f"{where} does not speak TLS; use tcp:// or http:// for it", url=where)
    return Unauthenticated(
        f"TLS with {where} failed: {reason.replace('_', ' ').lower()}; if the server asks for a "
        "client certificate, give it with ?cert=FILE&key=FILE",
        url=where,
    )
