"""A worker of a fleet is killed: its supervisor saw it die, and nobody waits for a lease.

The lease here is the default, thirty seconds. The jobs run again long before it could have ended,
under the same rules (I2, I5); how long it took goes with the results.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from stoker.connect import open_store
from stoker.core.clock import SystemClock
from stoker.core.job import JobSpec
from stoker.core.lifecycle import LIVE, State
from stoker.core.records import JobQuery
from stoker.core.store import Store
from stoker.testing import wait_until
from tests.integration.combinations.herd import Herd
from tests.integration.combinations.ledger import Line
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer

pytestmark = [pytest.mark.slow, pytest.mark.servers]
Record = Callable[[str, object], None]
JOBS = 60
WITHIN = 60.0
CONFIG = """
store = "{store}"
app = "program:app"
[worker]
concurrency = 8
processes = 2
[tasks]
standard = false
"""


@asynccontextmanager
async def store_url(engine: str, folder: Path) -> AsyncIterator[str]:
    if engine == "sqlite":
        yield f"sqlite:///{folder}/jobs.db"
    elif engine == "postgresql":
        with Postgres() as postgres:
            yield postgres.url()
    else:
        with RedisServer(fsync="always") as redis:
            yield redis.url


@asynccontextmanager
async def fleet_in(folder: Path) -> AsyncIterator[None]:
    with (folder / "fleet.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "stoker", "fleet", "--min", "2", "--max", "2",
            cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0, (folder / "fleet.log").read_text()[-3000:]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "redis"])
async def test_jobs_of_a_killed_worker_of_a_fleet_run_again_without_waiting_for_a_lease(
    engine: str, tmp_path: Path, record_property: Record
) -> None:
    clock = SystemClock()
    async with store_url(engine, tmp_path) as url:
        herd = Herd(tmp_path, config=CONFIG.format(store=url))
        specs = [
            JobSpec(id=clock.new_id(), task="work", payload=b'{"number":1,"pace":0.5}')
            for _ in range(JOBS)
        ]
        async with open_store(url) as store, fleet_in(tmp_path):
            await store.submit(specs)
            cut, killed_at = await _kill_one(herd, store)
            again = {line.job: await _begins_again(herd, line) for line in cut}
            await wait_until(partial(_all_ended, store), "every job ended", timeout=WITHIN)
            records = await store.get([spec.id for spec in specs])
    for record in records:
        assert record is not None
        assert record.state is State.COMPLETED
        outcomes = [attempt.outcome for attempt in record.attempts]
        assert outcomes[-1] == "completed", outcomes
        assert set(outcomes[:-1]) <= {"lost", "released"}, outcomes
        assert record.lost == outcomes.count("lost") <= 1
        assert record.lost == 1 or record.id not in again
    record_property("fleet", engine)
    record_property("cases", sorted(round(line.at - killed_at, 3) for line in again.values()))


async def _kill_one(herd: Herd, store: Store) -> tuple[list[Line], float]:
    """Kill a worker that runs several jobs; return what was cut off, and when."""

    def busy() -> dict[str, list[Line]]:
        found: dict[str, list[Line]] = {}
        for line in herd.ledger.look().open.values():
            found.setdefault(line.worker, []).append(line)
        return {name: lines for name, lines in found.items() if len(lines) >= 4}

    await wait_until(busy, "a worker runs several jobs", timeout=WITHIN)
    pids = {session.name: session.pid for session in await store.sessions()}
    victim = next(iter(busy()), None) or next(iter(pids))
    os.kill(pids[victim], signal.SIGKILL)
    killed_at = time.monotonic()
    cut = [line for line in herd.ledger.look().open.values() if line.worker == victim]
    assert cut, "the kill hit no running job: nothing was proved"
    return cut, killed_at


async def _begins_again(herd: Herd, cut: Line) -> Line:
    def look() -> Line | None:
        lines = (line for line in herd.ledger.look().lines if line.job == cut.job)
        return next((line for line in lines if line.epoch > cut.epoch), None)

    found: Line | None = await wait_until(look, f"{cut.job} begins again", timeout=WITHIN)
    assert found is not None
    return found


async def _all_ended(store: Store) -> bool:
    return not (await store.find(JobQuery(states=tuple(LIVE)), limit=1)).jobs
