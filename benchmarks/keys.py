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

from benchmarks.asking import ask
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
_JOB: Mapping[str, Any] = {"task": "nothing", "payload": {}}
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
    if given is None:
        return []
    name = kind.replace(" ", "-")
    key = await app.arun(
        lambda store: create_key(
            store, app.clock, actor="bench", name=name, scopes=("submit", "read"), **given
        )
    )
    return [(b"authorization", f"Bearer {key.key}".encode())]


async def _ask_all(
    api: Any, method: str, path: str, headers: list[tuple[bytes, bytes]], requests: int
) -> None:
    body = _JOB if method == "POST" else None

    async def one_after_another() -> None:
        for _ in range(requests // AT_ONCE):
            await ask(api, method, path, headers=headers, body=body)

    await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))


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
