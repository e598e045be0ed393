"""A listener at a stream of server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Message, Scope

from tests.unit.server.asking import Asking


class Listener:
    """A client at the level of ASGI, because an in-process HTTP client reads to the end first."""

    def __init__(self) -> None:
        self.text = ""
        self.status = 0
        self.is_complete = False
        self.gone = asyncio.Event()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        self.text += message.get("body", b"").decode()
        self.is_complete = not message.get("more_body", False)

    @property
    def events(self) -> list[tuple[str, Any]]:
        found = []
        for block in self.text.split("\n\n")[:-1]:
            lines = dict(line.split(": ", 1) for line in block.splitlines())
            if "event" in lines:
                found.append((lines["event"], json.loads(lines["data"])))
        return found

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]


@asynccontextmanager
async def listening(
    ask: Asking, path: str, *, last_id: str = "", cookie: str = ""
) -> AsyncIterator[Listener]:
    listener = Listener()
    scope: Scope = {
        "type": "http",
        "asgi": {"spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"last-event-id", last_id.encode()),
            (b"cookie", cookie.encode()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    async with asyncio.TaskGroup() as group:
        group.create_task(ask.api(scope, listener.receive, listener.send))
        try:
            yield listener
        finally:
            listener.gone.set()
