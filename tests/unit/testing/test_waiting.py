"""Waiting for something to become true."""

import asyncio

import pytest

from stoker.testing import wait_until


async def test_a_wait_ends_when_its_condition_holds() -> None:
    looks: list[int] = []

    def third_look() -> int | None:
        looks.append(1)
        return len(looks) if len(looks) == 3 else None

    assert await wait_until(third_look, "the third look") == 3


async def test_a_condition_may_be_asynchronous() -> None:
    event = asyncio.Event()

    async def is_set() -> bool:
        await asyncio.sleep(0)
        return event.is_set()

    asyncio.get_running_loop().call_soon(event.set)
    assert await wait_until(is_set, "the event is set") is True


async def test_a_wait_in_vain_names_what_it_waited_for() -> None:
    with pytest.raises(TimeoutError, match=r"not within 0\.01 seconds: the moon is blue \(last: 0"):
        await wait_until(lambda: 0, "the moon is blue", timeout=0.01)


async def test_a_condition_that_holds_is_looked_at_once_even_without_time() -> None:
    assert await wait_until(lambda: "yes", "nothing", timeout=0) == "yes"
