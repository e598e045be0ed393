"""A server that says nonsense, says it slowly, or stops in the middle of a word."""

import json
from pathlib import Path

import pytest

from stoker.core.wire.frames import pack
from tests.workers_c.program import c_worker
from tests.workers_c.scripted import ALIVE, WELCOME, Guest, Said, error, lease, ok, scripted

NONSENSE = {
    "four gigabytes": b"\xff\xff\xff\xff{}",
    "an empty frame": b"\x00\x00\x00\x00",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "not JSON": pack(b"hello"),
    "not UTF-8": pack(b'{"id":1,"ok":"\xff"}'),
    "an array": pack(b"[]"),
    "no id": pack(b'{"ok":null}'),
    "both ok and error": pack(b'{"id":1,"ok":1,"error":{"code":"x","message":"y"}}'),
    "an answer to nothing": pack(b'{"id":77,"ok":null}'),
    "nesting without end": pack(b'{"id":1,"ok":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "a welcome without limits": pack(b'{"id":1,"ok":{"protocol":1}}'),
    "another version": pack(json.dumps({"id": 1, "ok": {**WELCOME, "protocol": 2}}).encode()),
    "a frame that is cut": pack(b'{"id":1,"ok":{}}')[:-3],
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_nonsense_in_place_of_a_welcome_ends_with_a_clear_word(
    tmp_path: Path, name: str
) -> None:
    def answer(guest: Guest, request: Said) -> bytes:
        del request
        guest.writer.write(NONSENSE[name])
        guest.writer.write_eof()
        return b""

    async with scripted() as gateway:
        gateway.answers["hello"] = answer
        async with c_worker(tmp_path, gateway.url) as worker:
            assert await worker.ended() == 3
    assert f"Error: {gateway.url}" in worker.said


async def test_nonsense_later_ends_the_connection_and_not_the_worker(tmp_path: Path) -> None:
    async with scripted() as gateway:
        turns = iter(NONSENSE.values())

        def answer(guest: Guest, request: Said) -> bytes | None:
            nonsense = next(turns, None)
            return gateway.usual(guest, request) if nonsense is None else nonsense

        gateway.answers["exchange"] = answer
        async with c_worker(tmp_path, gateway.url, "--poll", "50ms") as worker:
            # Each but the two that are fit for an answer to an exchange breaks the connection.
            await gateway.is_asked("hello", len(NONSENSE) - 4)
            assert worker.process.returncode is None


async def test_an_answer_may_come_byte_by_byte(tmp_path: Path) -> None:
    def slowly(guest: Guest, data: bytes | None) -> bytes:
        for byte in data or b"":
            guest.writer.write(bytes([byte]))
        return b""

    async with scripted() as gateway:
        gateway.leases.append(lease("j1"))
        for verb in ("hello", "beat", "exchange"):
            gateway.answers[verb] = lambda guest, request: slowly(
                guest, gateway.usual(guest, request)
            )
        async with c_worker(tmp_path, gateway.url) as worker:
            assert (await gateway.is_handed("j1"))["outcome"] == "completed"
            assert await worker.drain() == 0


async def test_a_worker_waits_ten_seconds_for_a_welcome_and_no_longer(tmp_path: Path) -> None:
    async with scripted() as gateway:
        gateway.answers["hello"] = lambda _guest, _request: None
        async with c_worker(tmp_path, gateway.url) as worker:
            assert await worker.ended() == 3
    assert "did not answer within 10 seconds" in worker.said


async def test_a_server_without_a_word_is_left_and_found_again(tmp_path: Path) -> None:
    async with scripted() as gateway:
        silent = {**WELCOME, "ping_every": 0.3}

        def beat(guest: Guest, request: Said) -> bytes | None:
            return None if guest.number == 0 else gateway.usual(guest, request)

        gateway.answers["hello"] = lambda _guest, request: ok(request, silent)
        gateway.answers["beat"] = beat
        gateway.answers["ping"] = beat
        async with c_worker(tmp_path, gateway.url) as worker:
            await gateway.is_asked("hello", 2)
            await gateway.is_asked("ping")
            await worker.says("it has not answered in time")
            await worker.says("began session")
            assert await worker.drain() == 0


async def test_the_last_word_of_a_server_that_stops_is_no_end(tmp_path: Path) -> None:
    async with scripted() as gateway:

        def beat(guest: Guest, request: Said) -> bytes | None:
            if guest.number > 0:
                return gateway.usual(guest, request)
            guest.writer.write(error(0, "unavailable", retryable=True))
            guest.writer.write_eof()
            return b""

        gateway.answers["beat"] = beat
        async with c_worker(tmp_path, gateway.url) as worker:
            await gateway.is_asked("hello", 2)
            assert await worker.drain() == 0
    assert "a scripted unavailable" in worker.said


@pytest.mark.parametrize(
    ("code", "status"), [("unauthenticated", 3), ("unsupported", 2), ("of_a_later_version", 3)]
)
async def test_a_refusal_ends_the_worker_with_its_reason(
    tmp_path: Path, code: str, status: int
) -> None:
    async with scripted() as gateway:
        gateway.answers["hello"] = lambda _guest, _request: error(0, code)
        async with c_worker(tmp_path, gateway.url) as worker:
            assert await worker.ended() == status
    assert f"Error: a scripted {code} [{code}]" in worker.said


async def test_a_lease_that_cannot_be_read_harms_no_other(tmp_path: Path) -> None:
    broken = [
        lease("b1", payload=[1]),
        lease("b2", attempt="one"),
        lease("b3", timeout=-5),
        lease("b4", task="trial\u0000nothing"),
        {"id": "b5"},
    ]
    async with scripted() as gateway:
        gateway.leases += [*broken, lease("good"), lease("more", later_field={"a": [1]})]
        async with c_worker(tmp_path, gateway.url) as worker:
            assert (await gateway.is_handed("good"))["outcome"] == "completed"
            assert (await gateway.is_handed("more"))["outcome"] == "completed"
            assert await worker.drain() == 0
    assert {s["id"] for s in gateway.settlements()} == {"good", "more"}
    assert worker.said.count("a lease cannot be read") == len(broken)


async def test_an_answer_that_is_none_ends_the_worker(tmp_path: Path) -> None:
    async with scripted() as gateway:
        gateway.answers["exchange"] = lambda _guest, request: ok(request, {"settled": ["ok"]})
        async with c_worker(tmp_path, gateway.url) as worker:
            assert await worker.ended() == 3
    assert "the answer to an exchange is not one" in worker.said


async def test_a_beat_that_is_answered_by_nonsense_ends_the_worker(tmp_path: Path) -> None:
    async with scripted() as gateway:
        gateway.answers["beat"] = lambda _guest, request: ok(request, {**ALIVE, "alive": "yes"})
        async with c_worker(tmp_path, gateway.url) as worker:
            assert await worker.ended() == 3
    assert "the answer to a beat is not one" in worker.said
