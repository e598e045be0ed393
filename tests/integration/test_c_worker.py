"""Two workers in C and two in Python behind one server, over TLS; one of each dies in the middle.

The judge is a ledger outside the system: each execution appends a line before it works. None lost,
none stuck, and every second execution explained by a recorded lost lease.
"""

import asyncio
import collections
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509

from benchmarks import c_worker as c_worker_benchmark
from stoker.connect import open_store
from stoker.core.clock import SystemClock
from stoker.core.job import JobSpec
from stoker.core.lifecycle import LIVE, State
from stoker.core.records import JobQuery
from stoker.core.store import Store
from stoker.testing import wait_until
from tests.gateway.certificates import Office
from tests.servers.server import accepts, free_port
from tests.workers_c.program import Jobs, build, c_worker, environment, plugin, run

JOBS = 5_000
CHUNK = 1_000
PATIENCE = 90.0
LEASE = "2s"
TOKEN = "token-of-the-mixed-workers"
APP = """
import os, time
from stoker import Stoker, current_job

app = Stoker()

@app.task("trial.ledger")
def work(ledger: str, number: int) -> int:
    job = current_job()
    handle = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, f"{job.id} python\\n".encode())
    finally:
        os.close(handle)
    time.sleep(0.001 * (number % 10))
    return number
"""


