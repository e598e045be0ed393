"""Driver errors to Stoker's: the only place that knows what a psycopg exception means.

What is asked first is how far the command came. Before it was sent nothing can have happened; a
server that answers with an error has undone it; and when the connection breaks between the sending
and the answer, nobody knows.
"""

import msgspec
import psycopg

from stoker.core.errors import (
    BackendError,
    InvalidConfig,
    InvalidOption,
    OutcomeUnknown,
    ReadOnlyStore,
    SchemaMismatch,
    StokerError,
    StoreFull,
    Unauthenticated,
    Unavailable,
)
from stoker.stores.postgres.address import Address
from stoker.stores.postgres.pooling import undeclared


class GraphRefusedError(Exception):
    """A submit was refused as it is; ``cause`` and ``places`` say why. Nothing was written."""

    def __init__(self, cause: str, places: list[tuple[int, str]]) -> None:
        """Take what the function ``submit`` raised."""
        super().__init__(cause)
        self.cause = cause
        self.places = places


AGAIN = frozenset({"40001", "40P01"})
"""The server undid the command because of its neighbours; it may simply be repeated."""
UNKNOWN_PARENT = "STK01"
TAKEN_KEY = "STK02"
_GRAPH = frozenset({UNKNOWN_PARENT, TAKEN_KEY})
_FULL = frozenset({"53100"})
_READ_ONLY = frozenset({"25006"})
_DENIED = frozenset({"42501"})
_NO_LAYOUT = frozenset({"3F000", "42P01", "42703", "42704", "42883"})
_SHUTDOWN = frozenset({"57P01", "57P02", "57P05"})
_BAD_TEXT = frozenset({"22021", "22P02", "22P03", "22P05", "54000"})
_DAMAGED = frozenset({"XX001", "XX002"})
_FORGOTTEN = frozenset({"26000", "42P05"})
"""A prepared statement that the connection does not know, or knows already."""
_ADVICE: tuple[tuple[tuple[str, ...], tuple[type[StokerError], str]], ...] = (
    (
        ("password authentication failed", "no password supplied", "fe_sendauth"),
        (Unauthenticated, "The user name or the password is wrong"),
    ),
    (
        ("no pg_hba.conf entry",),
        (Unauthenticated, "The server's pg_hba.conf does not let this user in from here"),
    ),
    (
        ("too many clients", "connection slots are", "too many connections", "no more connections"),
        (
            Unavailable,
            "All are taken: raise max_connections, add ?connections=N to the URL, or use a pooler",
        ),
    ),
    (
        ("shutting down", "starting up", "in recovery mode"),
        (Unavailable, "The server is stopping or starting; try again soon"),
    ),
    (
        ("certificate", "server does not support ssl", "ssl error"),
        (
            Unauthenticated,
            "Check sslrootcert, the host name that the certificate is for, and when it expires",
        ),
    ),
    (
        ('role "',),
        (Unauthenticated, "Make the role with createuser, or name another one"),
    ),
    (
        ('database "', "no such database"),
        (InvalidConfig, "Make the database with createdb, or name another one"),
    ),
)
"""Phrases of libpq and the server, in lower case, to what they mean. The first that fits counts.

There is no code to go by: of a connection that did not come about, the driver keeps the text only.
"""


def cannot_connect(error: Exception, address: Address, *, opening: bool) -> StokerError:
    """Return the error of a connection that did not come about. Nothing was sent.

    Args:
        error: What the driver raised.
        address: Where.
        opening: The store is being opened: what only a person can mend is said as such. Later the
            same may be a passing state of the server, so it is `Unavailable`.
    """
    text = " ".join(str(error).split()).rstrip(".?") or type(error).__name__
    kind, advice = next(
        (meant for phrases, meant in _ADVICE if any(p in text.lower() for p in phrases)),
        (Unavailable, "Check that the server runs, and that host, port and firewall are right"),
    )
    if opening and kind is not Unavailable:
        return kind(
            f"PostgreSQL refuses the store {address.url!r}: {text}. {advice}", url=address.url
        )
    return Unavailable(
        f"PostgreSQL cannot be reached ({address.place}, tried {address.url!r}): {text}. {advice}",
        url=address.url,
    )


def graph_refused(error: psycopg.Error) -> GraphRefusedError | None:
    """Return what the function ``submit`` said, if the error is that."""
    if error.sqlstate not in _GRAPH:
        return None
    places = msgspec.json.decode(error.diag.message_detail or "[]", type=list[tuple[int, str]])
    return GraphRefusedError(error.sqlstate, places)


def translate(
    error: psycopg.Error, address: Address, *, reading: bool, broken: bool
) -> StokerError:
    """Return the error that says what a failed command means for the caller.

    Args:
        error: What the driver raised after the command was sent.
        address: Where.
        reading: The command changes nothing.
        broken: The connection did not survive it.
    """
    state = error.sqlstate or ""
    text = " ".join(str(error).split()) or type(error).__name__
    if broken or state in _SHUTDOWN:
        return lost(address, text, reading=reading)
    known = _known(state, text, address)
    if known is not None:
        return known
    if isinstance(error, psycopg.DataError) or state in _BAD_TEXT:
        return InvalidOption(f"PostgreSQL cannot hold a value: {text}", url=address.url)
    if state.startswith(("53", "55", "57", "58", "08")) or state in AGAIN or not state:
        return Unavailable(
            f"PostgreSQL ({address.place}) gave up the command, and nothing was written: {text}",
            url=address.url,
            sqlstate=state,
        )
    return BackendError(
        f"PostgreSQL ({address.place}) failed with {state}, and nothing was written: {text}",
        url=address.url,
        sqlstate=state,
    )


def lost(address: Address, text: str, *, reading: bool = False) -> StokerError:
    """Return the error of a connection that broke before the answer came."""
    if reading:
        return Unavailable(
            f"the connection to PostgreSQL ({address.place}) broke during a read: {text}",
            url=address.url,
        )
    return OutcomeUnknown(
        f"the connection to PostgreSQL ({address.place}) broke after the command was sent: {text}. "
        "It may or may not have been carried out; idempotent calls may be repeated",
        url=address.url,
    )


def _known(state: str, text: str, address: Address) -> StokerError | None:
    where = f"PostgreSQL ({address.place})"
    if state in _FULL:
        return StoreFull(
            f"{where} has no space left on its disk; nothing was written. Free some space, or "
            f"delete ended jobs: {text}",
            url=address.url,
        )
    if state in _READ_ONLY:
        return read_only(address, text)
    if state in _DENIED:
        return ReadOnlyStore(
            f"{where} does not permit it to this role: {text}. Grant it USAGE on the schema "
            f"{address.schema!r} and all rights on what is in it, or use the role that made it",
            url=address.url,
        )
    if state in _NO_LAYOUT:
        return SchemaMismatch(
            f"the layout of the schema {address.schema!r} in {address.place} is not what this "
            f"Stoker needs ({text}); bring it up to date with: stoker db migrate",
            url=address.url,
        )
    if state in _DAMAGED:
        return BackendError(f"{where} found damaged data: {text}", url=address.url)
    if state in _FORGOTTEN:
        return undeclared(address)
    return None


def read_only(address: Address, text: str) -> ReadOnlyStore:
    """Return the error of a server that takes no writes."""
    return ReadOnlyStore(
        f"PostgreSQL ({address.place}) takes no writes: {text}. A standby cannot be a store: "
        "name the primary, or several hosts with target_session_attrs=read-write",
        url=address.url,
    )
