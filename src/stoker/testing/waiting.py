"""Waiting for something to become true, with a deadline and a name."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

LONGEST = 10.0
"""Seconds that `wait_until` waits unless it is told otherwise: generous, for busy machines."""
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.05


@overload
async def wait_until(
    predicate: Callable[[], Awaitable[T]], description: str, *, timeout: float = LONGEST
) -> T: ...
@overload
async def wait_until(
    predicate: Callable[[], T], description: str, *, timeout: float = LONGEST
) -> T: ...
async def wait_until(
    predicate: Callable[[], Any], description: str, *, timeout: float = LONGEST
) -> Any:
    """Wait until a condition holds, and return what it gave.

    Args:
        predicate: Plain or async; what it returns is taken as true or false.
        description: What is waited for, named in the error: ``"the second job is running"``.
        timeout: Seconds, in the event loop's time.

    Raises:
        TimeoutError: It did not hold in time.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    pause = _FIRST_PAUSE
    while True:
        found = predicate()
        value = await found if inspect.isawaitable(found) else found
        if value:
            return value
        if loop.time() >= end:
            raise TimeoutError(f"not within {timeout:g} seconds: {description} (last: {value!r})")
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
