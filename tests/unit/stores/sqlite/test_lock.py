"""The turnstile: fair between processes, and free again when one dies."""

import threading

import pytest

from stoker.core.clock import SystemClock
from stoker.core.job import JobSpec
from stoker.stores.sqlite import SQLiteStore
from stoker.stores.sqlite.lock import WriteLock
from tests.unit.stores.sqlite.conftest import Child, line

JOBS = 6_000


async def test_two_busy_processes_both_get_their_share(path: str, child: Child) -> None:
    clock = SystemClock()
    async with SQLiteStore(path, durability="fast", clock=clock) as store:
        await store.submit([JobSpec(id=clock.new_id(), task="work") for _ in range(JOBS)])
    async with child("work", path, "one", "10") as one, child("work", path, "two", "10") as two:
        for process in (one, two):
            assert await line(process) == "ready"
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.write(b"go\n")
        shares = [int(await line(process)) for process in (one, two)]
    assert sum(shares) == JOBS
    assert min(shares) >= 0.35 * JOBS


async def test_the_lock_of_a_killed_process_is_free(path: str, child: Child) -> None:
    clock = SystemClock()
    async with SQLiteStore(path, clock=clock) as store:
        async with child("hold", path) as process:
            assert await line(process) == "held"
            process.kill()
            await process.wait()
        [made] = await store.submit([JobSpec(id="a", task="work")])
    assert made.created


def test_a_writer_that_released_queues_behind_one_that_waits(path: str) -> None:
    first, second = WriteLock(path), WriteLock(path)
    order: list[str] = []
    waiting = threading.Event()

    def wait_for_it() -> None:
        waiting.set()
        with second.held():
            order.append("second")

    first.acquire()
    thread = threading.Thread(target=wait_for_it)
    thread.start()
    assert waiting.wait(10)
    while _is_free(path):
        pass
    first.release()
    with first.held():
        order.append("first")
    thread.join(10)
    assert order == ["second", "first"]
    first.close()
    second.close()


def test_a_lock_can_be_closed_twice(path: str) -> None:
    lock = WriteLock(path)
    lock.close()
    lock.close()


def test_a_lock_that_cannot_be_made_leaves_no_file_open(path: str) -> None:
    with pytest.raises(OSError, match="No such file"):
        WriteLock(f"{path}/nowhere/x")


def _is_free(path: str) -> bool:
    """Whether nobody stands in the turnstile."""
    import fcntl
    import os

    descriptor = os.open(f"{path}-next", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
