"""The language of the search box, and the routes that speak it."""

import csv
import io
import json
from typing import Any

import pytest

from stoker.core.errors import InvalidQuery
from stoker.core.job import ErrorInfo, Outcome, Priority
from stoker.core.lifecycle import LIVE, State
from stoker.core.records import JobQuery
from stoker.server import counting, exporting, sifting
from stoker.server.search import LONGEST, read_search
from stoker.server.sifting import Held, Search, holds
from stoker.testing import FakeClock
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import Asking

ID = "01930000-0000-7000-8000-000000000001"


def read(text: str) -> Search:
    return read_search(text, moment=lambda value, name: float(value))


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", {}),
        ("   ", {}),
        ("queue:mail", {"queues": ("mail",)}),
        ("priority:HIGH,low", {"priorities": (Priority.HIGH, Priority.LOW)}),
        ("queue:mail,images  queue:mail", {"queues": ("mail", "images")}),
        ("state:queued,running", {"states": (State.QUEUED, State.RUNNING)}),
        ("STATE:Queued", {"states": (State.QUEUED,)}),
        ("state:live", {"states": tuple(sorted(LIVE))}),
        ('error:"timed out, \\"again\\""', {"error": 'timed out, "again"'}),
        ("error:a:b", {"error": "a:b"}),
        ("tenant:acme worker:w1", {"tenant": "acme", "worker": "w1"}),
        ("schedule:nightly workflow:w", {"schedule": "nightly", "workflow_id": "w"}),
        ("since:5 until:9", {"submitted_after": 5.0, "submitted_before": 9.0}),
        (ID, {"ids": (ID,)}),
        (f"{ID} id:x", {"ids": (ID, "x")}),
        ("task:🎬.é", {"tasks": ("🎬.é",)}),
    ],
)
def test_a_search_means_a_query(text: str, fields: dict[str, Any]) -> None:
    assert read(text) == Search(query=JobQuery(**fields))


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("payload.to:ann", [Held(("to",), "ann")]),
        (
            'payload.Customer.id:17 payload.items.0.sku:"a b"',
            [
                Held(("Customer", "id"), "17"),
                Held(("items", "0", "sku"), "a b"),
            ],
        ),
        ('hello "big world"', [Held((), "hello"), Held((), "big world")]),
    ],
)
def test_a_search_asks_for_payloads(text: str, held: list[Held]) -> None:
    assert read(text) == Search(held=tuple(held))


@pytest.mark.parametrize(
    ("path", "value", "is_held"),
    [
        ("to", "ann", True),
        ("to", "an", False),
        ("to", "Ann", False),
        ("count", "17", True),
        ("count", "17.0", True),
        ("count", "18", False),
        ("count", "many", False),
        ("on", "true", True),
        ("on", "1", False),
        ("none", "null", True),
        ("items.1.sku", "b", True),
        ("items.2.sku", "b", False),
        ("items.x", "b", False),
        ("items.99999999999999999999", "b", False),
        ("to.deeper", "ann", False),
        ("items.0", '{"sku":"a"}', True),
        ("absent", "null", False),
        ("", "ANN", True),
        ("", "sku", True),
        ("", "nobody", False),
    ],
)
def test_what_a_payload_holds(path: str, value: str, *, is_held: bool) -> None:
    payload = b'{"to":"ann","count":17,"on":true,"none":null,"items":[{"sku":"a"},{"sku":"b"}]}'
    held = Held(tuple(path.split(".")) if path else (), value)
    assert holds(payload, [held]) is is_held


