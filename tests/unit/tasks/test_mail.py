import asyncio
import email
import email.policy
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

from stoker.core.errors import Cancelled, InvalidArguments, InvalidConfig
from stoker.demo.services import DemoServices
from stoker.settings import TaskSettings
from stoker.tasks.errors import DeliveryFailed, DeliveryRefused
from stoker.tasks.mail import SentEmail, send_email
from stoker.testing.clock import FakeClock
from tests.unit.tasks.certificates import self_signed
from tests.unit.tasks.conftest import JOB_ID, JobAround


def read(file: str | None) -> EmailMessage:
    assert file is not None
    return email.message_from_bytes(Path(file).read_bytes(), policy=email.policy.default)


def by(url: str) -> TaskSettings:
    return TaskSettings(smtp=url)


def test_without_a_server_the_message_is_a_file_in_the_outbox(settings: TaskSettings) -> None:
    sent = send_email("Ann <ann@example.com>", "Grüße", "Hallo\n", settings=settings)
    assert (sent.via, sent.server, sent.to) == ("outbox", None, ["ann@example.com"])
    assert sent.file is not None
    assert Path(sent.file).parent == Path(settings.outbox)
    message = read(sent.file)
    assert message["To"] == "Ann <ann@example.com>"
    assert message["From"] == "stoker@localhost"
    assert message["Subject"] == "Grüße"
    assert message["Message-ID"] == sent.message_id
    assert message.get_content().splitlines() == ["Hallo"]


def test_a_job_that_runs_twice_writes_one_file_with_one_id(
    settings: TaskSettings, job: JobAround
) -> None:
    first = send_email("a@example.com", settings=settings)
    second = send_email("a@example.com", settings=settings)
    assert first == second
    assert first.message_id == f"<{JOB_ID}@stoker>"
    assert len(list(Path(settings.outbox).iterdir())) == 1


def test_two_plain_calls_are_two_messages(settings: TaskSettings) -> None:
    send_email("a@example.com", settings=settings)
    send_email("a@example.com", settings=settings)
    assert len(list(Path(settings.outbox).iterdir())) == 2


def test_html_stands_beside_the_plain_text(settings: TaskSettings) -> None:
    message = read(send_email("a@b.org", "s", "plain", html="<p>rich", settings=settings).file)
    assert [part.get_content_type() for part in message.iter_parts()] == [
        "text/plain",
        "text/html",
    ]


def test_the_date_is_the_clocks(settings: TaskSettings) -> None:
    clock = FakeClock()
    message = read(send_email("a@b.org", settings=settings, clock=clock).file)
    assert message["Date"].datetime.timestamp() == int(clock.now())


def test_failure_rate_fails_that_often(settings: TaskSettings) -> None:
    clock = FakeClock(seed=7)
    failed = 0
    for _ in range(200):
        try:
            send_email("a@b.org", failure_rate=0.8, settings=settings, clock=clock)
        except DeliveryFailed:
            failed += 1
    assert 140 <= failed <= 180
    assert len(list(Path(settings.outbox).iterdir())) == 200 - failed


def test_failure_rate_0_never_fails_and_1_always(settings: TaskSettings) -> None:
    clock = FakeClock()
    for _ in range(20):
        send_email("a@b.org", failure_rate=0.0, settings=settings, clock=clock)
        with pytest.raises(DeliveryFailed, match=r"failure_rate=1\.0 asked for it"):
            send_email("a@b.org", failure_rate=1.0, settings=settings, clock=clock)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_failure_rate_beyond_0_and_1_is_refused(settings: TaskSettings, rate: float) -> None:
    with pytest.raises(InvalidArguments, match="failure_rate"):
        send_email("a@b.org", failure_rate=rate, settings=settings)


