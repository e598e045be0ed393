"""A search of payloads over HTTP, on every engine: the same answers, with a bound on the work."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stoker.app.stoker import Stoker
from stoker.core.job import JobSpec
from stoker.server import counting, sifting
from stoker.server.http import make_server_app
from stoker.settings import Settings
from tests.servers.postgres import shared_schemas
from tests.servers.redis import RedisServer
from tests.unit.server.asking import Asking

ENGINES = (
    "memory",
    "sqlite",
    pytest.param("postgresql", marks=pytest.mark.servers),
    pytest.param("redis", marks=pytest.mark.servers),
)
LOOK = 20
"""Jobs that one look goes through here."""
PAYLOADS: dict[str, dict[str, Any]] = {
    "number": {"customer": {"id": 17}},
    "text": {"customer": {"id": "17"}},
    "longer": {"customer": {"id": 170}},
    "deep": {"items": [{"sku": "a b"}, {"sku": "Ünïcode", "price": 1.50}]},
    "plain": {"note": "the customer is 17"},
    "nothing": {"customer": None, "flag": True},
    "quoted": {"note": 'say "17"', "customer.id": 17},
}
SEARCHES = {
    "payload.customer.id:17": {"number", "text"},
    'payload.items.0.sku:"a b"': {"deep"},
    "payload.items.1.sku:Ünïcode": {"deep"},
    "payload.items.1.price:1.5": {"deep"},
    "payload.items.2.sku:x": set(),
    "payload.customer:null": {"nothing"},
    "payload.flag:true payload.customer:null": {"nothing"},
    "ÜNÏCODE": {"deep"},
    "customer 17": {"number", "text", "longer", "plain", "quoted"},
    "payload.customer.id:17 state:completed": set(),
    "payload.customer.id:17 state:queued queue:default": {"number", "text"},
}


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "postgresql":
            yield stack.enter_context(shared_schemas().borrow())
        elif request.param == "redis":
            server = RedisServer()
            stack.callback(server.close)
            server.start()
            yield server.url
        else:
            path = f"/{tmp_path / 'stoker.db'}"
            yield "memory://" if request.param == "memory" else f"sqlite://{path}"


async def every_page(ask: Asking, text: str, *, limit: int) -> tuple[list[str], int]:
    """Return the ids that a search finds, page by page, and the number of pages."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    count = 0
    while True:
        page = (await ask.get("/jobs", q=text, limit=limit, **cursor)).ok()
        count += 1
        found += [job["id"] for job in page["jobs"]]
        assert len(page["jobs"]) <= limit
        # One batch may be begun below the bound and end above it.
        assert page["looked_at"] <= LOOK + 10
        if page["next_cursor"] is None:
            return found, count
        cursor = {"cursor": page["next_cursor"]}


async def test_payloads_are_searched_alike_on_every_engine(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sifting, counting):
        monkeypatch.setattr(module, "MOST", LOOK)
    monkeypatch.setattr(sifting, "_AT_ONCE", 10)
    async with Stoker(settings=Settings(store=store)) as app:
        ids = {name: app.clock.new_id() for name in PAYLOADS}
        first = [
            JobSpec(id=ids[name], task="any", payload=msgspec.json.encode(value))
            for name, value in PAYLOADS.items()
        ]
        more = [JobSpec(id=app.clock.new_id(), task="any") for _ in range(3 * LOOK)]
        await app.arun(lambda opened: opened.submit([*first, *more]))
        ask = Asking(make_server_app(app))
        async with ask.http:
            for text, names in SEARCHES.items():
                found, pages = await every_page(ask, text, limit=2)
                assert sorted(found) == sorted(ids[name] for name in names), text
                assert found == sorted(found, reverse=True), text
                assert pages > 1 or "completed" in text, text
            # The old ones lie beyond the bound: the count says that it stopped.
            count = (await ask.get("/jobs/count", q="payload.customer.id:17")).ok()
            assert count == {"count": 0, "is_exact": False}
            monkeypatch.setattr(counting, "MOST", 10 * LOOK)
            count = (await ask.get("/jobs/count", q="payload.customer.id:17")).ok()
            assert count == {"count": 2, "is_exact": True}
