"""A fleet of two kinds, from its file: Python beside a program that comes through the gateway."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stoker.connect import open_store
from stoker.core.clock import SystemClock
from stoker.core.job import JobSpec
from stoker.core.lifecycle import State
from stoker.core.store import Store
from stoker.testing import wait_until
from tests.servers.server import accepts, free_port

pytestmark = pytest.mark.slow

PATIENCE = 60.0
TOKEN = "token-of-the-workers-from-afar"
PROGRAM = """#!/bin/sh
# A worker in another language, as far as the fleet knows: words, and variables.
test -n "$STOKER_STORE" && test -n "$STOKER_TOKEN" || exit 7
exec "{python}" -P -m stoker worker "$@"
"""
CONFIG = """
store = "sqlite:///{folder}/jobs.db"
token = "{token}"
[tasks]
standard = false
[worker]
drain = "5s"
[gateway]
worker_token = "{token}"
[fleet]
name = "mill"
[fleet.kinds.near]
queues = ["near"]
concurrency = 2
[fleet.kinds.far]
queues = {{ far = 1 }}
concurrency = 3
max = 3
command = "{folder}/far-worker"
store = "tcp://127.0.0.1:{port}"
"""
TASK = "def run(payload):\n    return payload\n"


class Site:
    def __init__(self, folder: Path, store: Store) -> None:
        self.folder = folder
        self.store = store
        self.clock = SystemClock()
        self.port = free_port()
        (folder / "jobs").mkdir()
        (folder / "jobs" / "echo.py").write_text(TASK)
        program = folder / "far-worker"
        program.write_text(PROGRAM.format(python=sys.executable))
        program.chmod(0o755)
        config = CONFIG.format(folder=folder, port=self.port, token=TOKEN)
        (folder / "stoker.toml").write_text(config)

    @property
    def env(self) -> dict[str, str]:
        return {k: v for k, v in os.environ.items() if not k.startswith("STOKER_")}  # noqa: TID251 - handed on

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "stoker", *words]

    async def ask(self, *words: str) -> Any:
        """Run a command with --json and return its answer."""
        process = await asyncio.create_subprocess_exec(
            *self.command(*words, "--json"),
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, error = await process.communicate()
        assert process.returncode == 0, f"{words}: {error.decode()}"
        return json.loads(out)

    async def kinds(self) -> dict[str, Any]:
        [fleet] = (await self.ask("workers", "ls"))["fleets"]
        return {kind["name"]: kind for kind in fleet["kinds"]}

    async def runs(self, queue: str) -> str:
        """Run a job in a queue; return the name of the worker that did."""
        job = JobSpec(id=self.clock.new_id(), task="echo", queue=queue)
        await self.store.submit([job])

        async def look() -> str:
            [record] = await self.store.get([job.id])
            is_done = record is not None and record.state is State.COMPLETED
            return str(record.worker) if record is not None and is_done else ""

        worker: str = await wait_until(look, f"a job of {queue} ran", timeout=PATIENCE)
        return worker


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_store(f"sqlite:///{tmp_path}/jobs.db") as store:
        site = Site(tmp_path, store)
        with (tmp_path / "server.log").open("wb") as log:
            server = await asyncio.create_subprocess_exec(
                *site.command("server", "--port", str(free_port())),
                *("--gateway-port", str(site.port)),
                cwd=tmp_path,
                env=site.env,
                stdout=log,
                stderr=log,
            )
        try:
            await wait_until(lambda: accepts(site.port), "the server listens", timeout=PATIENCE)
            yield site
        finally:
            server.send_signal(signal.SIGTERM)
            await server.wait()


async def test_each_kind_runs_its_queues_with_its_program_and_is_scaled_by_itself(
    site: Site,
) -> None:
    started = await site.ask("fleet", "start")
    try:
        names = [worker["name"] for worker in started["workers"]]
        assert names == ["mill-near-1", "mill-far-1"]
        assert (await site.runs("near"), await site.runs("far")) == ("mill-near-1", "mill-far-1")
        kinds = await site.kinds()
        assert [(k["program"], k["queues"], k["concurrency"]) for k in kinds.values()] == [
            ("python", ["near"], 2),
            ("far-worker", ["far"], 3),
        ]
        told = await site.ask(
            *("fleet", "scale", "--name", "mill", "--kind", "far"),
            *("--min", "2", "--reason", "more of it"),
        )
        assert told["answer"] == "scaling"

        async def are_two() -> bool:
            far = (await site.kinds())["far"]
            return bool(far["ready"] == 2 and far["is_changed"] and far["max"] == 3)

        await wait_until(are_two, "two of them are ready", timeout=PATIENCE)
        assert (await site.kinds())["near"]["wanted"] == 1
    finally:
        assert (await site.ask("fleet", "stop"))["drained"]
    assert (await site.ask("workers", "ls"))["workers"] == []
    log = (site.folder / ".stoker" / "mill.log").read_text()
    assert TOKEN not in log


async def test_a_fleet_is_stopped_through_the_store(site: Site) -> None:
    await site.ask("fleet", "start")
    state = site.folder / ".stoker" / "mill.json"
    assert state.exists()
    # With --now it is told through the store, as one on another host would be.
    stopped = await site.ask("fleet", "stop", "--name", "mill", "--now")
    assert stopped == {"prefix": "mill", "drained": True}
    await wait_until(lambda: not state.exists(), "its process has ended", timeout=PATIENCE)
