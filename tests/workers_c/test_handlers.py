"""What becomes of a job that a plugin runs, in a thread and in a process."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from stoker.core.job import JobRecord, JobSpec, WorkflowSpec
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.core.retry import RetryPolicy
from tests.workers_c.conftest import Desk
from tests.workers_c.program import c_worker, plugin

PLACES = ["", "_apart"]
ONCE = RetryPolicy(max_retries=0)
SOON = RetryPolicy(max_retries=2, backoff="fixed", base=0.05)


@pytest.mark.parametrize("place", PLACES)
async def test_a_payload_comes_back_to_the_byte(desk: Desk, place: str) -> None:
    payload = '{"text":"Café \\u0041\\n","big":18446744073709551615,"real":1.50,"list":[[],{}]}'
    async with c_worker(desk.folder, desk.url):
        record = await desk.jobs.run(f"trial.echo{place}", payload.encode())
    assert record.state is State.COMPLETED
    assert bytes(record.result or b"") == payload.encode()


@pytest.mark.parametrize("place", PLACES)
async def test_a_handler_sees_what_the_job_says_of_itself(desk: Desk, place: str) -> None:
    async with c_worker(desk.folder, desk.url):
        record = await desk.jobs.run(
            f"trial.describe{place}", tenant="acme", headers={"traceparent": "00-1"}, timeout=60.0
        )
    assert _result(record) == {
        "id": record.id,
        "task": f"trial.describe{place}",
        "queue": "default",
        "attempt": 1,
        "tenant": "acme",
        "header": "00-1",
        "has_limit": True,
    }
    assert record.worker == "press"


@pytest.mark.parametrize("place", PLACES)
async def test_a_failure_is_repeated_under_the_job_s_policy(desk: Desk, place: str) -> None:
    async with c_worker(desk.folder, desk.url):
        healed = await desk.jobs.run(f"trial.fail{place}", b'{"times":1}', retry=SOON)
        dead = await desk.jobs.run(f"trial.fail{place}", b'{"type":"Broken"}', retry=SOON)
    assert (healed.state, healed.attempt, healed.failed) == (State.COMPLETED, 2, 1)
    assert (dead.state, dead.failed) == (State.DEAD_LETTER, 3)
    assert dead.error is not None
    assert (dead.error.code, dead.error.type) == ("task_error", "Broken")
    assert dead.error.message == "attempt 3 failed"


async def test_a_policy_may_name_the_errors_that_end_a_job(desk: Desk) -> None:
    policy = RetryPolicy(max_retries=5, base=0.01, never=("Broken",))
    async with c_worker(desk.folder, desk.url):
        record = await desk.jobs.run("trial.fail", b'{"type":"Broken"}', retry=policy)
    assert (record.state, record.failed) == (State.DEAD_LETTER, 1)


async def test_a_handler_may_discard_retry_and_snooze(desk: Desk) -> None:
    marker = json.dumps({"marker": str(desk.folder / "marker")}).encode()
    async with c_worker(desk.folder, desk.url):
        discarded = await desk.jobs.run("trial.discard")
        retried = await desk.jobs.run("trial.retry")
        snoozed = await desk.jobs.run("trial.snooze", marker)
    assert (discarded.state, discarded.failed) == (State.DEAD_LETTER, 1)
    assert discarded.error is not None
    assert discarded.error.type == "BadImage"
    assert (retried.state, retried.attempt, retried.failed) == (State.COMPLETED, 2, 1)
    assert (snoozed.state, snoozed.failed) == (State.COMPLETED, 0)


@pytest.mark.parametrize("place", PLACES)
async def test_progress_and_log_lines_are_seen_while_it_runs(desk: Desk, place: str) -> None:
    async with c_worker(desk.folder, desk.url):
        job_id = await desk.jobs.submit(f"trial.report{place}")
        running = await desk.jobs.reaches(job_id, State.RUNNING)
        assert running.started_at is not None
        record = await desk.jobs.ends(job_id)
    assert (record.progress, record.progress_note) == (1.0, "done")
    assert [line.message for line in record.logs] == [f"line {n} \ufffd" for n in range(1, 5)]
    assert {line.attempt for line in record.logs} == {1}


@pytest.mark.parametrize("place", PLACES)
async def test_a_cancel_reaches_a_handler_that_looks(desk: Desk, place: str) -> None:
    async with c_worker(desk.folder, desk.url):
        job_id = await desk.jobs.submit(f"trial.patient{place}")
        await desk.jobs.reaches(job_id, State.RUNNING)
        await desk.jobs.store.cancel(JobQuery(ids=(job_id,)))
        record = await desk.jobs.ends(job_id)
    assert record.state is State.CANCELLED


@pytest.mark.parametrize("place", PLACES)
async def test_a_limit_ends_a_handler_that_looks(desk: Desk, place: str) -> None:
    async with c_worker(desk.folder, desk.url):
        record = await desk.jobs.run(f"trial.patient{place}", timeout=0.3, retry=ONCE)
        soft = await desk.jobs.run(
            f"trial.patient{place}", timeout=30.0, soft_timeout=0.3, retry=ONCE
        )
    assert record.state is State.DEAD_LETTER
    assert record.error is not None
    assert record.error.code == "timeout"
    assert record.error.message == "the job ran past its limit of 0.3 s and was stopped"
    assert soft.error is not None
    assert soft.error.message == "the job ran past its soft limit of 0.3 s and was stopped"


async def test_a_thread_that_does_not_obey_is_given_up_and_the_process_replaced(
    desk: Desk,
) -> None:
    async with c_worker(desk.folder, desk.url) as worker:
        record = await desk.jobs.run("trial.stubborn", timeout=0.2, retry=ONCE)
        after = await desk.jobs.run("trial.nothing")
        await worker.says("ended: recycle")
        assert await worker.drain() == 0
    assert record.error is not None
    assert record.error.code == "timeout"
    assert after.state is State.COMPLETED
    assert worker.said.count("began session") == 2


async def test_results_that_no_store_should_see_are_refused_here(desk: Desk) -> None:
    async with c_worker(desk.folder, desk.url):
        broken = await desk.jobs.run("trial.not_json")
        large = await desk.jobs.run("trial.large", b'{"size":5000000}')
        fine = await desk.jobs.run("trial.large", b'{"size":4000000}')
    assert broken.error is not None
    assert (broken.state, broken.error.code) == (State.DEAD_LETTER, "invalid_payload")
    assert large.error is not None
    assert (large.state, large.error.code) == (State.DEAD_LETTER, "result_too_large")
    assert fine.state is State.COMPLETED


async def test_a_wrong_argument_is_a_dead_letter_with_a_clear_word(desk: Desk) -> None:
    async with c_worker(desk.folder, desk.url, plugins=(plugin("shapes"),)):
        record = await desk.jobs.run("shape.square", b'{"side":"three"}')
    assert record.error is not None
    assert (record.state, record.error.code) == (State.DEAD_LETTER, "invalid_arguments")
    assert record.error.message == 'side of the payload is "three"; expected a number'


async def test_a_task_that_no_plugin_has_is_put_off_for_another_worker(desk: Desk) -> None:
    async with c_worker(desk.folder, desk.url) as worker:
        job_id = await desk.jobs.submit("shape.square", b'{"side":3}')
        await worker.says("was put off")
        await desk.jobs.reaches(job_id, State.SCHEDULED)
        async with c_worker(desk.folder, desk.url, name="other", plugins=(plugin("shapes"),)):
            assert await worker.drain() == 0
            record = await desk.jobs.ends(job_id)
    assert (record.state, record.failed, record.lost) == (State.COMPLETED, 0, 0)


async def test_a_node_of_a_workflow_reads_what_its_parents_returned(desk: Desk) -> None:
    flow = WorkflowSpec(id="flow", name="areas")
    square = JobSpec(
        id="s1", task="shape.square", payload=b'{"side":4}', workflow_id="flow", node="square"
    )
    half = JobSpec(
        id="s2", task="trial.from_parent", workflow_id="flow", node="half", parents=("s1",)
    )
    filled = JobSpec(
        id="s3",
        task="trial.echo_apart",
        payload=b'{"area":{"$output":"s1"},"more":[{"$output":"s1"}]}',
        workflow_id="flow",
        node="filled",
        parents=("s1",),
    )
    await desk.jobs.store.submit([square, half, filled], workflow=flow)
    both = (plugin(), plugin("shapes"))
    async with c_worker(desk.folder, desk.url, plugins=both):
        halved = await desk.jobs.ends("s2")
        echoed = await desk.jobs.ends("s3")
    assert _result(halved) == {"half": 8.0}
    assert _result(echoed) == {"area": {"area": 16.0}, "more": [{"area": 16.0}]}


async def test_never_more_than_a_queue_s_number_run_at_once(desk: Desk) -> None:
    words = ("--queue", "slow:2", "--queue", "fast", "--concurrency", "8")
    async with c_worker(desk.folder, desk.url, *words):
        slow = [
            await desk.jobs.submit("trial.stubborn", b'{"seconds":0.2}', queue="slow")
            for _ in range(6)
        ]
        fast = [await desk.jobs.submit("trial.nothing", queue="fast") for _ in range(50)]
        other = await desk.jobs.submit("trial.nothing", queue="other")
        records = [await desk.jobs.ends(job_id) for job_id in slow]
        assert all([(await desk.jobs.ends(j)).state is State.COMPLETED for j in fast])
    spans = [(r.started_at, r.finished_at) for r in records]
    for began, _ in spans:
        assert began is not None
        at_once = sum(1 for b, e in spans if b and e and b <= began < e)
        assert at_once <= 2
    assert (await desk.jobs.record(other)).state is State.QUEUED


async def test_many_jobs_travel_in_batches(desk: Desk) -> None:
    async with c_worker(desk.folder, desk.url) as worker:
        ids = [await desk.jobs.submit("trial.nothing") for _ in range(500)]
        records = await asyncio.gather(*(desk.jobs.ends(job_id) for job_id in ids))
        assert await worker.drain() == 0
    assert {record.state for record in records} == {State.COMPLETED}
    assert {record.attempt for record in records} == {1}


def _result(record: JobRecord) -> Any:
    assert record.result is not None
    return msgspec.json.decode(record.result)
