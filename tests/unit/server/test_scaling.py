"""What scalers outside are told."""

from stoker.core.job import Priority
from stoker.testing import FakeClock
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import Asking


async def test_a_store_without_jobs_needs_nobody(ask: Asking) -> None:
    assert (await ask.get("/scaling")).ok() == {
        "waiting": 0,
        "running": 0,
        "total": 0,
        "oldest_age": None,
        "workers": 0,
        "slots": 0,
        "queues": {},
    }


async def test_what_waits_and_what_runs_count_alike(
    ask: Asking, hand: Hand, fake_clock: FakeClock
) -> None:
    await hand.put_many(4)
    await hand.put(queue="mail", priority=Priority.HIGH)
    await hand.put(queue="mail", delay=3600.0)
    await hand.beat("w1")
    await hand.lease(2, queues={"default": 2})
    fake_clock.advance(30)
    found = (await ask.get("/scaling")).ok()
    assert (found["waiting"], found["running"], found["total"]) == (3, 2, 5)
    assert found["oldest_age"] == 30
    assert found["queues"]["mail"] == {
        "waiting": 1,
        "running": 0,
        "total": 1,
        "oldest_age": 30,
    }
    only = (await ask.get("/scaling", queue="default")).ok()
    assert (only["total"], list(only["queues"])) == (4, ["default"])


async def test_a_paused_queue_needs_workers_for_what_runs_only(ask: Asking, hand: Hand) -> None:
    await hand.put_many(3)
    await hand.beat("w1")
    await hand.lease(1)
    await ask.post("/queues/default/pause")
    found = (await ask.get("/scaling")).ok()
    assert (found["waiting"], found["running"], found["total"]) == (0, 1, 1)
    assert found["oldest_age"] is None
