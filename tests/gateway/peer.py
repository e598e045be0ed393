"""A peer that says exactly what a test wants, in bytes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from stoker.core.wire.frames import HEADER, pack

PATIENCE = 20.0
"""Real seconds for an answer: a generous deadline, not a measure."""


class Peer:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.hung_up_early = False

    async def send(self, data: bytes) -> None:
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            self.hung_up_early = True

    async def say(self, message: Any) -> None:
        await self.send(pack(json.dumps(message).encode()))

    async def ask(self, number: int, verb: str, **params: Any) -> dict[str, Any]:
        await self.say({"id": number, "verb": verb, "params": params})
        return await self.hear()

    async def hello(self, **params: Any) -> dict[str, Any]:
        return await self.ask(1, "hello", **{"protocol": 1, **params})

    async def hear(self) -> dict[str, Any]:
        """Return the next message."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readexactly(HEADER)
            body = await self.reader.readexactly(int.from_bytes(head, "big"))
        message: dict[str, Any] = json.loads(body)
        return message

    async def last_word(self) -> str:
        """Return the code with which the server hangs up; nothing may come after it."""
        message = await self.hear()
        assert message["id"] == 0, message
        assert await self.is_hung_up()
        code: str = message["error"]["code"]
        return code

    async def is_hung_up(self) -> bool:
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


@asynccontextmanager
async def peer(port: int, **options: Any) -> AsyncIterator[Peer]:
    """Connect to a gateway."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        try:
            async with asyncio.timeout(PATIENCE):
                await writer.wait_closed()
        except ConnectionError:
            pass
