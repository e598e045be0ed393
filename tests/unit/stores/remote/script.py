"""A server that plays a script, byte for byte: what a real one does only when it is unlucky."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from stoker.core.wire.frames import HEADER, pack

WELCOME = {
    "protocol": 1,
    "version": "9.9",
    "identity": "me",
    "scope": "full",
    "max_frame": 100_000,
    "max_in_flight": 8,
    "ping_every": 15.0,
    "info": {
        "engine": "sqlite",
        "version": "3.51.3",
        "url": "sqlite://",
        "durability": "full",
        "can_lose": "nothing",
    },
}


class Visitor:
    """One connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def hear(self) -> dict[str, Any]:
        head = await self.reader.readexactly(HEADER)
        body = await self.reader.readexactly(int.from_bytes(head, "big"))
        request: dict[str, Any] = json.loads(body)
        return request

    async def say(self, **response: Any) -> None:
        self.writer.write(pack(json.dumps(response).encode()))
        await self.writer.drain()

    async def welcome(self, **changes: Any) -> dict[str, Any]:
        hello = await self.hear()
        await self.say(id=hello["id"], ok={**WELCOME, **changes})
        return hello

    async def until_gone(self) -> None:
        while await self.reader.read(65_536):
            pass


Play = Callable[[Visitor], Awaitable[None]]


@asynccontextmanager
async def stage(*plays: Play) -> AsyncIterator[str]:
    """Play one script for each connection, the last one for all that follow; give the URL."""
    left = list(plays)
    running: set[asyncio.Task[None]] = set()

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        play = left.pop(0) if len(left) > 1 else left[0]
        try:
            await play(Visitor(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            running.discard(task)

    server = await asyncio.start_server(visit, "127.0.0.1", 0)
    try:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in running.copy():
            task.cancel()
        await asyncio.gather(*running.copy(), return_exceptions=True)
