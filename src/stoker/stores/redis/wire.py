"""One connection, on which whatever gathered while the last flush was away goes out together.

States
    *idle*      Nothing waits. Opened or not, the connection rests.
    *away*      A flush is under way: its calls were written in one go, and the answers come in the
                same order. What is asked for meanwhile gathers for the next flush. There are no
                timers and no minimum sizes: the slower the server, the larger the flushes.
    *closed*    No call is taken any more; those that were are finished.

What happens at each failure
    the server cannot be reached
        Each call that waits gets `Unavailable`. The next call tries again.
    the connection is lost, or an answer takes longer than the timeout
        Answers that came are given out. Calls without one get `OutcomeUnknown` if they change
        anything, `Unavailable` if they only read. The connection is thrown away: what may still
        come over it would be taken for the answer of somebody else.
    the server was restarted while nobody asked for anything
        The end of the old connection is noticed before anything is written to it, and a new one is
        made. Nobody notices.
    the server does not know our functions
        It loads them, and the call is made again: it was not carried out.
    a caller is cancelled
        Its call goes on, and its answer is dropped. The connection stays in step.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

from redis.asyncio.connection import Connection
from redis.exceptions import RedisError

from stoker.core.errors import BackendError, NotOpen, OutcomeUnknown
from stoker.stores.redis.address import Address
from stoker.stores.redis.faults import cannot_connect, is_missing_function, translate
from stoker.stores.redis.functions import READING, function, library
from stoker.stores.redis.keys import root
from stoker.stores.redis.records import Packed, pack, unpack

MOST = 256
"""The most calls in one flush."""
TOGETHER = 250
"""Jobs after which no further caller's are added to the same call."""
Argument = str | bytes | int | float
log = logging.getLogger(__name__)
_FAULTS = (RedisError, OSError, TimeoutError)


