"""``/api/v1/api-keys``: made and shown once, listed without secrets, revoked, written down."""

import re
from typing import Any

import pytest

from stoker.app.stoker import Stoker
from stoker.core.job import Outcome
from stoker.core.keys import digest_of, id_of
from stoker.server.access import Need, check_declared
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import V1, Asking
from tests.unit.server.keyed import asking_with, new_key

FLEET = {
    "kinds": [
        {
            "name": "all",
            "program": "python",
            "concurrency": 1,
            "min": 1,
            "max": 3,
            "start_within": 5.0,
            "wanted": 1,
            "ready": 1,
        }
    ],
    "workers": [],
}


@pytest.fixture
async def root(app: Stoker, ask: Asking) -> Any:
    async with asking_with(ask, await new_key(app, "root", "admin")) as asking:
        yield asking


async def test_a_key_is_shown_by_one_answer_only(root: Asking, app: Stoker) -> None:
    body = {"name": "ci", "scopes": ["submit", "read"], "queues": ["a"], "expires": "30d"}
    answer = await root.post("/api-keys", {**body, "tenant": "acme"})
    made = answer.ok(201)
    assert id_of(made["key"]) == made["id"]
    assert answer.headers["location"] == f"/api/v1/api-keys/{made['id']}"
    assert answer.headers["cache-control"] == "no-store"
    listed = await root.get("/api-keys")
    [shown] = [key for key in listed.ok()["keys"] if key["id"] == made["id"]]
    assert shown == {name: value for name, value in made.items() if name != "key"}
    assert (shown["scopes"], shown["queues"], shown["tenant"]) == (
        ["submit", "read"],
        ["a"],
        "acme",
    )
    assert made["key"] not in listed.text
    assert digest_of(made["key"]) not in listed.text
    [kept] = await app.arun(lambda store: store.keys([made["id"]]))
    assert kept.spec.digest == digest_of(made["key"])


async def test_a_new_key_works_and_a_revoked_one_does_not(root: Asking) -> None:
    made = (await root.post("/api-keys", {"name": "ci", "scopes": ["read"]})).ok(201)
    async with asking_with(root, made["key"]) as reader:
        (await reader.get("/jobs")).ok()
        gone = (await root.delete(f"/api-keys/{made['id']}")).ok()
        assert gone["revoked_at"] is not None
        (await reader.get("/jobs")).refused(401, "unauthenticated")
    (await root.delete(f"/api-keys/{made['id']}")).refused(404, "key_not_found")
    (await root.delete("/api-keys/nobody")).refused(404, "key_not_found")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid_option"),
        ({"name": "ci", "scopes": []}, 422, "invalid_option"),
        ({"name": "ci", "scopes": ["root"]}, 422, "invalid_option"),
        ({"name": "a b", "scopes": ["read"]}, 422, "invalid_option"),
        ({"name": "ci", "scopes": ["read"], "expires": "soon"}, 422, "invalid_option"),
        ({"name": "ci", "scopes": ["read"], "expires": -1}, 422, "invalid_option"),
        ({"name": "ci", "scopes": ["admin"], "tenant": "acme"}, 422, "invalid_option"),
        ({"name": "ci", "scopes": ["worker"], "tenant": "acme"}, 422, "invalid_option"),
        ({"name": "ci", "scopes": ["read"], "digest": "x"}, 422, "invalid_option"),
        ({"name": "root", "scopes": ["read"]}, 409, "refused"),
    ],
)
async def test_a_key_that_means_nothing_is_refused(
    root: Asking, body: dict[str, Any], status: int, code: str
) -> None:
    (await root.post("/api-keys", body)).refused(status, code)
    assert len((await root.get("/api-keys")).ok()["keys"]) == 1


async def test_making_and_revoking_is_written_down_with_who_did_it(root: Asking) -> None:
    await root.post("/api-keys", {"name": "ci", "scopes": ["read"]})
    await root.delete("/api-keys/ci")
    events = (await root.get("/events", after=0)).ok()["events"]
    told = [(e["kind"], e["actor"], e["details"]["name"]) for e in events]
    assert told == [
        ("key_created", "cli:eve", "root"),
        ("key_created", "key:root", "ci"),
        ("key_revoked", "key:root", "ci"),
    ]
    assert not any("stk_" in str(event) for event in events)