class Yard:
    """A server process, and what is started beside it."""

    def __init__(self, folder: Path, store: Store, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.store = store
        self.jobs = Jobs(store)
        self.gateway = free_port()
        self.http = free_port()
        self.office = Office(folder)
        self._stack = stack

    @property
    def url(self) -> str:
        return f"tls://localhost:{self.gateway}?ca={self.office.file}"

    async def python(self, name: str, *words: str, **more: str) -> asyncio.subprocess.Process:
        """Start a Stoker command."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "stoker", *words),
                cwd=self.folder,
                env=environment(**more),
                stdout=log,
                stderr=log,
            )
        self._stack.push_async_callback(_end, process)
        return process

    async def serve(self) -> None:
        pair = self.office.vouch("server", [x509.DNSName("localhost")])
        await self.python(
            "server",
            *("server", "--port", str(self.http), "--gateway-port", str(self.gateway)),
            *("--store", f"sqlite:///{self.folder}/jobs.db"),
            STOKER_GATEWAY__WORKER_TOKEN=TOKEN,
            STOKER_GATEWAY__CERTIFICATE=str(pair.certificate),
            STOKER_GATEWAY__KEY=str(pair.key),
            STOKER_KEEPER__INTERVAL="100ms",
            STOKER_WORKER__LEASE=LEASE,
        )
        await wait_until(lambda: accepts(self.gateway), "it serves", timeout=PATIENCE)

    async def worker_in_python(self, name: str) -> asyncio.subprocess.Process:
        words = ("worker", "--app", "mixed:app", "--store", self.url, "--name", name)
        return await self.python(name, *words, STOKER_TOKEN=TOKEN, STOKER_WORKER__LEASE=LEASE)

    async def worker_in_c(self, name: str) -> asyncio.subprocess.Process:
        words = ("--lease", LEASE)
        worker = c_worker(self.folder, self.url, *words, name=name, STOKER_TOKEN=TOKEN)
        return (await self._stack.enter_async_context(worker)).process

    async def submit_many(self) -> set[str]:
        clock, ledger = SystemClock(), str(self.folder / "ledger")
        specs = [
            JobSpec(
                id=clock.new_id(),
                task="trial.ledger",
                payload=json.dumps({"ledger": ledger, "number": number}).encode(),
                max_lost=100,
            )
            for number in range(JOBS)
        ]
        for at in range(0, JOBS, CHUNK):
            await self.store.submit(specs[at : at + CHUNK])
        return {spec.id for spec in specs}

    def ledger(self) -> list[list[str]]:
        file = self.folder / "ledger"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    async def all_ended(self) -> None:
        async def look() -> bool:
            return not (await self.store.find(JobQuery(states=tuple(LIVE)), limit=1)).jobs

        await wait_until(look, "all jobs ended", timeout=PATIENCE)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    build()
    (tmp_path / "mixed.py").write_text(APP)
    async with _yard(tmp_path) as yard:
        await yard.serve()
        yield yard


@asynccontextmanager
async def _yard(folder: Path) -> AsyncIterator[Yard]:
    async with AsyncExitStack() as stack, open_store(f"sqlite:///{folder}/jobs.db") as store:
        yield Yard(folder, store, stack)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_nothing_is_lost_when_one_worker_of_each_language_is_killed(yard: Yard) -> None:
    pythons = [await yard.worker_in_python(f"python-{n}") for n in range(2)]
    cs = [await yard.worker_in_c(f"c-{n}") for n in range(2)]
    ids = await yard.submit_many()
    for victim, done in ((cs[0], JOBS // 5), (pythons[0], JOBS // 2)):
        await wait_until(
            lambda least=done: len(yard.ledger()) >= least,  # type: ignore[misc]
            f"{done} have run",
            timeout=PATIENCE,
        )
        victim.send_signal(signal.SIGKILL)
        await victim.wait()
    await yard.all_ended()

    records = [await yard.jobs.record(job_id) for job_id in sorted(ids)]
    assert {record.state for record in records} == {State.COMPLETED}
    assert [record.failed for record in records if record.failed] == []
    runs = collections.Counter(line[0] for line in yard.ledger())
    assert set(runs) == ids, "an execution of a job that nobody submitted, or none of one"
    unexplained = [record.id for record in records if runs[record.id] > 1 + record.lost]
    assert unexplained == []
    # All four took part: otherwise this would say nothing about any of them.
    assert {record.worker for record in records} >= {"python-1", "c-1"}
    languages = collections.Counter(line[1] for line in yard.ledger())
    assert min(languages["c"], languages["python"]) >= JOBS // 50, languages
    assert any(record.lost for record in records), "nobody held anything when it was killed"
    assert cs[1].returncode is None
    cs[1].send_signal(signal.SIGTERM)
    pythons[1].send_signal(signal.SIGTERM)
    assert [await cs[1].wait(), await pythons[1].wait()] == [0, 0]


async def test_people_see_what_a_worker_in_c_does(yard: Yard) -> None:
    await yard.worker_in_c("press")
    job_id = await yard.jobs.submit("trial.report_apart")
    dead = await yard.jobs.submit("trial.discard")
    await yard.jobs.ends(job_id)
    await yard.jobs.ends(dead)
    workers = await yard.python("workers", "workers", "ls", "--json", STOKER_STORE=_store(yard))
    logs = await yard.python("logs", "jobs", "logs", job_id, STOKER_STORE=_store(yard))
    letters = await yard.python("letters", "dlq", "ls", "--json", STOKER_STORE=_store(yard))
    assert [await p.wait() for p in (workers, logs, letters)] == [0, 0, 0]
    [worker] = json.loads((yard.folder / "workers.log").read_text())["workers"]
    assert (worker["name"], worker["kind"], worker["state"]) == ("press", "c", "alive")
    shown = (yard.folder / "logs.log").read_text()
    assert "line 1" in shown
    assert "line 4" in shown
    assert "no picture in it" in (yard.folder / "letters.log").read_text()


def _store(yard: Yard) -> str:
    return f"sqlite:///{yard.folder}/jobs.db"


async def test_a_wrong_token_ends_it_with_the_code_that_python_has(yard: Yard) -> None:
    words = ("--store", yard.url, "--plugin", str(plugin()), "--log-level", "error")
    ours = await asyncio.to_thread(run, *words, STOKER_TOKEN="wrong-token-of-nobody")
    theirs = await yard.python(
        "theirs", "worker", "--store", yard.url, STOKER_TOKEN="wrong-token-of-nobody"
    )
    assert (ours.returncode, await theirs.wait()) == (3, 3)
    assert ours.stderr == (yard.folder / "theirs.log").read_text()
    assert ours.stderr.startswith("Error: the token is not one")


async def test_the_worker_in_c_is_measured_beside_the_one_in_python(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'bench.db'}"
    found = await c_worker_benchmark.measure(store, rounds=1, drained=200)
    assert set(found) == set(c_worker_benchmark.KINDS)
    assert all(figures.rates and figures.memory[0] > 0 for figures in found.values())
    assert "the worker in C, as many times" in c_worker_benchmark.table(found)
