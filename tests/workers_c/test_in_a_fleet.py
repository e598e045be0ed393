"""The C worker as one kind of a fleet, beside Python: started, seen, more of it, drained."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from stoker.core.lifecycle import State
from stoker.testing import wait_until
from tests.workers_c.conftest import Desk
from tests.workers_c.program import PATIENCE, PROGRAM, build, environment, plugin

pytestmark = pytest.mark.slow

CONFIG = """
store = "sqlite:///{folder}/jobs.db"
[worker]
drain = "5s"
[tasks]
standard = false
[fleet]
name = "mill"
[fleet.kinds.py]
queues = ["py"]
[fleet.kinds.c]
queues = ["c"]
concurrency = 2
max = 2
command = "{program}"
plugins = ["{plugin}"]
store = "{url}"
"""


class Shell:
    """Commands in the folder of a desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        words = {"program": PROGRAM, "plugin": plugin(), "url": desk.url, "folder": desk.folder}
        (desk.folder / "stoker.toml").write_text(CONFIG.format(**words))

    async def ask(self, *words: str) -> Any:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "stoker", *words, "--json"),
            cwd=self.desk.folder,
            env=environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, error = await process.communicate()
        assert process.returncode == 0, f"{words}: {error.decode()}\n{self.log()}"
        return json.loads(out)

    async def kind(self) -> dict[str, Any]:
        [fleet] = (await self.ask("workers", "ls"))["fleets"]
        found: dict[str, Any] = fleet["kinds"][1]
        return found

    def log(self) -> str:
        file = Path(self.desk.folder / ".stoker" / "mill.log")
        return file.read_text()[-3_000:] if file.exists() else ""


async def test_a_fleet_runs_c_beside_python_and_has_more_of_it_when_asked(desk: Desk) -> None:
    await asyncio.to_thread(build)
    shell = Shell(desk)
    started = await shell.ask("fleet", "start")
    try:
        assert [worker["name"] for worker in started["workers"]] == ["mill-py-1", "mill-c-1"]
        kind = await shell.kind()
        assert (kind["program"], kind["queues"]) == ("stoker-worker-c", ["c"])

        async def is_ready() -> bool:
            return bool((await shell.kind())["ready"] == 1)

        # It has beaten, or the fleet would not be there; the fleet tells of that in its next look.
        await wait_until(is_ready, "the fleet says that it is ready", timeout=PATIENCE)
        job_id = await desk.jobs.submit("trial.echo", b'{"a":1}', queue="c")

        async def ran_by() -> str:
            [record] = await desk.site.store.get([job_id])
            is_done = record is not None and record.state is State.COMPLETED
            return str(record.worker) if record is not None and is_done else ""

        assert await wait_until(ran_by, "it ran in C", timeout=PATIENCE) == "mill-c-1"
        await shell.ask("fleet", "scale", "--name", "mill", "--kind", "c", "--min", "2")

        async def are_two() -> bool:
            return bool((await shell.kind())["ready"] == 2)

        await wait_until(are_two, "two of them are ready", timeout=PATIENCE)
    finally:
        stopped = await shell.ask("fleet", "stop")
    assert stopped["drained"], shell.log()
    assert await desk.site.store.sessions() == []
