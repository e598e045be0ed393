"""I5: what was answered, and is there after SIGKILL, with each store and each of its settings.

Settings that promise it lose nothing. With the others nothing is asserted but that the store
comes back and says beforehand what it can lose; how much was lost is kept with the results.
"""

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from stoker.connect import open_store
from stoker.core.clock import SystemClock
from stoker.core.errors import OutcomeUnknown, Unavailable
from stoker.core.job import JobSpec
from stoker.core.records import MAX_PAGE
from stoker.core.store import Store
from stoker.testing import wait_until
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.servers.server import Server

pytestmark = [pytest.mark.slow, pytest.mark.servers]
Record = Callable[[str, object], None]
ENOUGH = 400
WITHIN = 60.0
CLOCK = SystemClock()


@dataclass(frozen=True)
class Setting:
    """A store with a setting.

    Attributes:
        make: Makes the server; None: the store is a file.
        url: Gives the URL from the server and a folder.
        keeps: Whether what was answered must survive SIGKILL.
    """

    make: Callable[[], Server] | None
    url: Callable[[Server | None, Path], str]
    keeps: bool = True


def _postgres(server: Server | None, _: Path) -> str:
    assert isinstance(server, Postgres)
    return server.url(timeout=3)


def _redis(server: Server | None, _: Path) -> str:
    assert isinstance(server, RedisServer)
    return server.url


SETTINGS = {
    "sqlite, durability=full": Setting(None, lambda _, folder: f"sqlite:///{folder}/jobs.db"),
    "sqlite, durability=fast": Setting(
        None, lambda _, folder: f"sqlite:///{folder}/jobs.db?durability=fast"
    ),
    "postgresql, synchronous_commit=on": Setting(Postgres, _postgres),
    "postgresql, synchronous_commit=off": Setting(
        lambda: Postgres(synchronous_commit="off"), _postgres, keeps=False
    ),
    "redis, appendfsync=always": Setting(lambda: RedisServer(fsync="always"), _redis),
    # While a background fsync is slow, Redis answers before it has written to the file at all.
    "redis, appendfsync=everysec": Setting(
        lambda: RedisServer(fsync="everysec"), _redis, keeps=False
    ),
    "redis, appendonly=no": Setting(lambda: RedisServer("--appendonly", "no"), _redis, keeps=False),
}

PROGRAM = """
import asyncio, sys
from stoker.connect import open_store
from stoker.core.clock import SystemClock
from stoker.core.job import JobSpec

async def main():
    clock = SystemClock()
    async with open_store(sys.argv[1]) as store:
        while True:
            [answer] = await store.submit([JobSpec(id=clock.new_id(), task="work")])
            print(answer.id, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("name", SETTINGS)
async def test_what_was_answered_is_there_after_a_kill(
    name: str, tmp_path: Path, record_property: Record
) -> None:
    setting = SETTINGS[name]
    opened: AbstractContextManager[Server | None]
    opened = nullcontext() if setting.make is None else setting.make()
    with opened as server:
        url = setting.url(server, tmp_path)
        answered = await (_kill_process(url) if server is None else _kill_server(url, server))
        async with open_store(url) as store:
            missing = await _missing(store, answered)
            info = store.info
    record_property("setting", name)
    record_property("version", info.version)
    record_property("durability", info.durability)
    record_property("can_lose", info.can_lose)
    record_property("answered", len(answered))
    record_property("missing", missing)
    assert len(answered) >= ENOUGH
    if setting.keeps:
        assert missing == 0, f"{missing} of {len(answered)} answered jobs are gone"
    else:
        assert info.durability != "full", f"it can lose jobs and calls itself {info.durability}"


async def _kill_server(url: str, server: Server) -> list[str]:
    """Submit from twenty sides, kill the server, and return what was answered before."""
    answered: list[str] = []

    async def submit_until_it_fails(store: Store) -> None:
        while True:
            try:
                [answer] = await store.submit([JobSpec(id=CLOCK.new_id(), task="work")])
            except (OutcomeUnknown, Unavailable):
                return
            answered.append(answer.id)

    async with open_store(url) as store, asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(submit_until_it_fails(store))
        await wait_until(lambda: len(answered) >= ENOUGH, "jobs are answered", timeout=WITHIN)
        await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.restart)
    return answered


async def _kill_process(url: str) -> list[str]:
    """Let another process submit, kill it, and return what it said was answered."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    answered: list[str] = []
    async with asyncio.timeout(WITHIN):
        while len(answered) < ENOUGH:
            answered.append((await process.stdout.readline()).decode().strip())
    process.send_signal(signal.SIGKILL)
    rest = (await process.stdout.read()).decode()
    await process.wait()
    # The last line may be torn: what it names was not heard by anybody.
    whole = [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    return [*answered, *(line.strip() for line in whole)]


async def _missing(store: Store, ids: list[str]) -> int:
    missing = 0
    for at in range(0, len(ids), MAX_PAGE):
        missing += (await store.get(ids[at : at + MAX_PAGE])).count(None)
    return missing
