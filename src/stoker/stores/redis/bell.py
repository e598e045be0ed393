"""Who waits for what in this process, and how he is woken.

Functions publish one message a call: which queues have new jobs, and, if anybody listens, which
jobs changed. A second connection listens. What is published while it is away is lost, so nobody
relies on it: a waiter looks before he sleeps, looks again when the connection comes back, and looks
now and then by himself.

A waiter for queues is not believed on hearsay: he looks whether there is a job to be leased, and
sleeps on if another worker was faster. A job that becomes due makes no noise: the waiter that saw
when the next one is due promotes it at that moment.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import msgspec
from redis.asyncio.connection import Connection
from redis.exceptions import RedisError

from stoker.core.clock import Clock
from stoker.stores.redis.address import Address
from stoker.stores.redis.keys import CHANNELS, root
from stoker.stores.redis.records import pack, unpack
from stoker.stores.redis.wire import disconnect

SLICE = 0.05
"""Seconds between two looks at an injected clock: it may jump, and nobody tells."""
POLL = 1.0
"""Seconds after which a waiter looks by himself while the ear listens."""
DEAF_POLL = 0.25
"""The same while it does not."""
_BACKOFF = 0.1
_BACKOFF_CAP = 2.0
_READ = 5.0
_CANCEL_AGAIN = 0.05
_FAULTS = (RedisError, OSError, TimeoutError)
Run = Callable[..., Awaitable[Any]]


class Waiter:
    """One caller of `Store.wait`."""

    __slots__ = ("closed", "event", "ids", "queues", "rung")

    def __init__(self, queues: Collection[str], ids: Collection[str]) -> None:
        """Make a waiter that nobody woke yet."""
        self.queues = frozenset(queues)
        self.ids = frozenset(ids)
        self.event = asyncio.Event()
        self.rung = False
        self.closed = False

    def hear(self, channel: str, names: Collection[str]) -> None:
        """Listen to news."""
        if channel == "NEWS" and not self.ids.isdisjoint(names):
            self.rung = True
            self.event.set()
        elif channel == "RINGS" and not self.queues.isdisjoint(names):
            self.event.set()


class Ear:
    """The connection that listens."""

    def __init__(
        self,
        address: Address,
        hear: Callable[[str, Sequence[str]], None],
        wake: Callable[[], None],
    ) -> None:
        """Make an ear that is deaf until somebody wants to listen.

        Args:
            address: Where the server is.
            hear: Told of a channel and the names in a message.
            wake: Told that something may have been missed.
        """
        self._address = address
        self._hear = hear
        self._wake = wake
        prefix = root(address.namespace)
        self._channels = {f"{prefix}:{name}".encode(): key for key, name in CHANNELS.items()}
        self._wanted: set[bytes] = set()
        self._hearing: dict[bytes, asyncio.Event] = {c: asyncio.Event() for c in self._channels}
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None

    def is_listening(self) -> bool:
        """Whether all that is wanted is being heard."""
        return bool(self._wanted) and all(self._hearing[c].is_set() for c in self._wanted)

    async def listen(self, channel: str) -> None:
        """Begin to listen to a channel, and wait a moment for it to take effect."""
        name = next(name for name, key in self._channels.items() if key == channel)
        if name not in self._wanted:
            self._wanted.add(name)
            if self._task is None:
                # Kept and awaited by `close`: it outlives the waiter that began it.
                self._task = asyncio.create_task(self._run(), name="stoker-bell")  # noqa: TID251
            elif self._connection is not None:
                with contextlib.suppress(*_FAULTS):
                    await self._connection.send_command("SUBSCRIBE", name, check_health=False)
        if not self._hearing[name].is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DEAF_POLL):
                    await self._hearing[name].wait()

    async def close(self) -> None:
        """Stop listening."""
        task, self._task = self._task, None
        while task is not None and not task.done():
            # More than once: the driver swallows a cancellation that meets it while it connects.
            task.cancel()
            await asyncio.wait([task], timeout=_CANCEL_AGAIN)
        self._wanted.clear()

    async def _run(self) -> None:
        pause = _BACKOFF
        while True:
            try:
                self._connection = await self._address.connect(name="stoker-bell")
                pause = _BACKOFF
                await self._connection.send_command("SUBSCRIBE", *self._wanted, check_health=False)
                while True:
                    self._take(await self._connection.read_response(timeout=_READ))
            except _FAULTS:
                # Waiters poll meanwhile, and what is wrong is told to whoever calls a verb.
                self._deafen()
            finally:
                connection, self._connection = self._connection, None
                if connection is not None:
                    await disconnect(connection)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _BACKOFF_CAP)

    def _take(self, message: Any) -> None:
        if not isinstance(message, list):
            return
        kind, channel, content = message
        if kind == b"subscribe":
            self._hearing[channel].set()
            self._wake()
        elif kind == b"message":
            try:
                self._hear(self._channels[channel], unpack(content))
            except msgspec.MsgspecError:
                # Not ours, or from a version that speaks otherwise: whoever waits looks himself.
                self._wake()

    def _deafen(self) -> None:
        for event in self._hearing.values():
            event.clear()
        self._wake()


class Bell:
    """The waiters of one handle."""

    def __init__(self, run: Run, address: Address, clock: Clock | None) -> None:
        """Make a bell.

        Args:
            run: Calls a function.
            address: Where the server is.
            clock: An injected clock; None for the server's.
        """
        self._run = run
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiters: set[Waiter] = set()
        self._ear = Ear(address, self._spread, self._wake_all)

    async def close(self) -> None:
        """Send everybody home."""
        for waiter in self._waiters:
            waiter.closed = True
            waiter.event.set()
        await self._ear.close()

    async def wait(self, queues: Sequence[str], ids: Sequence[str], timeout: float) -> bool:
        """See `Store.wait`."""
        end = self._loop.time() + timeout
        waiter = Waiter(queues, ids)
        self._waiters.add(waiter)
        try:
            return await self._watch(waiter, end)
        finally:
            self._waiters.discard(waiter)

    async def _watch(self, waiter: Waiter, end: float) -> bool:
        asked = pack((list(waiter.queues), list(waiter.ids)))
        first: bytes | None = None
        while not waiter.closed:
            waiter.event.clear()
            now, ready, due, trace, over = await self._run("look", asked)
            first = trace if first is None else first
            if waiter.rung or ready or (over and not waiter.queues) or trace != first:
                return True
            due_in = None if due is None else float(due) - float(now)
            if due_in is not None and due_in <= 0:
                await self._run("promote_due")
                continue
            if waiter.closed:
                return False
            # Only now: what changes before the first look is no news to this waiter. Once the ear
            # listens it wakes everybody, so nothing falls between that look and its first message.
            await self._listen(waiter)
            if not await self._sleep(waiter, due_in, end):
                return False
            if waiter.rung:
                return True
        return False

    async def _listen(self, waiter: Waiter) -> None:
        if waiter.queues:
            await self._ear.listen("RINGS")
        if waiter.ids:
            await self._ear.listen("NEWS")

    async def _sleep(self, waiter: Waiter, due_in: float | None, end: float) -> bool:
        """Sleep until there is a reason to look again; False when the time is over."""
        left = end - self._loop.time()
        if left <= 0:
            return False
        longest = POLL if self._ear.is_listening() else DEAF_POLL
        if self._clock is None:
            await _nap(waiter.event, min(left, longest, longest if due_in is None else due_in))
            return True
        due_at = None if due_in is None else self._clock.now() + due_in
        until = self._loop.time() + min(left, longest)
        while not waiter.event.is_set():
            left = until - self._loop.time()
            if left <= 0 or (due_at is not None and due_at <= self._clock.now()):
                break
            await _nap(waiter.event, min(left, SLICE))
        return True

    def _spread(self, channel: str, names: Sequence[str]) -> None:
        for waiter in self._waiters:
            waiter.hear(channel, names)

    def _wake_all(self) -> None:
        for waiter in self._waiters:
            waiter.event.set()


async def _nap(event: asyncio.Event, longest: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(longest):
            await event.wait()
