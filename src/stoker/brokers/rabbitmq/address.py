"""A URL to where the server is, and the names of its queues."""

import hashlib
import re
import ssl
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from yarl import URL

from stoker.core.errors import InvalidConfig
from stoker.core.job import Priority
from stoker.settings import masked

DEFAULT_NAMESPACE = "stoker"
HEARTBEAT = 10
"""Seconds between heartbeats. A server that was silent for three of them is gone."""
_PORTS = {"amqp": 5672, "amqps": 5671}
_TLS_OPTIONS = frozenset({"ca", "cert", "key"})
_NAMESPACE = re.compile(r"(?!amq$)[A-Za-z0-9_-]{1,64}")
_UNSAFE = re.compile(rb"[^A-Za-z0-9_.:/-]")
_LONGEST = 255
"""Bytes of a name in AMQP."""


@dataclass(frozen=True)
class Address:
    """Where the server is, and which queues in it are ours."""

    shown: str
    """The URL without secrets."""
    scheme: str
    host: str
    port: int
    user: str
    password: str
    vhost: str
    namespace: str
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    @property
    def url(self) -> URL:
        """What the driver takes, password included."""
        return URL.build(
            scheme=self.scheme,
            user=self.user,
            password=self.password,
            host=self.host,
            port=self.port,
            path="/" + self.vhost.replace("/", "%2F"),
            query={"heartbeat": str(HEARTBEAT)},
            encoded=False,
        )

    @property
    def place(self) -> str:
        """Where, for messages."""
        return f"{self.host}:{self.port}"

    def tls(self) -> ssl.SSLContext | None:
        """Return how to speak TLS; None without it. The name of the server is checked.

        Raises:
            InvalidConfig: A file cannot be used.
        """
        if self.scheme != "amqps":
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            raise InvalidConfig(
                f"the certificates of the broker {self.shown} cannot be used: {error}; expected "
                "PEM files in ca, cert and key",
                url=self.shown,
            ) from None
        return context

    def queue(self, name: str, priority: Priority) -> str:
        """Return the name of RabbitMQ's queue for the rings of one queue and priority."""
        # The server drops line breaks from names, and the driver refuses most other characters.
        plain = _UNSAFE.sub(lambda found: b"@%02X" % found[0][0], name.encode()).decode()
        full = f"{self.namespace}.{plain}.{priority.value}"
        if len(full) <= _LONGEST:
            return full
        digest = hashlib.sha256(name.encode()).hexdigest()
        return f"{self.namespace}.@@{digest}.{priority.value}"


def parse(url: str) -> Address:
    """Read a URL.

    Raises:
        InvalidConfig: Not one of a RabbitMQ server, or with an option that nobody knows.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
    except (KeyError, ValueError):
        raise _refused(url, "it is no URL of a RabbitMQ server") from None
    namespace = options.pop("namespace", DEFAULT_NAMESPACE)
    vhost = unquote(parts.path[1:])
    wrong = ""
    if not parts.hostname:
        wrong = "it names no host"
    elif "/" in parts.path[1:]:
        wrong = f"the virtual host {parts.path[1:]!r} has a slash; write it as %2F"
    elif not _NAMESPACE.fullmatch(namespace):
        wrong = f"the namespace is {namespace!r}; expected letters, digits, - and _"
    elif unknown := sorted(options.keys() - _TLS_OPTIONS):
        wrong = f"the option {unknown[0]!r} is unknown"
    elif options and parts.scheme == "amqp":
        wrong = "certificates need amqps://"
    elif "key" in options and "cert" not in options:
        wrong = "a key needs its cert"
    if wrong:
        raise _refused(url, wrong)
    return Address(
        shown=masked(url),
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=port,
        user=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        vhost=vhost or "/",
        namespace=namespace,
        **options,
    )


def _refused(url: str, wrong: str) -> InvalidConfig:
    return InvalidConfig(
        f"the broker is {masked(url)!r}: {wrong}; expected amqp://USER:PASSWORD@HOST[:5672]"
        "[/VHOST], or amqps:// for TLS with ?ca=FILE (and cert=FILE&key=FILE), optionally with "
        "namespace=NAME",
        url=masked(url),
    )
