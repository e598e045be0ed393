import re

import pytest

from stoker.server import dashboard
from tests.unit.server.asking import Asking

PAGES = [
    "/",
    "/login",
    "/jobs",
    "/jobs/019a?x=1",
    "/jobs?q=state%3Aqueued",
    "/workflows/x",
    "/audit",
]


@pytest.mark.parametrize("path", PAGES)
async def test_every_address_of_the_page_shows_the_page(ask: Asking, path: str) -> None:
    page = await ask.http.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-cache"
    assert '<div id="root">' in page.text


@pytest.mark.parametrize("path", [*PAGES, "/icon.svg", "/docs", "/docs/docs.css", "/docs/docs.js"])
async def test_who_asks_for_the_head_gets_that_of_the_page(ask: Asking, path: str) -> None:
    head, page = await ask.http.head(path), await ask.http.get(path)
    assert head.status_code == page.status_code == 200
    assert head.headers == page.headers


async def test_a_file_and_a_page_that_nobody_has_answer_to_head_too(ask: Asking) -> None:
    [script] = re.findall(r'src="([^"]*)"', (await ask.http.get("/")).text)
    assert (await ask.http.head(script)).headers["etag"]
    assert (await ask.http.head("/assets/nowhere.js")).status_code == 404
    assert (await ask.http.head("/api/v1/jobs")).status_code == 405


async def test_an_address_that_no_page_has_is_not_found(ask: Asking) -> None:
    for path in ("/nowhere", "/queues/x", "/api/v1/nowhere", "/assets/nowhere.js"):
        answer = await ask.http.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["error"]["code"] == "not_found"


async def test_the_page_loads_nothing_from_elsewhere_and_nothing_inline(ask: Asking) -> None:
    page = (await ask.http.get("/")).text
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses
    assert all(address.startswith("/") for address in addresses)
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|style=", page)
    for address in addresses:
        assert (await ask.http.get(address)).status_code == 200, address


async def test_what_carries_a_hash_in_its_name_is_kept_for_good(ask: Asking) -> None:
    [script] = re.findall(r'src="([^"]*)"', (await ask.http.get("/")).text)
    file = await ask.http.get(script)
    assert "immutable" in file.headers["cache-control"]
    assert file.headers["content-type"].startswith("text/javascript")
    assert file.headers["content-security-policy"].startswith("default-src 'none'")


async def test_a_file_is_sent_packed_to_those_who_can_unpack_it(ask: Asking) -> None:
    [script] = re.findall(r'src="([^"]*)"', (await ask.http.get("/")).text)
    packed = await ask.http.get(script, headers={"accept-encoding": "gzip"})
    plain = await ask.http.get(script, headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 2


async def test_a_page_that_did_not_change_is_not_sent_again(ask: Asking) -> None:
    first = await ask.http.get("/")
    again = await ask.http.get("/jobs", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name", ["..%2f..%2fdocs.html", "..%2findex.html", "%2e%2e/index.html", "%00", "x%0ay"]
)
async def test_nothing_beside_the_build_can_be_asked_for(ask: Asking, name: str) -> None:
    assert (await ask.http.get(f"/assets/{name}")).status_code == 404


def test_what_a_browser_loads_first_is_small() -> None:
    page = (dashboard.BUILD / "index.html").read_text(encoding="utf-8")
    names = re.findall(r'(?:src|href)="/([^"]*)"', page)
    sizes = [len(dashboard._read(name).packed or b"") for name in names]
    assert 50_000 < sum(sizes) < 350_000
