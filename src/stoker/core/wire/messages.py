"""What a frame, or a body over HTTP, says: hello, a request, an answer, an error."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from stoker.core.errors import (
    BackendError,
    InvalidArguments,
    OutcomeUnknown,
    ProtocolError,
    StokerError,
    error_classes,
    from_code,
)
from stoker.core.records import StoreInfo
from stoker.core.wire.frames import MAX_ANSWER

T = TypeVar("T")

PROTOCOL = 1
"""The version of the protocol. It changes when an old peer would misunderstand a new one."""
HELLO = "hello"
PING = "ping"
FORGET = "forget"
"""Verbs of a connection, beside those of the store."""
CONNECTION = 0
"""The id of what is about the whole connection."""

GatewayScope = Literal["worker", "full"]
"""``worker``: run jobs. ``full``: everything that a store can do."""
Id = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class Request(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A call of a verb."""

    id: Id
    """Chosen by the client, above 0, not that of another request under way."""
    verb: str
    params: msgspec.Raw = msgspec.Raw(b"{}")


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a request was not carried out; the same shape as everywhere in Stoker."""

    code: str
    """Stable; see ``docs/reference/errors.md``."""
    message: str
    """For people."""
    retryable: bool = False
    """Whether the same request may succeed later."""
    details: Mapping[str, Any] = {}


class Response(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The answer to a request: either ``ok`` or ``error``."""

    id: Id
    ok: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: ErrorBody | msgspec.UnsetType = msgspec.UNSET


class Hello(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The parameters of the first request of a connection.

    Fields that a server does not know are ignored, so that it can answer a newer client at all.
    """

    protocol: int
    token: str | None = None
    client: str = ""
    """Who says it, for logs."""
    version: str = ""
    """Of the client's software, for logs."""
    max_frame: int = MAX_ANSWER
    """The longest frame that the client takes."""


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a hello."""

    protocol: int
    version: str
    """Of the server's software."""
    identity: str
    """The name under which the server knows the client."""
    scope: GatewayScope
    max_frame: int
    """The longest frame that the server takes from now on."""
    max_in_flight: int
    """The most requests that may be under way at once."""
    ping_every: float
    """Seconds of silence after which the client has to say something."""
    info: StoreInfo
    """The store behind the server."""


class ForgetParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of ``forget``: nobody waits for the answer to that request any more."""

    id: Id


NOTHING = msgspec.Raw(b"null")
_requests = msgspec.json.Decoder(Request)
_responses = msgspec.json.Decoder(Response)
_encoder = msgspec.json.Encoder()
_values = msgspec.json.Decoder(msgspec.Raw)


def read_request(body: bytes) -> Request:
    """Read a frame from a client.

    Raises:
        ProtocolError: It is no request.
    """
    return _read(_requests, body)


def read_response(body: bytes) -> Response:
    """Read a frame from a server.

    Raises:
        ProtocolError: It is no response.
    """
    response = _read(_responses, body)
    if (response.ok is msgspec.UNSET) == (response.error is msgspec.UNSET):
        raise ProtocolError("a response has to have either 'ok' or 'error'")
    return response


def write(message: Request | Response) -> bytes:
    """Return a message as the body of a frame."""
    return _encoder.encode(message)


def read_params(kind: type[T], params: msgspec.Raw) -> T:
    """Read the parameters of a connection's verb.

    Raises:
        InvalidArguments: They do not fit.
    """
    try:
        return msgspec.json.decode(params, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidArguments(f"the parameters cannot be read: {error}") from None


def error_body(error: StokerError) -> ErrorBody:
    """Return an error as it travels; details that JSON cannot say travel as text."""
    plain: dict[str, Any] = msgspec.to_builtins(dict(error.details), enc_hook=str)
    return ErrorBody(error.code, error.message, retryable=error.retryable, details=plain)


def error_from(body: ErrorBody) -> StokerError:
    """Return the error that travelled.

    A code of a newer version becomes `OutcomeUnknown` if a repeat may help, else a plain
    `BackendError`: nobody may conclude from it that the request itself was wrong.
    """
    known = error_classes()
    if body.code in known:
        error = from_code(body.code, body.message)
    else:
        error = (OutcomeUnknown if body.retryable else BackendError)(body.message)
    error.details = dict(body.details)
    if body.code not in known:
        error.details["code"] = body.code
    return error


def check_text(data: bytes) -> None:
    """Refuse bytes that are not UTF-8: msgspec skips over texts that it need not decode.

    Raises:
        UnicodeDecodeError: They are not.
    """
    if not data.isascii():
        data.decode()


def check_json(data: bytes) -> msgspec.Raw:
    """Return JSON as it can be put into a message, byte for byte.

    Raises:
        ValueError: It is not JSON. Put into a message it would make all of that unreadable.
    """
    try:
        check_text(data)
        return _values.decode(data)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("it nests too deep") from None


def _read(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    try:
        check_text(body)
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProtocolError(f"a frame cannot be read: {error}") from None
    except RecursionError:
        raise ProtocolError("a frame cannot be read: it nests too deep") from None
