"""The way over TCP: one connection, many calls under way, connected again when it broke.

A call is *written* from the moment its frame is handed to the socket. If the connection breaks
before, nothing was done (`Unavailable`); after, nobody can say (`OutcomeUnknown`). Nothing is
repeated here: whoever called knows whether he may.

A broken connection is opened again by the next call. All calls that come meanwhile share one
attempt and its failure; between two failed attempts lies a random share of a pause that doubles.
"""

import asyncio
import contextlib
import ssl
from importlib.metadata import version
from typing import Any

import msgspec

from stoker.core.clock import Clock
from stoker.core.errors import (
    FrameTooLarge,
    NotAStore,
    NotOpen,
    OutcomeUnknown,
    PayloadTooLarge,
    StokerError,
    Unavailable,
)
from stoker.core.wire.frames import MAX_ANSWER, FrameReader, pack
from stoker.core.wire.messages import (
    CONNECTION,
    FORGET,
    HELLO,
    NOTHING,
    PING,
    PROTOCOL,
    ForgetParams,
    Hello,
    Request,
    Response,
    Welcome,
    error_from,
    read_response,
    write,
)
from stoker.stores.remote.address import Address
from stoker.stores.remote.link import CONNECT_SECONDS, no_word, unreachable

BACKOFF = 0.1
BACKOFF_CAP = 5.0
CHUNK = 262_144
"""Bytes read at once."""
UNHEARD = 3
"""Pings without any answer after which a connection counts as broken."""
ENVELOPE = 256
"""Bytes of a request beside its parameters."""
GOODBYE = 5.0
"""Seconds that closing a connection may take."""

_encode = msgspec.json.Encoder().encode


class TcpLink:
    """See `stoker.stores.remote.link.Link`."""

    def __init__(self, address: Address, clock: Clock, *, client: str) -> None:
        """Make a way, not yet open.

        Args:
            address: Where to.
            clock: Chance, for the pauses.
            client: Who asks, for the server's log.
        """
        self._address = address
        self._clock = clock
        self._client = client
        self._tls: ssl.SSLContext | None = None
        self._line: Line | None = None
        self._dialling = asyncio.Lock()
        self._failures = 0
        self._not_before = 0.0
        self._refusal: StokerError | None = None
        self._attempts = 0
        self._is_open = False
        self._welcome: Welcome | None = None

    @property
    def welcome(self) -> Welcome:
        """See `Link.welcome`."""
        if self._welcome is None:
            raise _not_open(self._address)
        return self._welcome

    async def open(self) -> None:
        """See `Link.open`."""
        self._tls = self._address.tls()
        self._is_open = True
        try:
            await self._connected()
        except BaseException:
            self._is_open = False
            raise

    async def close(self) -> None:
        """See `Link.close`."""
        self._is_open = False
        line, self._line = self._line, None
        if line is not None:
            await line.finish(self._address.timeout)
            await line.close()

    async def call(self, verb: str, params: bytes, *, timeout: float) -> msgspec.Raw:
        """See `Link.call`."""
        line = self._line
        if line is None or line.is_lost:
            line = await self._connected()
        return await line.ask(verb, params, timeout=timeout)

    async def _connected(self) -> "Line":
        seen = self._attempts
        async with self._dialling:
            if not self._is_open:
                raise _not_open(self._address)
            if self._line is not None and not self._line.is_lost:
                return self._line
            if self._attempts != seen and self._refusal is not None:
                raise type(self._refusal)(self._refusal.message, **self._refusal.details)
            await self._pause()
            return await self._try()

    async def _pause(self) -> None:
        early = self._not_before - asyncio.get_running_loop().time()
        if early > 0:
            await asyncio.sleep(early)

    async def _try(self) -> "Line":
        old, self._line = self._line, None
        if old is not None:
            await old.close()
        try:
            line = await dial(
                self._address, self._tls, client=self._client, known=self._welcome is not None
            )
        except StokerError as error:
            self._failures += 1
            longest = min(BACKOFF_CAP, BACKOFF * 2.0 ** min(self._failures, 16))
            pause = longest * self._clock.random()
            self._not_before = asyncio.get_running_loop().time() + pause
            self._refusal = error
            raise
        finally:
            self._attempts += 1
        if not self._is_open:
            await line.close()
            raise _not_open(self._address)
        self._failures, self._refusal = 0, None
        self._line, self._welcome = line, line.welcome
        return line