class _Call:
    __slots__ = ("answer", "command", "retried", "writes")

    def __init__(self, command: tuple[Argument, ...], *, writes: bool) -> None:
        self.command = command
        self.writes = writes
        self.retried = False
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def succeed(self, value: Any) -> None:
        if not self.answer.done():
            self.answer.set_result(value)

    def fail(self, error: BackendError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class _Submit(_Call):
    """Jobs of one caller. Several of these go out as one call."""

    __slots__ = ("jobs", "moment")

    def __init__(self, moment: str, jobs: Sequence[Packed]) -> None:
        super().__init__((), writes=True)
        self.moment = moment
        self.jobs = jobs


class _Submits(_Call):
    """Jobs of several callers, in one commit."""

    __slots__ = ("parts",)

    def __init__(self, root: str, parts: Sequence[_Submit]) -> None:
        jobs = [job for part in parts for job in part.jobs]
        asked = pack(("system", None, jobs))
        super().__init__(
            ("FCALL", function("submit"), 1, root, parts[0].moment, asked), writes=True
        )
        self.parts = parts

    def succeed(self, value: Any) -> None:
        _, told = unpack(value)
        first = 0
        for part in self.parts:
            part.succeed(told[first : first + len(part.jobs)])
            first += len(part.jobs)

    def fail(self, error: BackendError) -> None:
        for part in self.parts:
            part.fail(error)


class Wire:
    """The connection of a handle. Belongs to one event loop."""

    def __init__(self, address: Address) -> None:
        """Make a wire, not yet open."""
        self._address = address
        self._root = root(address.namespace)
        self._connection: Connection | None = None
        self._waiting: deque[_Call] = deque()
        self._work = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, and begin to take calls.

        Raises:
            BackendError: The server cannot be reached, or does not let us in.
        """
        await self._connected()
        self._closing = False
        # Kept and awaited by `close`: calls outlive their callers, so no caller's group fits.
        self._task = asyncio.create_task(self._run(), name="stoker-redis")  # noqa: TID251

    async def close(self) -> None:
        """Finish what was asked for, and disconnect."""
        self._closing = True
        self._work.set()
        if self._task is not None:
            await self._task
            self._task = None
        await self._drop()

    async def run(self, name: str, *arguments: Argument) -> Any:
        """Call one of our functions; ``arguments`` begin with the moment."""
        command = ("FCALL", function(name), 1, self._root, *arguments)
        return await self._ask(_Call(command, writes=name not in READING))

    async def submit(self, moment: str, jobs: Sequence[Packed]) -> list[Any]:
        """Submit jobs outside workflows, together with those of whoever else submits now."""
        told: list[Any] = await self._ask(_Submit(moment, jobs))
        return told

    async def command(self, *command: Argument, writes: bool = False) -> Any:
        """Call a command of the server."""
        return await self._ask(_Call(command, writes=writes))

    async def _ask(self, call: _Call) -> Any:
        if self._closing or self._task is None:
            raise NotOpen("the store is not open; use it inside `async with`")
        self._waiting.append(call)
        self._work.set()
        try:
            return await call.answer
        except BackendError as error:
            # The future's own traceback would grow with each await.
            raise error from error.__cause__

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                calls = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
                try:
                    await self._flush(self._together(calls))
                except Exception as error:  # noqa: BLE001 - the border: no caller may wait for ever
                    await self._give_up(calls, error)
            if self._closing:
                return

    async def _give_up(self, calls: Sequence[_Call], error: Exception) -> None:
        log.error("a flush to %s failed", self._address.url, exc_info=error)
        await self._drop()
        fault = OutcomeUnknown(
            f"a call to {self._address.url} failed in a way that nobody foresaw ({error!r}); it "
            "may or may not have been carried out",
            url=self._address.url,
        )
        fault.__cause__ = error
        for call in calls:
            call.fail(fault)

    def _together(self, calls: Sequence[_Call]) -> list[_Call]:
        """Return the calls with plain submits of one moment made one; their callers are equals."""
        found: list[_Call] = [call for call in calls if not isinstance(call, _Submit)]
        groups: dict[str, list[list[_Submit]]] = {}
        for call in calls:
            if isinstance(call, _Submit):
                parts = groups.setdefault(call.moment, [[]])
                if parts[-1] and sum(len(part.jobs) for part in parts[-1]) >= TOGETHER:
                    parts.append([])
                parts[-1].append(call)
        found += [_Submits(self._root, part) for parts in groups.values() for part in parts]
        return found

    async def _flush(self, calls: Sequence[_Call]) -> None:
        answered = 0
        sent = False
        try:
            connection = await self._connected()
            packed = [part for call in calls for part in connection.pack_command(*call.command)]
            sent = True
            await connection.send_packed_command(packed, check_health=False)
            for call in calls:
                await self._read(connection, call)
                answered += 1
        except BackendError as error:
            # Not connected: nothing was sent.
            for call in calls:
                call.fail(error)
        except _FAULTS as error:
            await self._drop()
            for call in calls[answered:]:
                fault = translate(error, self._address.url, sent=sent, writes=call.writes)
                fault.__cause__ = error
                call.fail(fault)

    async def _read(self, connection: Connection, call: _Call) -> None:
        try:
            call.succeed(await connection.read_response())
        except RedisError as error:
            if is_missing_function(error) and not call.retried:
                call.retried = True
                # Before others that wait: it was asked for first.
                self._waiting.appendleft(call)
                self._waiting.appendleft(_loading())
                return
            if not connection.is_connected:
                raise
            fault = translate(error, self._address.url, sent=True, writes=call.writes)
            fault.__cause__ = error
            call.fail(fault)

    async def _connected(self) -> Connection:
        """Return the connection, made anew if there is none or its other end has gone."""
        if self._connection is not None and not await _is_fresh(self._connection):
            await self._drop()
        if self._connection is None:
            try:
                self._connection = await self._address.connect(name="stoker")
            except _FAULTS as error:
                raise cannot_connect(error, self._address.url) from error
        return self._connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await disconnect(connection)


async def disconnect(connection: Connection) -> None:
    """Let go of a connection, whatever state it is in."""
    try:
        await connection.disconnect(nowait=True)
    except _FAULTS:
        return


def _loading() -> _Call:
    call = _Call(("FUNCTION", "LOAD", "REPLACE", library()[1]), writes=False)
    # Nobody waits for it: if it fails, so does the call behind it, and says why.
    call.answer.add_done_callback(lambda answer: answer.exception())
    return call


async def _is_fresh(connection: Connection) -> bool:
    """Whether a connection is open and has nothing unread: what is unread is the end, or worse."""
    if not connection.is_connected:
        return False
    # The older name goes away with redis-py 9, the newer one came with 8.
    look = getattr(connection, "can_read", None) or connection.can_read_destructive
    try:
        return not await look()
    except _FAULTS:
        return False
