"""What a stream says and how it ends; over a real connection it is tested in tests/integration."""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stoker.app.stoker import Stoker
from stoker.core.job import HeldJob, LogLine, Outcome
from stoker.core.lifecycle import State
from stoker.server import live
from stoker.server.http import make_server_app
from stoker.server.live import Streams, new_lines
from stoker.testing import wait_until
from stoker.testing.conformance.hand import Hand, session_spec
from tests.unit.server.asking import Asking
from tests.unit.server.listening import Listener
from tests.unit.server.listening import listening as listening_at

MOMENT = datetime(2030, 1, 1, tzinfo=UTC)


def listening(ask: Asking, job_id: str, **options: Any) -> AbstractAsyncContextManager[Listener]:
    return listening_at(ask, f"/api/v1/jobs/{job_id}/events", **options)


def report(hand: Hand, lease: Any, **changes: Any) -> Any:
    held = HeldJob(id=lease.id, epoch=lease.epoch, nonce=lease.nonce, ran_for=1.0, **changes)
    return hand.store.beat(session_spec("w1"), [held], ttl=30)


async def test_a_stream_tells_a_jobs_whole_life_and_ends_with_it(ask: Asking, hand: Hand) -> None:
    job_id = await hand.put()
    async with listening(ask, job_id) as listener:
        await wait_until(lambda: listener.names == ["job"], "the job as it is")
        lease = await hand.take(job_id)
        await report(hand, lease)
        await wait_until(lambda: listener.events[-1][1]["state"] == "running", "it runs")
        await report(hand, lease, progress=0.5, note="half")
        await wait_until(lambda: listener.names[-1] == "progress", "the progress")
        line = LogLine(at=MOMENT, message="a line\nof two", attempt=1)
        await report(hand, lease, progress=0.5, note="half", logs=(line,))
        await wait_until(lambda: listener.names[-1] == "log", "the log line")
        await hand.settle(lease, Outcome.COMPLETED, result=b'"done"')
        await wait_until(lambda: listener.names[-1] == "end", "the end")
    told = dict(listener.events)
    assert told["progress"] == {"progress": 0.5, "note": "half"}
    assert told["log"]["message"] == "a line\nof two"
    assert (told["end"]["state"], told["end"]["result"]) == ("completed", "done")
    assert listener.names.count("end") == 1
    assert "id: completed:1\n" in listener.text


async def test_a_stream_of_an_ended_job_ends_at_once(ask: Asking, hand: Hand) -> None:
    job_id = await hand.put()
    await hand.finish(job_id)
    async with listening(ask, job_id) as listener:
        await wait_until(lambda: listener.names == ["end"], "the end")


async def test_a_browser_that_comes_back_after_the_end_is_told_to_stay_away(
    ask: Asking, hand: Hand
) -> None:
    job_id = await hand.put()
    await hand.finish(job_id)
    async with listening(ask, job_id, last_id="completed:1") as listener:
        await wait_until(lambda: listener.status, "the answer")
    assert (listener.status, listener.text) == (204, "")


async def test_a_stream_ends_when_the_client_goes_away(ask: Asking, hand: Hand) -> None:
    job_id = await hand.put()
    streams: Streams = ask.api.state.streams
    async with listening(ask, job_id) as listener:
        await wait_until(lambda: listener.names == ["job"], "the job as it is")
        assert streams.open_now == 1
    assert streams.open_now == 0
    assert await hand.state(job_id) is State.QUEUED


async def test_streams_end_when_the_server_closes(ask: Asking, hand: Hand) -> None:
    job_id = await hand.put()
    streams: Streams = ask.api.state.streams
    async with listening(ask, job_id) as listener:
        await wait_until(lambda: listener.names == ["job"], "the job as it is")
        streams.close()
        await wait_until(lambda: streams.open_now == 0, "the end of the stream")
        assert not listener.gone.is_set()


async def test_the_number_of_streams_is_bounded(app: Stoker, hand: Hand) -> None:
    ask = Asking(make_server_app(app))
    ask.api.state.streams = Streams(most=1)
    job_id = await hand.put()
    async with listening(ask, job_id) as listener:
        await wait_until(lambda: listener.names == ["job"], "the job as it is")
        answer = await ask.get(f"/jobs/{job_id}/events")
        answer.refused(429, "too_many_streams")
        assert "retry-after" in answer.headers


async def test_the_life_of_a_stream_is_bounded(app: Stoker, hand: Hand) -> None:
    ask = Asking(make_server_app(app))
    ask.api.state.streams = Streams(longest=0.0)
    job_id = await hand.put()
    answer = await ask.get(f"/jobs/{job_id}/events")
    assert answer.text.startswith("event: job\n")


async def test_silence_is_broken_by_comments(
    ask: Asking, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "HEARTBEAT", 0.0)
    job_id = await hand.put()
    async with listening(ask, job_id) as listener:
        await wait_until(lambda: ": still here\n\n" in listener.text, "a comment")
    assert listener.names == ["job"]


async def test_a_job_that_is_purged_meanwhile_ends_its_stream_with_an_error(
    ask: Asking, hand: Hand
) -> None:
    job_id = await hand.put()
    async with listening(ask, job_id) as listener:
        await wait_until(lambda: listener.names == ["job"], "the job as it is")
        (await ask.delete(f"/jobs/{job_id}")).ok()
        await wait_until(lambda: listener.names[-1] == "error", "the error")
    assert listener.events[-1][1]["error"]["code"] == "job_not_found"


def test_new_lines_are_found_although_old_ones_were_dropped() -> None:
    lines = [
        LogLine(at=MOMENT + timedelta(seconds=number), message=f"line {number}")
        for number in range(6)
    ]
    assert new_lines([], lines[:2]) == lines[:2]
    assert new_lines(lines[:2], lines[:2]) == []
    assert new_lines(lines[:2], lines[:4]) == lines[2:4]
    assert new_lines(lines[:4], lines[2:6]) == lines[4:6]
    assert new_lines(lines[:2], lines[4:]) == lines[4:]
    same = [lines[0]] * 3
    assert new_lines(same[:2], same) == same[2:]


async def test_a_store_is_asked_no_more_often_than_is_useful(
    app: Stoker, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that wakes its waiters for nothing must not make the server spin."""
    looks = 0

    async def hasty(*_: Any, **__: Any) -> bool:
        nonlocal looks
        looks += 1
        return True

    monkeypatch.setattr(live, "FASTEST", 0.001)
    monkeypatch.setattr(hand.store, "wait", hasty)
    ask = Asking(make_server_app(app))
    job_id = await hand.put()
    async with listening(ask, job_id) as listener:
        await wait_until(lambda: looks == 1, "the first look")
        for _ in range(100):
            await asyncio.sleep(0)
    assert looks == 1
    assert listener.names == ["job"]
