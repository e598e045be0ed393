"""Fleets over HTTP: seen as they tell it, commanded by a line of the trail."""

from typing import Any

import pytest

from stoker.app.stoker import Stoker
from stoker.core.events import Kind
from stoker.core.fleets import command_in
from stoker.core.job import SessionState
from stoker.core.records import EventQuery
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import Asking
from tests.unit.server.keyed import asking_with, new_key


def kind(name: str, *queues: str) -> dict[str, Any]:
    return {
        "name": name,
        "program": "python",
        "queues": queues,
        "concurrency": 4,
        "min": 1,
        "max": 3,
        "start_within": 5.0,
        "wanted": 1,
        "ready": 1,
    }


async def fleet(hand: Hand, fleet_id: str = "f1", *kinds: dict[str, Any], **spec: Any) -> None:
    workers = [
        {"name": f"mill-{k['name']}-1", "kind": k["name"], "state": "ready", "pid": 7}
        for k in kinds
    ]
    given = {"name": "fleet:mill", "host": "mars", "pid": 6, "kind": "fleet", "concurrency": 0}
    details = {"kinds": kinds, "workers": workers}
    await hand.beat(fleet_id, **{**given, "details": details, **spec})


async def commands(hand: Hand) -> list[dict[str, Any]]:
    found = await hand.store.events(EventQuery(after=0, kinds=(Kind.FLEET_COMMANDED,)))
    return [{"actor": event.actor, **event.details} for event in found]


async def test_fleets_are_listed_with_kinds_and_workers_and_are_no_workers(
    ask: Asking, hand: Hand
) -> None:
    await hand.beat("w1")
    await fleet(hand, "f1", kind("mail", "mail"), kind("rest"))
    [found] = (await ask.get("/fleets")).ok()["fleets"]
    assert (found["id"], found["name"], found["host"], found["state"]) == (
        *("f1", "mill", "mars"),
        "alive",
    )
    assert [k["name"] for k in found["kinds"]] == ["mail", "rest"]
    assert found["workers"][0]["state"] == "ready"
    assert [w["id"] for w in (await ask.get("/workers")).ok()["workers"]] == ["w1"]
    (await ask.get("/workers/f1")).refused(404, "worker_not_found")
    (await ask.post("/workers/f1/stop")).refused(404, "worker_not_found")
    assert (await ask.get("/stats")).ok()["workers"]["total"] == 1


async def test_a_fleet_that_left_is_listed_on_request(ask: Asking, hand: Hand) -> None:
    await fleet(hand)
    await fleet(hand, state=SessionState.LEFT)
    assert (await ask.get("/fleets")).ok()["fleets"] == []
    [gone] = (await ask.get("/fleets", ended="true")).ok()["fleets"]
    assert gone["state"] == "left"
    (await ask.post("/fleets/mill/drain")).refused(409, "refused")


async def test_a_fleet_is_found_by_id_by_name_and_by_host(ask: Asking, hand: Hand) -> None:
    await fleet(hand)
    for name in ("f1", "mill", "mill@mars"):
        assert (await ask.get(f"/fleets/{name}")).ok()["id"] == "f1"
    (await ask.get("/fleets/nobody")).refused(404, "fleet_not_found")
    await fleet(hand, "f2", host="venus")
    error = (await ask.get("/fleets/mill")).refused(409, "refused")
    assert "f1 (on mars) or f2 (on venus)" in error["message"]
    assert (await ask.get("/fleets/mill@venus")).ok()["id"] == "f2"


async def test_scaling_writes_down_who_wants_what_of_which_kind_and_why(
    ask: Asking, hand: Hand
) -> None:
    await fleet(hand, "f1", kind("mail", "mail"), kind("rest"))
    body = {"kind": "mail", "max": 9, "reason": "a sale"}
    answer = (await ask.post("/fleets/mill/scale", body)).ok(202)
    assert (answer["answer"], answer["fleet"]["id"]) == ("scaling", "f1")
    [found] = await commands(hand)
    assert found == {
        "actor": "api:10.1.2.3",
        "session": "f1",
        "fleet": "mill",
        "action": "scale",
        "kind": "mail",
        "max": 9,
        "reason": "a sale",
    }


