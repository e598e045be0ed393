"""A real fleet under a burst, and a rolling restart under load: nothing lost, nothing run twice."""

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from stoker.connect import open_store
from stoker.core.clock import SystemClock
from stoker.core.events import EventRecord, Kind
from stoker.core.fleets import FleetCommand, workers_among
from stoker.core.job import JobRecord, JobSpec
from stoker.core.lifecycle import State
from stoker.core.records import EventQuery, JobQuery
from stoker.core.store import Store
from stoker.fleet.fleet import Fleet
from stoker.fleet.kinds import plain
from stoker.fleet.running import run_fleet
from stoker.settings import FleetSettings, Seconds
from stoker.testing import wait_until

pytestmark = pytest.mark.slow

PATIENCE = 120.0
SLOTS = 4
BURST = 2_000
MOST = 8
NAP = """
import time

def run(payload):
    time.sleep(payload["seconds"])
"""
CONFIG = "[tasks]\nstandard = false\n"


class Site:
    """A fleet, its store and a task that takes as long as it is told."""

    def __init__(self, folder: Path, store: Store, settings: FleetSettings) -> None:
        self.store = store
        self.clock = SystemClock()
        self.settings = settings
        command = [
            *(sys.executable, "-P", "-m", "stoker", "worker", "--name", "{name}"),
            *("--store", f"sqlite:///{folder}/jobs.db", "--jobs", str(folder / "jobs")),
            *("--concurrency", str(SLOTS), "--config", str(folder / "stoker.toml")),
        ]
        kind = plain(settings, command=command, slots=SLOTS, queues=["default"])
        self.fleet = Fleet(store, [kind], clock=self.clock, drain=1.0)
        self.supervisor = self.fleet.supervisor

    async def run(self) -> None:
        await run_fleet(self.store, self.fleet, clock=self.clock, ttl=30.0)

    async def submit(self, count: int, seconds: float) -> None:
        payload = json.dumps({"seconds": seconds}).encode()
        jobs = [JobSpec(id=self.clock.new_id(), task="nap", payload=payload) for _ in range(count)]
        await self.store.submit(jobs)

    async def ready(self, count: int) -> None:
        async def look() -> bool:
            return len(workers_among(await self.store.sessions())) >= count

        await wait_until(look, f"{count} workers are at work", timeout=PATIENCE)

    async def done(self, count: int) -> list[JobRecord]:
        async def look() -> bool:
            counts = await self.store.counts()
            return counts.totals.get("completed", 0) >= count

        await wait_until(look, f"{count} jobs are completed", timeout=PATIENCE)
        return await self._all(State.COMPLETED)

    async def events(self, kind: Kind) -> list[EventRecord]:
        return await self.store.events(EventQuery(after=0, kinds=(kind,)), limit=1_000)

    async def _all(self, state: State) -> list[JobRecord]:
        jobs: list[JobRecord] = []
        cursor: str | None = None
        while True:
            page = await self.store.find(JobQuery(states=(state,)), cursor=cursor, limit=1_000)
            jobs += page.jobs
            cursor = page.next_cursor
            if cursor is None:
                return await self._whole(jobs)

    async def _whole(self, jobs: list[JobRecord]) -> list[JobRecord]:
        found: list[JobRecord] = []
        for start in range(0, len(jobs), 500):
            records = await self.store.get([job.id for job in jobs[start : start + 500]])
            found += [record for record in records if record is not None]
        return found


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Callable[[FleetSettings], Site]]:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "nap.py").write_text(NAP)
    (tmp_path / "stoker.toml").write_text(CONFIG)
    async with open_store(f"sqlite:///{tmp_path}/jobs.db") as store:
        yield lambda settings: Site(tmp_path, store, settings)


@contextlib.asynccontextmanager
async def at_work(site: Site) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        group.create_task(site.run())
        try:
            yield
        finally:
            site.fleet.stop()


def ran(job: JobRecord) -> int:
    """How often its handler began: what a worker handed back before that is no attempt to run."""
    return sum(a.started_at is not None or a.outcome == "completed" for a in job.attempts)


