"""Events, figures, tasks, health."""

import asyncio
from typing import Any

import pytest

from stoker.app.stoker import Stoker
from stoker.core.errors import Unavailable
from stoker.core.job import Outcome, Priority
from stoker.server.routes import health
from stoker.testing import FakeClock
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import Asking


async def test_events_are_read_newest_first_or_on_from_a_place(ask: Asking, hand: Hand) -> None:
    await hand.put()
    for verb in ("pause", "resume", "pause"):
        await ask.post(f"/queues/default/{verb}")
    newest = (await ask.get("/events")).ok()
    kinds = ["queue_paused", "queue_resumed", "queue_paused"]
    assert [event["kind"] for event in newest["events"]] == kinds
    first = (await ask.get("/events", after=0, limit=1)).ok()
    assert first["next_after"] == first["events"][0]["seq"]
    rest = (await ask.get("/events", after=first["next_after"])).ok()["events"]
    assert [event["kind"] for event in rest] == ["queue_resumed", "queue_paused"]
    end = (await ask.get("/events", after=newest["next_after"])).ok()
    assert end == {"events": [], "next_after": None}


async def test_events_are_narrowed_by_what_they_are_about(
    ask: Asking, hand: Hand, fake_clock: FakeClock
) -> None:
    job_id = await hand.put()
    await ask.post("/queues/default/pause")
    fake_clock.advance(100)
    await ask.post(f"/jobs/{job_id}/cancel")
    await hand.beat("w1")

    async def kinds(**query: Any) -> list[str]:
        return [event["kind"] for event in (await ask.get("/events", **query)).ok()["events"]]

    assert await kinds(kind="queue_paused") == ["queue_paused"]
    assert await kinds(kind=["queue_paused", "worker_joined"]) == ["worker_joined", "queue_paused"]
    assert await kinds(job_id=job_id) == ["job_cancelled"]
    assert await kinds(queue="default", kind="queue_paused") == ["queue_paused"]
    assert await kinds(worker="W1") == ["worker_joined"]
    assert await kinds(actor="api:10.1.2.3") == ["job_cancelled", "queue_paused"]
    assert "queue_paused" not in await kinds(since="50s")
    for wrong in ({"kind": "gossip"}, {"after": -1}, {"after": 2**63}, {"limit": 0}):
        (await ask.get("/events", **wrong)).refused(422, "invalid_query")


async def test_the_stats_say_what_the_store_holds_and_how_fast_it_moves(
    ask: Asking, hand: Hand, fake_clock: FakeClock
) -> None:
    ids = await hand.put_many(4)
    await hand.put(priority=Priority.LOW, queue="slow")
    fake_clock.advance(2)
    await hand.beat("w1", concurrency=4)
    await hand.finish(ids[0], ran_for=0.5)
    await hand.finish(ids[1], Outcome.FAILED, retry_in=None, ran_for=1.5)
    await hand.beat("w1", started=[await hand.take(ids[2])], concurrency=4)
    stats = (await ask.get("/stats")).ok()
    assert stats["jobs"] == 5
    states = {state: count for state, count in stats["states"].items() if count}
    assert states == {"queued": 2, "running": 1, "completed": 1, "dead_letter": 1}
    assert stats["priorities"] == {"high": 0, "medium": 2, "low": 1}
    assert {q["name"]: q["oldest_age"] for q in stats["queues"]} == {"default": 2.0, "slow": 2.0}
    assert stats["throughput"]["completed_per_minute"] == pytest.approx(1 / 5)
    assert stats["throughput"]["submitted_per_minute"] == pytest.approx(5 / 5)
    assert stats["error_rate"] == pytest.approx(0.5)
    assert stats["response"]["mean_wait"] == pytest.approx(2.0)
    assert stats["response"]["mean_run"] == pytest.approx(1.0)
    workers = stats["workers"]
    assert (workers["total"], workers["slots"], workers["busy"]) == (1, 4, 1)
    assert workers["utilization"] == pytest.approx(0.25)
    assert stats["totals"]["submitted"] == 5


async def test_the_stats_of_an_empty_store_hold_no_invented_rates(ask: Asking) -> None:
    stats = (await ask.get("/stats", window=3600)).ok()
    assert (stats["jobs"], stats["window"], stats["queues"]) == (0, 3600.0, [])
    assert (stats["error_rate"], stats["response"]["mean_run"]) == (None, None)
    assert stats["workers"]["utilization"] is None
    for window in (0, 86_401, "long"):
        (await ask.get("/stats", window=window)).refused(422, "invalid_query")


async def test_tasks_are_listed_with_the_shape_of_their_payloads(ask: Asking, hand: Hand) -> None:
    await hand.beat(tasks=("far.away",))
    tasks = {task["name"]: task for task in (await ask.get("/tasks")).ok()["tasks"]}
    assert list(tasks) == sorted(tasks)
    assert {"shout", "add", "send_email", "far.away"} <= set(tasks)
    assert tasks["shout"]["description"] == "Say it louder."
    assert '"text"' in str(tasks["shout"]["payload_schema"]).replace("'", '"')
    assert tasks["add"]["queue"] == "sums"
    far = tasks["far.away"]
    assert (far["known_here"], far["payload_schema"]) == (False, None)


async def test_health_needs_no_store_and_ready_does(
    ask: Asking, app: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await ask.get("/health")).ok()["status"] == "alive"
    assert (await ask.get("/ready")).ok()["status"] == "ready"

    async def fail(_: Any) -> None:
        raise Unavailable("the disk sleeps")

    monkeypatch.setattr(app, "arun", fail)
    assert (await ask.get("/health")).ok()["status"] == "alive"
    (await ask.get("/ready")).refused(503, "unavailable")


async def test_a_store_that_does_not_answer_is_not_ready(
    ask: Asking, app: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(health, "READY_SECONDS", 0.01)
    monkeypatch.setattr(app, "arun", hang)
    error = (await ask.get("/ready")).refused(503, "unavailable")
    assert "0.01 s" in error["message"]