async def dial(address: Address, tls: ssl.SSLContext | None, *, client: str, known: bool) -> "Line":
    """Connect and say hello.

    Args:
        address: Where to.
        tls: How, if encrypted.
        client: Who asks, for the server's log.
        known: Whether the server let this client in before.

    Raises:
        StokerError: The server is not there, is none, or does not want us.
    """
    hello = Hello(
        protocol=PROTOCOL,
        token=None if address.token is None else address.token.reveal(),
        client=client,
        version=version("stoker"),
    )
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                address.host,
                address.port,
                limit=CHUNK,
                ssl=tls,
                server_hostname=(address.server_name or address.host) if tls else None,
            )
            line = Line(address, reader, writer)
            await line.greet(hello)
    except EOFError:
        await _drop(writer)
        raise no_word(address, known=known) from None
    except OSError as error:
        await _drop(writer)
        raise unreachable(address, error) from None
    except BaseException:
        await _drop(writer)
        raise
    return line


class Line:
    """One connection, from hello to its end.

    Attributes:
        is_lost: It broke, and no call will be answered any more.
        welcome: What the server said.
    """

    welcome: Welcome

    def __init__(
        self, address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Take a connection; `greet` comes next."""
        self._address = address
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader(MAX_ANSWER)
        self._pending: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._waits: set[int] = set()
        self._last_id = CONNECTION
        self._slots = asyncio.Semaphore()
        self._wait_slots = asyncio.Semaphore()
        self._heard = False
        self._why = ""
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: list[asyncio.Task[None]] = []
        self.is_lost = False

    async def greet(self, hello: Hello) -> None:
        """Say hello and begin to listen.

        Raises:
            StokerError: The server does not want us, or is none.
            OSError, EOFError: The connection broke.
        """
        self._writer.write(_frame(1, HELLO, _encode(hello)))
        self._last_id = 1
        try:
            while (body := self._frames.next()) is None:
                data = await self._reader.read(CHUNK)
                if not data:
                    raise EOFError
                self._frames.feed(data)
            response = read_response(body)
            error = _error_of(response)
            if error is not None:
                raise error
            self.welcome = msgspec.json.decode(_answer_of(response), type=Welcome)
        except (FrameTooLarge, msgspec.MsgspecError) as strange:
            raise NotAStore(
                f"what answers at {self._address.shown} is no gateway of Stoker: {strange}"
            ) from None
        # Half of what the server takes at once is kept from those who only wait.
        self._slots = asyncio.Semaphore(max(1, self.welcome.max_in_flight // 2))
        self._wait_slots = asyncio.Semaphore(max(1, self.welcome.max_in_flight // 2 - 1))
        # Kept and awaited by `close`: a task group would need somebody who stays inside it.
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._listen()), loop.create_task(self._watch())]

    async def ask(self, verb: str, params: bytes, *, timeout: float) -> msgspec.Raw:
        """See `Link.call`."""
        if len(params) + ENVELOPE > self.welcome.max_frame:
            raise PayloadTooLarge(
                f"the call of {verb!r} has {len(params):,} bytes, and {self._address.shown} takes "
                f"{self.welcome.max_frame:,} at once. Send less at once, or raise gateway.frame "
                "on the server",
                size=len(params),
                limit=self.welcome.max_frame,
            )
        slots = self._wait_slots if verb == "wait" else self._slots
        try:
            async with asyncio.timeout(timeout):
                await slots.acquire()
        except TimeoutError:
            raise Unavailable(f"{verb!r} found no free place on the connection in time") from None
        try:
            return await self._ask(verb, params, timeout)
        finally:
            slots.release()

    async def _ask(self, verb: str, params: bytes, timeout: float) -> msgspec.Raw:
        if self._writer.is_closing():
            # uvloop refuses to write then, by an error of its own, before whoever listens is told.
            self._lose("it was cut off")
        if self.is_lost:
            raise Unavailable(f"the connection to {self._address.shown} broke: {self._why}")
        self._last_id += 1
        number = self._last_id
        answer: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._pending[number] = answer
        self._idle.clear()
        if verb == "wait":
            self._waits.add(number)
        try:
            async with asyncio.timeout(timeout):
                self._writer.write(_frame(number, verb, params))
                await self._drain()
                return await answer
        except TimeoutError:
            raise OutcomeUnknown(
                f"{self._address.shown} did not answer {verb!r} within {timeout:g} seconds"
            ) from None
        except asyncio.CancelledError:
            if number in self._waits and not self._writer.is_closing():
                self._say(FORGET, _encode(ForgetParams(number)))
            raise
        finally:
            self._waits.discard(number)
            self._pending.pop(number, None)
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # seen, although nobody waits for it any more
            if not self._pending:
                self._idle.set()

    async def finish(self, timeout: float) -> None:
        """Let calls under way be answered; waits end now, for nothing."""
        for number in list(self._waits):
            future = self._pending.get(number)
            if future is not None and not future.done():
                future.set_result(msgspec.Raw(b"false"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._idle.wait()

    async def close(self) -> None:
        """Hang up."""
        self._lose("it was closed")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await _drop(self._writer)

    async def _drain(self) -> None:
        # A break shows in the answer, which is failed by whoever listens.
        with contextlib.suppress(OSError):
            await self._writer.drain()

    def _say(self, verb: str, params: bytes) -> None:
        """Send what needs no answer; the one that comes is thrown away."""
        self._last_id += 1
        self._writer.write(_frame(self._last_id, verb, params))

    async def _listen(self) -> None:
        why = "the server hung up"
        try:
            while data := await self._reader.read(CHUNK):
                self._heard = True
                self._frames.feed(data)
                while (body := self._frames.next()) is not None:
                    self._hear(read_response(body))
        except (OSError, StokerError) as error:
            why = str(error) or type(error).__name__
        self._lose(why)

    def _hear(self, response: Response) -> None:
        future = self._pending.get(response.id)
        error = _error_of(response)
        if error is not None and response.id == CONNECTION:
            raise error
        if future is None or future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(_answer_of(response))

    async def _watch(self) -> None:
        """Say something now and then, and notice when nothing comes back."""
        unheard = 0
        while not self.is_lost:
            self._heard = False
            await asyncio.sleep(self.welcome.ping_every)
            unheard = 0 if self._heard else unheard + 1
            if unheard > UNHEARD:
                self._lose("the server has been silent for too long")
                self._writer.transport.abort()
                return
            self._say(PING, b"{}")

    def _lose(self, why: str) -> None:
        if self.is_lost:
            return
        self.is_lost = True
        self._why = why
        for future in self._pending.values():
            if not future.done():
                future.set_exception(
                    OutcomeUnknown(
                        f"the connection to {self._address.shown} broke before the answer: {why}"
                    )
                )


def _error_of(response: Response) -> StokerError | None:
    if isinstance(response.error, msgspec.UnsetType):
        return None
    return error_from(response.error)


def _answer_of(response: Response) -> msgspec.Raw:
    return NOTHING if isinstance(response.ok, msgspec.UnsetType) else response.ok


def _frame(number: int, verb: str, params: bytes) -> bytes:
    return pack(write(Request(number, verb, msgspec.Raw(params))))


async def _drop(writer: Any) -> None:
    if writer is None:
        return
    writer.close()
    try:
        async with asyncio.timeout(GOODBYE):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()


def _not_open(address: Address) -> NotOpen:
    return NotOpen(f"the store {address.shown} is not open; use it with 'async with'")
