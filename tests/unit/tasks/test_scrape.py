import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stoker.core.errors import Cancelled, InvalidArguments
from stoker.demo.services import DemoServices
from stoker.settings import TaskSettings
from stoker.tasks.errors import AddressRefused, BadInput, FetchRefused
from stoker.tasks.scrape import MAX_PAGE, Scraped, scrape_website
from tests.unit.tasks.conftest import JobAround
from tests.unit.tasks.sites import http, site

ALLOWED = TaskSettings(scrape_private=True)


@pytest.fixture
async def services() -> AsyncIterator[DemoServices]:
    async with DemoServices() as running:
        yield running


async def scrape(url: str, *args: Any, **kwargs: Any) -> Scraped:
    return await asyncio.to_thread(scrape_website, url, *args, settings=ALLOWED, **kwargs)


@contextmanager
def page(body: bytes, **headers: str) -> Iterator[str]:
    with site(lambda _: http(body, **headers)) as server:
        yield f"http://127.0.0.1:{server.port}/"


async def test_the_title_is_taken_by_default(services: DemoServices) -> None:
    found = await scrape(services.web_url)
    assert found.url == services.web_url
    assert (found.status, found.title) == (200, "The Boiler House")
    assert (found.matches, found.count) == (["The Boiler House"], 1)
    assert found.bytes > 100


async def test_a_selector_finds_texts_in_the_order_of_the_page(services: DemoServices) -> None:
    found = await scrape(f"{services.web_url}prices", "td.kind, td.price")
    assert found.matches == ["Anthracite", "212", "Lignite", "48"]


async def test_an_attribute_can_be_taken_instead_of_the_text(services: DemoServices) -> None:
    found = await scrape(services.web_url, "li a", attribute="HREF")
    assert found.matches == ["/news", "/prices"]
    none = await scrape(services.web_url, "li", attribute="href")
    assert (none.matches, none.count) == ([], 2)


async def test_all_matches_are_counted_and_the_first_returned(services: DemoServices) -> None:
    found = await scrape(f"{services.web_url}news", "h2", limit=1)
    assert (found.matches, found.count) == (["Steam is up"], 2)


async def test_the_page_behind_a_redirect_is_the_one_that_counts(services: DemoServices) -> None:
    found = await scrape(f"{services.web_url}old-news")
    assert found.url == f"{services.web_url}news"
    assert found.title == "Steam is up"


async def test_a_missing_page_is_an_error(services: DemoServices) -> None:
    with pytest.raises(FetchRefused, match="404 Not Found"):
        await scrape(f"{services.web_url}nothing")


async def test_private_addresses_are_refused_unless_the_settings_allow_them(
    services: DemoServices,
) -> None:
    with pytest.raises(AddressRefused, match=r"tasks\.scrape_private"):
        await asyncio.to_thread(scrape_website, services.web_url, settings=TaskSettings())


def test_whitespace_in_a_match_is_folded() -> None:
    with page(b"<p>  one\n\n two  <b>three</b></p>") as url:
        assert scrape_website(url, "p", settings=ALLOWED).matches == ["one two three"]


UTF_8 = "<title>Größe</title>".encode()
LATIN_1 = "<title>Größe</title>".encode("latin-1")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (UTF_8, "text/html"),
        (LATIN_1, "text/html; charset=latin1"),
        (b'<meta charset="iso-8859-1">' + LATIN_1, "text/html"),
        (b"<meta charset=latin1>" + UTF_8, "application/xhtml+xml; charset=utf-8"),
        (b"\xef\xbb\xbf" + UTF_8, "text/html; charset=latin1"),
        ("\ufeff<title>Größe</title>".encode("utf-16-le"), "text/html"),
        (UTF_8, "text/html; charset=no-such"),
        (b"<meta charset=no-such>" + UTF_8, "text/html"),
    ],
)
def test_the_charset_is_found_as_browsers_find_it(body: bytes, content_type: str) -> None:
    with page(body, Content_Type=content_type) as url:
        assert scrape_website(url, settings=ALLOWED).title == "Größe"


def test_a_compressed_page_is_expanded() -> None:
    with page(gzip.compress(UTF_8), Content_Encoding="gzip") as url:
        assert scrape_website(url, settings=ALLOWED).title == "Größe"


def test_bytes_that_are_no_text_do_not_end_in_an_error() -> None:
    with page(b"<title>a\xff\xfeb</title>") as url:
        assert scrape_website(url, settings=ALLOWED).title == "a\ufffd\ufffdb"


def test_a_page_without_a_title_has_an_empty_one() -> None:
    with page(b"") as url:
        found = scrape_website(url, settings=ALLOWED)
    assert (found.title, found.matches, found.count) == ("", [], 0)


@pytest.mark.parametrize("kind", ["image/png", "application/pdf", "application/octet-stream"])
def test_what_is_no_page_of_text_is_refused(kind: str) -> None:
    with page(b"x", Content_Type=kind) as url, pytest.raises(BadInput, match="a page of text"):
        scrape_website(url, settings=ALLOWED)


def test_a_page_beyond_the_limit_is_refused() -> None:
    with page(b"x" * (MAX_PAGE + 1)) as url, pytest.raises(BadInput, match="more than 8,388,608"):
        scrape_website(url, settings=ALLOWED)


@pytest.mark.parametrize("selector", ["p[", "::x", "***", "p:has("])
def test_a_selector_that_is_none_is_refused(selector: str) -> None:
    with (
        page(b"<p>") as url,
        pytest.raises(InvalidArguments, match="which is no CSS selector"),
    ):
        scrape_website(url, selector, settings=ALLOWED)


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": 0.0},
        {"timeout": 121.0},
        {"timeout": float("nan")},
        {"limit": -1},
        {"limit": 1001},
        {"selector": ""},
        {"selector": "p " * 501},
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_fetched(wrong: Any) -> None:
    with pytest.raises(InvalidArguments, match=next(iter(wrong))):
        scrape_website("http://127.0.0.1:9/", settings=ALLOWED, **wrong)


def test_progress_is_told_to_the_end(job: JobAround) -> None:
    with page(b"<title>x</title>") as url:
        scrape_website(url, settings=ALLOWED)
    assert job.reports[0] == (0.0, "fetch the page")
    assert job.shares == sorted(job.shares)
    assert job.shares[-1] == 1.0


def test_a_cancel_midway_ends_it(job: JobAround) -> None:
    job.cancel_from = 0.1
    with page(b"x" * 1_000_000) as url, pytest.raises(Cancelled):
        scrape_website(url, settings=ALLOWED)
    assert job.shares[-1] < 0.9
