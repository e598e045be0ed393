"""The way over HTTP, against servers and proxies that are unlucky, or something else."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from stoker.core.errors import (
    LeaseLost,
    MissingExtra,
    NotAStore,
    NotOpen,
    OutcomeUnknown,
    PayloadTooLarge,
    ProtocolError,
    StokerError,
    Unavailable,
)
from stoker.core.job import JobSpec
from stoker.stores.remote import RemoteStore
from stoker.testing import FakeClock
from tests.servers.server import free_port
from tests.unit.stores.remote.script import WELCOME

HELLO = msgspec.json.encode({"ok": WELCOME})


def response(status: int, body: bytes, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


@asynccontextmanager
async def server(*answers: bytes | None) -> AsyncIterator[str]:
    """Answer each request with the next of these bytes; None hangs up instead."""
    left = list(answers)

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while left:
                head = await reader.readuntil(b"\r\n\r\n")
                size = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(size))
                answer = left.pop(0)
                if answer is None:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(visit, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


def error(code: str, **more: Any) -> bytes:
    return msgspec.json.encode({"error": {"code": code, "message": "told", **more}})


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (None, OutcomeUnknown),
        (response(409, error("lease_lost")), LeaseLost),
        (response(503, error("unavailable", retryable=True)), Unavailable),
        (response(503, b"<h1>busy</h1>", "text/html"), Unavailable),
        (response(429, b"slower"), Unavailable),
        (response(502, b"<h1>bad gateway</h1>", "text/html"), OutcomeUnknown),
        (response(504, b""), OutcomeUnknown),
        (response(500, b"{}"), OutcomeUnknown),
        (response(404, b"nothing here", "text/plain"), NotAStore),
        (response(404, error("not_found")), NotAStore),
        (response(302, b""), ProtocolError),
        (response(200, b'{"ok":"\xff"}'), ProtocolError),
        (response(200, b'{"ok":{"colour":"red"}}'), ProtocolError),
    ],
)
async def test_what_comes_back_says_what_was_done(
    answer: bytes | None, kind: type[StokerError]
) -> None:
    async with (
        server(response(200, HELLO), answer) as url,
        RemoteStore(url, clock=FakeClock()) as store,
    ):
        with pytest.raises(StokerError) as told:
            await store.submit([JobSpec(id="j", task="t")])
    assert type(told.value) is kind, told.value


async def test_a_server_that_is_gone_did_nothing() -> None:
    async with server(response(200, HELLO)) as url:
        store = await RemoteStore(url, clock=FakeClock()).__aenter__()
    with pytest.raises(Unavailable):
        await store.submit([JobSpec(id="j", task="t")])
    await store.__aexit__(None, None, None)


async def test_a_call_that_is_too_long_never_leaves() -> None:
    big = JobSpec(id="j", task="t", payload=b'{"x":"%b"}' % (b"x" * 100_000))
    async with (
        server(response(200, HELLO)) as url,
        RemoteStore(url, clock=FakeClock()) as store,
    ):
        with pytest.raises(PayloadTooLarge):
            await store.submit([big])


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (None, Unavailable),
        (response(404, b"<h1>no</h1>", "text/html"), NotAStore),
        (response(200, b'{"ok":{"hello":"world"}}'), NotAStore),
        (response(502, b""), Unavailable),
    ],
)
async def test_a_store_that_cannot_be_opened_says_why(
    answer: bytes | None, kind: type[StokerError]
) -> None:
    async with server(answer) as url:
        store = RemoteStore(url, clock=FakeClock())
        with pytest.raises(StokerError) as told:
            await store.__aenter__()
        assert type(told.value) is kind, told.value
        with pytest.raises(NotOpen):
            await store.queues()


async def test_nobody_at_the_address_is_told() -> None:
    with pytest.raises(Unavailable, match="stoker server"):
        await RemoteStore(f"http://127.0.0.1:{free_port()}", clock=FakeClock()).__aenter__()


def test_a_missing_library_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(MissingExtra, match=r"stoker\[remote\]"):
        RemoteStore("http://127.0.0.1:1", clock=FakeClock())
    RemoteStore("tcp://127.0.0.1:1", clock=FakeClock())