@pytest.mark.parametrize(
    ("text", "position", "told"),
    [
        ("queue:mail colour:red", 11, "no qualifier 'colour'"),
        ("queue:mail state:lost", 11, "no state 'lost'"),
        ("queue:", 6, "no value"),
        ('error:""', 6, "no value"),
        (",", 0, "no value"),
        ('queue:mail error:"half', 17, "does not end"),
        ("tenant:a tenant:b", 9, "one value"),
        ("tenant:a,b", 0, "one value"),
        ("priority:urgent", 0, "no priority 'urgent'"),
        ("http://example.com", 0, "double quotes"),
        ("payload.:x", 0, "names no place"),
        ("payload.a..b:x", 0, "names no place"),
        ("payload.a:x,y", 0, "one value"),
        ("queue:a payload.a:", 18, "no value"),
        (" ".join(f"w{n}" for n in range(11)), 30, "more than 10"),
        ("x" * (LONGEST + 1), LONGEST, "at most"),
        ("queue:" + ",".join(str(n) for n in range(101)), 0, "more than 100"),
    ],
)
def test_what_means_nothing_is_refused_with_its_place(text: str, position: int, told: str) -> None:
    with pytest.raises(InvalidQuery, match=told) as caught:
        read(text)
    assert caught.value.details["position"] == position


async def test_a_list_is_narrowed_by_search_and_parameters_together(
    ask: Asking, hand: Hand, fake_clock: FakeClock
) -> None:
    await hand.put(queue="mail", tenant="acme")
    fake_clock.advance(7200)
    wanted = await hand.put(queue="mail", tenant="acme")
    await hand.put(queue="mail")
    [job] = (await ask.get("/jobs", q="queue:mail since:1h", tenant="acme")).ok()["jobs"]
    assert job["id"] == wanted
    twice = await ask.get("/jobs", q="queue:mail", queue="mail")
    assert "say it once" in twice.refused(422, "invalid_query")["message"]
    error = (await ask.get("/jobs", q="since:yesterday")).refused(422, "invalid_query")
    assert error["details"]["position"] == 0


