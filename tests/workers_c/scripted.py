"""A gateway that says what a test wants, to a worker that believes in nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from stoker.core.wire.frames import pack
from stoker.testing import wait_until

PATIENCE = 30.0
WELCOME = {
    "protocol": 1,
    "version": "9.9",
    "identity": "press",
    "scope": "worker",
    "max_frame": 8_388_608,
    "max_in_flight": 256,
    "ping_every": 15.0,
    "info": {"engine": "scripted", "some_later_field": [1]},
}
ALIVE = {"alive": True, "cancel": [], "lost": [], "command": None}

Said = dict[str, Any]
Answer = Callable[["Guest", Said], bytes | None]
"""Bytes to send for a request; None: no answer at all."""


def ok(request: Said, value: Any) -> bytes:
    return pack(json.dumps({"id": request["id"], "ok": value}).encode())


def error(request_id: int, code: str, *, retryable: bool = False) -> bytes:
    body = {"code": code, "message": f"a scripted {code}", "retryable": retryable}
    return pack(json.dumps({"id": request_id, "error": body}).encode())


def lease(job_id: str, task: str = "trial.nothing", **more: Any) -> Said:
    found = {
        "id": job_id, "task": task, "queue": "default", "payload": {}, "attempt": 1, "epoch": 1,
        "nonce": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    }  # fmt: skip
    return {**found, **more}


class Guest:
    """One connection of a worker."""

    def __init__(self, number: int, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.writer = writer

    def hang_up(self) -> None:
        self.writer.transport.abort()


class Gateway:
    """What was asked, and how it is answered."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[Said] = []
        self.guests: list[Guest] = []
        self.leases: list[Said] = []
        """Handed out by the next exchange that wants some."""
        self.answers: dict[str, Answer] = {}

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def of(self, verb: str) -> list[Said]:
        """Return the parameters of the requests of a verb so far."""
        return [said["params"] for said in self.asked if said["verb"] == verb]

    def settlements(self) -> list[Said]:
        """Return everything that was handed in, repetitions included."""
        return [s for params in self.of("exchange") for s in params.get("settlements", [])]

    async def is_asked(self, verb: str, times: int = 1) -> list[Said]:
        await wait_until(
            lambda: len(self.of(verb)) >= times, f"{verb} is asked {times} times", timeout=PATIENCE
        )
        return self.of(verb)

    async def is_handed(self, job_id: str) -> Said:
        def found() -> list[Said]:
            return [s for s in self.settlements() if s["id"] == job_id]

        await wait_until(found, f"{job_id} is settled", timeout=PATIENCE)
        return found()[-1]

    def answer(self, guest: Guest, request: Said) -> bytes | None:
        own = self.answers.get(request["verb"])
        return own(guest, request) if own is not None else self.usual(guest, request)

    def usual(self, guest: Guest, request: Said) -> bytes | None:
        """Return the answer of a server that behaves."""
        del guest
        verb, params = request["verb"], request["params"]
        if verb == "wait":
            return None
        if verb == "exchange":
            given = [self.leases.pop(0) for _ in range(min(params["want"], len(self.leases)))]
            settled = ["ok"] * len(params.get("settlements", []))
            return ok(request, {"settled": settled, "leased": given})
        usual: dict[str, Any] = {"hello": WELCOME, "beat": ALIVE, "queues": []}
        return ok(request, usual.get(verb))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        guest = Guest(len(self.guests), writer)
        self.guests.append(guest)
        try:
            while True:
                head = await reader.readexactly(4)
                request = json.loads(await reader.readexactly(int.from_bytes(head, "big")))
                self.asked.append(request)
                said = self.answer(guest, request)
                if said is not None:
                    writer.write(said)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def scripted() -> AsyncIterator[Gateway]:
    """Listen on a free port of this machine."""
    gateway = Gateway()
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    gateway.port = server.sockets[0].getsockname()[1]
    try:
        yield gateway
    finally:
        server.close()
        for guest in gateway.guests:
            guest.hang_up()
