from stoker.core.job import Command, SessionState
from stoker.core.lifecycle import State
from stoker.testing import FakeClock
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import Asking


async def test_living_workers_are_listed_and_ended_ones_on_request(ask: Asking, hand: Hand) -> None:
    await hand.beat("w1", concurrency=4, queues=("default",), tasks=("work",))
    await hand.beat("w2")
    await hand.beat("w2", state=SessionState.LEFT)
    [worker] = (await ask.get("/workers")).ok()["workers"]
    assert (worker["id"], worker["name"], worker["concurrency"]) == ("w1", "W1", 4)
    assert (worker["queues"], worker["tasks"]) == (["default"], ["work"])
    every = (await ask.get("/workers", ended="true")).ok()["workers"]
    assert {(w["id"], w["state"]) for w in every} == {("w1", "alive"), ("w2", "left")}


async def test_a_worker_is_found_by_id_and_by_name(ask: Asking, hand: Hand) -> None:
    await hand.beat("w1")
    assert (await ask.get("/workers/w1")).ok()["id"] == "w1"
    assert (await ask.get("/workers/W1")).ok()["id"] == "w1"
    error = (await ask.get("/workers/w9")).refused(404, "worker_not_found")
    assert error["details"] == {"worker": "w9"}


async def test_a_name_means_the_living_worker_of_that_name(ask: Asking, hand: Hand) -> None:
    await hand.beat("new", name="mill")
    await hand.beat("old", name="mill")
    await hand.beat("old", name="mill", state=SessionState.LEFT)
    assert (await ask.get("/workers/mill")).ok()["id"] == "new"


async def test_removing_a_worker_tells_it_to_drain(ask: Asking, hand: Hand) -> None:
    await hand.beat("w1")
    answer = (await ask.delete("/workers/W1")).ok(202)
    assert (answer["answer"], answer["worker"]["command"]) == ("draining", "drain")
    assert (await hand.beat("w1")).command is Command.DRAIN


async def test_removing_a_silent_worker_takes_its_jobs_back(
    ask: Asking, hand: Hand, fake_clock: FakeClock
) -> None:
    job_id = await hand.put()
    await hand.take(job_id)
    fake_clock.advance(60)
    answer = (await ask.delete("/workers/w1")).ok(202)
    assert (answer["answer"], answer["worker"]["state"]) == ("removed", "dead")
    assert await hand.state(job_id) is State.QUEUED


async def test_a_worker_that_is_gone_cannot_be_removed(ask: Asking, hand: Hand) -> None:
    await hand.beat("w1")
    await hand.beat("w1", state=SessionState.LEFT)
    (await ask.delete("/workers/w1")).refused(409, "refused")
    (await ask.delete("/workers/nobody")).refused(404, "worker_not_found")