async def test_the_only_kind_need_not_be_named(ask: Asking, hand: Hand) -> None:
    await fleet(hand, "f1", kind("default"))
    (await ask.post("/fleets/f1/scale", {"min": 2})).ok(202)
    [event] = await hand.store.events(EventQuery(after=0, kinds=(Kind.FLEET_COMMANDED,)))
    command = command_in(event)
    assert command is not None
    assert (command.kind, command.min, command.max) == ("default", 2, None)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"kind": "mail"}, "say min, max or both"),
        ({"max": 4}, "say which of mail, rest"),
        ({"kind": "male", "max": 4}, "no kind 'male'; its kinds are mail, rest"),
        ({"kind": "mail", "min": 4}, r"would have 4 to 3 workers; expected 0 <= min <= max"),
        ({"kind": "mail", "max": 1001}, "1000"),
        ({"kind": "mail", "mox": 1}, "mox"),
    ],
)
async def test_bounds_without_sense_are_refused(
    ask: Asking, hand: Hand, body: dict[str, Any], said: str
) -> None:
    await fleet(hand, "f1", kind("mail", "mail"), kind("rest"))
    error = (await ask.post("/fleets/mill/scale", body)).refused(422, "invalid_option")
    assert said in error["message"]
    assert await commands(hand) == []


@pytest.mark.parametrize(
    ("action", "answer"), [("drain", "draining"), ("stop", "stopping"), ("reload", "reloading")]
)
async def test_a_fleet_is_told_to(ask: Asking, hand: Hand, action: str, answer: str) -> None:
    await fleet(hand, "f1", kind("default"))
    assert (await ask.post(f"/fleets/mill/{action}")).ok(202)["answer"] == answer
    await ask.post(f"/fleets/mill/{action}", {"reason": "it moves"})
    first, second = await commands(hand)
    assert (first["action"], second["action"], second["reason"]) == (action, action, "it moves")


async def test_a_draining_fleet_is_neither_scaled_nor_reloaded(ask: Asking, hand: Hand) -> None:
    await fleet(hand, "f1", kind("default"), state=SessionState.DRAINING)
    (await ask.post("/fleets/mill/scale", {"max": 4})).refused(409, "refused")
    (await ask.post("/fleets/mill/reload")).refused(409, "refused")
    (await ask.post("/fleets/mill/stop")).ok(202)


async def test_what_a_fleet_tells_without_sense_is_left_out(ask: Asking, hand: Hand) -> None:
    await fleet(hand, details={"kinds": 3})
    [found] = (await ask.get("/fleets")).ok()["fleets"]
    assert (found["name"], found["kinds"], found["workers"]) == ("mill", [], [])


async def test_a_key_of_some_queues_sees_their_kinds_and_commands_nothing(
    app: Stoker, ask: Asking, hand: Hand
) -> None:
    await fleet(hand, "f1", kind("mail", "mail"), kind("image", "image"), queues=("mail", "image"))
    await fleet(hand, "f2", kind("image", "image"), queues=("image",))
    key = await new_key(app, "post", "read", "operate", queues=["mail"])
    async with asking_with(ask, key.key) as bound:
        [found] = (await bound.get("/fleets")).ok()["fleets"]
        assert [k["name"] for k in found["kinds"]] == ["mail"]
        assert [w["name"] for w in found["workers"]] == ["mill-mail-1"]
        for action in ("drain", "stop", "reload"):
            (await bound.post(f"/fleets/f1/{action}")).refused(403, "forbidden")
        (await bound.post("/fleets/f1/scale", {"kind": "mail", "max": 2})).refused(403, "forbidden")
    assert await commands(hand) == []


async def test_a_key_that_may_only_read_commands_nothing(
    app: Stoker, ask: Asking, hand: Hand
) -> None:
    await fleet(hand, "f1", kind("default"))
    key = await new_key(app, "eye", "read")
    async with asking_with(ask, key.key) as reading:
        (await reading.get("/fleets")).ok()
        (await reading.post("/fleets/f1/stop")).refused(403, "forbidden")
    assert await commands(hand) == []
