"""What the tests of the SQLite store share."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import apsw
import pytest

from stoker.stores.sqlite import SQLiteStore
from stoker.testing import FakeClock

Child = Callable[..., AbstractAsyncContextManager[asyncio.subprocess.Process]]
Rows = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the store of this test lies."""
    return str(tmp_path / "stoker.db")


@pytest.fixture
async def store(path: str, fake_clock: FakeClock) -> AsyncIterator[SQLiteStore]:
    """An open store with a clock that stands still."""
    async with SQLiteStore(path, clock=fake_clock) as opened:
        yield opened


@pytest.fixture
def child() -> Child:
    """Start other processes: see ``child.py``."""

    @contextlib.asynccontextmanager
    async def start(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        program = str(Path(__file__).with_name("child.py"))
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, program, *arguments, stdin=pipe, stdout=pipe
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()

    return start


@pytest.fixture
def rows(path: str) -> Iterator[Rows]:
    """Ask the file itself, past the store."""
    opened: list[apsw.Connection] = []

    def ask(statement: str, *parameters: object) -> list[tuple[object, ...]]:
        if not opened:
            opened.append(apsw.Connection(path))
        return list(opened[0].execute(statement, parameters))

    yield ask
    for connection in opened:
        connection.close()


async def line(process: asyncio.subprocess.Process) -> str:
    """Return the next line that a child says."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return (await process.stdout.readline()).decode().strip()