async def test_each_write_of_an_operator_is_written_down_with_the_name_of_his_key(
    root: Asking, app: Stoker, hand: Hand
) -> None:
    """S22. Each line: what is asked, and the events that it leaves; no route is left out."""
    job = {"task": "shout", "payload": {"text": "x"}}

    async def put() -> str:
        made: str = (await root.post("/jobs", job)).ok(201)["id"]
        return made

    waiting, doomed, deleted = await put(), await put(), await put()
    dead, *letters = [await put() for _ in range(3)]
    for letter in (dead, *letters):
        await hand.finish(letter, Outcome.FAILED, retry_in=None)
    nodes = {"name": "flow", "jobs": [{"name": "a", **job}]}
    flow = (await root.post("/workflows", nodes)).ok(201)["id"]
    await hand.beat("f1", name="fleet:mill", kind="fleet", details=FLEET)
    rule = {"name": "tick", "interval": "1h", **job}
    writes: list[tuple[str, str, Any, set[str]]] = [
        ("POST", f"/jobs/{waiting}/cancel", {}, {"job_cancelled"}),
        ("POST", f"/jobs/{waiting}/retry", {}, {"job_requeued"}),
        ("DELETE", f"/jobs/{deleted}", None, {"jobs_purged"}),
        ("POST", "/jobs/bulk", _bulk("cancel", doomed), {"job_cancelled", "jobs_handled"}),
        ("POST", "/queues/default/pause", None, {"queue_paused"}),
        ("POST", "/queues/default/resume", None, {"queue_resumed"}),
        ("POST", "/queues/default/limit", {"limit": 3}, {"queue_limited"}),
        ("DELETE", "/queues/default/jobs", None, {"jobs_purged"}),
        ("POST", "/scheduled-jobs", rule, {"schedule_put"}),
        ("PATCH", "/scheduled-jobs/tick", {"interval": "2h"}, {"schedule_put"}),
        ("POST", "/scheduled-jobs/tick/pause", None, {"schedule_paused"}),
        ("POST", "/scheduled-jobs/tick/resume", None, {"schedule_resumed", "schedule_put"}),
        ("POST", "/scheduled-jobs/tick/run", None, {"schedule_fired"}),
        ("DELETE", "/scheduled-jobs/tick", None, {"schedule_removed"}),
        ("POST", f"/jobs/{dead}/retry", {}, {"job_requeued"}),
        ("POST", "/dead-letters/replay", {"ids": [letters[0]]}, {"job_requeued"}),
        ("POST", "/dead-letters/drop", {"ids": [letters[1]]}, {"jobs_purged"}),
        ("POST", f"/workflows/{flow}/cancel", {}, {"job_cancelled"}),
        ("POST", f"/workflows/{flow}/retry", {}, {"job_requeued"}),
        ("POST", "/workers/w1/drain", {}, {"worker_commanded"}),
        ("POST", "/workers/w1/stop", {}, {"worker_commanded"}),
        ("DELETE", "/workers/w1", None, {"worker_commanded", "worker_died", "job_lost"}),
        ("POST", "/fleets/f1/scale", {"kind": "all", "max": 2}, {"fleet_commanded"}),
        ("POST", "/fleets/f1/reload", {}, {"fleet_commanded"}),
        ("POST", "/fleets/f1/drain", {}, {"fleet_commanded"}),
        ("POST", "/fleets/f1/stop", {}, {"fleet_commanded"}),
        ("POST", "/api-keys", {"name": "ci", "scopes": ["read"]}, {"key_created"}),
        ("DELETE", "/api-keys/ci", None, {"key_revoked"}),
    ]
    templates = {
        (one.method, one.path): re.compile(re.sub(r"\{\w+\}", "[^/]+", one.path))
        for one in check_declared(root.api)
        if one.method != "GET" and one.need in {Need.OPERATE, Need.ADMIN}
    }
    driven = {
        (method, path)
        for asked, place, _, _ in writes
        for (method, path), pattern in templates.items()
        if method == asked and pattern.fullmatch(f"{V1}{place}")
    }
    assert driven == set(templates)
    seen = (await root.get("/events", limit=1)).ok()["next_after"]
    for method, path, body, kinds in writes:
        answer = await root.send(method, path, body)
        assert answer.status < 300, (path, answer.text)
        events = (await root.get("/events", after=seen)).ok()["events"]
        found = {event["kind"] for event in events}
        assert found, (method, path)
        assert found <= kinds, (path, found)
        assert {event["actor"] for event in events} == {"key:root"}, path
        seen = events[-1]["seq"]


def _bulk(action: str, *ids: str) -> dict[str, Any]:
    return {"action": action, "reason": "x", "ids": list(ids)}
