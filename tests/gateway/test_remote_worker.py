"""Real workers behind a real server process: they know its address and a token, no more."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stoker.connect import open_store
from stoker.core.clock import SystemClock
from stoker.core.errors import Forbidden, Unauthenticated
from stoker.core.job import JobSpec
from stoker.core.lifecycle import LIVE, State
from stoker.core.records import JobQuery
from stoker.core.store import Store
from stoker.settings import Secret
from stoker.stores.remote import RemoteStore
from stoker.testing import wait_until
from tests.servers.server import accepts, free_port

PATIENCE = 60.0
TOKEN = "token-of-the-remote-workers"
APP = """
import time
from stoker import Retry, Stoker, current_job

app = Stoker()
@app.task
def nothing() -> None:
    pass

app.schedule("nightly", "0 3 * * *", nothing.call())

@app.task
async def double(number: int) -> int:
    return number * 2

@app.task(max_retries=3)
def second_time(number: int) -> int:
    job = current_job()
    job.log(f"attempt {job.attempt}")
    if job.attempt == 1:
        raise Retry(after=0)
    return number

@app.task
def endless() -> None:
    job = current_job()
    while True:
        job.progress(0.5)
        time.sleep(0.05)
        job.check_cancelled()
"""


class Site:
    """A folder for the server, another one for the workers."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder = folder
        self.store = store
        self.gateway = free_port()
        self.http = free_port()
        self.clock = SystemClock()
        self._processes: list[subprocess.Popen[bytes]] = []
        for name in ("server", "worker"):
            (folder / name).mkdir()
        (folder / "worker" / "press.py").write_text(APP)

    def url(self, scheme: str) -> str:
        return f"{scheme}://127.0.0.1:{self.gateway if scheme == 'tcp' else self.http}"

    def start(self, place: str, *words: str, **env: str) -> subprocess.Popen[bytes]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("STOKER_")}  # noqa: TID251 - handed on
        with (self.folder / f"{place}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "stoker", *words],
                cwd=self.folder / place,
                env={**inherited, **env},
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    async def serve(self) -> subprocess.Popen[bytes]:
        server = self.start(
            "server",
            "server",
            *("--port", str(self.http), "--gateway-port", str(self.gateway)),
            *("--store", f"sqlite:///{self.folder}/jobs.db"),
            STOKER_GATEWAY__WORKER_TOKEN=TOKEN,
        )
        await wait_until(
            lambda: accepts(self.gateway) and accepts(self.http), "it serves", timeout=PATIENCE
        )
        return server

    def work(self, scheme: str) -> subprocess.Popen[bytes]:
        return self.start(
            "worker",
            *("worker", "--app", "press:app", "--store", self.url(scheme)),
            STOKER_TOKEN=TOKEN,
            STOKER_WORKER__LEASE="5s",
        )

    async def submit(self, task: str, count: int) -> list[str]:
        specs = [
            JobSpec(id=self.clock.new_id(), task=task, payload=b'{"number":%d}' % number)
            for number in range(count)
        ]
        await self.store.submit(specs)
        return [spec.id for spec in specs]

    async def submit_endless(self) -> str:
        job_id = self.clock.new_id()
        await self.store.submit([JobSpec(id=job_id, task="endless")])
        return job_id

    async def reaches(self, job_id: str, state: State) -> None:
        async def look() -> bool:
            [record] = await self.store.get([job_id])
            return record is not None and record.state is state

        await wait_until(look, f"it is {state}", timeout=PATIENCE)

    async def all_ended(self) -> None:
        async def look() -> bool:
            return not (await self.store.find(JobQuery(states=tuple(LIVE)), limit=1)).jobs

        await wait_until(look, "all jobs ended", timeout=PATIENCE)

    def logs(self) -> str:
        return "\n".join(file.read_text()[-3_000:] for file in self.folder.glob("*.log"))

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_store(f"sqlite:///{tmp_path}/jobs.db") as store:
        with closing(Site(tmp_path, store)) as site:
            yield site


@contextlib.contextmanager
def closing(site: Site) -> Iterator[Site]:
    try:
        yield site
    finally:
        site.close()


@pytest.mark.parametrize("scheme", ["tcp", "http"])
async def test_a_remote_worker_runs_what_the_server_holds(site: Site, scheme: str) -> None:
    await site.serve()
    worker = site.work(scheme)
    doubled = await site.submit("double", 200)
    again = await site.submit("second_time", 5)
    await site.all_ended()
    results = [record and record.result for record in await site.store.get(doubled)]
    assert [bytes(result or b"") for result in results] == [b"%d" % (n * 2) for n in range(200)]
    for record in await site.store.get(again):
        assert record is not None
        assert (record.state, record.attempt, record.failed) == (State.COMPLETED, 2, 1)
        assert [line.message for line in record.logs] == ["attempt 1", "attempt 2"]
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, PATIENCE) == 0, site.logs()
    [session] = await site.store.sessions(ended=True)
    assert session.state == "left"
    assert list((site.folder / "worker").glob("*.db*")) == []


async def test_a_cancel_reaches_a_remote_worker(site: Site) -> None:
    await site.serve()
    site.work("tcp")
    job_id = await site.submit_endless()
    await site.reaches(job_id, State.RUNNING)
    await site.store.cancel(JobQuery(ids=(job_id,)))
    await site.reaches(job_id, State.CANCELLED)


async def test_a_worker_goes_on_after_its_server_was_killed(site: Site) -> None:
    server = await site.serve()
    site.work("tcp")
    first = await site.submit("double", 50)
    await site.all_ended()
    server.kill()
    server.wait()
    second = await site.submit("double", 50)
    await site.serve()
    await site.all_ended()
    for record in await site.store.get([*first, *second]):
        assert record is not None
        assert (record.state, record.attempt) == (State.COMPLETED, 1)
    assert len(await site.store.sessions(ended=True)) == 1


async def test_a_worker_with_a_wrong_token_ends_with_a_code(site: Site) -> None:
    await site.serve()
    worker = site.start(
        "worker", "worker", "--store", site.url("tcp"), STOKER_TOKEN="some other token"
    )
    assert await asyncio.to_thread(worker.wait, PATIENCE) == 3
    assert "[unauthenticated]" in site.logs()


async def test_a_workers_token_opens_nothing_else(site: Site) -> None:
    await site.serve()
    clock = SystemClock()
    for scheme in ("tcp", "http"):
        with pytest.raises(Unauthenticated):
            await RemoteStore(site.url(scheme), clock=clock).__aenter__()
        async with RemoteStore(site.url(scheme), clock=clock, token=Secret(TOKEN)) as store:
            with pytest.raises(Forbidden):
                await store.find(JobQuery())
