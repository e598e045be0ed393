"""Real workers under a supervisor, in the foreground and in the background, on SQLite."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from stoker.connect import open_store
from stoker.core.clock import SystemClock
from stoker.core.errors import NotFound, Refused, Unavailable
from stoker.core.events import Kind
from stoker.core.fleets import workers_among
from stoker.core.job import JobRecord, JobSpec, SessionInfo
from stoker.core.lifecycle import State
from stoker.core.records import EventQuery
from stoker.core.store import Store
from stoker.fleet import background
from stoker.fleet.identity import Identity
from stoker.fleet.kinds import plain
from stoker.fleet.reporter import HOST
from stoker.fleet.supervisor import Supervisor
from stoker.settings import FleetSettings, Seconds
from stoker.testing import wait_until

PATIENCE = 60.0
"""Seconds for what takes one: several Python processes start on a busy machine."""

HOLD = """
import time
from pathlib import Path

def run(payload):
    mark = Path(payload["mark"])
    if mark.exists():
        return "again"
    mark.touch()
    time.sleep(600)
"""
"""A task that never ends the first time."""


class Site:
    """A folder with a store, a jobs folder and a run folder."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder = folder
        self.store = store
        self.url = f"sqlite:///{folder}/jobs.db"
        self.clock = SystemClock()
        self.settings = FleetSettings(
            name="w", min=2, backoff=Seconds(0.05), run_dir=str(folder / "run")
        )

    @property
    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "stoker", "worker", "--name", "{name}", "--store", self.url),
            *("--jobs", str(self.folder / "jobs"), "--concurrency", "1"),
        ]

    async def submit(self) -> str:
        payload = json.dumps({"mark": str(self.folder / "mark")}).encode()
        job = JobSpec(id=self.clock.new_id(), task="hold", payload=payload)
        await self.store.submit([job])
        return job.id

    async def job(self, job_id: str) -> JobRecord:
        [record] = await self.store.get([job_id])
        assert record is not None
        return record

    async def job_is(self, job_id: str, state: State) -> JobRecord:
        async def look() -> list[JobRecord]:
            record = await self.job(job_id)
            return [record] if record.state is state else []

        found: list[JobRecord] = await wait_until(look, f"it is {state}", timeout=PATIENCE)
        return found[0]

    async def workers(self, count: int) -> Sequence[SessionInfo]:
        async def look() -> list[SessionInfo]:
            found = workers_among(await self.store.sessions())
            return found if len(found) == count else []

        return await wait_until(look, f"{count} workers are at work", timeout=PATIENCE)

    async def start(self, command: Sequence[str] | None = None) -> background.FleetStatus:
        return await background.start(
            self.store,
            self.url,
            kinds=[plain(self.settings, command=command or self.command, slots=1, queues=())],
            settings=self.settings,
            drain=1.0,
            timeout=PATIENCE,
        )

    async def stop(self, *, timeout: float = PATIENCE) -> bool:
        return await background.stop(prefix="w", run_dir=self.settings.run_dir, timeout=timeout)

    async def status(self) -> background.FleetStatus:
        return await background.status(self.store, prefix="w", run_dir=self.settings.run_dir)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    (jobs / "hold.py").write_text(HOLD)
    async with open_store(f"sqlite:///{tmp_path}/jobs.db") as store:
        site = Site(tmp_path, store)
        yield site
        if (await site.status()).is_running:
            await site.stop(timeout=0)