@pytest.mark.parametrize("field", ["to", "subject", "sender"])
@pytest.mark.parametrize(
    "break_", ["\r\n", "\n", "\r", "\0", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", "\x1c"]
)
def test_no_header_can_be_smuggled_in(settings: TaskSettings, field: str, break_: str) -> None:
    given: dict[str, Any] = {"to": "a@example.com", "subject": "s", "sender": "b@example.com"}
    given[field] += f"{break_}Bcc: victim@example.com"
    with pytest.raises(InvalidArguments, match="line break or a control character"):
        send_email(**given, settings=settings)
    assert not Path(settings.outbox).exists()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nobody",
        "@example.com",
        "a@",
        "a@b@c",
        "a b@example.com",
        "a@example.com, b@example.com",
        "a@example.com;b@example.com",
        "Ann <a@example.com",
        "Ann <a@example.com> more",
        "<>",
        "a@exa mple.com",
    ],
)
def test_what_is_no_address_is_refused(settings: TaskSettings, address: str) -> None:
    with pytest.raises(InvalidArguments, match="expected user@host"):
        send_email(address, settings=settings)


def test_no_recipient_at_all_is_refused(settings: TaskSettings) -> None:
    with pytest.raises(InvalidArguments, match="at least one"):
        send_email([], settings=settings)


async def test_a_server_gets_the_whole_message() -> None:
    async with DemoServices() as services:
        sent = await asyncio.to_thread(
            send_email,
            ["a@example.com", "Bea <b@example.org>"],
            "Grüße",
            ".a dot first\nund ein Ä\n",
            sender="me@example.net",
            settings=by(services.smtp_url),
        )
        (received,) = services.messages
    assert sent.via == "smtp"
    assert sent.server == services.smtp_url.removeprefix("smtp://")
    assert sent.refused == {}
    assert received.sender == "me@example.net"
    assert received.recipients == ("a@example.com", "b@example.org")
    assert received.subject == "Grüße"
    assert received.message.get_content().splitlines() == [".a dot first", "und ein Ä"]
    assert received.message["Message-ID"] == sent.message_id


async def test_a_cancelled_job_sends_nothing(job: JobAround) -> None:
    job.cancel_from = 0.0
    async with DemoServices() as services:
        with pytest.raises(Cancelled):
            await asyncio.to_thread(send_email, "a@example.com", settings=by(services.smtp_url))
        assert services.messages == []


def test_an_unreachable_server_is_a_failure_worth_a_retry() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"smtp://user:sesame@127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(DeliveryFailed, match="did not take the message") as it:
            send_email("a@example.com", settings=by(url))
    assert not isinstance(it.value, DeliveryRefused)
    assert "sesame" not in str(it.value)


@pytest.mark.parametrize(
    "url", ["example.com", "http://example.com", "smtp://", "smtp://host:port", "smtp://h:99999"]
)
def test_a_wrong_server_url_is_an_error_of_the_configuration(url: str) -> None:
    with pytest.raises(InvalidConfig, match=r"tasks\.smtp"):
        send_email("a@example.com", settings=by(url))


class Handler:
    """What a test wants its mail server to say."""

    def __init__(self) -> None:
        self.rcpt = "250 OK"
        self.rcpt_of: dict[str, str] = {}
        self.data = "250 OK"
        self.seen: list[Any] = []

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        answer = self.rcpt_of.get(address, self.rcpt)
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(  # noqa: N802 - likewise
        self, server: SMTP, session: Any, envelope: Any
    ) -> str:
        self.seen.append((session, envelope))
        return self.data


