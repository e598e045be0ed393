"""I5, I2, I4: workers are killed with SIGKILL in the middle of a thousand jobs, twenty times over.

The judge is a ledger outside the system: each execution appends a line before it works. None lost,
none stuck, and every second execution explained by a recorded lost lease.
"""

import asyncio
import collections
import signal
import sys
from functools import partial
from pathlib import Path

from stoker.connect import open_store
from stoker.core.clock import SystemClock
from stoker.core.job import JobSpec
from stoker.core.lifecycle import LIVE, State
from stoker.core.records import JobQuery
from stoker.core.store import Store
from stoker.testing import wait_until

JOBS = 1_000
KILLS = 20
WORKERS = 2

APP = """
import os, time
from stoker import Stoker, current_job

app = Stoker()

@app.task(max_lost=1000)
def work(ledger: str, number: int) -> int:
    job = current_job()
    line = f"{job.id} {job.epoch} {os.getpid()}\\n".encode()
    handle = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)
    time.sleep(0.001 * (number % 40))
    return number
"""

CONFIG = """
[worker]
lease = "1s"
concurrency = 8
[keeper]
interval = "100ms"
term = "1s"
[tasks]
standard = false
"""


class Herd:
    """Worker processes that die and are replaced."""

    def __init__(self, folder: Path, store: str) -> None:
        self._folder = folder
        self._store = store
        self._turn = 0
        self.workers: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        with (self._folder / "workers.log").open("ab") as log:
            worker = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "stoker", "worker", "--app", "work:app",
                "--store", self._store, "--config", "stoker.toml",
                cwd=self._folder, stdout=log, stderr=log,
            )  # fmt: skip
        self.workers.append(worker)

    async def kill_one(self) -> None:
        # Oldest and youngest in turn: the keeper that leads dies as often as the one that waits.
        self._turn += 1
        victim = self.workers.pop(0 if self._turn % 2 else -1)
        victim.send_signal(signal.SIGKILL)
        await victim.wait()

    async def stop(self) -> list[int]:
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)
        return [await worker.wait() for worker in self.workers]


async def test_killing_workers_twenty_times_loses_no_job(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(APP)
    (tmp_path / "stoker.toml").write_text(CONFIG)
    url = f"sqlite:///{tmp_path}/jobs.db"
    ledger = tmp_path / "ledger"
    clock = SystemClock()
    specs = [
        JobSpec(
            id=clock.new_id(),
            task="work",
            payload=b'{"ledger":"%s","number":%d}' % (str(ledger).encode(), number),
            max_lost=1000,
            timeout=60.0,
        )
        for number in range(JOBS)
    ]
    async with open_store(url) as store:
        await store.submit(specs)
        herd = Herd(tmp_path, url)
        try:
            await _kill_through(store, herd)
            await wait_until(partial(_all_ended, store), "all jobs ended", timeout=90)
        finally:
            codes = await herd.stop()
        assert codes == [0] * WORKERS, (tmp_path / "workers.log").read_text()[-3000:]
        records = await store.get([spec.id for spec in specs])
    executions = collections.Counter(line.split()[0] for line in ledger.read_text().splitlines())
    lost = 0
    for record in records:
        assert record is not None
        assert record.state is State.COMPLETED, record
        losses = sum(1 for attempt in record.attempts if attempt.outcome == "lost")
        lost += losses
        assert 1 <= executions[record.id] <= 1 + losses, record
    assert lost > 0, "no kill hit a running job: the test proved nothing"


async def _kill_through(store: Store, herd: Herd) -> None:
    for _ in range(WORKERS):
        await herd.start()
    for kill in range(KILLS):
        goal = (kill + 1) * JOBS // (KILLS + 5)
        await wait_until(partial(_completed, store, goal), f"{goal} jobs completed", timeout=60)
        await herd.kill_one()
        await herd.start()


async def _completed(store: Store, goal: int) -> bool:
    tallies = (await store.counts()).tallies
    return sum(t.count for t in tallies if t.state is State.COMPLETED) >= goal


async def _all_ended(store: Store) -> bool:
    return not (await store.find(JobQuery(states=tuple(LIVE)), limit=1)).jobs
