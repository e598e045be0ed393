"""One connection of a remote worker.

States
    *greeting*   Nothing is believed: one frame of at most `MAX_HELLO` bytes may come, within
                 `HELLO_SECONDS`, and it must be a hello that proves who the client is.
    *serving*    Requests are carried out side by side, at most `MAX_IN_FLIGHT` at once; answers
                 go out in the order in which they are ready. While that many are under way,
                 nothing is read: TCP itself holds the client back.
    *ending*     Nothing is read any more. Waits are cut short, all else is carried out to its end
                 and answered as long as somebody reads.

Who ends it
    the client   By closing his side. A request that he sent is carried out all the same: he may
                 hear of it from the store later, and repeats it with the same ids.
    the server   By `stop`: requests under way are answered, then an error ``unavailable`` with
                 the id 0 says goodbye.
    a mistake    A frame that is none, too long, too slow, of an id that is under way: an error
                 with the id 0 names it, and the connection is closed. What is wrong with one
                 request only is the answer to that request.
    silence      A client says something every `PING_EVERY` seconds. After `SILENCE` seconds of
                 nothing it is gone, whatever TCP believes.
    a full line  A client that does not read its answers for `WRITE_SECONDS` is cut off.

What is never held
    Before the hello more than 64 KiB; afterwards more than one frame that comes in and
    `HELD_FRAMES` under way. Nothing is allocated because a peer announced it.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from stoker.core.errors import (
    ProtocolError,
    StokerError,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from stoker.core.wire.frames import MAX_HELLO, FrameReader, pack
from stoker.core.wire.messages import (
    CONNECTION,
    FORGET,
    HELLO,
    NOTHING,
    PING,
    ForgetParams,
    Hello,
    Request,
    Response,
    error_body,
    read_params,
    read_request,
    write,
)
from stoker.server.gateway.desk import MAX_IN_FLIGHT, PING_EVERY, Desk
from stoker.server.identity import Identity

HELLO_SECONDS = 10.0
FRAME_SECONDS = 30.0
"""How long a frame may take from its first byte to its last."""
SILENCE = 4 * PING_EVERY
WRITE_SECONDS = 30.0
REFUSAL_SECONDS = 1.0
"""How long a wrong proof takes its place: nobody guesses fast."""
HELD_FRAMES = 4
"""How many frames of full length the requests under way may hold together."""
LINGER_SECONDS = 1.0
LINGER_BYTES = 16 * 1_048_576
CHUNK = 65_536
"""Bytes read at once."""
ENVELOPE = 64
"""Bytes of a response beside its answer."""

log = logging.getLogger(__name__)


class Limits(msgspec.Struct, frozen=True):
    """How patient a connection is, in seconds."""

    hello: float = HELLO_SECONDS
    frame: float = FRAME_SECONDS
    refusal: float = REFUSAL_SECONDS
    silence: float = SILENCE
    write: float = WRITE_SECONDS


class Connection:
    """One client, from its first byte to its last."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        desk: Desk,
        limits: Limits,
        *,
        on_known: Callable[[], None],
    ) -> None:
        """Take a connection that was accepted.

        Args:
            reader: What comes in.
            writer: What goes out.
            desk: Carries out the requests.
            limits: How patient to be.
            on_known: Called when the client has proved who he is.
        """
        self._reader = reader
        self._writer = writer
        self._desk = desk
        self._limits = limits
        self._frames = FrameReader(MAX_HELLO)
        self._patience: asyncio.Timeout | None = None
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._waits: dict[int, asyncio.Task[None]] = {}
        self._under_way: set[int] = set()
        self._held = 0
        self._freed = asyncio.Event()
        self._sending = asyncio.Lock()
        self._most = MAX_HELLO
        self._stopping = False
        self._peer = _peer(writer)
        self._on_known = on_known

    async def run(self) -> None:
        """Serve until one side ends it. Raises nothing."""
        try:
            identity = await self._greet()
            if identity is not None:
                self._on_known()
                await self._serve(identity)
            if self._stopping:
                await self._tell(Unavailable("the server stops; connect again later"))
        except StokerError as error:
            log.info("the connection from %s is refused: %s", self._peer, error.message)
            await self._tell(error)
        except (OSError, TimeoutError) as error:
            log.debug("the connection from %s broke: %s", self._peer, error)
        except Exception:  # the border of a connection: logged once, here
            log.exception("the connection from %s failed", self._peer)
        finally:
            await self._close()

    def stop(self) -> None:
        """Read no more; answer what is under way, and end."""
        self._stopping = True
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time())

    # Greeting

    async def _greet(self) -> Identity | None:
        try:
            async with asyncio.timeout(self._limits.hello):
                body = await self._next()
        except TimeoutError:
            raise ProtocolError(f"no hello within {self._limits.hello:g} seconds") from None
        if body is None:
            return None
        request = read_request(body)
        if request.verb != HELLO:
            raise ProtocolError("the first request has to be a hello")
        hello = read_params(Hello, request.params)
        try:
            identity = await self._desk.admit(hello.token, self._certificate())
        except Unauthenticated:
            await asyncio.sleep(self._limits.refusal)
            raise
        welcome = await self._desk.welcome(hello, identity)
        self._frames.limit = self._desk.max_frame
        self._most = hello.max_frame
        await self._send(Response(request.id, msgspec.Raw(msgspec.json.encode(welcome))))
        log.info("%s is %r (%s)", self._peer, identity.name, hello.client[:100] or "unnamed")
        return identity

    def _certificate(self) -> Mapping[str, Any] | None:
        tls: ssl.SSLObject | None = self._writer.get_extra_info("ssl_object")
        return None if tls is None else tls.getpeercert()

    # Serving

    async def _serve(self, identity: Identity) -> None:
        wrong: StokerError | None = None
        async with asyncio.TaskGroup() as group:
            try:
                while (body := await self._next()) is not None:
                    await self._take(read_request(body), len(body), identity, group)
            except StokerError as error:
                # Not out of the group, which would cancel what is being carried out.
                wrong = error
            except OSError as error:
                log.debug("nothing more comes from %s: %s", self._peer, error)
            for task in self._waits.values():
                task.cancel()
        if wrong is not None:
            raise wrong

    async def _take(
        self, request: Request, size: int, identity: Identity, group: asyncio.TaskGroup
    ) -> None:
        if request.verb in {PING, FORGET}:
            if request.verb == FORGET:
                self._forget(read_params(ForgetParams, request.params).id)
            await self._send(Response(request.id, NOTHING))
            return
        if request.id == CONNECTION or request.id in self._under_way:
            raise ProtocolError(f"a request has the id {request.id}, which is taken")
        if request.verb == HELLO:
            raise ProtocolError("a second hello on one connection")
        await self._slots.acquire()
        while self._held > HELD_FRAMES * self._desk.max_frame:
            self._freed.clear()
            await self._freed.wait()
        self._held += size
        self._under_way.add(request.id)
        task = group.create_task(self._carry_out(request, identity))
        task.add_done_callback(lambda _: self._done(request.id, size))
        if request.verb == "wait":
            self._waits[request.id] = task

    def _done(self, request_id: int, size: int) -> None:
        self._slots.release()
        self._held -= size
        self._freed.set()
        self._under_way.discard(request_id)
        self._waits.pop(request_id, None)

    def _forget(self, request_id: int) -> None:
        task = self._waits.get(request_id)
        if task is not None:
            task.cancel()

    async def _carry_out(self, request: Request, identity: Identity) -> None:
        most = self._most - ENVELOPE
        try:
            data = await self._desk.answer(identity, request.verb, request.params, most=most)
            response = Response(request.id, msgspec.Raw(data))
        except StokerError as error:
            if isinstance(error, Unsupported):
                log.info("%s asked for what is not there: %s", self._peer, error.message)
            response = Response(request.id, error=error_body(error))
        try:
            await self._send(response)
        except (OSError, TimeoutError) as error:
            log.debug("an answer for %s was not taken: %s", self._peer, error)

    # Bytes

    async def _next(self) -> bytes | None:
        """Return the next frame; None when there is none to come."""
        loop = asyncio.get_running_loop()
        begun_at: float | None = None
        while not self._stopping and (body := self._frames.next()) is None:
            if self._frames.is_inside:
                begun_at = begun_at or loop.time()
                deadline = begun_at + self._limits.frame
            else:
                deadline = loop.time() + self._limits.silence
            data = await self._read(deadline)
            if data is None:
                continue
            if not data:
                return None
            self._frames.feed(data)
        return None if self._stopping else body

    async def _read(self, deadline: float) -> bytes | None:
        try:
            async with asyncio.timeout_at(deadline) as self._patience:
                return await self._reader.read(CHUNK)
        except TimeoutError:
            if self._stopping:
                return None
            what = "the rest of a frame" if self._frames.is_inside else "anything"
            raise ProtocolError(f"waited in vain for {what}") from None
        finally:
            self._patience = None

    async def _send(self, response: Response) -> None:
        frame = pack(write(response))
        async with self._sending:
            self._writer.write(frame)
            try:
                async with asyncio.timeout(self._limits.write):
                    await self._writer.drain()
            except TimeoutError:
                self._writer.transport.abort()
                raise

    async def _tell(self, error: StokerError) -> None:
        """Say the last word, to whoever still listens."""
        try:
            await self._send(Response(CONNECTION, error=error_body(error)))
            await self._linger()
        except (OSError, TimeoutError) as failure:
            log.debug("%s did not hear the last word: %s", self._peer, failure)

    async def _linger(self) -> None:
        """Read on for a moment: to close on unread bytes would destroy the last word."""
        if self._writer.can_write_eof():
            self._writer.write_eof()
        async with asyncio.timeout(LINGER_SECONDS):
            left = LINGER_BYTES
            while left > 0 and (data := await self._reader.read(CHUNK)):
                left -= len(data)

    async def _close(self) -> None:
        try:
            self._writer.close()
            async with asyncio.timeout(self._limits.write):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()


def _peer(writer: asyncio.StreamWriter) -> str:
    name = writer.get_extra_info("peername")
    return "somebody" if not name else f"{name[0]}:{name[1]}"
