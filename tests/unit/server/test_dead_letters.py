from typing import Any

import pytest

from stoker.core.job import ErrorInfo, Outcome
from stoker.core.lifecycle import State
from stoker.testing import FakeClock
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import Asking


async def bury(hand: Hand, message: str = "boom", **changes: Any) -> str:
    job_id = await hand.put(**changes)
    error = ErrorInfo(code="task_error", type="ValueError", message=message)
    await hand.finish(job_id, Outcome.FAILED, retry_in=None, error=error)
    return job_id


async def test_dead_letters_are_listed_by_the_filters_of_jobs(ask: Asking, hand: Hand) -> None:
    await hand.put()
    mail = await bury(hand, queue="mail", task="send")
    other = await bury(hand, "no route to host")
    found = (await ask.get("/dead-letters")).ok()["jobs"]
    assert [job["id"] for job in found] == [other, mail]
    for query in ({"queue": "mail"}, {"task": "send"}, {"error": "boom"}):
        [job] = (await ask.get("/dead-letters", **query)).ok()["jobs"]
        assert job["id"] == mail
    (await ask.get("/dead-letters", state="queued")).refused(422, "invalid_query")


async def test_dead_letters_are_grouped_by_what_they_died_of(
    ask: Asking, hand: Hand, fake_clock: FakeClock
) -> None:
    for number in range(2):
        await bury(hand, f"row {number} of 0xbeef{number}: no")
    fake_clock.advance(1)
    newest = await bury(hand, "row 17 of 0xdead: no")
    await bury(hand, "disk full\nlong story", task="save")
    answer = (await ask.get("/dead-letters", group_by="error")).ok()
    assert (answer["scanned"], answer["is_complete"]) == (4, True)
    first, second = answer["groups"]
    assert (first["count"], first["message"], first["sample"]) == (3, "row … of …: no", newest)
    assert (second["message"], second["tasks"], second["type"]) == (
        "disk full",
        ["save"],
        "ValueError",
    )
    (await ask.get("/dead-letters", group_by="colour")).refused(422, "invalid_query")


async def test_a_replay_by_filter_brings_back_what_matches(ask: Asking, hand: Hand) -> None:
    mail, other = await bury(hand, task="send"), await bury(hand)
    answer = (await ask.post("/dead-letters/replay", {"task": "send"})).ok()
    assert (answer["matched"], answer["replayed"], answer["is_complete"]) == (1, 1, True)
    assert answer["answers"] == [{"id": mail, "answer": "requeued"}]
    assert await hand.states([mail, other]) == [State.QUEUED, State.DEAD_LETTER]


async def test_a_replay_by_ids_leaves_alone_what_is_no_dead_letter(ask: Asking, hand: Hand) -> None:
    dead, done = await bury(hand), await hand.put()
    await hand.finish(done)
    answer = (await ask.post("/dead-letters/replay", {"ids": [done, dead, "x", dead]})).ok()
    assert answer["replayed"] == 1
    told = {line["id"]: line["answer"] for line in answer["answers"]}
    assert told == {dead: "requeued", done: "refused", "x": "unknown"}
    assert await hand.states([dead, done]) == [State.QUEUED, State.COMPLETED]


async def test_a_replay_of_ids_that_are_no_dead_letters_does_nothing(
    ask: Asking, hand: Hand
) -> None:
    done = await hand.put()
    await hand.finish(done)
    answer = (await ask.post("/dead-letters/replay", {"ids": [done]})).ok()
    assert (answer["matched"], answer["replayed"]) == (0, 0)


async def test_a_replay_at_a_rate_spreads_the_jobs(ask: Asking, hand: Hand) -> None:
    for _ in range(4):
        await bury(hand)
    answer = (await ask.post("/dead-letters/replay", {"all": True, "rate": 2})).ok()
    assert answer["replayed"] == 4
    due = sorted([(await hand.job(line["id"])).run_at for line in answer["answers"]])
    assert [(moment - due[0]).total_seconds() for moment in due] == [0.0, 0.5, 1.0, 1.5]


async def test_a_replay_up_to_a_limit_says_that_there_may_be_more(ask: Asking, hand: Hand) -> None:
    for _ in range(3):
        await bury(hand)
    answer = (await ask.post("/dead-letters/replay", {"all": True, "limit": 2})).ok()
    assert (answer["replayed"], answer["is_complete"]) == (2, False)
    answer = (await ask.post("/dead-letters/replay", {"all": True, "limit": 2})).ok()
    assert (answer["replayed"], answer["is_complete"]) == (1, True)


