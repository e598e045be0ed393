"""A URL to where the server is, and what Stoker's own options in it say."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis.asyncio.connection import Connection, parse_url

from stoker.core.errors import InvalidConfig
from stoker.settings import masked
from stoker.stores.redis.keys import DEFAULT_NAMESPACE

SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis"}
"""Schemes by what redis-py calls them."""
TIMEOUT = 10.0
"""Seconds that a call may take, and that connecting may take."""
_OPTIONS = frozenset(
    {
        "db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_keyfile_password",
        "ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_path",
    }
)  # fmt: skip
_LONGEST_NAMESPACE = 100


@dataclass(frozen=True)
class Address:
    """Where the server is."""

    url: str
    """With every secret masked."""
    namespace: str
    timeout: float
    arguments: dict[str, Any]
    kind: type[Connection]

    async def connect(self, *, name: str) -> Connection:
        """Return an open connection; its name is shown by ``CLIENT LIST``.

        Raises:
            RedisError, OSError: It cannot be had.
        """
        connection = self.kind(
            **self.arguments,
            client_name=name,
            # Named, because the driver's own default changes with its versions.
            protocol=2,
            socket_timeout=self.timeout,
            socket_connect_timeout=self.timeout,
            socket_keepalive=True,
        )
        await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
        return connection


def parse(url: str) -> Address:
    """Read a URL.

    Raises:
        InvalidConfig: Not one of a Redis server, or with an option that nobody knows.
    """
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=False))
        scheme = SCHEMES[parts.scheme]
        namespace = options.pop("namespace", DEFAULT_NAMESPACE)
        timeout = float(options.pop("timeout", TIMEOUT))
        # The driver takes a database that is no number for the first one.
        int(parts.path.strip("/") or "0")
        is_plain = parts.hostname and timeout > 0 and _is_name(namespace)
        if not is_plain or options.keys() - _OPTIONS:
            raise _refused(url)
        rest = parts._replace(scheme=scheme, query=urlencode(options), fragment="")
        arguments: dict[str, Any] = dict(parse_url(rest.geturl()))
    except (KeyError, ValueError):
        raise _refused(url) from None
    kind = arguments.pop("connection_class", Connection)
    return Address(masked(url), namespace, timeout, arguments, kind)


def _is_name(namespace: str) -> bool:
    # A brace would end the hash tag early, and keys of one namespace would lie in many slots.
    plain = namespace.isprintable() and not set(namespace) & set("{}: ")
    return bool(namespace) and plain and len(namespace) <= _LONGEST_NAMESPACE


def _refused(url: str) -> InvalidConfig:
    return InvalidConfig(
        f"the store is {masked(url)!r}; expected redis://[USER:PASSWORD@]HOST[:PORT][/DB], or "
        "rediss:// for TLS, or valkey://, optionally with ?namespace=NAME (letters, digits, "
        "- and _), &timeout=SECONDS, or the ssl_ options of redis-py",
        url=masked(url),
    )
