"""Connections: made when they are needed, used again, thrown away when they break.

A command is one statement that commits by itself. It goes out on a connection of its own and is
never left half done: whoever called may go away, the command runs on, for `Address.timeout` seconds
at the most, and the connection is used again only if it survived.

A server that was killed leaves connections that look well. Before one is used again it is looked
at: if the other side has closed it, or said anything, it is dropped and nothing was sent. So a
restart of the server costs no `OutcomeUnknown` to those who had nothing under way.
"""

import asyncio
import contextlib
import os
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg.rows import TupleRow

from stoker.core.errors import NotOpen, StokerError, Unavailable
from stoker.stores.postgres.address import Address
from stoker.stores.postgres.faults import AGAIN, cannot_connect, graph_refused, lost, translate
from stoker.stores.postgres.pooling import Connection, dial, refuse_shared

T = TypeVar("T")
Rows = list[TupleRow]

_TRIES = 12
_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.5
_SLACK = 5.0
"""Seconds that the server's own limit comes before ours, which has to break the connection."""
_SETTINGS = """
    SELECT set_config('default_transaction_isolation', 'read committed', false),
           set_config('statement_timeout', $1, false),
           set_config('idle_in_transaction_session_timeout', '60s', false),
           set_config('client_min_messages', 'error', false),
           set_config('jit', 'off', false)"""
# A statement takes milliseconds, and compiling it up to a second: where a table was never analyzed,
# the price that is guessed is high enough for that.


class Lines:
    """A handle's connections for one purpose."""

    def __init__(
        self, address: Address, random: Callable[[], float], *, reading: bool = False
    ) -> None:
        """Make an empty set; connections come when they are needed.

        Args:
            address: Where.
            random: Chance, for pauses between repetitions.
            reading: Nothing that runs here changes anything.
        """
        self._address = address
        self._random = random
        self._reading = reading
        self._free = asyncio.Semaphore(address.connections)
        self._idle: list[Connection] = []
        self._under_way: set[asyncio.Task[Any]] = set()
        self._closing = False
        self.opening = True
        """Whether the store is being opened; see `faults.cannot_connect`."""

    async def call(
        self, statement: str, parameters: Sequence[Any] = (), *, prepare: bool = True
    ) -> Rows:
        """Run one statement in a transaction of its own and return its rows.

        Args:
            statement: Of one command.
            parameters: Its values.
            prepare: Whether it is worth a plan that is kept; it gets none where the address
                allows none.

        Raises:
            NotOpen: The store was closed.
            Unavailable, OutcomeUnknown, BackendError: As `faults` says.
        """

        async def work(line: Connection) -> Rows:
            cursor = line.cursor(binary=True)
            kept = prepare and self._address.prepare
            await cursor.execute(statement, parameters, prepare=kept)
            return await cursor.fetchall() if cursor.description else []

        return await self.use(work)

    async def use(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run something that is one transaction on a connection, again if it must be repeated."""
        if self._closing:
            raise NotOpen("the store is closed; use it inside 'async with'")
        # The connection outlives a caller who is cancelled: breaking off in the middle of an
        # answer would leave it unusable, and what the server does open.
        task = asyncio.create_task(self._until_done(work))  # noqa: TID251 - kept, and awaited by close
        self._under_way.add(task)
        task.add_done_callback(self._is_over)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Finish what is under way and close all connections."""
        self._closing = True
        while self._under_way:
            await asyncio.wait(self._under_way)
        while self._idle:
            await _discard(self._idle.pop())

    def _is_over(self, task: "asyncio.Task[Any]") -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            # Whoever called may be gone; the error is his, and nobody else's.
            task.exception()

    async def _until_done(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        pause = _FIRST_PAUSE
        for left in reversed(range(_TRIES)):
            try:
                return await self._once(work, again=left > 0)
            except _AgainError:
                await asyncio.sleep(pause * self._random())
                pause = min(pause * 2, _LONGEST_PAUSE)
        raise AssertionError("the last try does not ask for another one")

    async def _once(self, work: Callable[[Connection], Awaitable[T]], *, again: bool) -> T:
        async with self._turn():
            line = await self._take()
            guard = _Guard(line, self._address.timeout)
            try:
                with guard:
                    answer = await work(line)
            except psycopg.Error as error:
                broken = line.broken or line.closed
                if not broken:
                    await self._put_back(line)
                refused = graph_refused(error)
                if refused is not None:
                    raise refused from None
                if again and error.sqlstate in AGAIN and not broken:
                    raise _AgainError from None
                if guard.is_out:
                    await _discard(line)
                    raise self._silent() from error
                raise translate(
                    error, self._address, reading=self._reading, broken=broken
                ) from error
            except BaseException:
                await _discard(line)
                raise
            await self._put_back(line)
            return answer

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._address.timeout):
                await self._free.acquire()
        except TimeoutError:
            raise Unavailable(
                f"all {self._address.connections} connections to PostgreSQL "
                f"({self._address.place}) were busy for {self._address.timeout:.0f} seconds; "
                "nothing was sent",
                url=self._address.url,
            ) from None
        try:
            yield
        finally:
            self._free.release()

    def _silent(self) -> StokerError:
        text = f"no answer within {self._address.timeout:.0f} seconds"
        return lost(self._address, text, reading=self._reading)

    async def _take(self) -> Connection:
        while self._idle:
            line = self._idle.pop()
            if _is_well(line):
                return line
            await _discard(line)
        return await connect(self._address, opening=self.opening)

    async def _put_back(self, line: Connection) -> None:
        if self._closing or line.info.transaction_status:
            await _discard(line)
        else:
            self._idle.append(line)


async def connect(address: Address, *, opening: bool = False) -> Connection:
    """Make a connection that commits by itself.

    Raises:
        InvalidConfig: The server refuses it for good, and the store is being opened.
        Unsupported: A pooler is between that the URL does not tell of, seen while it is opened.
        Unavailable: It did not come about in time.
    """
    try:
        async with asyncio.timeout(address.timeout):
            line = await dial(address)
            try:
                if opening:
                    await refuse_shared(line, address)
                await _set_up(line, address)
            except BaseException:
                await _discard(line)
                raise
    except (psycopg.Error, OSError, TimeoutError) as error:
        raise cannot_connect(error, address, opening=opening) from error
    return line


async def _set_up(line: Connection, address: Address) -> None:
    if address.prepare:
        limit = max(1_000, int((address.timeout - _SLACK) * 1_000))
        await line.execute(_SETTINGS, (str(limit),))


class _AgainError(Exception):
    """The server undid a command that may be repeated."""


class _Guard:
    """Breaks a connection whose server says nothing any more.

    Cancelling would not do: libpq's cancel needs a server that answers. A socket that is shut down
    ends the wait at once, whatever the server does.
    """

    def __init__(self, line: Connection, seconds: float) -> None:
        self._line = line
        self._seconds = seconds
        self.is_out = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._cut)

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _cut(self) -> None:
        self.is_out = True
        cut(self._line)


def cut(line: Connection) -> None:
    """Break a connection at once; whoever waits on it gets an error."""
    with (
        contextlib.suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(line.pgconn.socket)) as end,
    ):
        end.shutdown(socket.SHUT_RDWR)


def _is_well(line: Connection) -> bool:
    if line.closed or line.broken:
        return False
    poll = select.poll()
    poll.register(line.pgconn.socket, select.POLLIN)
    return not poll.poll(0)


async def _discard(line: Connection) -> None:
    with contextlib.suppress(psycopg.Error, OSError):
        await line.close()
