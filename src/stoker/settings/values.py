"""The kinds of values that configuration has besides texts and numbers."""

import hmac
import re
from urllib.parse import urlsplit


class Secret:
    """A text that no log, table or error shows by accident."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Hide a text."""
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __eq__(self, other: object) -> bool:
        """Compare texts, in a time that does not tell how much of them is equal."""
        return isinstance(other, Secret) and hmac.compare_digest(
            self._text.encode(), other._text.encode()
        )

    def __hash__(self) -> int:
        """Equal secrets have equal hashes."""
        return hash(self._text)

    def __repr__(self) -> str:
        """Show that there is one."""
        return "Secret('***')"

    def __str__(self) -> str:
        """Show that there is one."""
        return "***"


class Seconds(float):
    """A float of seconds that configuration may write as ``"10m"``."""

    __slots__ = ()


class Bytes(int):
    """An int of bytes that configuration may write as ``"512MB"``."""

    __slots__ = ()


def masked(url: str) -> str:
    """Return a URL without its password and without secret-looking parameters."""
    try:
        parts = urlsplit(url)
        user, secret = parts.username, parts.password
    except ValueError:
        return "***"
    at = parts.netloc.rfind("@")
    if user and parts.scheme in _TOKEN_SCHEMES:
        url = parts._replace(netloc=f"***{parts.netloc[at:]}").geturl()
    elif secret:
        user = parts.netloc[:at].split(":", 1)[0]
        url = parts._replace(netloc=f"{user}:***{parts.netloc[at:]}").geturl()
    return re.sub(r"(?i)((?:password|secret|token|key)=)[^&]*", r"\1***", url)


_TOKEN_SCHEMES = {"tcp", "tls", "http", "https"}
"""Schemes of stores whose URL has a token before the ``@``."""
