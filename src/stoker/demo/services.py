"""A mail server and a web server on loopback, so that the demo needs no network.

Both are real: the mail server speaks SMTP (RFC 5321) and keeps what it is given, the web server
speaks HTTP and serves a few pages. They listen on free ports and are gone when the block ends.
"""

import asyncio
import email
import email.policy
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import ClassVar, Self

PAGES: Mapping[str, str] = {
    "/": (
        "<!doctype html><title>The Boiler House</title>"
        "<h1>The Boiler House</h1>"
        "<ul><li class=article><a href=/news>Steam is up</a>"
        "<li class=article><a href=/prices>What coal costs</a></ul>"
    ),
    "/news": (
        "<!doctype html><title>Steam is up</title>"
        "<article><h2>Steam is up</h2><p>All four boilers are under pressure again.</article>"
        "<article><h2>New stoker</h2><p>It never sleeps.</article>"
    ),
    "/prices": (
        "<!doctype html><title>What coal costs</title><table>"
        "<tr><th>Kind<th>Price<tr><td class=kind>Anthracite<td class=price>212"
        "<tr><td class=kind>Lignite<td class=price>48</table>"
    ),
}
"""Path to page."""

_MAX_LINE = 65_536
_MAX_MESSAGE = 10 * 1024 * 1024


@dataclass(frozen=True)
class ReceivedEmail:
    """A message that the mail server took."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        """The message, parsed."""
        return email.message_from_bytes(self.content, policy=email.policy.default)

    @property
    def subject(self) -> str:
        """Its subject, or an empty text."""
        return str(self.message["Subject"] or "")


class DemoServices:
    """Both servers: ``async with DemoServices() as services: services.smtp_url``.

    Attributes:
        messages: What the mail server took, oldest first.
        smtp_url: For the setting ``tasks.smtp``.
        web_url: Of the first page, with a slash at its end.
    """

    def __init__(self) -> None:
        self.messages: list[ReceivedEmail] = []
        self.smtp_url = ""
        self.web_url = ""
        self._mail: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()
        self._web: ThreadingHTTPServer | None = None
        self._web_thread: threading.Thread | None = None

    async def __aenter__(self) -> Self:
        """Start both on free ports."""
        self._mail = await asyncio.start_server(self._converse, "127.0.0.1", 0, limit=_MAX_LINE)
        self.smtp_url = f"smtp://127.0.0.1:{self._mail.sockets[0].getsockname()[1]}"
        self._web = _WebServer(("127.0.0.1", 0), _Pages)
        self.web_url = f"http://127.0.0.1:{self._web.server_address[1]}/"
        self._web_thread = threading.Thread(
            target=self._web.serve_forever, args=(0.05,), name="web"
        )
        self._web_thread.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop both; connections that are still open are cut."""
        assert self._mail is not None  # noqa: S101 - made on the way in
        assert self._web is not None  # noqa: S101 - likewise
        assert self._web_thread is not None  # noqa: S101 - likewise
        self._mail.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)
        await self._mail.wait_closed()
        await asyncio.to_thread(self._web.shutdown)
        await asyncio.to_thread(self._web_thread.join)
        self._web.server_close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a server calls this in a task
        self._conversations.add(task)
        try:
            await _Conversation(reader, writer, self.messages).run()
        except (ConnectionError, EOFError, asyncio.LimitOverrunError, ValueError):
            # The client went away or talks nonsense; it will not hear an answer.
            writer.transport.abort()
        finally:
            writer.close()
            self._conversations.discard(task)


class _Conversation:
    """One SMTP session."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        messages: list[ReceivedEmail],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._messages = messages
        self._sender: str | None = None
        self._recipients: list[str] = []

    async def run(self) -> None:
        await self._say("220 stoker demo mail server")
        while line := await self._reader.readline():
            verb, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            match verb.upper():
                case "EHLO":
                    await self._say(
                        "250-stoker", "250-8BITMIME", "250-SMTPUTF8", f"250 SIZE {_MAX_MESSAGE}"
                    )
                case "HELO" | "NOOP":
                    await self._say("250 OK")
                case "RSET":
                    self._forget()
                    await self._say("250 OK")
                case "MAIL":
                    await self._mail(rest)
                case "RCPT":
                    await self._rcpt(rest)
                case "DATA":
                    await self._data()
                case "QUIT":
                    await self._say("221 Bye")
                    return
                case _:
                    await self._say("502 Command not implemented")

    async def _mail(self, rest: str) -> None:
        self._forget()
        self._sender = _path(rest, "FROM:")
        await self._say("501 Expected FROM:<address>" if self._sender is None else "250 OK")

    async def _rcpt(self, rest: str) -> None:
        recipient = _path(rest, "TO:")
        if self._sender is None:
            await self._say("503 MAIL comes first")
        elif not recipient:
            await self._say("501 Expected TO:<address>")
        else:
            self._recipients.append(recipient)
            await self._say("250 OK")

    async def _data(self) -> None:
        if self._sender is None or not self._recipients:
            await self._say("503 MAIL and RCPT come first")
            return
        await self._say("354 End with a line that holds a dot")
        content = bytearray()
        while (line := await self._reader.readuntil(b"\n")) not in {b".\r\n", b".\n"}:
            # RFC 5321, 4.5.2: a dot that begins a line was doubled by the sender.
            content += line.removeprefix(b".") if len(content) <= _MAX_MESSAGE else b""
        if len(content) > _MAX_MESSAGE:
            await self._say("552 Message too large")
        else:
            received = ReceivedEmail(self._sender, tuple(self._recipients), bytes(content))
            self._messages.append(received)
            await self._say("250 OK")
        self._forget()

    def _forget(self) -> None:
        self._sender = None
        self._recipients = []

    async def _say(self, *lines: str) -> None:
        self._writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self._writer.drain()


def _path(rest: str, keyword: str) -> str | None:
    if not rest.upper().startswith(keyword):
        return None
    path, found, _ = rest[len(keyword) :].strip().removeprefix("<").partition(">")
    return path if found else None


class _WebServer(ThreadingHTTPServer):
    daemon_threads = True


class _Pages(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout: ClassVar[float | None] = 10.0

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/old-news":
            self._answer(HTTPStatus.FOUND, "", {"Location": "/news"})
        elif path in PAGES:
            self._answer(HTTPStatus.OK, PAGES[path], {"Content-Type": "text/html; charset=utf-8"})
        else:
            self._answer(HTTPStatus.NOT_FOUND, "no such page", {"Content-Type": "text/plain"})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Stay silent: the demo's terminal is for the demo."""

    def _answer(self, status: HTTPStatus, text: str, headers: dict[str, str]) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