Serve = Callable[..., tuple[Handler, str]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start mail servers that speak as aiosmtpd does."""
    running: list[Controller] = []

    def start(**options: Any) -> tuple[Handler, str]:
        handler = Handler()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        controller = Controller(handler, hostname="127.0.0.1", port=port, **options)
        controller.start()
        running.append(controller)
        return handler, f"127.0.0.1:{port}"

    yield start
    for controller in running:
        controller.stop()


def test_a_permanent_refusal_is_not_worth_a_retry(serve: Serve) -> None:
    handler, host = serve()
    handler.data = "554 5.7.1 spam"
    with pytest.raises(DeliveryRefused, match=r"554 5\.7\.1 spam") as it:
        send_email("a@example.com", settings=by(f"smtp://{host}"))
    assert not it.value.retryable


def test_a_refusal_for_now_is_worth_a_retry(serve: Serve) -> None:
    handler, host = serve()
    handler.rcpt = "451 4.3.0 come again"
    with pytest.raises(DeliveryFailed, match=r"451 4\.3\.0 come again") as it:
        send_email("a@example.com", settings=by(f"smtp://{host}"))
    assert it.value.retryable


def test_unknown_recipients_are_told_when_others_were_taken(serve: Serve) -> None:
    handler, host = serve()
    handler.rcpt_of = {"gone@example.com": "550 no such user"}
    sent = send_email(["a@example.com", "gone@example.com"], settings=by(f"smtp://{host}"))
    assert sent.refused == {"gone@example.com": "550 no such user"}
    assert handler.seen[0][1].rcpt_tos == ["a@example.com"]


def test_a_message_to_unknown_recipients_only_is_refused(serve: Serve) -> None:
    handler, host = serve()
    handler.rcpt = "550 no such user"
    with pytest.raises(DeliveryRefused, match="550 no such user"):
        send_email(["a@example.com", "b@example.com"], settings=by(f"smtp://{host}"))


def authenticator(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
    return AuthResult(success=(data.login, data.password) == (b"me@x", b"s:e/same"), handled=False)


def test_starttls_is_used_when_it_is_offered_and_the_password_travels_inside(
    serve: Serve, certificate: tuple[Path, ssl.SSLContext]
) -> None:
    handler, host = serve(
        tls_context=certificate[1], require_starttls=True, authenticator=authenticator
    )
    port = host.rpartition(":")[2]
    sent = send_email("a@b.org", settings=by(f"smtp://me%40x:s%3Ae%2Fsame@localhost:{port}"))
    assert sent.via == "smtp"
    session, _ = handler.seen[0]
    assert session.ssl is not None
    assert session.authenticated


def test_a_wrong_password_is_refused_for_good(
    serve: Serve, certificate: tuple[Path, ssl.SSLContext]
) -> None:
    _, host = serve(tls_context=certificate[1], authenticator=authenticator)
    port = host.rpartition(":")[2]
    with pytest.raises(DeliveryRefused, match="535") as it:
        send_email("a@b.org", settings=by(f"smtp://me%40x:wrong-word@localhost:{port}"))
    assert "wrong-word" not in str(it.value)


def test_a_certificate_for_another_host_is_not_accepted(
    serve: Serve, certificate: tuple[Path, ssl.SSLContext]
) -> None:
    handler, host = serve(tls_context=certificate[1])
    with pytest.raises(DeliveryFailed, match=r"(?i)certificate"):
        send_email("a@b.org", settings=by(f"smtp://{host}"))
    assert handler.seen == []


def test_the_password_is_never_sent_in_the_clear(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, host = serve(authenticator=authenticator, auth_require_tls=False)
    monkeypatch.setattr("stoker.tasks.mail._is_loopback", lambda _: False)
    with pytest.raises(InvalidConfig, match="not sent in the clear"):
        send_email("a@b.org", settings=by(f"smtp://me:sesame@{host}"))
    assert handler.seen == []


def test_a_password_is_allowed_in_the_clear_on_loopback(serve: Serve) -> None:
    handler, host = serve(authenticator=authenticator, auth_require_tls=False)
    send_email("a@b.org", settings=by(f"smtp://me%40x:s%3Ae%2Fsame@{host}"))
    assert handler.seen[0][0].authenticated


def test_a_server_that_slams_the_door_after_accepting_is_no_failure() -> None:
    """Else the next attempt would send the message a second time."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_rude_server, args=(server,))
        thread.start()
        sent = send_email("a@b.org", settings=by(f"smtp://127.0.0.1:{server.getsockname()[1]}"))
        thread.join(10)
    assert isinstance(sent, SentEmail)


def _rude_server(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection, connection.makefile("rwb") as stream:
        stream.write(b"220 hi\r\n")
        stream.flush()
        while line := stream.readline():
            verb = line[:4].upper()
            if verb == b"QUIT":
                return
            if verb == b"DATA":
                stream.write(b"354 go\r\n")
                stream.flush()
                while stream.readline() != b".\r\n":
                    pass
            stream.write(b"250 OK\r\n")
            stream.flush()


@pytest.fixture(scope="module")
def certificate(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Path, ssl.SSLContext]]:
    """A server's TLS context for ``localhost``, which this process trusts."""
    file = self_signed(tmp_path_factory.mktemp("tls"), "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield file, context
