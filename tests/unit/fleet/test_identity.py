"""Which process it really is."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from stoker.fleet.identity import Identity
from tests.unit.fleet.children import STUBBORN, command


@pytest.fixture
async def process() -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(*command(STUBBORN))
    yield child
    if child.returncode is None:
        child.kill()
    await child.wait()


async def test_a_living_process_is_alive(process: asyncio.subprocess.Process) -> None:
    identity = Identity.of(process.pid)
    assert identity.is_alive()
    assert not await identity.ended(0.01)


async def test_an_ended_process_is_not_alive(process: asyncio.subprocess.Process) -> None:
    identity = Identity.of(process.pid)
    process.kill()
    assert await identity.ended(10)
    await process.wait()
    assert not identity.is_alive()
    assert await identity.ended(10)
    assert not identity.send(signal.SIGTERM)


async def test_another_process_under_the_same_id_is_not_taken_for_it(
    process: asyncio.subprocess.Process,
) -> None:
    stranger = Identity(process.pid, Identity.of(process.pid).mark + "0")
    assert not stranger.is_alive()
    assert not stranger.send(signal.SIGKILL)
    assert await stranger.ended(10)
    assert Identity.of(process.pid).is_alive()


async def test_a_signal_reaches_the_very_process(process: asyncio.subprocess.Process) -> None:
    assert Identity.of(process.pid).send(signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL


def test_a_number_that_is_no_process_is_not_alive() -> None:
    assert not Identity.of(2**22 + 1).is_alive()
    assert not Identity(0, "").is_alive()
    assert Identity.of(os.getpid()).is_alive()