def report(site: Site, jobs: list[JobRecord], most: int, node: pytest.Item) -> None:
    """Put the start delays into the test's report (``-rP`` shows it): figures, not assertions.

    Beside them stands what they are held against: the target, and a cold start as it was measured
    here, which a burst that nobody foresaw may cost.
    """
    delays = sorted((job.attempts[0].leased_at - job.run_at).total_seconds() for job in jobs)
    places = {"p50": 0.5, "p95": 0.95, "last": 1.0}
    shown = (f"{name} {delays[int((len(delays) - 1) * at)]:.2f} s" for name, at in places.items())
    target = float(site.settings.start_within)
    cold = site.fleet.units["default"].scaling.cold_start
    late = sum(delay > target + cold for delay in delays)
    node.add_report_section(
        "call",
        "start delays",
        f"{len(jobs)} jobs of 50 ms, {site.settings.min} to {most} workers and back: "
        f"{', '.join(shown)}; the target is {target:g} s and a cold start took {cold:.2f} s here: "
        f"{late} jobs started later than both together",
    )


async def test_a_burst_grows_the_fleet_and_calm_shrinks_it_without_an_interrupted_job(
    site: Callable[[FleetSettings], Site], request: pytest.FixtureRequest
) -> None:
    settings = FleetSettings(
        name="w", min=2, max=MOST, start_within=Seconds(5), cooldown=Seconds(2)
    )
    here = site(settings)
    async with at_work(here):
        await here.ready(2)
        await here.submit(BURST, 0.05)
        await wait_until(
            lambda: here.supervisor.size == MOST, "it is at its most", timeout=PATIENCE
        )
        jobs = await here.done(BURST)
        await wait_until(lambda: here.supervisor.size == 2, "it is at its least", timeout=PATIENCE)
    report(here, jobs, MOST, request.node)
    assert len(jobs) == BURST
    assert {ran(job) for job in jobs} == {1}, "a job was interrupted"
    grown, *_, shrunk = await here.events(Kind.FLEET_SCALED)
    assert (grown.details["before"], shrunk.details["workers"]) == (2, 2)
    assert re.search(r"wait, the oldest|none has ended", grown.details["reason"])
    assert "were enough for 2 s" in shrunk.details["reason"]


async def test_a_rolling_restart_under_load_loses_nothing_and_runs_nothing_twice(
    site: Callable[[FleetSettings], Site],
) -> None:
    here = site(FleetSettings(name="w", min=2, max=2))
    async with at_work(here):
        await here.ready(2)
        before = {worker.pid for worker in here.supervisor.workers}
        await here.submit(600, 0.05)
        await here.supervisor.renew()
        after = {worker.pid for worker in here.supervisor.workers}
        jobs = await here.done(600)
    assert not before & after
    assert {ran(job) for job in jobs} == {1}
    assert len(await here.events(Kind.FLEET_RENEWED_WORKER)) == 2
    assert not await here.events(Kind.WORKER_DIED)


async def test_fewer_workers_by_command_interrupt_no_job_that_runs(
    site: Callable[[FleetSettings], Site],
) -> None:
    here = site(FleetSettings(name="w", min=3, max=3))
    async with at_work(here):
        await here.ready(3)
        await here.submit(60, 0.4)

        async def all_are_busy() -> bool:
            return all(session.busy for session in workers_among(await here.store.sessions()))

        await wait_until(all_are_busy, "every worker runs something", timeout=PATIENCE)
        fewer = FleetCommand(session="s", action="scale", min=1, max=1, reason="the night")
        here.fleet.obey(fewer, actor="cli:test")
        jobs = await here.done(60)
        await wait_until(lambda: len(here.supervisor.workers) == 1, "two left", timeout=PATIENCE)
    assert {ran(job) for job in jobs} == {1}, "a job was interrupted"
    assert not await here.events(Kind.WORKER_DIED)
    [scaled] = await here.events(Kind.FLEET_SCALED)
    told = {"fleet": "w", "before": 3, "workers": 1, "reason": "the night", "by": "cli:test"}
    assert scaled.details == told