@pytest.mark.parametrize(("verb", "done"), [("replay", "replayed"), ("drop", "dropped")])
async def test_a_dry_run_changes_nothing(ask: Asking, hand: Hand, verb: str, done: str) -> None:
    ids = [await bury(hand) for _ in range(3)]
    body = {"all": True, "dry_run": True}
    answer = (await ask.post(f"/dead-letters/{verb}", body)).ok()
    assert (answer["dry_run"], answer["matched"], answer[done]) == (True, 3, 0)
    assert await hand.states(ids) == [State.DEAD_LETTER] * 3


async def test_dropped_dead_letters_are_gone_and_nothing_else(ask: Asking, hand: Hand) -> None:
    dead, kept, done = await bury(hand), await bury(hand, task="send"), await hand.put()
    await hand.finish(done)
    answer = (await ask.post("/dead-letters/drop", {"ids": [dead, done]})).ok()
    assert (answer["dropped"], answer["dry_run"]) == (1, False)
    assert {job.id for job in await hand.all_jobs()} == {kept, done}
    answer = (await ask.post("/dead-letters/drop", {"task": "send"})).ok()
    assert (answer["dropped"], answer["is_complete"]) == (1, True)


@pytest.mark.parametrize("verb", ["replay", "drop"])
@pytest.mark.parametrize(
    "body",
    [{}, {"all": False}, {"ids": []}, {"all": True, "task": "x"}, {"ids": ["x"], "queue": "y"}],
)
async def test_which_dead_letters_must_be_said_in_exactly_one_way(
    ask: Asking, hand: Hand, verb: str, body: dict[str, Any]
) -> None:
    dead = await bury(hand)
    (await ask.post(f"/dead-letters/{verb}", body)).refused(422, "invalid_option")
    assert await hand.state(dead) is State.DEAD_LETTER


@pytest.mark.parametrize(
    "change", [{"rate": 0}, {"rate": -1}, {"limit": 0}, {"limit": 1e9}, {"rate": "fast"}]
)
async def test_a_rate_or_limit_that_means_nothing_is_refused(
    ask: Asking, change: dict[str, Any]
) -> None:
    (await ask.post("/dead-letters/replay", {"all": True} | change)).refused(422, "invalid_option")


GROUP = {"code": "task_error", "type": "ValueError", "message": "row … of …: no"}


async def test_exactly_one_error_group_is_replayed(ask: Asking, hand: Hand) -> None:
    """Not what has its type, or its words, besides."""
    own = [await bury(hand, f"row {number} of 0xbeef{number}: no\nmore") for number in range(3)]
    others = [
        await bury(hand, text)
        for text in ("row 1 of 0xdead: no way", "a row 1 of 0xdead: no", "row 1 of 0xdead", "boom")
    ]
    groups = (await ask.get("/dead-letters", group_by="error")).ok()["groups"]
    assert [g["count"] for g in groups if g["message"] == GROUP["message"]] == [3]
    would = (await ask.post("/dead-letters/replay", {"group": GROUP, "dry_run": True})).ok()
    assert (would["matched"], would["is_complete"]) == (3, True)
    first = (await ask.post("/dead-letters/replay", {"group": GROUP, "limit": 2})).ok()
    assert (first["replayed"], first["is_complete"]) == (2, False)
    rest = (await ask.post("/dead-letters/replay", {"group": GROUP, "limit": 2})).ok()
    assert (rest["replayed"], rest["is_complete"]) == (1, True)
    assert await hand.states(own) == [State.QUEUED] * 3
    assert await hand.states(others) == [State.DEAD_LETTER] * 4
    none = (await ask.post("/dead-letters/replay", {"group": GROUP})).ok()
    assert (none["matched"], none["replayed"], none["is_complete"]) == (0, 0, True)


async def test_exactly_one_error_group_is_dropped_narrowed_by_other_filters(
    ask: Asking, hand: Hand
) -> None:
    own = await bury(hand, "row 1 of 2: no", task="load")
    spared = await bury(hand, "row 1 of 2: no", task="save")
    other = await bury(hand, "row 1 of 2: yes", task="load")
    body = {"group": GROUP, "task": "load"}
    answer = (await ask.post("/dead-letters/drop", body)).ok()
    assert (answer["dropped"], answer["is_complete"]) == (1, True)
    assert await hand.states([spared, other]) == [State.DEAD_LETTER] * 2
    (await ask.get(f"/jobs/{own}")).refused(404, "job_not_found")
    again = (await ask.post("/dead-letters/drop", body)).ok()
    assert (again["dropped"], again["is_complete"]) == (0, True)


async def test_a_group_says_what_it_is_and_stands_beside_no_ids(ask: Asking, hand: Hand) -> None:
    dead = await bury(hand)
    replay = "/dead-letters/replay"
    (await ask.post(replay, {"group": GROUP, "ids": [dead]})).refused(422, "invalid_option")
    (await ask.post(replay, {"group": {"type": "x"}})).refused(422, "invalid_option")
    (await ask.post(replay, {"group": {**GROUP, "colour": 1}})).refused(422, "invalid_option")
