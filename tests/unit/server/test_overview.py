"""The first screen: what it says, that it is shared, and how it is followed."""

import asyncio
from typing import Any

import pytest

from stoker.app.stoker import Stoker
from stoker.brokers.ringing import RingingStore
from stoker.core.errors import Unavailable
from stoker.core.job import ErrorInfo, Outcome, Priority
from stoker.core.records import Counts
from stoker.server.feed import Feed
from stoker.server.live import Streams
from stoker.server.watch import Watch
from stoker.stores.memory import MemoryStore
from stoker.testing import FakeClock, wait_until
from stoker.testing.belfry import Belfry, LocalBroker
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import Asking
from tests.unit.server.listening import Listener, listening

SOON = 0.01


def quicken(ask: Asking, app: Stoker, **options: Any) -> Watch:
    """Let a server look more often than once a second."""
    watch = Watch(app, every=SOON, seldom=0.0)
    ask.api.state.watch = watch
    ask.api.state.streams = Streams(**options)
    ask.api.state.feed = Feed(watch, ask.api.state.streams, birth="abc")
    return watch


async def test_the_first_screen_says_what_the_system_does(
    ask: Asking, hand: Hand, fake_clock: FakeClock
) -> None:
    ids = await hand.put_many(4, task="send")
    await hand.put(priority=Priority.HIGH, queue="mail")
    fake_clock.advance(120)
    await hand.beat("w1", concurrency=4)
    error = ErrorInfo(code="task_error", type="OSError", message="refused 17")
    await hand.finish(ids[0], ran_for=0.5)
    await hand.finish(ids[1], Outcome.FAILED, retry_in=None, error=error)
    await hand.store.lead("keeper", "ann", ttl=60)
    frame = (await ask.get("/overview")).ok()
    overview = frame["overview"]
    assert (frame["seq"], frame["revision"], frame["every"]) == (1, 1, 1.0)
    assert overview["matrix"]["medium"] == {"queued": 2, "completed": 1, "dead_letter": 1}
    assert overview["matrix"]["high"] == {"queued": 1}
    stats = overview["stats"]
    assert {q["name"]: q["oldest_age"] for q in stats["queues"]} == {"default": 120, "mail": 120}
    minutes = stats["throughput"]["minutes"]
    assert (len(minutes), minutes[-3]["submitted"]) == (60, 5)
    assert (minutes[-1]["completed"], minutes[-1]["failed"]) == (1, 1)
    assert (stats["workers"]["slots"], stats["workers"]["total"]) == (4, 1)
    assert overview["times"]["wait"]["p50"] == pytest.approx(92, rel=0.01)
    assert 0.256 < overview["times"]["run"]["p99"] <= 0.512
    [minute] = overview["minutes"]
    assert minute["wait"] == overview["times"]["wait"]
    assert overview["failing"] == [{"task": "send", "completed": 1, "failed": 1, "dead": 1}]
    [group] = overview["dead_letters"]["groups"]
    assert (group["message"], group["count"]) == ("refused …", 1)
    assert overview["keeper"]["holder"] == "ann"
    assert (overview["store"]["engine"], overview["broker"]) == ("memory", None)
    assert overview["store"]["latency"] >= 0
    assert overview["rates"] is None


async def test_the_broker_in_front_of_the_store_is_told(
    app: Stoker, ask: Asking, hand: Hand, fake_clock: FakeClock
) -> None:
    belfry = Belfry()
    async with RingingStore(MemoryStore(clock=fake_clock), LocalBroker(belfry)) as store:
        before, app._store = app._store, store
        broker = (await ask.get("/overview")).ok()["overview"]["broker"]
        metrics = (await ask.get("/metrics")).text
        app._store = before
    assert (broker["scheme"], broker["connected"]) == (store.broker_status().scheme, True)
    assert "stoker_broker_connected 1.0" in metrics
    assert 'stoker_broker_rings_total{fate="dropped"} 0.0' in metrics


async def test_nobody_keeps_house_after_the_last_keeper_resigned(ask: Asking, hand: Hand) -> None:
    term = await hand.store.lead("keeper", "ann", ttl=60)
    assert term is not None
    await hand.store.resign(term)
    assert (await ask.get("/overview")).ok()["overview"]["keeper"] is None