async def test_the_jobs_of_a_killed_worker_run_again_at_once(site: Site) -> None:
    supervisor = Supervisor(
        site.store, command=site.command, settings=site.settings, clock=site.clock, drain=1.0
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(supervisor.run())
        try:
            workers = await site.workers(2)
            job_id = await site.submit()
            running = await site.job_is(job_id, State.RUNNING)
            victim = next(worker for worker in workers if worker.name == running.worker)
            await wait_until((site.folder / "mark").exists, "the job has begun")
            os.kill(victim.pid, signal.SIGKILL)
            done = await site.job_is(job_id, State.COMPLETED)
            (died,) = await site.store.events(EventQuery(kinds=(Kind.WORKER_DIED,)))
            await site.workers(2)
        finally:
            supervisor.stop()
    lost, again = done.attempts
    assert (lost.worker, lost.outcome, again.outcome) == (victim.name, "lost", "completed")
    assert (done.lost, died.worker, died.actor) == (1, victim.name, "fleet:w")
    # A lease is thirty seconds; the store's own clock says how long the job waited for the next.
    assert (again.leased_at - died.at).total_seconds() < 1.0
    assert (died.at - victim.seen_at).total_seconds() < 30.0


async def test_a_fleet_in_the_background_works_until_it_is_stopped(site: Site) -> None:
    started = await site.start()
    assert (started.is_running, started.ready, len(started.sessions)) == (True, 2, 2)
    assert [worker.name for worker in started.workers] == ["w-1", "w-2"]
    assert background.prefixes(site.settings.run_dir) == ["w"]
    assert started.pid is not None
    fleet = Identity.of(started.pid)
    assert os.getsid(started.pid) == started.pid
    (site.folder / "mark").touch()
    await site.job_is(await site.submit(), State.COMPLETED)
    assert await site.stop()
    assert not fleet.is_alive()
    stopped = await site.status()
    assert (stopped.is_running, stopped.workers, stopped.sessions) == (False, [], [])
    assert background.prefixes(site.settings.run_dir) == []
    events = await site.store.events(EventQuery(after=0))
    kinds = [event.kind for event in events]
    assert kinds.count(Kind.FLEET_STARTED) == kinds.count(Kind.FLEET_STOPPED) == 1
    left = sorted(event.worker or "" for event in events if event.kind is Kind.WORKER_LEFT)
    assert left == ["fleet:w", "w-1", "w-2"]


async def test_a_second_fleet_of_the_same_name_is_refused(site: Site) -> None:
    first = await site.start()
    with pytest.raises(Refused, match="runs already"):
        await site.start()
    assert (await site.status()).pid == first.pid


async def test_a_fleet_whose_workers_cannot_run_is_given_up_with_the_reason(site: Site) -> None:
    words = "import sys; sys.exit('no such app: nowhere')"
    with pytest.raises(Unavailable) as caught:
        await site.start([sys.executable, "-c", words])
    assert "ended with exit code 1, 3 times in a row" in caught.value.message
    assert "no such app: nowhere" in caught.value.message
    assert not (await site.status()).is_running


async def test_a_fleet_that_cannot_open_its_store_is_given_up_with_the_reason(site: Site) -> None:
    (site.folder / "text.db").write_text("this is not a database, whatever its name may say\n" * 99)
    site.url = f"sqlite:///{site.folder}/text.db"
    with pytest.raises(Unavailable, match="its process ended") as caught:
        await site.start()
    assert "the fleet w ends" in caught.value.message


async def test_a_killed_fleet_leaves_no_worker_and_can_be_started_again(site: Site) -> None:
    first = await site.start()
    assert first.pid is not None
    children = [Identity.of(worker.pid or 0) for worker in first.workers]
    Identity.of(first.pid).send(signal.SIGKILL)
    for child in children:
        assert await child.ended(PATIENCE)
    assert not (await site.status()).is_running
    again = await site.start()
    assert again.pid != first.pid
    assert again.ready == 2


async def test_a_fleet_that_does_not_drain_in_time_is_killed(site: Site) -> None:
    started = await site.start()
    job_id = await site.submit()
    await site.job_is(job_id, State.RUNNING)
    assert not await site.stop(timeout=0)
    assert not (await site.status()).is_running
    assert not any(Identity.of(worker.pid or 0).is_alive() for worker in started.workers)


async def test_stopping_what_does_not_run_is_told(site: Site) -> None:
    with pytest.raises(NotFound, match="no fleet 'w' runs here"):
        await site.stop()


async def test_a_stranger_under_the_pid_of_a_dead_fleet_is_left_alone(site: Site) -> None:
    files = background.Files(site.settings.run_dir, "w")
    files.folder.mkdir()
    stranger = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import signal; signal.pause()")
    )
    try:
        real = await site.start()
        await site.stop()
        files.write(
            background.FleetState(
                prefix="w",
                pid=stranger.pid,
                mark=f"{Identity.of(stranger.pid).mark}0",
                host=HOST,
                started_at=real.started_at or pytest.fail("it never started"),
                store=site.url,
                log=real.log,
                workers=real.workers,
            )
        )
        assert not (await site.status()).is_running
        with pytest.raises(NotFound):
            await site.stop()
        assert stranger.returncode is None
        assert Identity.of(stranger.pid).is_alive()
    finally:
        stranger.kill()
        await stranger.wait()


async def test_no_secret_is_in_a_file_or_an_argument_list(site: Site) -> None:
    started = await site.start()
    command = _command_line(started.pid or 0)
    assert command[1:4] == ["-P", "-m", "stoker.fleet"]
    assert site.url not in " ".join(command)
    files = background.Files(site.settings.run_dir, "w")
    assert {path.name for path in files.folder.iterdir()} == {"w.json", "w.log", "w.lock"}


def _command_line(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
