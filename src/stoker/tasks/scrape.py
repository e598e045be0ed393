"""The task ``scrape_website``: read a page and take out what a CSS selector matches."""

import codecs
import re
from typing import TYPE_CHECKING

import msgspec

from stoker.core.errors import InvalidArguments
from stoker.settings import TaskSettings
from stoker.tasks.errors import BadInput, extra
from stoker.tasks.progress import Progress
from stoker.tasks.wiring import DEFAULTS

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

    from stoker.tasks.web import Answer, Guard

MAX_PAGE = 8 * 1024 * 1024
"""Bytes of a page."""
MAX_TIMEOUT = 120.0
"""Seconds."""
MAX_MATCHES = 1_000
MAX_TEXT = 10_000
"""Characters kept of one match."""

_MAX_SELECTOR = 1_000
_PAGES = re.compile(r"text/|application/(xhtml\+xml|xml|json)\b|application/[\w.-]+\+(xml|json)\b")
_META = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Scraped(msgspec.Struct, frozen=True):
    """What `scrape_website` returns."""

    url: str
    """Of the page itself, after redirects."""
    status: int
    title: str
    matches: list[str]
    """Text (or the attribute) of the first matches."""
    count: int
    """All matches."""
    bytes: int
    """Of the page."""


def scrape_website(
    url: str,
    selector: str = "title",
    timeout: float = 10.0,
    attribute: str | None = None,
    limit: int = 100,
    *,
    settings: TaskSettings = DEFAULTS,
    guard: "Guard | None" = None,
) -> Scraped:
    """Read a web page and take out what a CSS selector matches.

    Private, loopback, link-local and metadata addresses are refused, also behind names and
    redirects; ``tasks.scrape_private`` allows private and loopback ones.

    Args:
        url: An http or https URL.
        selector: A CSS selector, such as ``h2.title > a``.
        timeout: Seconds for everything, up to 120.
        attribute: Take this attribute of each match (``href``) instead of its text; matches
            without it count and give nothing.
        limit: The most matches to return, up to 1,000. All are counted.
        settings: The worker's settings.
        guard: Decides which addresses may be opened.

    Returns:
        The matches in the page's order, and the page's title.

    Raises:
        AddressRefused: The URL or a redirect leads where the task may not go.
        FetchFailed: No answer in time, or a 5xx.
        FetchRefused: A 4xx.
        BadInput: Not a page of text, or one over 8 MiB.
        InvalidArguments: A selector that is none, or a number out of range.
        MissingExtra: httpx2 or selectolax is not installed.
    """
    _check(selector, timeout, limit)
    with extra("scrape_website", "httpx2 and selectolax"):
        from selectolax.lexbor import LexborHTMLParser

        from stoker.tasks.web import Guard, fetch
    guard = guard or Guard(allow_private=settings.scrape_private)
    progress = Progress()
    progress.to(0.0, "fetch the page")
    with fetch(url, guard=guard, timeout=timeout, max_bytes=MAX_PAGE) as answer:
        page = _read(answer, progress)
        charset = answer.charset
    progress.to(0.8, "read the page")
    parser = LexborHTMLParser(_text(page, charset))
    nodes = _select(parser, selector)
    title = parser.css_first("title")
    progress.to(1.0)
    return Scraped(
        url=answer.url,
        status=answer.status,
        title="" if title is None else _words(title),
        matches=_values(nodes, attribute, limit),
        count=len(nodes),
        bytes=len(page),
    )


def _check(selector: str, timeout: float, limit: int) -> None:
    if not 0 < timeout <= MAX_TIMEOUT:
        raise InvalidArguments(f"timeout is {timeout}; expected up to {MAX_TIMEOUT:g} seconds")
    if not 0 <= limit <= MAX_MATCHES:
        raise InvalidArguments(f"limit is {limit}; expected 0 to {MAX_MATCHES:,}")
    if not 0 < len(selector) <= _MAX_SELECTOR:
        raise InvalidArguments(
            f"selector has {len(selector)} characters; expected 1 to {_MAX_SELECTOR:,}"
        )


def _read(answer: "Answer", progress: Progress) -> bytes:
    if answer.content_type and not _PAGES.match(answer.content_type.lower()):
        raise BadInput(f"{answer.url} is {answer.content_type[:100]!r}; expected a page of text")
    page = bytearray()
    for chunk in answer.chunks():
        page += chunk
        progress.to(0.1 + 0.7 * min(1.0, len(page) / (answer.length or MAX_PAGE)))
    return bytes(page)


def _text(page: bytes, charset: str | None) -> str:
    """Decode a page as browsers do: byte order mark, then header, then ``<meta>``."""
    marked = next((name for mark, name in _MARKS.items() if page.startswith(mark)), None)
    meta = _META.search(page, 0, 4096)
    declared = meta[1].decode("ascii", "replace") if meta else None
    for name in (marked, charset, declared):
        if name is not None:
            try:
                return page.decode(codecs.lookup(name).name, "replace").removeprefix("\ufeff")
            except (LookupError, ValueError):
                continue
    return page.decode("utf-8", "replace")


def _select(parser: "LexborHTMLParser", selector: str) -> "list[LexborNode]":
    from selectolax.lexbor import SelectolaxError

    try:
        return parser.css(selector)
    except (SelectolaxError, ValueError) as error:
        raise InvalidArguments(
            f"selector is {selector!r}, which is no CSS selector: {error}"
        ) from None


def _values(nodes: "list[LexborNode]", attribute: str | None, limit: int) -> list[str]:
    if attribute is None:
        return [_words(node) for node in nodes[:limit]]
    found = (node.attributes.get(attribute.lower()) for node in nodes)
    return [value[:MAX_TEXT] for value in found if value is not None][:limit]


def _words(node: "LexborNode") -> str:
    return " ".join(node.text(deep=True).split())[:MAX_TEXT]
