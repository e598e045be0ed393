"""What an API key costs a request, beside the same request without one.

``python -m benchmarks.keys [STORE]``. One application, asked without a network; each round sends
the same requests as each kind of caller in turn, so that whatever else the machine does meets all
of them. What is shown are medians of the rounds' ratios, and the rate itself.
"""

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.report import markdown
from stoker.app.keys import create_key
from stoker.app.stoker import Stoker
from stoker.core.clock import SystemClock
from stoker.server.http import make_server_app
from stoker.settings import ServerSettings, Settings

ROUNDS = 15
REQUESTS = 200
AT_ONCE = 20
"""Callers of one kind at a time, each of whom waits for his answers."""
KINDS: Mapping[str, Mapping[str, Any] | None] = {
    "no key": None,
    "a key": {},
    "bound to a queue": {"queues": ("default",)},
    "bound to a tenant": {"tenant": "acme"},
}
_BODY = msgspec.json.encode({"task": "nothing", "payload": {}})
_PLACES = {"POST /api/v1/jobs": ("POST", "/api/v1/jobs"), "GET /api/v1/me": ("GET", "/api/v1/me")}


async def measure(
    store: str, *, rounds: int = ROUNDS, requests: int = REQUESTS
) -> dict[str, dict[str, list[float]]]:
    """Return, by request and by kind of caller, the seconds of each round."""
    server = ServerSettings(require_key="never", key_rate=0)
    clock = SystemClock()
    found: dict[str, dict[str, list[float]]] = {
        place: {kind: [] for kind in KINDS} for place in _PLACES
    }
    async with Stoker(settings=Settings(store=store, server=server)) as app:
        app.task("nothing")(_nothing)
        api = make_server_app(app, hosts=None)
        headers = {kind: await _headers(app, kind) for kind in KINDS}
        for _ in range(rounds):
            for place, (method, path) in _PLACES.items():
                for kind in KINDS:
                    began = clock.monotonic()
                    await _ask_all(api, method, path, headers[kind], requests)
                    found[place][kind].append(clock.monotonic() - began)
    return found


def _nothing() -> None:
    """Do nothing."""


async def _headers(app: Stoker, kind: str) -> list[tuple[bytes, bytes]]:
    given = KINDS[kind]
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    if given is None:
        return headers
    name = kind.replace(" ", "-")
    key = await app.arun(
        lambda store: create_key(
            store, app.clock, actor="bench", name=name, scopes=("submit", "read"), **given
        )
    )
    return [*headers, (b"authorization", f"Bearer {key.key}".encode())]


async def _ask_all(
    api: Any, method: str, path: str, headers: list[tuple[bytes, bytes]], requests: int
) -> None:
    async def one_after_another() -> None:
        for _ in range(requests // AT_ONCE):
            await _ask(api, method, path, headers)

    await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))


async def _ask(api: Any, method: str, path: str, headers: list[tuple[bytes, bytes]]) -> None:
    """Send one request as a web server would, and look at its status."""
    body = _BODY if method == "POST" else b""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 4321),
        "server": ("127.0.0.1", 8000),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] not in {200, 201}:
            raise RuntimeError(f"{method} {path} was answered {message['status']}")

    await api(scope, receive, send)


def table(found: Mapping[str, Mapping[str, list[float]]], requests: int) -> str:
    """Return what was measured as one table."""
    rows = []
    for place, kinds in found.items():
        plain = kinds["no key"]
        for kind, seconds in kinds.items():
            ratio = statistics.median(m / p for m, p in zip(seconds, plain, strict=True))
            rate = requests / statistics.median(seconds)
            rows.append((f"{place}, {kind}", [f"{rate:,.0f}", f"{ratio:.2f}"]))
    return markdown(("request", "a second", "time, in those without a key"), rows)


def main() -> None:
    """Measure, and print one table."""
    with tempfile.TemporaryDirectory() as folder:
        given = sys.argv[1:] or ["memory://", f"sqlite:///{Path(folder) / 'keys.db'}"]
        for store in given:
            print(f"\n{store.partition(':')[0]}\n")
            print(table(asyncio.run(measure(store)), REQUESTS))


if __name__ == "__main__":
    main()
