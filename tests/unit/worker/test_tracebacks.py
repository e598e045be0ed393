"""Exceptions as data."""

import asyncio
import sys

import pytest

from stoker.core.errors import JobFailed
from stoker.worker.tracebacks import (
    MAX_MESSAGE,
    MAX_TRACEBACK,
    describe,
    shorten,
    stack_of,
    stack_of_coroutine,
)


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def throw(error: BaseException, cause: BaseException | None = None) -> None:
    raise error from cause


def caught(error: BaseException, cause: BaseException | None = None) -> BaseException:
    with pytest.raises(type(error)) as found:
        throw(error, cause)
    return found.value


def test_an_error_of_stoker_keeps_its_code() -> None:
    info = describe(caught(JobFailed("gone", job_id="x")))
    assert (info.code, info.type, info.message) == ("job_failed", "JobFailed", "gone")


def test_a_message_that_cannot_be_made_is_explained() -> None:
    info = describe(caught(Broken()))
    assert info.message == "<no message: its __str__ raised RuntimeError>"
    assert info.traceback is not None


def test_long_messages_and_tracebacks_keep_both_ends() -> None:
    info = describe(caught(ValueError("a" * 50_000 + "z")))
    assert len(info.message) < MAX_MESSAGE + 100
    assert info.message.endswith("z")
    assert info.traceback is not None
    assert len(info.traceback) < MAX_TRACEBACK + 100
    assert info.traceback.startswith("Traceback")


def test_the_cause_is_part_of_the_story() -> None:
    info = describe(caught(ValueError("second"), caught(KeyError("first"))))
    assert "KeyError: 'first'" in (info.traceback or "")
    assert "direct cause" in (info.traceback or "")


def test_an_endless_recursion_stays_small() -> None:
    def dig(depth: int) -> int:
        return dig(depth + 1) + 1

    with pytest.raises(RecursionError) as found:
        dig(0)
    info = describe(found.value)
    assert info.type == "RecursionError"
    assert len(info.traceback or "") < MAX_TRACEBACK + 100


def test_shortening_tells_how_much_is_missing() -> None:
    assert shorten("abc", 3) == "abc"
    assert shorten("a" * 10 + "z" * 10, 4) == "aa\n... 16 characters left out ...\nzz"


def test_the_stack_of_running_code_names_the_function() -> None:
    assert "test_the_stack_of_running_code" in (stack_of(sys._getframe()) or "")
    assert stack_of(None) is None


async def test_the_stack_of_a_coroutine_names_where_it_waits() -> None:
    async def inner() -> None:
        await asyncio.Event().wait()

    async def outer() -> None:
        await inner()

    waiting = outer()
    task = asyncio.get_running_loop().create_task(waiting)
    await asyncio.sleep(0)
    stack = stack_of_coroutine(waiting) or ""
    assert stack.index("in outer") < stack.index("in inner")
    task.cancel()
    await asyncio.wait([task])
    assert stack_of_coroutine(None) is None
