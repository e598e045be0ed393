from stoker.app.stoker import Stoker
from stoker.core.events import Kind
from stoker.core.lifecycle import State
from stoker.core.records import MAX_PAGE
from stoker.testing import FakeClock
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import Asking


async def test_queues_are_listed_with_their_load_and_the_age_of_the_oldest(
    ask: Asking, hand: Hand, fake_clock: FakeClock
) -> None:
    await hand.put(queue="mail")
    await hand.put(queue="video", delay=60)
    fake_clock.advance(30)
    mail, video = (await ask.get("/queues")).ok()["queues"]
    assert (mail["name"], mail["counts"]["queued"], mail["oldest_age"]) == ("mail", 1, 30.0)
    assert (video["name"], video["counts"]["scheduled"], video["oldest_age"]) == ("video", 1, None)
    assert set(mail["counts"]) == {str(state) for state in State}
    assert (await ask.get("/queues/mail")).ok() == mail


async def test_a_queue_is_paused_and_resumed_and_the_trail_says_by_whom(
    ask: Asking, hand: Hand
) -> None:
    await hand.put()
    assert (await ask.post("/queues/default/pause")).ok()["paused"] is True
    assert await hand.lease() == []
    assert (await ask.post("/queues/default/resume")).ok()["paused"] is False
    assert len(await hand.lease()) == 1
    events = await hand.events(Kind.QUEUE_PAUSED, Kind.QUEUE_RESUMED)
    assert [(event.queue, event.actor) for event in events] == [("default", "api:10.1.2.3")] * 2


async def test_a_name_with_slashes_is_one_name(ask: Asking, hand: Hand) -> None:
    await hand.put(queue="eu/west/pause")
    assert (await ask.get("/queues/eu/west/pause")).ok()["name"] == "eu/west/pause"
    assert (await ask.post("/queues/eu/west/pause/pause")).ok()["paused"] is True
    assert (await ask.raw("POST", "/queues/eu%2Fwest%2Fpause/resume")).ok()["paused"] is False


async def test_a_limit_is_set_and_removed(ask: Asking, hand: Hand) -> None:
    await hand.put_many(3)
    assert (await ask.post("/queues/default/limit", {"limit": 2})).ok()["limit"] == 2
    assert len(await hand.lease(3)) == 2
    assert (await ask.post("/queues/default/limit", {"limit": None})).ok()["limit"] is None
    assert len(await hand.lease(3)) == 1
    (await ask.post("/queues/default/limit", {"limit": -1})).refused(422, "invalid_option")
    (await ask.post("/queues/default/limit", {})).refused(422, "invalid_option")


async def test_purging_deletes_waiting_jobs_and_spares_the_rest(ask: Asking, hand: Hand) -> None:
    running, ended = await hand.put_many(2)
    await hand.reach(running, State.RUNNING)
    await hand.finish(ended)
    await hand.put_many(MAX_PAGE + 5)
    await hand.put(delay=60)
    other = await hand.put(queue="other")
    assert (await ask.delete("/queues/default/jobs")).ok() == {"purged": MAX_PAGE + 6}
    assert {job.id for job in await hand.all_jobs()} == {running, ended, other}


async def test_a_queue_that_nobody_knows_is_not_found(ask: Asking, hand: Hand) -> None:
    await hand.put(queue="mail")
    for path in ("pause", "resume"):
        error = (await ask.post(f"/queues/mial/{path}")).refused(404, "queue_not_found")
        assert "mail" in error["message"]
    (await ask.get("/queues/mial")).refused(404, "queue_not_found")
    (await ask.delete("/queues/mial/jobs")).refused(404, "queue_not_found")
    (await ask.post("/queues/mial/limit", {"limit": 1})).refused(404, "queue_not_found")
    assert [queue.name for queue in await hand.store.queues()] == ["mail"]


async def test_the_queue_of_a_declared_task_can_be_paused_before_its_first_job(
    ask: Asking, app: Stoker
) -> None:
    assert "add" in app.registry
    assert (await ask.post("/queues/sums/pause")).ok()["paused"] is True
