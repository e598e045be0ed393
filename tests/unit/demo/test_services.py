import asyncio
import smtplib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx2
import pytest

from stoker.demo.services import PAGES, DemoServices


@pytest.fixture
async def services() -> AsyncIterator[DemoServices]:
    async with DemoServices() as running:
        yield running


class Talk:
    """Lines said to the mail server, and its answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def hear(self) -> int:
        while True:
            line = await asyncio.wait_for(self._reader.readline(), 10)
            if line[3:4] != b"-":
                return int(line[:3])

    async def say(self, line: str) -> int:
        self._writer.write(f"{line}\r\n".encode())
        return await self.hear()


@pytest.fixture
async def talk(services: DemoServices) -> AsyncIterator[Talk]:
    parts = urlsplit(services.smtp_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    talk = Talk(reader, writer)
    assert await talk.hear() == 220
    yield talk
    writer.close()
    await writer.wait_closed()


async def test_a_message_is_kept_as_it_was_sent(services: DemoServices, talk: Talk) -> None:
    assert await talk.say("EHLO me") == 250
    assert await talk.say("MAIL FROM:<a@b.org> SIZE=10") == 250
    assert await talk.say("RCPT TO:<c@d.org>") == 250
    assert await talk.say("rcpt to:<e@f.org>") == 250
    assert await talk.say("DATA") == 354
    assert await talk.say("Subject: Gr=?utf-8?q?=C3=BC?=n\r\n\r\n..dot\r\nlast\r\n.") == 250
    assert await talk.say("QUIT") == 221
    (message,) = services.messages
    assert message.sender == "a@b.org"
    assert message.recipients == ("c@d.org", "e@f.org")
    assert message.content.endswith(b"\r\n\r\n.dot\r\nlast\r\n")


@pytest.mark.parametrize(
    ("lines", "answers"),
    [
        (["RCPT TO:<a@b>"], [503]),
        (["DATA"], [503]),
        (["MAIL FROM:<a@b>", "DATA"], [250, 503]),
        (["MAIL nonsense"], [501]),
        (["MAIL FROM:a@b"], [501]),
        (["MAIL FROM:<>", "RCPT TO:<a@b>"], [250, 250]),
        (["MAIL FROM:<a@b>", "RCPT TO:<>"], [250, 501]),
        (["MAIL FROM:<a@b>", "RSET", "RCPT TO:<c@d>"], [250, 250, 503]),
        (["HELO me", "NOOP", "VRFY x", "STARTTLS", ""], [250, 250, 502, 502, 502]),
    ],
)
async def test_commands_out_of_order_are_answered_as_the_protocol_says(
    services: DemoServices, talk: Talk, lines: list[str], answers: list[int]
) -> None:
    assert [await talk.say(line) for line in lines] == answers
    assert services.messages == []


async def test_a_message_over_the_limit_is_refused_and_the_next_is_taken(
    services: DemoServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.demo.services._MAX_MESSAGE", 1000)
    parts = urlsplit(services.smtp_url)

    def send() -> list[int]:
        with smtplib.SMTP(str(parts.hostname), parts.port or 0, timeout=10) as client:
            client.ehlo()
            client.esmtp_features.pop("size")
            codes = []
            for size in (2000, 10):
                client.mail("a@b.org")
                client.rcpt("c@d.org")
                codes.append(client.data(b"x" * size)[0])
            return codes

    assert await asyncio.to_thread(send) == [552, 250]
    assert len(services.messages) == 1


async def test_a_client_that_hangs_up_disturbs_nobody(services: DemoServices, talk: Talk) -> None:
    parts = urlsplit(services.smtp_url)
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, seen: unhandled.append(seen))
    for last in (b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhalf", b"x" * 100_000):
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(last)
        writer.close()
        await writer.wait_closed()
    assert await talk.say("NOOP") == 250
    assert unhandled == []


async def test_pages_are_served_and_others_are_not(services: DemoServices) -> None:
    async with httpx2.AsyncClient(trust_env=False) as client:
        for path, text in PAGES.items():
            answer = await client.get(services.web_url.removesuffix("/") + path)
            assert (answer.status_code, answer.text) == (200, text)
        assert (await client.get(f"{services.web_url}nothing")).status_code == 404
        moved = await client.get(f"{services.web_url}old-news")
        assert (moved.status_code, moved.headers["location"]) == (302, "/news")


async def test_both_are_gone_when_the_block_ends() -> None:
    async with DemoServices() as services:
        urls = [services.smtp_url, services.web_url]
        # A client that never says goodbye must not keep the block from ending.
        parts = urlsplit(services.smtp_url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        assert await reader.readline()
    writer.close()
    for url in urls:
        parts = urlsplit(url)
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(parts.hostname, parts.port)
