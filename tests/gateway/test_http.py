"""The gateway over HTTP: the guard and the protocol of the real server around it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from stoker.core.errors import Unauthenticated
from stoker.core.job import JobSpec
from stoker.settings import Bytes, GatewaySettings, Secret
from stoker.stores.memory import MemoryStore
from stoker.stores.remote import RemoteStore
from stoker.testing import FakeClock, FaultyStore, wait_until
from tests.gateway.site import Site, http_site

TOKEN = "a token of thirty-two characters"
WORKER = "the token of all those who work"
SETTINGS = GatewaySettings(token=Secret(TOKEN), worker_token=Secret(WORKER), frame=Bytes(100_000))


@pytest.fixture
async def faulty(fake_clock: FakeClock) -> AsyncIterator[FaultyStore]:
    async with MemoryStore(clock=fake_clock) as store:
        yield FaultyStore(store)


@pytest.fixture
async def site(faulty: FaultyStore) -> AsyncIterator[Site]:
    async with http_site(faulty, settings=SETTINGS) as site:
        yield site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{site.port}/gateway/v1") as client:
        yield client


async def ask(
    client: httpx2.AsyncClient, verb: str, params: Any = None, *, token: str | None = TOKEN
) -> httpx2.Response:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return await client.post(f"/{verb}", json=params or {}, headers=headers)


def code_of(response: httpx2.Response) -> str:
    code: str = response.json()["error"]["code"]
    return code


async def test_a_verb_is_a_post_and_its_answer_is_ok(client: httpx2.AsyncClient) -> None:
    job = {"id": "j", "task": "t", "payload": {"a": 1}}
    response = await ask(client, "submit", {"jobs": [job]})
    assert response.status_code == 200
    assert response.json() == {
        "ok": [{"id": "j", "created": True, "state": "queued", "error": None}]
    }
    assert response.headers["content-type"] == "application/json"


async def test_the_hello_tells_limits_and_needs_a_token(client: httpx2.AsyncClient) -> None:
    told = (await ask(client, "hello", {"protocol": 1})).json()["ok"]
    assert (told["identity"], told["scope"], told["max_frame"]) == ("full", "full", 100_000)
    response = await ask(client, "hello", {"protocol": 7})
    assert (response.status_code, code_of(response)) == (422, "unsupported")


@pytest.mark.parametrize("token", [None, "guess", TOKEN.upper()])
async def test_a_wrong_token_is_a_401(client: httpx2.AsyncClient, token: str | None) -> None:
    for verb in ("hello", "queues", "submit", "nonsense"):
        response = await ask(client, verb, {"protocol": 1}, token=token)
        assert (response.status_code, code_of(response)) == (401, "unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"


async def test_another_way_to_authenticate_is_none(client: httpx2.AsyncClient) -> None:
    for shown in (TOKEN, f"Basic {TOKEN}", f"Bearer{TOKEN}", "Bearer"):
        response = await client.post("/queues", json={}, headers={"authorization": shown})
        assert response.status_code == 401


async def test_a_worker_is_held_to_its_scope(client: httpx2.AsyncClient) -> None:
    response = await ask(client, "find", {"query": {}}, token=WORKER)
    assert (response.status_code, code_of(response)) == (403, "forbidden")
    assert (await ask(client, "queues", token=WORKER)).status_code == 200


@pytest.mark.parametrize(
    ("verb", "params", "status", "code"),
    [
        ("drop", {}, 422, "unsupported"),
        ("get", {}, 422, "invalid_arguments"),
        ("get", [1], 422, "invalid_arguments"),
        ("find", {"query": {}, "limit": 0}, 422, "invalid_query"),
        ("purge", {"query": {"colour": 1}}, 422, "invalid_arguments"),
        ("exchange", {"session_id": "s", "queues": {}, "want": 0, "nonce": "n"}, 409, "lease_lost"),
    ],
)
async def test_an_error_has_the_status_of_its_code(
    client: httpx2.AsyncClient, verb: str, params: Any, status: int, code: str
) -> None:
    response = await ask(client, verb, params)
    assert (response.status_code, code_of(response)) == (status, code)


@pytest.mark.parametrize("body", [b"{", b"NaN", b'{"ids":["\xff"]}', b"[" * 5_000])
async def test_a_body_that_is_no_json_is_refused(client: httpx2.AsyncClient, body: bytes) -> None:
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    response = await client.post("/get", content=body, headers=headers)
    assert (response.status_code, code_of(response)) == (400, "protocol_error")


async def test_a_body_over_the_limit_is_refused(client: httpx2.AsyncClient) -> None:
    response = await ask(client, "get", {"ids": ["x" * 100_000]})
    assert (response.status_code, code_of(response)) == (413, "frame_too_large")


async def test_only_posts_of_json_are_taken(client: httpx2.AsyncClient) -> None:
    response = await client.get("/queues")
    assert (response.status_code, code_of(response)) == (405, "method_not_allowed")
    response = await client.post("/queues", content=b"{}", headers={"content-type": "text/plain"})
    assert (response.status_code, code_of(response)) == (415, "unsupported_media_type")


async def test_a_web_page_of_another_site_is_refused(client: httpx2.AsyncClient) -> None:
    headers = {"origin": "https://evil.example", "authorization": f"Bearer {TOKEN}"}
    response = await client.post("/queues", json={}, headers=headers)
    assert (response.status_code, code_of(response)) == (403, "origin_not_allowed")
    response = await client.post("/queues", json={}, headers={"host": "evil.example"})
    assert (response.status_code, code_of(response)) == (403, "host_not_allowed")


async def test_a_wait_answers_when_something_happens(
    client: httpx2.AsyncClient, faulty: FaultyStore
) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(ask(client, "wait", {"queues": ["default"], "timeout": 30}))
        await wait_until(lambda: faulty.calls["wait"] == 1, "it waits")
        await faulty.submit([JobSpec(id="j", task="t")])
    assert waiting.result().json() == {"ok": True}
    assert (await ask(client, "wait", {"timeout": 0.01})).json() == {"ok": False}
    assert code_of(await ask(client, "wait", {"timeout": -1})) == "invalid_arguments"


async def test_a_wait_ends_when_its_caller_goes_away(
    client: httpx2.AsyncClient, faulty: FaultyStore
) -> None:
    before = asyncio.all_tasks()
    waiting = asyncio.get_running_loop().create_task(
        ask(client, "wait", {"queues": ["default"], "timeout": 60})
    )
    await wait_until(lambda: faulty.calls["wait"] == 1, "it waits")
    waiting.cancel()
    await asyncio.wait([waiting])
    await wait_until(lambda: asyncio.all_tasks() <= before, "nobody waits any more")


async def test_a_call_that_writes_is_carried_out_although_its_caller_went_away(
    client: httpx2.AsyncClient, faulty: FaultyStore
) -> None:
    hold = faulty.hold("submit")
    job = {"id": "j", "task": "t", "payload": {}}
    calling = asyncio.get_running_loop().create_task(ask(client, "submit", {"jobs": [job]}))
    await hold.reached.wait()
    calling.cancel()
    await asyncio.wait([calling])
    hold.release()

    async def stored() -> bool:
        return (await faulty.get(["j"]))[0] is not None

    await wait_until(stored, "the job is there")


async def test_a_remote_store_shows_its_token(site: Site, fake_clock: FakeClock) -> None:
    url = f"http://127.0.0.1:{site.port}"
    async with RemoteStore(url, clock=fake_clock, token=Secret(WORKER)) as store:
        assert store.info.details["scope"] == "worker"
    with pytest.raises(Unauthenticated, match="STOKER_TOKEN"):
        await RemoteStore(url, clock=fake_clock).__aenter__()
