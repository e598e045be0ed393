"""One job as server-sent events, until it has ended or nobody listens any more.

A stream begins with the whole job, so a client that lost its connection needs nothing from
before. It holds no buffer: it looks at the job when the store says that something happened, at
most `FASTEST` times a second, and sends what is new; a slow client sees fewer steps, never old
ones. The number of streams and the life of each are bounded; a browser comes back by itself.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from stoker.app.job import LOOK_AGAIN, fetch
from stoker.core.errors import StokerError
from stoker.core.job import JobRecord, LogLine
from stoker.core.lifecycle import TERMINAL
from stoker.server.caller import Caller
from stoker.server.errors import Error, detail_of, encode_error, error_response

MOST = 100
"""Streams at once in one server."""
LONGEST = 3600.0
"""Seconds after which a stream ends; the client comes back."""
HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that nobody between cuts the line."""
FASTEST = 20.0
"""Looks at a job a second."""
_END = "end"
_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class _EventStream(StreamingResponse):
    def __init__(self, chunks: AsyncGenerator[bytes, None]) -> None:
        super().__init__(chunks, media_type="text/event-stream", headers=_HEADERS)
        self._chunks = chunks

    async def stream_response(self, send: Send) -> None:
        # Closed here and now, not by the garbage collector: its place is free for the next.
        async with aclosing(self._chunks):
            await super().stream_response(send)


class Streams:
    """All streams of one server."""

    def __init__(self, *, most: int = MOST, longest: float = LONGEST) -> None:
        """Make room for streams."""
        self.open_now = 0
        self.longest = longest
        self._most = most
        self._closing = asyncio.Event()

    @property
    def is_closing(self) -> bool:
        """Whether every stream is to end."""
        return self._closing.is_set()

    def close(self) -> None:
        """End every stream within a second."""
        self._closing.set()

    def begin(self, chunks: AsyncGenerator[bytes, None]) -> Response:
        """Answer with a stream, if there is room for one more."""
        if self.open_now >= self._most:
            return error_response(
                "too_many_streams",
                f"{self._most} streams are open, which is the most; close one, or ask now and then",
                headers={"retry-after": "5"},
            )
        return _EventStream(self._counted(chunks))

    async def open(self, caller: Caller, job_id: str, *, last_id: str | None) -> Response:
        """Begin a stream.

        Raises:
            JobNotFound: No job has that id.
        """
        job = await _look(caller, job_id)
        if last_id == _id(job) and job.state in TERMINAL:
            # What an EventSource needs to hear to stop coming back.
            return Response(status_code=204)
        return self.begin(self._changes(caller, job))

    async def _counted(self, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        self.open_now += 1
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk
        except StokerError as error:
            # The status is sent already: the one way left to say it.
            yield event("error", encode_error(Error(detail_of(error))))
        finally:
            self.open_now -= 1

    async def _changes(self, caller: Caller, job: JobRecord) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        began = spoke = loop.time()
        seen: JobRecord | None = None
        while not self.is_closing:
            for chunk in _news(seen, job):
                spoke = loop.time()
                yield chunk
            if job.state in TERMINAL or loop.time() - began > self.longest:
                return
            if loop.time() - spoke >= HEARTBEAT:
                spoke = loop.time()
                yield b": still here\n\n"
            looked = loop.time()
            await _something(caller, job.id)
            await asyncio.sleep(max(0.0, looked + 1 / FASTEST - loop.time()))
            seen, job = job, await _look(caller, job.id)


async def _look(caller: Caller, job_id: str) -> JobRecord:
    return await caller.run(lambda store: fetch(store, job_id))


async def _something(caller: Caller, job_id: str) -> None:
    await caller.run(lambda store: store.wait(ids=[job_id], timeout=LOOK_AGAIN))


def _news(seen: JobRecord | None, job: JobRecord) -> Iterator[bytes]:
    """Say what of a job is new."""
    if job.state in TERMINAL:
        yield event(_END, msgspec.json.encode(job), event_id=_id(job))
        return
    if seen is None or _mark(seen) != _mark(job):
        yield event("job", msgspec.json.encode(job), event_id=_id(job))
        return
    if (seen.progress, seen.progress_note) != (job.progress, job.progress_note):
        told = {"progress": job.progress, "note": job.progress_note}
        yield event("progress", msgspec.json.encode(told))
    for line in new_lines(seen.logs, job.logs):
        yield event("log", msgspec.json.encode(line))


def new_lines(before: Sequence[LogLine], after: Sequence[LogLine]) -> Sequence[LogLine]:
    """Return the lines that were added, although the oldest ones may have been dropped."""
    for dropped in range(len(before) + 1):
        kept = before[dropped:]
        if list(after[: len(kept)]) == list(kept):
            return after[len(kept) :]
    return after


def _mark(job: JobRecord) -> tuple[Any, ...]:
    return (job.state, job.attempt, job.cancel_requested, job.worker, len(job.attempts))


def _id(job: JobRecord) -> str:
    return f"{job.state}:{job.attempt}"


def event(name: str, data: bytes, *, event_id: str | None = None) -> bytes:
    """Return one server-sent event; its data are JSON, and so one line."""
    head = f"event: {name}\n" if event_id is None else f"event: {name}\nid: {event_id}\n"
    return b"%bdata: %b\n\n" % (head.encode(), data)
