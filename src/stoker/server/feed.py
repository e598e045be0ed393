"""The first screen, live: server-sent events from the one look that everybody shares.

Each frame is the whole page, so a client that lost its connection, or was too slow for some
frames, needs nothing from before, and nothing gathers here for it: it gets the newest frame when it
is ready for one. Frames come every second whether anything happened or not. A page that hears
nothing for several of them has lost the server; a page that hears ``trouble`` has the server, and
the server has lost the store; ``drain`` announces that the server goes away.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response

from stoker.core.errors import StokerError
from stoker.server.caller import Caller
from stoker.server.errors import Error, detail_of, encode_error
from stoker.server.live import Streams, event
from stoker.server.watch import Seen, Watch

RETRY = b"retry: 2000\n\n"
"""How many milliseconds a browser waits before it comes back."""
_DIGITS = 16


class Feed:
    """The frames of one server."""

    def __init__(self, watch: Watch, streams: Streams, *, birth: str) -> None:
        """Begin.

        Args:
            watch: Where the frames come from.
            streams: All streams of this server, which these are counted among.
            birth: Tells this server's frames from those of the one before its restart.
        """
        self._watch = watch
        self._streams = streams
        self._birth = birth

    def open(self, caller: Caller, last_id: str | None) -> Response:
        """Begin a stream, after the frame that the client has seen."""
        return self._streams.begin(self._chunks(caller, self._known(last_id)))

    async def _chunks(self, caller: Caller, seq: int | None) -> AsyncGenerator[bytes, None]:
        yield RETRY
        async with aclosing(self._frames(seq)) as frames:
            async for seen in frames:
                # A key that was revoked meanwhile ends the stream.
                await caller.check()
                yield self._event(seen)
        if self._streams.is_closing:
            yield event("drain", b"{}")

    async def _frames(self, seq: int | None) -> AsyncGenerator[Seen | StokerError, None]:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._streams.longest
        while True:
            try:
                seen = await self._watch.after(seq)
            except StokerError as error:
                yield error
                await asyncio.sleep(self._watch.every)
            else:
                seq = seen.frame.seq
                yield seen
            if self._streams.is_closing or loop.time() >= end:
                return

    def _event(self, seen: Seen | StokerError) -> bytes:
        if isinstance(seen, StokerError):
            return event("trouble", encode_error(Error(detail_of(seen))))
        return event("overview", seen.data, event_id=f"{self._birth}-{seen.frame.seq}")

    def _known(self, last_id: str | None) -> int | None:
        """Return the frame that a client knows, if it is one of ours."""
        birth, _, seq = (last_id or "").rpartition("-")
        is_ours = birth == self._birth and seq.isdecimal() and len(seq) < _DIGITS
        return int(seq) if is_ours else None