async def test_a_search_of_payloads_goes_on_where_it_stopped(
    ask: Asking, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page may be short, or empty, and go on; together the pages hold every job once."""
    monkeypatch.setattr(sifting, "MOST", 4)
    monkeypatch.setattr(sifting, "_AT_ONCE", 3)
    wanted = []
    for number in range(20):
        job_id = await hand.put(payload=b'{"to": "ann"}' if number % 3 == 0 else b'{"to": "bob"}')
        wanted += [job_id] if number % 3 == 0 else []
    await hand.put_many(9, payload=b'{"to": "eve"}')
    found: list[str] = []
    sizes: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await ask.get("/jobs", q="payload.to:ann", limit=2, **cursor)).ok()
        found += [job["id"] for job in page["jobs"]]
        sizes.append(len(page["jobs"]))
        assert 0 < page["looked_at"] <= 6
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert found == wanted[::-1]
    assert sizes[0] == 0
    whole = (await ask.get("/jobs", q="queue:default")).ok()
    assert whole["looked_at"] is None


async def test_a_count_of_payloads_says_when_it_stopped(
    ask: Asking, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hand.put_many(8, payload=b'{"to": "ann"}')
    assert (await ask.get("/jobs/count", q="ann")).ok() == {"count": 8, "is_exact": True}
    monkeypatch.setattr(sifting, "MOST", 3)
    monkeypatch.setattr(counting, "MOST", 3)
    monkeypatch.setattr(sifting, "_AT_ONCE", 3)
    assert (await ask.get("/jobs/count", q="ann")).ok() == {"count": 3, "is_exact": False}


async def test_jobs_are_narrowed_by_priority(ask: Asking, hand: Hand) -> None:
    job_id = await hand.put(priority=Priority.HIGH)
    await hand.put()
    for query in ({"q": "priority:high"}, {"priority": "high"}):
        [job] = (await ask.get("/jobs", **query)).ok()["jobs"]
        assert job["id"] == job_id


async def test_dead_letters_are_searched_by_the_same_language(ask: Asking, hand: Hand) -> None:
    job_id = await hand.put(queue="mail")
    await hand.finish(job_id, Outcome.FAILED, retry_in=None)
    await hand.put(queue="mail")
    [job] = (await ask.get("/dead-letters", q="queue:mail")).ok()["jobs"]
    assert job["id"] == job_id
    (await ask.get("/dead-letters", q="state:queued")).refused(422, "invalid_query")


async def test_counts_by_state_and_queue_are_exact_and_others_are_capped(
    ask: Asking, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hand.put_many(7, queue="mail", tenant="acme")
    await hand.put(queue="other")
    monkeypatch.setattr(counting.count_jobs, "__kwdefaults__", {"cap": 5})
    exact = (await ask.get("/jobs/count", q="queue:mail state:queued")).ok()
    assert exact == {"count": 7, "is_exact": True}
    assert (await ask.get("/jobs/count")).ok() == {"count": 8, "is_exact": True}
    capped = (await ask.get("/jobs/count", q="tenant:acme")).ok()
    assert capped == {"count": 5, "is_exact": False}
    few = (await ask.get("/jobs/count", q="tenant:acme state:running")).ok()
    assert few == {"count": 0, "is_exact": True}


async def suggested(ask: Asking, text: str) -> list[str]:
    answer = (await ask.get("/jobs/suggestions", text=text)).ok()
    return [one["text"] for one in answer["suggestions"]]


async def test_a_search_is_helped_along(ask: Asking, hand: Hand) -> None:
    await hand.put(
        queue="mail", tenant="acme corp", schedule="nightly", payload=b'{"text": 1, "a b": 2}'
    )
    dead = await hand.put()
    error = ErrorInfo(code="task_error", type="OSError", message="refused")
    await hand.finish(dead, Outcome.FAILED, retry_in=None, error=error)
    assert await suggested(ask, "s") == ["state:", "schedule:", "since:"]
    assert await suggested(ask, "state:qu") == ["state:queued", "state:retry_queued"]
    assert await suggested(ask, "state:queued,dea") == ["state:queued,dead_letter"]
    assert await suggested(ask, "queue:m") == ["queue:mail"]
    assert await suggested(ask, "task:sho") == ["task:shout"]
    assert await suggested(ask, 'tenant:"ac') == ['tenant:"acme corp"']
    assert await suggested(ask, "error:") == ["error:OSError"]
    assert await suggested(ask, "worker:") == ["worker:W1"]
    assert "since:1h" in await suggested(ask, "since:")
    assert await suggested(ask, "priority:h") == ["priority:high"]
    assert await suggested(ask, "payload.t") == ["payload.text:"]
    assert await suggested(ask, "colour:") == []
    assert await suggested(ask, "id:") == []


@pytest.mark.parametrize("tenant", ['a "b"', "a,b", "back\\slash", "plain"])
async def test_a_suggestion_finds_what_it_was_made_of(ask: Asking, hand: Hand, tenant: str) -> None:
    job_id = await hand.put(tenant=tenant)
    [text] = await suggested(ask, f"tenant:{tenant[:3]}")
    [job] = (await ask.get("/jobs", q=text)).ok()["jobs"]
    assert (job["id"], job["tenant"]) == (job_id, tenant)


async def test_an_export_holds_every_job_that_matches(
    ask: Asking, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "PAGE", 2)
    ids = await hand.put_many(5, queue="mail")
    await hand.put()
    answer = await ask.get("/jobs/export", q="queue:mail")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"] == 'attachment; filename="jobs.jsonl"'
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [job["id"] for job in lines] == ids[::-1]
    few = await ask.get("/jobs/export", queue="mail", limit=3)
    assert len(few.text.splitlines()) == 3
    none = await ask.get("/jobs/export", queue="nobody")
    assert (none.status, none.text) == (200, "")


async def test_a_table_holds_no_formula(ask: Asking, hand: Hand) -> None:
    job_id = await hand.put(tenant="=1+1", payload=b'{"a": 1}')
    answer = await ask.get("/jobs/export", format="csv")
    assert answer.headers["content-type"].startswith("text/csv")
    [row] = csv.DictReader(io.StringIO(answer.text))
    assert (row["id"], row["tenant"], row["finished_at"]) == (job_id, "'=1+1", "")
    assert (json.loads(row["payload"]), row["attempt"]) == ({"a": 1}, "0")
