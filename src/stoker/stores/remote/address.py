"""From the URL of a remote store to where it is, who asks, and whom to believe."""

import ssl
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec

from stoker.core.duration import seconds
from stoker.core.errors import InvalidConfig, InvalidOption
from stoker.settings import Secret, masked

TCP_PORT = 8001
"""Of ``tcp://`` and ``tls://`` when none is given."""
TIMEOUT = 30.0
"""Seconds that a call may take when the URL does not say."""
SCHEMES = ("tcp", "tls", "http", "https")
_OPTIONS = {"token_file", "timeout", "ca", "cert", "key", "server_name"}
_TLS_OPTIONS = {"ca", "cert", "key", "server_name"}
_MAX_TOKEN = 4096


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a remote store is, and how to come in."""

    scheme: str
    host: str
    port: int
    path: str = ""
    """Before ``/gateway/v1``, for a server behind a proxy."""
    shown: str
    """The URL without secrets."""
    token: Secret | None = None
    timeout: float = TIMEOUT
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None
    """The name that the server's certificate must have; ``host`` if not given."""

    @property
    def is_tls(self) -> bool:
        """Whether the way there is encrypted."""
        return self.scheme in {"tls", "https"}

    def tls(self) -> ssl.SSLContext | None:
        """Return how to speak TLS; None without it.

        Raises:
            InvalidConfig: A file cannot be used.
        """
        if not self.is_tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            raise InvalidConfig(
                f"the certificates of {self.shown} cannot be used: {error}; expected PEM files in "
                "ca, cert and key"
            ) from None
        return context


def read_address(url: str, *, token: Secret | None = None) -> Address:
    """Read the URL of a remote store.

    Args:
        url: ``tcp://host:8001``, ``tls://TOKEN@host?ca=ca.pem&cert=me.pem&key=me.key``,
            ``https://host/prefix?token_file=/run/secrets/stoker``.
        token: What to show when the URL names none.

    Raises:
        InvalidConfig: It is none.
    """
    shown = masked(url)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidConfig(f"the store is {shown!r}: {error}") from None
    options = dict(parse_qsl(parts.query))
    _check(parts, host, options, shown)
    return Address(
        scheme=parts.scheme,
        host=host or "",
        port=port or {"http": 80, "https": 443}.get(parts.scheme, TCP_PORT),
        path=parts.path.rstrip("/"),
        shown=shown,
        token=_token(parts, options.get("token_file")) or token,
        timeout=_timeout(options.get("timeout"), shown),
        ca=options.get("ca"),
        cert=options.get("cert"),
        key=options.get("key"),
        server_name=options.get("server_name"),
    )


def _check(parts: SplitResult, host: str | None, options: dict[str, str], shown: str) -> None:
    unknown = sorted(options.keys() - _OPTIONS)
    wrong = ""
    if parts.scheme not in SCHEMES or not host:
        wrong = "expected a host"
    elif unknown:
        wrong = f"the option {unknown[0]!r} is unknown; known are {', '.join(sorted(_OPTIONS))}"
    elif parts.scheme in {"tcp", "tls"} and parts.path not in {"", "/"}:
        wrong = "a path means nothing here"
    elif parts.scheme in {"tcp", "http"} and options.keys() & _TLS_OPTIONS:
        wrong = f"certificates need {'tls' if parts.scheme == 'tcp' else 'https'}://"
    elif "key" in options and "cert" not in options:
        wrong = "a key needs its cert"
    if wrong:
        raise InvalidConfig(
            f"the store is {shown!r}: {wrong}. Such as tcp://127.0.0.1:8001, "
            "tls://jobs.example.com?ca=ca.pem or https://jobs.example.com",
            url=shown,
        )


def _token(parts: SplitResult, file: str | None) -> Secret | None:
    text = unquote(parts.password or parts.username or "")
    if text:
        return Secret(text)
    if file is None:
        return None
    try:
        text = Path(file).read_text(encoding="utf-8")[:_MAX_TOKEN].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"the token file {file!r} cannot be read: {error}") from None
    if not text:
        raise InvalidConfig(f"the token file {file!r} is empty")
    return Secret(text)


def _timeout(text: str | None, shown: str) -> float:
    if text is None:
        return TIMEOUT
    try:
        value = seconds(text, name="timeout")
    except InvalidOption as error:
        raise InvalidConfig(f"the store is {shown!r}: {error.message}") from None
    if value <= 0:
        raise InvalidConfig(f"the store is {shown!r}: the timeout has to be above 0")
    return value
