"""The threads of the program under ThreadSanitizer, which ASan cannot share a program with."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator

import pytest

from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.core.retry import RetryPolicy
from tests.workers_c.conftest import Desk
from tests.workers_c.program import BUILD, Worker, build, c_worker, plugin

TSAN = BUILD / "tsan"
PLUGINS = (plugin(folder=TSAN), plugin("shapes", folder=TSAN))
FINDING = re.compile(r"(?:WARNING|FATAL|SUMMARY): ThreadSanitizer")
MANY = 400
ONCE = RetryPolicy(max_retries=0)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
async def worker(desk: Desk) -> AsyncIterator[Worker]:
    """A worker in which no race is found, from its start to the end of its drain."""
    build("races")
    async with c_worker(
        desk.folder, desk.url, "-c", "8", program=TSAN / "stoker-worker-c", plugins=PLUGINS
    ) as worker:
        yield worker
        ended = await worker.drain()
    assert not FINDING.search(worker.said), worker.said[-5000:]
    assert ended == 0


async def test_quick_jobs_pass_from_thread_to_thread(desk: Desk, worker: Worker) -> None:
    del worker
    payloads = [json.dumps({"side": side}).encode() for side in range(MANY)]
    ids = [await desk.jobs.submit("shape.square", payload) for payload in payloads]
    for job in ids:
        assert (await desk.jobs.ends(job)).state is State.COMPLETED


async def test_what_runs_is_reported_called_off_timed_out_and_kept_apart(
    desk: Desk, worker: Worker
) -> None:
    tasks = ["echo", "describe", "report", "fail", "discard", "snooze", "large", "echo_apart"]
    ids = [await desk.jobs.submit(f"trial.{task}", b'{"times":1}') for task in tasks]
    late = await desk.jobs.submit("trial.patient", timeout=0.5, retry=ONCE)
    called_off = await desk.jobs.submit("trial.patient")
    await desk.jobs.reaches(called_off, State.RUNNING)
    await desk.jobs.store.cancel(JobQuery(ids=(called_off,)))
    assert (await desk.jobs.ends(called_off)).state is State.CANCELLED
    assert (await desk.jobs.ends(late)).state is State.DEAD_LETTER
    await asyncio.gather(*(desk.jobs.ends(job) for job in ids))
    given_back = await desk.jobs.submit("trial.patient")
    await desk.jobs.reaches(given_back, State.RUNNING)
    worker.process.send_signal(signal.SIGTERM)
    await worker.says("drains")
