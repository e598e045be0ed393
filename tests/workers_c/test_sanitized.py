"""The whole program under AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer."""

import asyncio
import re
import signal
from pathlib import Path

import pytest

from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.core.retry import RetryPolicy
from stoker.testing import wait_until
from tests.workers_c.conftest import Desk
from tests.workers_c.program import BUILD, Worker, build, c_worker, plugin
from tests.workers_c.scripted import Guest, Said, lease, ok, scripted
from tests.workers_c.test_hostile_server import NONSENSE

ASAN = BUILD / "asan"
PROGRAM = ASAN / "stoker-worker-c"
PLUGINS = (plugin(folder=ASAN), plugin("shapes", folder=ASAN))
FINDING = re.compile(r"ERROR: \w+Sanitizer|runtime error:|SUMMARY: \w+Sanitizer")
VARIABLES = {"ASAN_OPTIONS": "detect_leaks=1:handle_segv=0:handle_abort=0:handle_sigbus=0"}
ONCE = RetryPolicy(max_retries=0)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def sanitized() -> None:
    build("sanitize")


def clean(worker: Worker) -> bool:
    assert not FINDING.search(worker.said), worker.said[-5000:]
    return True


async def test_jobs_of_every_end_leave_nothing_behind(desk: Desk) -> None:
    async with c_worker(
        desk.folder, desk.url, program=PROGRAM, plugins=PLUGINS, env=VARIABLES
    ) as worker:
        payload = b'{"side":3,"times":1,"text":"caf\\u00e9","list":[1,[2]]}'
        tasks = ["echo", "echo_apart", "describe_apart", "fail", "discard", "retry", "report_apart"]
        ids = [await desk.jobs.submit(f"trial.{task}", payload) for task in tasks]
        ids += [await desk.jobs.submit("shape.square", payload), await desk.jobs.submit("nobody")]
        ids += [await desk.jobs.submit("trial.crash", max_lost=1)]
        ids += [await desk.jobs.submit("trial.spin", timeout=0.5, retry=ONCE)]
        called_off = await desk.jobs.submit("trial.patient")
        await desk.jobs.reaches(called_off, State.RUNNING)
        await desk.jobs.store.cancel(JobQuery(ids=(called_off,)))
        await asyncio.gather(*(desk.jobs.ends(i) for i in [*ids[:8], *ids[9:], called_off]))
        await desk.jobs.submit("trial.patient")
        worker.process.send_signal(signal.SIGTERM)
        await worker.says("drains")
        assert await worker.drain() == 0
    assert clean(worker)


async def test_nonsense_of_a_server_is_read_within_its_bounds(tmp_path: Path) -> None:
    async with scripted() as gateway:
        turns = iter(NONSENSE.values())

        def answer(guest: Guest, request: Said) -> bytes | None:
            nonsense = next(turns, None)
            return gateway.usual(guest, request) if nonsense is None else nonsense

        gateway.answers["exchange"] = answer
        gateway.leases += [lease("b1", payload=[1]), lease("b2", task="a\u0000b"), lease("good")]
        async with c_worker(
            tmp_path, f"{gateway.url}?timeout=1s", program=PROGRAM, plugins=PLUGINS, env=VARIABLES
        ) as worker:
            await gateway.is_handed("good")
            assert await worker.drain() == 0
    assert clean(worker)


async def test_a_session_that_is_lost_is_dropped_whole(tmp_path: Path) -> None:
    async with scripted() as gateway:
        gateway.leases += [
            lease(f"j{n}", "trial.stubborn", payload={"seconds": 0.2}) for n in range(30)
        ]
        async with c_worker(
            tmp_path, gateway.url, "-c", "3", program=PROGRAM, plugins=PLUGINS, env=VARIABLES
        ) as worker:
            await wait_until(lambda: any(p.get("held") for p in gateway.of("beat")), "they run")

            def dead(guest: Guest, request: Said) -> bytes | None:
                del gateway.answers["beat"]
                del guest
                return ok(request, {"alive": False})

            gateway.answers["beat"] = dead
            await worker.says("it was declared dead")
            gateway.leases.append(lease("last"))
            await gateway.is_handed("last")
            assert await worker.drain() == 0
    assert clean(worker)