async def test_all_who_look_within_a_second_share_one_look(
    app: Stoker, ask: Asking, hand: Hand
) -> None:
    watch: Watch = ask.api.state.watch
    frames = await asyncio.gather(*(ask.get("/overview") for _ in range(20)))
    await ask.get("/activity")
    assert {answer.ok()["seq"] for answer in frames} == {1}
    assert watch.looks == 1


async def test_the_revision_rises_when_jobs_move_and_only_then(
    app: Stoker, ask: Asking, hand: Hand, fake_clock: FakeClock
) -> None:
    watch = quicken(ask, app)
    first = (await watch.after(None)).frame
    second = (await watch.after(first.seq)).frame
    assert (second.seq, second.revision) == (2, first.revision)
    job_id = await hand.put()
    third = (await watch.after(second.seq)).frame
    assert third.revision == second.revision + 1
    await hand.take(job_id)
    fake_clock.advance(10)
    fourth = (await watch.after(third.seq)).frame
    assert fourth.revision == third.revision + 1
    assert fourth.overview.rates is not None
    assert fourth.overview.rates.submitted == 0.0


async def test_rates_are_those_between_two_looks(
    app: Stoker, ask: Asking, hand: Hand, fake_clock: FakeClock
) -> None:
    watch = quicken(ask, app)
    before = await watch.after(None)
    await hand.put_many(5)
    fake_clock.advance(10)
    rates = (await watch.after(before.frame.seq)).frame.overview.rates
    assert rates is not None
    assert (rates.over, rates.submitted, rates.completed) == (10.0, 0.5, 0.0)


