"""Nothing that a client sends gives a 500, and nothing doubtful is accepted in silence."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stoker.core.codec import MAX_PAYLOAD
from stoker.server.guard import OVERHEAD
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import Asking

DEEP = b'{"task":"shout","payload":' + b'{"text":' * 10_000 + b"1" + b"}" * 10_000 + b"}"


def body(payload: bytes) -> bytes:
    return b'{"task":"shout","payload":' + payload + b"}"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "expected a JSON object"),
        (b"null", "expected a JSON object"),
        (b'"task"', "expected a JSON object"),
        (b"task=shout", "not JSON"),
        (body(b'{"text":NaN}'), "NaN"),
        (body(b'{"text":-Infinity}'), "-Infinity"),
        (body(b'{"text":1e999}'), "1e999"),
        (body(b'{"text":"a","text":"b"}'), "'text' twice"),
        (body(b'{"text":123456789012345678901234567890}'), "beyond 64 bits"),
        (b'{"task":"shout","task":"add"}', "'task' twice"),
        (DEEP, "deeper than 100"),
        (b"[" * 100_000, "deeper than 100"),
        (body(b'{"text":"\\ud800"}'), "surrogate"),
        (body(b'{"text":"\xed\xa0\x80"}'), "utf-8"),
        (body(b'{"text":"\xff"}'), "not JSON"),
        ('{"task":"shout"}'.encode("utf-16"), "utf-8"),
        (b"\x00\x01\x02", "not JSON"),
    ],
)
async def test_json_of_doubtful_meaning_is_refused(
    ask: Asking, hand: Hand, data: bytes, said: str
) -> None:
    error = (await ask.raw("POST", "/jobs", data)).refused(400, "invalid_payload")
    assert said in error["message"]
    assert await hand.all_jobs() == []


async def test_a_pair_of_surrogates_is_one_character(ask: Asking) -> None:
    answer = await ask.raw("POST", "/jobs", body(b'{"text":"\\ud83d\\ude00"}'))
    assert answer.ok(201)["payload"] == {"text": "\N{GRINNING FACE}"}


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json"],
)
async def test_a_body_that_is_not_declared_as_json_is_refused_with_415(
    ask: Asking, content_type: str | None
) -> None:
    data = json.dumps({"task": "shout", "payload": {"text": "x"}}).encode()
    answer = await ask.raw("POST", "/jobs", data, content_type=content_type)
    error = answer.refused(415, "unsupported_media_type")
    assert "application/json" in error["message"]


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/a+json"]
)
async def test_every_way_to_say_json_is_understood(ask: Asking, content_type: str) -> None:
    data = json.dumps({"task": "shout", "payload": {"text": "x"}}).encode()
    (await ask.raw("POST", "/jobs", data, content_type=content_type)).ok(201)


async def test_a_body_that_is_too_big_is_refused_with_413(ask: Asking, hand: Hand) -> None:
    data = body(b'{"text":"' + b"x" * 10_000_000 + b'"}')
    error = (await ask.raw("POST", "/jobs", data)).refused(413, "payload_too_large")
    assert error["details"]["limit"] == MAX_PAYLOAD + OVERHEAD
    assert await hand.all_jobs() == []


async def test_the_limit_holds_without_a_content_length(ask: Asking) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 1_000_000_000:
            sent += 65_536
            yield b" " * 65_536

    answer = await ask.raw("POST", "/jobs", endless())
    answer.refused(413, "payload_too_large")
    assert sent < 100_000_000
    assert answer.headers["connection"] == "close"


async def test_a_payload_as_big_as_the_limit_is_accepted(ask: Asking) -> None:
    text = "x" * (MAX_PAYLOAD - len('{"text":""}'))
    (await ask.post("/jobs", {"task": "shout", "payload": {"text": text}})).ok(201)
    answer = await ask.post("/jobs", {"task": "shout", "payload": {"text": text + "x"}})
    answer.refused(413, "payload_too_large")


async def test_a_batch_may_hold_more_than_one_payload(ask: Asking) -> None:
    job = {"task": "shout", "payload": {"text": "x" * 500_000}}
    items = (await ask.post("/jobs/batch", {"jobs": [job] * 4})).ok(201)["jobs"]
    assert all(item["created"] for item in items)


BODIES: tuple[tuple[str, str], ...] = (
    ("POST", "/jobs"),
    ("POST", "/jobs/batch"),
    ("POST", "/jobs/x/cancel"),
    ("POST", "/jobs/x/retry"),
    ("POST", "/queues/default/limit"),
    ("POST", "/dead-letters/replay"),
    ("POST", "/dead-letters/drop"),
    ("POST", "/scheduled-jobs"),
    ("PATCH", "/scheduled-jobs/x"),
    ("POST", "/workflows"),
    ("POST", "/workflows/x/cancel"),
    ("POST", "/workflows/x/retry"),
)


@pytest.mark.parametrize(("method", "path"), BODIES)
async def test_every_route_with_a_body_reads_it_strictly(
    ask: Asking, method: str, path: str
) -> None:
    (await ask.raw(method, path, b'{"a":1,"a":2}')).refused(400, "invalid_payload")
    (await ask.raw(method, path, b"{}", content_type="text/plain")).refused(
        415, "unsupported_media_type"
    )
    error = (await ask.raw(method, path, b'{"nonsense":1}')).refused(422, "invalid_option")
    assert "nonsense" in error["message"]


ODD_NAMES = ("%00", "%ff", "..%2f..", "a%20b", "%F0%9F%98%80", "x" * 3000, "'; drop table jobs")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/jobs/{}"),
        ("DELETE", "/jobs/{}"),
        ("GET", "/jobs/{}/explain"),
        ("GET", "/queues/{}"),
        ("POST", "/queues/{}/pause"),
        ("DELETE", "/queues/{}/jobs"),
        ("GET", "/workers/{}"),
        ("DELETE", "/workers/{}"),
        ("GET", "/scheduled-jobs/{}"),
        ("POST", "/scheduled-jobs/{}/run"),
        ("DELETE", "/scheduled-jobs/{}"),
        ("GET", "/workflows/{}"),
        ("POST", "/workflows/{}/cancel"),
    ],
)
async def test_odd_names_are_not_found(ask: Asking, method: str, path: str) -> None:
    for name in ODD_NAMES:
        answer = await ask.raw(method, path.format(name))
        assert answer.status == 404, answer.text
        assert answer.json["error"]["code"].endswith("not_found")


@pytest.mark.parametrize("parameter", ["queue", "task", "tenant", "workflow", "error", "worker"])
async def test_odd_filters_find_nothing(ask: Asking, parameter: str) -> None:
    await ask.post("/jobs", {"task": "shout", "payload": {"text": "x"}})
    for value in ("\x00", "\ufffd", "%", "x" * 500, "\N{GRINNING FACE}", "'\""):
        assert (await ask.get("/jobs", **{parameter: value})).ok()["jobs"] == []


async def test_unknown_paths_and_wrong_methods_have_the_one_shape(ask: Asking) -> None:
    (await ask.get("/nowhere")).refused(404, "not_found")
    (await ask.get("/api/v1/nothing")).refused(404, "not_found")
    (await ask.get("/api/v1/jobs/")).refused(404, "not_found")
    answer = await ask.raw("PUT", "/jobs")
    answer.refused(405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"
    answer = await ask.raw("BREW", "/queues/tea/pause")
    answer.refused(405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


async def test_an_unknown_parameter_is_refused_wherever_it_stands(ask: Asking) -> None:
    for path in ("/stats", "/queues", "/workers", "/events", "/tasks", "/ready", "/workflows"):
        error = (await ask.get(path, surprise="1")).refused(422, "invalid_query")
        assert "surprise" in error["message"]
    error = (await ask.raw("POST", "/queues/default/pause?dry_run=1")).refused(422, "invalid_query")
    assert "there is none here" in error["message"]


@pytest.mark.parametrize(
    ("query", "parameter", "found"),
    [
        ("state=nonsense", "state", "'nonsense'"),
        ("state=queued&state=nonsense", "state", "'nonsense'"),
        ("limit=many", "limit", "'many'"),
    ],
)
async def test_a_parameter_that_means_nothing_is_named_with_what_was_found(
    ask: Asking, query: str, parameter: str, found: str
) -> None:
    error = (await ask.raw("GET", f"/jobs?{query}")).refused(422, "invalid_query")
    assert f"{parameter} is {found}: " in error["message"]
    [wrong] = error["details"]["wrong"]
    assert (wrong["parameter"], wrong["found"]) == (parameter, found)


async def test_a_parameter_for_one_value_is_refused_when_it_is_repeated(ask: Asking) -> None:
    answer = await ask.raw("GET", "/dead-letters?worker=a&worker=b")
    assert "'worker' is given 2 times" in answer.refused(422, "invalid_query")["message"]
    assert (await ask.raw("GET", "/jobs?queue=a&queue=b")).status == 200


async def test_a_mistake_of_ours_is_told_as_one_and_logged_once(
    ask: Asking, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("stoker.server.routes.stats.summarize", explode)
    answer = await ask.get("/stats")
    error = answer.refused(500, "internal")
    assert "ZeroDivisionError" not in answer.text
    assert error["details"] == {}
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert [record.getMessage() for record in caplog.records] == ["GET /api/v1/stats failed"]
