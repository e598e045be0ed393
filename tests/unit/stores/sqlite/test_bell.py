"""Who is woken, by what, and who sleeps on."""

import asyncio
import os
import socket
import tempfile
from pathlib import Path

import pytest

from stoker.core.clock import SystemClock
from stoker.core.job import JobSpec, Outcome, SessionSpec, Settlement
from stoker.core.records import JobQuery
from stoker.stores.sqlite import SQLiteStore, bell, doorbell
from stoker.stores.sqlite.doorbell import Doorbell, folder_of, names_in
from stoker.testing import FakeClock, wait_until
from tests.unit.stores.sqlite.conftest import Child, line


def waiting(store: SQLiteStore) -> bool:
    assert store._handle is not None
    return bool(store._handle.bell._waiters)


async def ready(store: SQLiteStore, process: asyncio.subprocess.Process) -> Doorbell:
    """Wait until a child listens; return the handle's own doorbell."""
    assert await line(process) == "ready"
    assert store._handle is not None
    own = store._handle.bell._doorbell
    assert own._folder is not None
    folder = own._folder
    await wait_until(lambda: bool(os.listdir(folder)), "the child listens")  # noqa: PTH208
    return own


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the version of the file: the bell itself must ring."""
    monkeypatch.setattr(bell, "TICK", 3_600.0)


async def test_a_submit_in_another_process_wakes_this_one(
    store: SQLiteStore, path: str, child: Child, deaf: None
) -> None:
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        task = group.create_task(store.wait(["default"], timeout=30))
        await wait_until(lambda: waiting(store), "somebody waits")
        async with child("submit", path) as process:
            assert await line(process) == "queued"
            assert await task


async def test_a_submit_here_wakes_another_process(
    store: SQLiteStore, path: str, child: Child
) -> None:
    async with child("wait", path, "queue", "default") as process:
        await ready(store, process)
        await store.submit([JobSpec(id="a", task="work")])
        assert await line(process) == "True"


async def test_the_end_of_a_job_here_wakes_who_watches_it_elsewhere(
    store: SQLiteStore, path: str, child: Child
) -> None:
    await store.submit([JobSpec(id="a", task="work")])
    async with child("wait", path, "job", "a") as process:
        await ready(store, process)
        await store.cancel(JobQuery(ids=("a",)))
        assert await line(process) == "True"


async def test_processes_without_a_common_folder_notice_all_the_same(
    path: str, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch, child: Child
) -> None:
    monkeypatch.setattr(doorbell, "folder_of", lambda _: None)
    async with SQLiteStore(path, clock=fake_clock) as store, asyncio.TaskGroup() as group:
        task = group.create_task(store.wait(["default"], timeout=30))
        watch = group.create_task(store.wait(ids=["a", "b"], timeout=30))
        await wait_until(lambda: waiting(store), "somebody waits")
        async with child("submit", path) as process:
            assert await line(process) == "queued"
        assert await task
        async with SQLiteStore(path, clock=fake_clock) as other:
            await other.submit([JobSpec(id="b", task="work")])
        assert await watch


async def test_a_job_that_came_before_the_wait_is_not_missed(
    store: SQLiteStore, deaf: None
) -> None:
    await store.submit([JobSpec(id="a", task="work")])
    assert await store.wait(["other", "default"], timeout=30)


async def test_a_job_that_nobody_may_lease_wakes_nobody(
    store: SQLiteStore, fake_clock: FakeClock
) -> None:
    await store.set_queue("paused", paused=True)
    await store.set_queue("full", limit=1)
    await store.beat(SessionSpec(id="s", name="w"), [], ttl=60)
    await store.submit(
        [
            JobSpec(id="a", task="work", queue="paused"),
            JobSpec(id="b", task="work", queue="full"),
            JobSpec(id="c", task="work", queue="full"),
            JobSpec(id="d", task="work", queue="late", expires=1.0),
        ]
    )
    await store.exchange("s", [], queues={"full": 5}, want=5, nonce="n")
    fake_clock.advance(2)
    assert not await store.wait(["paused", "full", "late", "none"], timeout=0.02)


async def test_a_wait_for_jobs_that_all_ended_does_not_last(store: SQLiteStore) -> None:
    await store.submit([JobSpec(id="a", task="work"), JobSpec(id="b", task="work")])
    await store.cancel(JobQuery(ids=("a",)))
    assert await store.wait(ids=["a"], timeout=30)
    assert not await store.wait(ids=["a", "b"], timeout=0.01)


async def test_a_slot_that_becomes_free_wakes_who_waits_for_a_limited_queue(
    store: SQLiteStore, deaf: None
) -> None:
    await store.set_queue("default", limit=1)
    await store.beat(SessionSpec(id="s", name="w"), [], ttl=60)
    await store.submit([JobSpec(id="a", task="work"), JobSpec(id="b", task="work")])
    got = await store.exchange("s", [], queues={"default": 5}, want=5, nonce="n")
    [lease] = got.leased
    async with asyncio.TaskGroup() as group:
        task = group.create_task(store.wait(["default"], timeout=30))
        await wait_until(lambda: waiting(store), "somebody waits")
        told = Settlement(lease.id, lease.epoch, lease.nonce, Outcome.COMPLETED)
        await store.exchange("s", [told], queues={}, want=0, nonce="m")
        assert await task


async def test_a_job_that_becomes_due_wakes_who_waits(
    store: SQLiteStore, fake_clock: FakeClock, deaf: None
) -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(store.wait(["default"], timeout=30))
        await wait_until(lambda: waiting(store), "somebody waits")
        # It is put off only after the wait began: the wait must count again.
        await store.submit([JobSpec(id="a", task="work", delay=100)])
        fake_clock.advance(99)
        await asyncio.sleep(0)
        assert not task.done()
        fake_clock.advance(1)
        assert await task


async def test_closing_ends_the_waits_of_this_handle(path: str, fake_clock: FakeClock) -> None:
    async with asyncio.TaskGroup() as group:
        async with SQLiteStore(path, clock=fake_clock) as store:
            task = group.create_task(store.wait(["default"], timeout=60))
            await wait_until(lambda: waiting(store), "somebody waits")
        assert not await task


async def test_the_socket_of_a_killed_process_is_removed(
    store: SQLiteStore, path: str, child: Child
) -> None:
    async with child("wait", path, "queue", "default") as process:
        own = await ready(store, process)
        assert own._folder is not None
        process.kill()
        await process.wait()
        assert len(os.listdir(own._folder)) == 1  # noqa: PTH208
        await store.submit([JobSpec(id="a", task="work")])
        folder = own._folder
        await wait_until(lambda: not os.listdir(folder), "the stale socket is gone")  # noqa: PTH208


def test_a_folder_that_others_may_enter_is_not_trusted(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(path).touch()
    with tempfile.TemporaryDirectory() as short:
        monkeypatch.setattr(tempfile, "gettempdir", lambda: short)
        folder = folder_of(path)
        assert folder is not None
        folder.chmod(0o755)
        assert folder_of(path) is None
        folder.chmod(0o700)
        assert folder_of(path) == folder
        folder.rmdir()
        folder.symlink_to(tmp_path)
        assert folder_of(path) is None


def test_a_folder_whose_path_is_too_long_for_a_socket_is_not_used(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(path).touch()
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(deep))
    assert folder_of(path) is None


def test_a_doorbell_without_a_folder_is_silent(tmp_path: Path) -> None:
    silent = Doorbell(str(tmp_path / "missing"))
    assert silent.listen("q") is None
    silent.ring("q", ["default"])
    silent.close()


@pytest.mark.parametrize(
    ("names", "heard"),
    [
        (["a", "b"], frozenset({"a", "b"})),
        (["a\nb"], None),
        ([f"queue-{n}" for n in range(1_000)], None),
    ],
)
def test_a_message_names_what_changed_or_says_anything(
    path: str, names: list[str], heard: frozenset[str] | None
) -> None:
    Path(path).touch()
    one, two = Doorbell(path), Doorbell(path)
    ear = one.listen("q")
    assert ear is not None
    ear.settimeout(10)
    two.ring("j", names)
    two.ring("q", names)
    assert names_in(ear.recv(8_192)) == heard
    ear.close()
    one.close()
    two.close()


def test_a_full_or_vanished_socket_does_not_stop_the_ringing(path: str) -> None:
    Path(path).touch()
    one, two = Doorbell(path), Doorbell(path)
    ear = one.listen("q")
    assert ear is not None
    for _ in range(2_000):
        two.ring("q", ["default"])
    assert ear.recv(100) == b"default"
    other = one.listen("q")
    assert isinstance(other, socket.socket)
    ear.close()
    other.close()
    one.close()
    two.close()


async def test_the_clock_of_the_machine_serves_as_well(path: str) -> None:
    clock = SystemClock()
    async with SQLiteStore(path, clock=clock) as store:
        await store.submit([JobSpec(id="a", task="work", delay=0.05)])
        assert await store.wait(["default"], timeout=30)