async def test_an_hour_is_put_together_of_what_is_over_and_what_is_fresh(
    app: Stoker, ask: Asking, hand: Hand, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look asks for two minutes, unless time was lost; it sees what one question sees."""
    watch = quicken(ask, app)
    windows: list[float] = []
    counts = hand.store.counts

    async def counting(*, window: float = 0.0) -> Counts:
        windows.append(window)
        return await counts(window=window)

    seen = await watch.after(None)
    monkeypatch.setattr(hand.store, "counts", counting)
    for seconds in (20, 45, 50, 59, 61, 1, 1800, 1790, 30):
        await hand.finish(await hand.put(task=f"t{seconds}"), ran_for=seconds)
        fake_clock.advance(seconds)
        seen = await watch.after(seen.frame.seq)
        whole = await counts(window=3600)
        assert seen.counts.activity == whole.activity
        assert seen.counts.spreads == whole.spreads
    assert (windows.count(120.0), windows.count(3600.0)) == (9, 3)


async def test_activity_is_told_minute_by_minute(
    ask: Asking, hand: Hand, fake_clock: FakeClock
) -> None:
    job_id = await hand.put(queue="mail", task="send")
    fake_clock.advance(60)
    await hand.finish(job_id, ran_for=2.0)
    await hand.put(task="other")
    answer = (await ask.get("/activity", by="queue", window=300)).ok()
    assert [one["name"] for one in answer["series"]] == ["default", "mail"]
    mail = answer["series"][1]
    assert (mail["submitted"], mail["completed"]) == ([0, 0, 0, 1, 0], [0, 0, 0, 0, 1])
    assert (mail["mean_wait"], mail["mean_run"]) == (60.0, 2.0)
    assert 32 < mail["times"]["wait"]["p50"] < 66
    assert 1 < mail["times"]["run"]["p95"] <= 2.048
    tasks = (await ask.get("/activity", by="task")).ok()
    assert ([one["name"] for one in tasks["series"]], tasks["minutes"]) == (["other", "send"], 60)
    assert tasks["series"][0]["mean_run"] is None
    assert tasks["series"][0]["times"] == {"wait": None, "run": None}
    (await ask.get("/activity", by="colour")).refused(422, "invalid_query")


async def test_a_stream_tells_frame_after_frame(app: Stoker, ask: Asking, hand: Hand) -> None:
    quicken(ask, app)
    async with listening(ask, "/api/v1/live") as listener:
        await wait_until(lambda: len(listener.events) >= 3, "three frames")
    assert listener.text.startswith("retry: 2000\n\n")
    assert set(listener.names) == {"overview"}
    seqs = [frame["seq"] for _, frame in listener.events]
    assert seqs == sorted(set(seqs))
    assert f"id: abc-{seqs[0]}\n" in listener.text


async def test_a_client_that_comes_back_is_not_told_what_it_knows(
    app: Stoker, ask: Asking, hand: Hand
) -> None:
    watch = quicken(ask, app)
    await watch.now()

    async def first_told(last_id: str) -> Any:
        async with listening(ask, "/api/v1/live", last_id=last_id) as listener:
            await wait_until(lambda: listener.events, "a frame")
        return listener.events[0][1]["seq"]

    watch.every = 3600.0
    assert await first_told("abc-999") == 1
    assert await first_told("before-1") == 1
    assert await first_told("nonsense") == 1
    watch.every = SOON
    assert await first_told("abc-1") == 2


async def test_many_streams_cost_no_more_looks_than_one(
    app: Stoker, ask: Asking, hand: Hand
) -> None:
    watch = quicken(ask, app)
    async with asyncio.TaskGroup() as group:
        listeners: list[Listener] = []

        async def follow() -> None:
            async with listening(ask, "/api/v1/live") as listener:
                listeners.append(listener)
                await wait_until(lambda: len(listener.events) >= 3, "three frames")

        for _ in range(20):
            group.create_task(follow())
    told = {frame["seq"] for listener in listeners for _, frame in listener.events}
    assert watch.looks - len(told) <= 1


async def away(**_: Any) -> None:
    raise Unavailable("the store is away")


async def test_a_store_that_is_away_is_told_until_it_is_back(
    app: Stoker, ask: Asking, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    quicken(ask, app)
    async with listening(ask, "/api/v1/live") as listener:
        await wait_until(lambda: listener.events, "a frame")
        with monkeypatch.context() as patch:
            patch.setattr(hand.store, "counts", away)
            await wait_until(lambda: listener.names[-1] == "trouble", "the trouble")
        await wait_until(lambda: listener.names[-1] == "overview", "the next frame")
    trouble = next(data for name, data in listener.events if name == "trouble")
    assert trouble["error"]["code"] == "unavailable"


async def test_a_store_that_is_away_is_asked_no_more_often(
    ask: Asking, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch: Watch = ask.api.state.watch
    monkeypatch.setattr(hand.store, "counts", away)
    answers = await asyncio.gather(*(ask.get("/overview") for _ in range(5)))
    for answer in answers:
        answer.refused(503, "unavailable")
    assert watch.looks == 1


async def test_a_server_that_goes_away_says_so(app: Stoker, ask: Asking, hand: Hand) -> None:
    quicken(ask, app)
    async with listening(ask, "/api/v1/live") as listener:
        await wait_until(lambda: listener.events, "a frame")
        ask.api.state.streams.close()
        await wait_until(lambda: listener.is_complete, "the end")
    assert listener.names[-1] == "drain"
    assert ask.api.state.streams.open_now == 0


async def test_the_number_and_the_life_of_streams_are_bounded(
    app: Stoker, ask: Asking, hand: Hand
) -> None:
    quicken(ask, app, most=0)
    (await ask.get("/live")).refused(429, "too_many_streams")
    quicken(ask, app, longest=0.0)
    answer = await ask.get("/live")
    assert answer.text.count("event: overview") == 1


async def test_the_settings_are_shown_without_secrets(app: Stoker, ask: Asking) -> None:
    settings = (await ask.get("/settings")).ok()["settings"]
    assert settings["store"] == "memory://"
    assert settings["keeper.keep_dead"] == 90 * 86400


async def test_a_worker_is_asked_to_drain_or_to_stop(ask: Asking, hand: Hand) -> None:
    await hand.beat("w1")
    for verb, answer in (("drain", "draining"), ("stop", "stopping")):
        told = (await ask.post(f"/workers/W1/{verb}")).ok(202)
        assert (told["answer"], told["worker"]["command"]) == (answer, verb)
    (await ask.post("/workers/nobody/drain")).refused(404, "worker_not_found")
    await hand.store.reap(sessions=["w1"])
    (await ask.post("/workers/W1/stop")).refused(409, "refused")
