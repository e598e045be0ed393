"""Requests to an application in this process, as a web server would hand them over."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

GOOD = range(200, 300)
Headers = Sequence[tuple[bytes, bytes]]


async def ask(
    api: Any,
    method: str,
    path: str,
    *,
    headers: Headers = (),
    body: Mapping[str, Any] | None = None,
) -> bytes:
    """Send one request; return the body of its answer.

    Raises:
        RuntimeError: It was refused; what is measured would mean nothing.
    """
    sent = b"" if body is None else msgspec.json.encode(body)
    place, _, query = path.partition("?")
    status = 0
    told: list[bytes] = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": place,
        "raw_path": place.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json"), *headers],
        "client": ("127.0.0.1", 4321),
        "server": ("127.0.0.1", 8000),
    }

    is_sent = False

    async def receive() -> dict[str, Any]:
        nonlocal is_sent
        if is_sent:
            # Whoever streams an answer listens for the end of the line, which does not come.
            await asyncio.Event().wait()
        is_sent = True
        return {"type": "http.request", "body": sent, "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            told.append(message.get("body", b""))

    await api(scope, receive, send)
    if status not in GOOD:
        raise RuntimeError(f"{method} {path} was answered {status}: {b''.join(told)[:300]!r}")
    return b"".join(told)
