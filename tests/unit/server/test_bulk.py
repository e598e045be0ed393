"""One thing done to many jobs."""

from typing import Any

import pytest

from stoker.core.job import Outcome
from stoker.core.lifecycle import State
from stoker.server import sifting
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import Asking


async def bulk(ask: Asking, action: str, **body: Any) -> Any:
    return (await ask.post("/jobs/bulk", {"action": action, "reason": "spring", **body})).ok()


async def bury(hand: Hand, **changes: Any) -> str:
    job_id = await hand.put(**changes)
    await hand.finish(job_id, Outcome.FAILED, retry_in=None)
    return job_id


async def test_a_dry_run_counts_what_could_be_taken_and_changes_nothing(
    ask: Asking, hand: Hand
) -> None:
    waiting, done = await hand.put(), await hand.put()
    await hand.finish(done)
    answer = (await ask.post("/jobs/bulk", {"action": "cancel", "all": True, "dry_run": True})).ok()
    assert answer == {
        "dry_run": True,
        "matched": 1,
        "is_exact": True,
        "done": 0,
        "answers": {},
        "next_cursor": None,
    }
    assert await hand.states([waiting, done]) == [State.QUEUED, State.COMPLETED]


async def test_what_matches_is_cancelled_batch_by_batch_and_newcomers_are_not(
    ask: Asking, hand: Hand
) -> None:
    ids = await hand.put_many(5, queue="mail")
    leased = await hand.take(ids[0])
    other = await hand.put()
    first = await bulk(ask, "cancel", q="queue:mail", limit=3)
    assert (first["matched"], first["done"], first["answers"]) == (3, 3, {"cancelled": 3})
    newcomer = await hand.put(queue="mail")
    second = await bulk(ask, "cancel", q="queue:mail", limit=3, cursor=first["next_cursor"])
    assert second["answers"] == {"cancelled": 1, "requested": 1}
    assert second["next_cursor"] is None
    assert leased.id == ids[0]
    assert await hand.states([other, newcomer]) == [State.QUEUED, State.QUEUED]
    assert await hand.states(ids[1:]) == [State.CANCELLED] * 4
    assert (await hand.job(ids[0])).cancel_requested


async def test_every_batch_leaves_a_line_with_its_reason(ask: Asking, hand: Hand) -> None:
    await hand.put_many(2, queue="mail")
    await bulk(ask, "cancel", q="queue:mail", reason="the mail server is down")
    [event] = (await ask.get("/events", kind="jobs_handled")).ok()["events"]
    assert event["actor"] == "api:10.1.2.3"
    assert event["details"] == {
        "action": "cancel",
        "search": "queue:mail",
        "matched": 2,
        "done": 2,
        "reason": "the mail server is down",
    }
    await bulk(ask, "cancel", q="queue:mail")
    assert len((await ask.get("/events", kind="jobs_handled")).ok()["events"]) == 1


async def test_dead_letters_are_retried_at_a_rate(ask: Asking, hand: Hand) -> None:
    dead = [await bury(hand) for _ in range(3)]
    alive = await hand.put()
    answer = await bulk(ask, "retry", ids=[*dead, alive, "nobody"], rate=2)
    assert (answer["matched"], answer["answers"]) == (3, {"requeued": 3})
    due = sorted([(await hand.job(job_id)).run_at for job_id in dead])
    assert [(moment - due[0]).total_seconds() for moment in due] == [0.0, 0.5, 1.0]


async def test_what_ended_or_waits_is_deleted_and_what_runs_is_not(ask: Asking, hand: Hand) -> None:
    done, running, waiting = await hand.put(), await hand.put(), await hand.put()
    await hand.finish(done)
    await hand.take(running)
    answer = await bulk(ask, "delete", all=True)
    assert (answer["matched"], answer["answers"]) == (2, {"deleted": 2})
    assert {job.id for job in await hand.all_jobs()} == {running}
    assert waiting != running


async def test_a_search_for_what_cannot_be_taken_takes_nothing(ask: Asking, hand: Hand) -> None:
    job_id = await bury(hand)
    answer = await bulk(ask, "cancel", q="state:dead_letter")
    assert (answer["matched"], answer["done"]) == (0, 0)
    assert await hand.state(job_id) is State.DEAD_LETTER


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_option"),
        ({"ids": ["a"], "all": True}, "invalid_option"),
        ({"q": "queue:a", "all": True}, "invalid_option"),
        ({"all": True, "reason": "  "}, "invalid_option"),
        ({"all": True, "rate": 5}, "invalid_option"),
        ({"q": "colour:red"}, "invalid_query"),
        ({"all": True, "cursor": "nobody gave this"}, "invalid_query"),
        ({"all": True, "limit": 0}, "invalid_option"),
        ({"all": True, "action": "explode"}, "invalid_option"),
    ],
)
async def test_a_wish_without_meaning_is_refused(
    ask: Asking, hand: Hand, body: dict[str, Any], code: str
) -> None:
    job_id = await hand.put()
    (await ask.post("/jobs/bulk", {"action": "cancel", "reason": "why", **body})).refused(422, code)
    assert await hand.state(job_id) is State.QUEUED


async def test_a_bulk_action_on_payloads_goes_on_where_it_stopped(
    ask: Asking, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sifting, "MOST", 2)
    monkeypatch.setattr(sifting, "_AT_ONCE", 2)
    ann = await hand.put_many(3, payload=b'{"to": "ann"}')
    bob = await hand.put_many(4, payload=b'{"to": "bob"}')
    body: dict[str, Any] = {"q": "payload.to:ann"}
    done: list[int] = []
    while True:
        answer = await bulk(ask, "cancel", **body)
        done.append(answer["done"])
        if answer["next_cursor"] is None:
            break
        body["cursor"] = answer["next_cursor"]
    assert (done[:2], sum(done)) == ([0, 0], 3)
    assert await hand.states(ann) == [State.CANCELLED] * 3
    assert await hand.states(bob) == [State.QUEUED] * 4
