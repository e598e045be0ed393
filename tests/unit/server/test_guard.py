import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from stoker.app.stoker import Stoker
from stoker.server.guard import Guard
from stoker.server.http import make_server_app
from tests.unit.server.asking import Asking

JOB = {"task": "shout", "payload": {"text": "hi"}}


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:9", "[::1]:8000", "[::1]", "localhost."]
)
async def test_a_loopback_server_answers_to_its_own_names(ask: Asking, host: str) -> None:
    (await ask.raw("GET", "/health", headers={"host": host})).ok()


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8000", "", "[::1].evil", "localhost@evil"]
)
async def test_a_name_that_somebody_points_here_is_refused(ask: Asking, host: str) -> None:
    for path in ("/health", "/api/v1/jobs", "/docs", "/nowhere"):
        answer = await ask.raw("GET", path, headers={"host": host})
        answer.refused(403, "host_not_allowed")


async def test_a_configured_name_is_answered_and_none_means_any(app: Stoker) -> None:
    named = Asking(make_server_app(app, hosts={"stoker.lan"}), host="stoker.lan")
    (await named.get("/health")).ok()
    (await named.raw("GET", "/health", headers={"host": "localhost"})).refused(
        403, "host_not_allowed"
    )
    open_to_all = Asking(make_server_app(app, hosts=None), host="anything.example")
    (await open_to_all.get("/health")).ok()


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:3000"},
        {"origin": "null"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://localhost:8000", "sec-fetch-site": "cross-site"},
    ],
)
async def test_a_page_of_another_origin_changes_nothing(
    ask: Asking, headers: dict[str, str]
) -> None:
    await ask.post("/jobs", JOB)
    answer = await ask.raw("POST", "/queues/default/pause", headers=headers)
    answer.refused(403, "origin_not_allowed")
    assert (await ask.get("/queues/default")).ok()["paused"] is False


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://localhost:8000"},
        {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
)
async def test_programs_and_own_pages_may_change_things(
    ask: Asking, headers: dict[str, str]
) -> None:
    await ask.post("/jobs", JOB)
    (await ask.raw("POST", "/queues/default/pause", headers=headers)).ok()


async def test_every_answer_forbids_what_a_browser_should_not_do(ask: Asking) -> None:
    for path in ("/health", "/docs", "/nowhere", "/api/v1/jobs/none", "/openapi.json"):
        headers = (await ask.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "cache-control" in headers
        assert "access-control-allow-origin" not in headers


class Peer:
    """A client at the level of ASGI that sends what it is told."""

    def __init__(self, *messages: Message) -> None:
        self.sent: list[Message] = []
        self._messages = list(messages)

    async def receive(self) -> Message:
        if self._messages:
            return self._messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])


def scope(**headers: str) -> Scope:
    given = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return {"type": "http", "method": "POST", "path": "/x", "headers": given}


async def read_all(_: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})


def part(data: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


def submitting() -> Scope:
    asked = scope(host="x", content_type="application/json")
    asked.update(path="/api/v1/jobs", raw_path=b"/api/v1/jobs", query_string=b"", root_path="")
    asked.update(scheme="http", http_version="1.1", client=None, server=None)
    return asked


async def test_a_client_that_goes_away_in_the_middle_of_its_body_is_no_mistake_of_ours(
    app: Stoker, caplog: pytest.LogCaptureFixture
) -> None:
    api = make_server_app(app, hosts=None)
    peer = Peer(part(b'{"task"'), {"type": "http.disconnect"})
    await asyncio.wait_for(api(submitting(), peer.receive, peer.send), 10)
    assert peer.sent[0]["status"] == 400
    assert caplog.records == []


async def test_a_body_that_never_ends_is_cut_off_in_time(app: Stoker) -> None:
    api = make_server_app(app, hosts=None)
    guard = Guard(api, hosts=None, body_seconds=0.01)
    peer = Peer(part(b'{"task"'))
    asked = submitting()
    await asyncio.wait_for(guard(asked, peer.receive, peer.send), 10)
    assert peer.sent[0]["status"] == 408
    assert b'"request_timeout"' in peer.sent[1]["body"]
    assert peer.headers[b"connection"] == b"close"


async def test_a_body_of_absurd_declared_length_is_refused_before_it_is_read() -> None:
    guard = Guard(read_all, hosts=None, payload_limit=10)
    for declared in ("999999999999", "9" * 300):
        peer = Peer()
        await asyncio.wait_for(guard(scope(content_length=declared), peer.receive, peer.send), 10)
        assert peer.sent[0]["status"] == 413
        assert peer.headers[b"connection"] == b"close"


async def test_a_client_that_waits_to_be_let_in_hears_no_at_once() -> None:
    guard = Guard(read_all, hosts=None, payload_limit=10)
    peer = Peer()
    asked = scope(content_length="1000000", expect="100-continue")
    await asyncio.wait_for(guard(asked, peer.receive, peer.send), 10)
    assert peer.sent[0]["status"] == 413


async def test_the_time_for_a_body_ends_with_the_body() -> None:
    """What waits for the client to go away, as a stream does, waits as long as it takes."""
    arrived = asyncio.Event()

    async def wait_for_goodbye(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        arrived.set()
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 204, "headers": []})

    class Late(Peer):
        async def receive(self) -> Message:
            if not arrived.is_set():
                return part(b"", more=False)
            await asyncio.wait({asyncio.ensure_future(asyncio.sleep(0.05))})  # noqa: TID251
            return {"type": "http.disconnect"}

    peer = Late()
    guard = Guard(wait_for_goodbye, hosts=None, body_seconds=0.01)
    await asyncio.wait_for(guard(scope(), peer.receive, peer.send), 10)
    assert peer.sent[0]["status"] == 204


async def test_an_error_after_the_answer_began_breaks_the_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def half(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    peer = Peer()
    with pytest.raises(ZeroDivisionError):
        await Guard(half, hosts=None)(scope(), peer.receive, peer.send)
    assert len(peer.sent) == 1
    assert "POST /x failed" in caplog.text


async def test_what_is_not_http_passes_through() -> None:
    seen: list[Any] = []

    async def note(scope: Scope, _: Receive, __: Send) -> None:
        seen.append(scope["type"])

    peer = Peer()
    await Guard(note, hosts={"x"})({"type": "lifespan"}, peer.receive, peer.send)
    assert seen == ["lifespan"]
