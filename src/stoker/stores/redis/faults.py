"""Driver errors to Stoker's: the only place that knows what an error of redis-py means."""

import ssl

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from stoker.core.errors import (
    BackendError,
    NotAStore,
    OutcomeUnknown,
    ReadOnlyStore,
    StoreFull,
    Unauthenticated,
    Unavailable,
    Unsupported,
    causes,
)


def cannot_connect(error: BaseException, url: str) -> BackendError:
    """Return the error of a server that could not be reached or did not let us in."""
    if isinstance(error, AuthenticationError | AuthorizationError):
        return _refused_login(error, url)
    distrust = _certificate(error)
    if distrust:
        return Unauthenticated(
            f"the certificate of {url} is not trusted: {distrust}; give its authority with "
            "?ssl_ca_certs=FILE, and the host name that it is for",
            url=url,
        )
    if isinstance(error, RedisError) and "max number of clients" in str(error):
        return Unavailable(
            f"the store {url} takes no more connections ({error}); nothing was done. Raise "
            "maxclients, or run fewer processes",
            url=url,
        )
    if isinstance(error, RedisError):
        refused = _refusal(error, url)
        if refused is not None:
            return refused
    return Unavailable(
        f"the store {url} cannot be reached ({_words(error)}); nothing was done. Check that the "
        "server runs and that host, port and TLS are right",
        url=url,
    )


def translate(error: BaseException, url: str, *, sent: bool, writes: bool) -> BackendError:
    """Return the error that says what a driver's error means for the caller.

    Args:
        error: What redis-py raised.
        url: The store, masked.
        sent: Whether the call may have reached the server.
        writes: Whether the call changes anything when it is carried out.
    """
    if isinstance(error, RedisError):
        refused = _refusal(error, url)
        if refused is not None:
            return refused
    if sent and writes:
        return OutcomeUnknown(
            f"the connection to {url} was lost before the answer came ({_words(error)}); what was "
            "asked for may or may not have been done. Idempotent calls may be repeated",
            url=url,
        )
    return Unavailable(
        f"the connection to {url} was lost ({_words(error)}); nothing was done", url=url
    )


def is_missing_function(error: BaseException) -> bool:
    """Whether the server does not know our functions: it was flushed, or is another one."""
    return isinstance(error, ResponseError) and "Function not found" in str(error)


def _refusal(error: RedisError, url: str) -> BackendError | None:
    """Return what the server's own refusal means; None when it did not answer."""
    match error:
        case AuthenticationError() | AuthorizationError():
            return _refused_login(error, url)
        case OutOfMemoryError():
            return StoreFull(
                f"the store {url} is out of memory; nothing was done. Raise maxmemory, or delete "
                "ended jobs with: stoker jobs purge",
                url=url,
            )
        case ReadOnlyError():
            return read_only(url)
        case BusyLoadingError():
            return Unavailable(f"the store {url} is still loading its data; try again", url=url)
        case NoPermissionError():
            return BackendError(
                f"the store {url} forbids what Stoker needs ({error}); the user needs the keys of "
                "the namespace and +fcall +function +publish +subscribe +pubsub +info +config|get "
                "and the commands on hashes, sets, lists and streams",
                url=url,
            )
        case MovedError():
            return Unsupported(
                f"{url} is a cluster node that does not keep this namespace ({error}); name the "
                "node that does: one namespace lives in one slot",
                url=url,
            )
        case ClusterError():
            return Unavailable(f"the store {url} is not ready ({error}); try again", url=url)
        case ResponseError():
            return _answer(str(error), url)
        case _:
            return None


def _answer(text: str, url: str) -> BackendError:
    code = text.partition(" ")[0]
    if code == "MISCONF":
        return StoreFull(
            f"the store {url} cannot write to its disk and refuses changes; nothing was done. Free "
            f"some space, then see the server's log ({text})",
            url=url,
        )
    if code in {"BUSY", "NOREPLICAS", "UNKILLABLE"}:
        return Unavailable(f"the store {url} refuses for now ({text}); nothing was done", url=url)
    if "unknown command" in text.lower():
        return Unsupported(
            f"{url} does not know a command that Stoker needs ({text}); expected Redis 7 or newer, "
            "or Valkey",
            url=url,
        )
    if "WRONGTYPE" in text:
        return NotAStore(
            f"the keys of this namespace in {url} are not Stoker's ({text}); choose another one "
            "with ?namespace=NAME",
            url=url,
        )
    if "DB index" in text:
        return BackendError(
            f"the store {url} names a database that the server does not have ({text}); most have "
            "0 to 15, and a cluster has 0 only",
            url=url,
        )
    return BackendError(f"the store {url} answered with an error: {text}", url=url)


def read_only(url: str) -> ReadOnlyStore:
    """Return the error of a replica."""
    return ReadOnlyStore(
        f"{url} is a replica, which can be read and not written; name the primary", url=url
    )


def _certificate(error: BaseException) -> str:
    """Return why a certificate was not believed; the driver wraps what TLS said."""
    found = (e for e in causes(error) if isinstance(e, ssl.SSLCertVerificationError))
    return next((cause.verify_message for cause in found), "")


def _refused_login(error: BaseException, url: str) -> BackendError:
    # Trying again with the same password helps nobody: this is not `Unavailable`.
    return Unauthenticated(
        f"the store {url} refused the user or password ({_words(error)}); expected them in the "
        "URL: redis://USER:PASSWORD@HOST, or redis://:PASSWORD@HOST without a user",
        url=url,
    )


def _words(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
