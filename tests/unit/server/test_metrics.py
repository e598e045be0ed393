"""The figures for Prometheus, as its own parser reads them."""

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from stoker.core.job import Outcome
from stoker.server.metrics import MOST_QUEUES, MOST_TASKS
from stoker.testing import FakeClock
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import Asking


async def samples(ask: Asking) -> dict[tuple[str, ...], float]:
    text = (await ask.get("/metrics")).text
    return {
        (sample.name, *(str(value) for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_the_metrics_are_the_stores_own_counts(
    ask: Asking, hand: Hand, fake_clock: FakeClock
) -> None:
    ids = await hand.put_many(3)
    await hand.beat("w1", concurrency=4)
    await hand.finish(ids[0])
    await hand.beat("w1", started=[await hand.take(ids[1])], concurrency=4)
    await ask.post("/queues/default/pause")
    await ask.post("/queues/default/limit", {"limit": 7})
    fake_clock.advance(5)
    found = await samples(ask)
    assert found["stoker_jobs", "medium", "default", "queued"] == 1
    assert found["stoker_jobs", "medium", "default", "running"] == 1
    assert found["stoker_queue_oldest_age_seconds", "default"] == 5
    assert found["stoker_queue_paused", "default"] == 1
    assert found["stoker_queue_limit", "default"] == 7
    assert found["stoker_outcomes_total", "completed"] == 1
    assert found["stoker_outcomes_total", "submitted"] == 3
    assert found["stoker_workers", "alive"] == 1
    assert (found["stoker_worker_slots",], found["stoker_worker_busy",]) == (4, 1)
    assert found["stoker_store_info", "none", "memory"] == 1


async def test_requests_are_timed_by_route_and_never_by_path(ask: Asking) -> None:
    for number in range(3):
        await ask.get(f"/jobs/{number}")
        await ask.get(f"/api/v1/nothing/{number}")
    await ask.raw("BREW", "/jobs")
    found = await samples(ask)
    name = "stoker_http_request_seconds_count"
    assert found[name, "GET", "/api/v1/jobs/{job_id}", "404"] == 3
    assert found[name, "GET", "(none)", "404"] == 3
    assert found[name, "(other)", "/api/v1/jobs", "405"] == 1


async def test_the_labels_of_the_metrics_are_bounded(ask: Asking, hand: Hand) -> None:
    for number in range(MOST_QUEUES + 20):
        await hand.put(queue=f"q{number}")
    await hand.put_many(2, queue="big")
    found = await samples(ask)
    queues = {key[2] for key in found if key[0] == "stoker_jobs"}
    assert len(queues) == MOST_QUEUES + 1
    assert "big" in queues
    assert sum(value for key, value in found.items() if key[0] == "stoker_jobs") == 122
    assert found["stoker_jobs", "medium", "(other)", "queued"] == 21


async def test_the_metrics_come_in_the_format_that_is_asked_for(ask: Asking) -> None:
    plain = await ask.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}
    modern = await ask.raw("GET", "/metrics", headers=accept)
    assert modern.headers["content-type"].startswith("application/openmetrics-text")
    assert modern.text.endswith("# EOF\n")
    assert modern.text.count("# EOF") == 1


async def test_histograms_hold_every_attempt_that_ended(
    ask: Asking, hand: Hand, fake_clock: FakeClock
) -> None:
    for waited, ran in ((0.0, 0.5), (4.0, 0.5), (4.0, 100.0)):
        job_id = await hand.put()
        fake_clock.advance(waited)
        await hand.finish(job_id, ran_for=ran)
    never = await hand.put()
    await hand.finish(never, Outcome.RELEASED, ran_for=None)
    found = await samples(ask)
    assert found["stoker_job_wait_seconds_count",] == 4
    assert found["stoker_job_wait_seconds_sum",] == pytest.approx(8.0)
    assert found["stoker_job_wait_seconds_bucket", "2.048"] == 2
    assert found["stoker_job_wait_seconds_bucket", "4.096"] == 4
    assert found["stoker_job_run_seconds_count",] == 3
    assert found["stoker_job_run_seconds_sum",] == pytest.approx(101.0)
    buckets = [v for key, v in found.items() if key[0] == "stoker_job_run_seconds_bucket"]
    assert buckets == sorted(buckets)
    assert found["stoker_job_run_seconds_bucket", "+Inf"] == 3


async def test_what_happened_lately_is_told_by_task(
    ask: Asking, hand: Hand, fake_clock: FakeClock
) -> None:
    done = await hand.put(task="send")
    dead = await hand.put(task="send")
    await hand.finish(done)
    await hand.finish(dead, Outcome.FAILED, retry_in=None)
    fake_clock.advance(60)
    await hand.put(task="send")
    found = await samples(ask)
    assert found["stoker_task_recent", "submitted", "send"] == 2
    assert found["stoker_task_recent", "completed", "send"] == 1
    assert found["stoker_task_recent", "dead", "send"] == 1


async def test_the_tasks_of_the_metrics_are_bounded(
    ask: Asking, hand: Hand, fake_clock: FakeClock
) -> None:
    for number in range(MOST_TASKS + 20):
        await hand.put(task=f"t{number}")
    fake_clock.advance(60)
    found = await samples(ask)
    tasks = {key[2]: value for key, value in found.items() if key[0] == "stoker_task_recent"}
    assert len(tasks) == MOST_TASKS + 1
    assert (tasks["(other)"], sum(tasks.values())) == (20, MOST_TASKS + 20)


async def test_the_house_and_its_workers_are_told(ask: Asking, hand: Hand) -> None:
    await hand.store.lead("keeper", "ann", ttl=60)
    await hand.beat("w1", concurrency=4)
    await hand.take(await hand.put())
    found = await samples(ask)
    assert found["stoker_keeper_elected",] == 1
    assert found["stoker_worker_utilization",] == 1 / found["stoker_worker_slots",]
    assert found["stoker_store_latency_seconds",] >= 0
    assert found["stoker_http_streams",] == 0
    assert not any(key[0].startswith("stoker_broker") for key in found)


async def test_scrapes_and_watchers_share_their_looks(ask: Asking, hand: Hand) -> None:
    for _ in range(3):
        await ask.get("/metrics")
        await ask.get("/overview")
    assert ask.api.state.watch.looks == 1


async def test_the_modern_format_is_read_by_its_own_parser(ask: Asking, hand: Hand) -> None:
    await hand.finish(await hand.put())
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}
    text = (await ask.raw("GET", "/metrics", headers=accept)).text
    parsed = openmetrics_families(text)  # type: ignore[no-untyped-call]
    families = {family.name: family.type for family in parsed}
    assert families["stoker_job_run_seconds"] == "histogram"
    assert families["stoker_outcomes"] == "counter"
