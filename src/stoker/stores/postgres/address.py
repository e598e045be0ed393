"""The URL of a PostgreSQL store: what is libpq's, and what is Stoker's."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from stoker.core.errors import InvalidConfig
from stoker.settings import masked

_SCHEMA = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,49}")
_MOST_CONNECTIONS = 1_000
_DEFAULTS = {
    "application_name": "stoker",
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    # The server must be able to read what we write, and we what it answers.
    "client_encoding": "UTF8",
}


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a store is, and how it is spoken to."""

    conninfo: str
    """For libpq; holds the password."""
    source: str
    """The URL as it was given; holds the password."""
    url: str
    """For people: masked."""
    place: str
    """For messages: host, port and database."""
    schema: str
    prepare: bool
    """Whether statements may be prepared, and settings live as long as a connection: not behind a
    pooler that gives each transaction another one."""
    connections: int
    """The most connections for commands, and as many again for reads."""
    timeout: float
    """Seconds after which a call that is not answered is given up."""

    @property
    def channel(self) -> str:
        """The channel of its notifications."""
        return f"stoker_{self.schema}"


def parse(url: str) -> Address:
    """Read a URL.

    Raises:
        InvalidConfig: It means nothing.
    """
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    own = {name: value for name, value in options if name in _OWN}
    rest = [(name, value) for name, value in options if name not in _OWN]
    plain = parts._replace(scheme="postgresql", query=urlencode(rest)).geturl()
    try:
        known = conninfo_to_dict(plain)
        conninfo = make_conninfo(plain, **{k: v for k, v in _DEFAULTS.items() if k not in known})
    except psycopg.Error as error:
        raise _refused(url, f"libpq says: {str(error).strip()}") from None
    return Address(
        conninfo=conninfo,
        source=url,
        url=masked(url),
        place=_place(known),
        schema=_schema(url, own.get("schema", "stoker")),
        prepare=_choice(url, "prepare", own.get("prepare", "on")),
        connections=_number(url, "connections", own.get("connections", "4")),
        timeout=float(_number(url, "timeout", own.get("timeout", "30"))),
    )


_OWN = frozenset({"schema", "prepare", "connections", "timeout"})


def _place(known: Mapping[str, object]) -> str:
    host = known.get("host") or known.get("hostaddr") or "the local socket"
    port = known.get("port") or 5432
    database = known.get("dbname") or known.get("user") or "the default database"
    return f"{database} at {host}:{port}"


def _schema(url: str, name: str) -> str:
    if not _SCHEMA.fullmatch(name):
        raise _refused(url, f"schema is {name!r}; expected a name of at most 50 letters and digits")
    return name


def _choice(url: str, name: str, value: str) -> bool:
    if value not in {"on", "off"}:
        raise _refused(url, f"{name} is {value!r}; expected on or off")
    return value == "on"


def _number(url: str, name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= _MOST_CONNECTIONS:
        raise _refused(url, f"{name} is {value!r}; expected a whole number from 1 to 1,000")
    return int(value)


def _refused(url: str, why: str) -> InvalidConfig:
    return InvalidConfig(
        f"the store is {masked(url)!r}; expected "
        f"postgresql://USER:PASSWORD@HOST:PORT/DATABASE, optionally with ?schema=NAME. {why}",
        url=masked(url),
    )
