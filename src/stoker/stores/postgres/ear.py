"""The connection that hears notifications, and whether it does.

A connection can be deaf without an error: it died without a word, or something between passes no
notifications. So whoever listens sends himself a message first, and now and then again; while that
does not arrive in time, `Ear.hears` is false, and a new connection is tried later. Where each
transaction gets another connection nobody may listen at all: see `pooling`.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import psycopg

from stoker.cancelling import is_cancelled
from stoker.core.errors import StokerError
from stoker.stores.postgres.address import Address
from stoker.stores.postgres.lines import connect, cut
from stoker.stores.postgres.pooling import Connection

PROBE_WITHIN = 5.0
"""Seconds that a message to oneself may take."""
PROBE_EVERY = 30.0
"""Seconds between two of them."""
RETRY = 0.5
"""Seconds before another try to listen; twice as many after each that failed."""
LONGEST_RETRY = 30.0
_PROBE = "probe "


class Ear:
    """Listens for as long as its handle lives."""

    def __init__(
        self,
        address: Address,
        *,
        say: Callable[[str], Awaitable[None]],
        heard: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        """Make an ear that does not listen yet.

        Args:
            address: Where.
            say: Sends a message on the channel, over another connection.
            heard: Told of each message.
            changed: Told when the ear began to hear: something may have been missed before.
        """
        self._address = address
        self._say = say
        self._heard = heard
        self._changed = changed
        self._task: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._probes = 0
        self.hears = False
        """Whether messages arrive."""

    def start(self) -> None:
        """Begin to listen."""
        # It lives as long as the handle; close ends and awaits it.
        self._task = asyncio.create_task(self._serve())  # noqa: TID251 - see above

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _serve(self) -> None:
        pause = RETRY
        while True:
            # Whatever goes wrong here, waiters look into the store by themselves.
            with contextlib.suppress(StokerError, psycopg.Error, OSError, TimeoutError):
                line = await connect(self._address)
                try:
                    pause = await self._listen(line, pause)
                finally:
                    self.hears = False
                    await _let_go(line)
            if is_cancelled():
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_RETRY)

    async def _listen(self, line: Connection, pause: float) -> float:
        """Listen until nothing arrives any more; return the pause before another try."""
        broken = asyncio.Event()

        def read() -> None:
            try:
                line.pgconn.consume_input()
            except psycopg.Error:
                broken.set()
                loop.remove_reader(socket)
                return
            while (note := line.pgconn.notifies()) is not None:
                self._take(note.extra.decode("utf-8", "replace"))

        async with asyncio.timeout(self._address.timeout):
            await line.execute(f'LISTEN "{self._address.channel}"'.encode())
        loop, socket = asyncio.get_running_loop(), line.pgconn.socket
        loop.add_reader(socket, read)
        try:
            while await self._probe() and not broken.is_set():
                pause = RETRY
                if not self.hears:
                    self.hears = True
                    self._changed()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PROBE_EVERY):
                        await broken.wait()
        finally:
            loop.remove_reader(socket)
        return pause

    async def _probe(self) -> bool:
        self._probes += 1
        self._arrived.clear()
        await self._say(f"{_PROBE}{id(self)} {self._probes}")
        try:
            async with asyncio.timeout(PROBE_WITHIN):
                await self._arrived.wait()
        except TimeoutError:
            return False
        return True

    def _take(self, message: str) -> None:
        if not message.startswith(_PROBE):
            self._heard(message)
        elif message == f"{_PROBE}{id(self)} {self._probes}":
            self._arrived.set()


async def _let_go(line: Connection) -> None:
    cut(line)
    with contextlib.suppress(psycopg.Error, OSError):
        await line.close()
