"""The task ``send_email``: by SMTP when a server is configured, otherwise into an outbox folder."""

import email.errors
import email.policy
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from ipaddress import ip_address
from typing import Literal
from urllib.parse import unquote, urlsplit

import msgspec

from stoker.core.clock import Clock, SystemClock
from stoker.core.context import running_job
from stoker.core.errors import InvalidArguments, InvalidConfig
from stoker.settings import TaskSettings
from stoker.tasks.errors import DeliveryFailed, DeliveryRefused
from stoker.tasks.files import Folder, writing
from stoker.tasks.progress import Progress
from stoker.tasks.wiring import DEFAULTS

_CLOCK = SystemClock()
_TIMEOUT = 30.0
_PERMANENT = 500
_PORTS = {"smtp": 25, "smtps": 465}


class SentEmail(msgspec.Struct, frozen=True):
    """What `send_email` returns."""

    message_id: str
    """The same in every attempt of a job, so that receivers can drop what comes twice."""
    to: list[str]
    via: Literal["smtp", "outbox"]
    server: str | None
    """``host:port``, for SMTP."""
    file: str | None
    """The written file, for the outbox."""
    refused: dict[str, str]
    """Recipients that the server did not take, each with its reason, when it took others."""


def send_email(
    to: str | list[str],
    subject: str = "",
    body: str = "",
    failure_rate: float = 0.0,
    sender: str | None = None,
    html: str | None = None,
    *,
    settings: TaskSettings = DEFAULTS,
    clock: Clock = _CLOCK,
) -> SentEmail:
    """Send an e-mail.

    Without ``tasks.smtp`` the message is written as an ``.eml`` file into the folder
    ``tasks.outbox``, and the result says which.

    Args:
        to: One address or several: ``user@example.com`` or ``Name <user@example.com>``.
        subject: One line.
        body: Plain text.
        failure_rate: 0 to 1: how often to fail instead of sending, for trying out retries.
        sender: The sender's address; ``tasks.mail_from`` if not given.
        html: The same message as HTML, for readers that show it.
        settings: The worker's settings.
        clock: Time and chance.

    Returns:
        Which way it went, and under which id.

    Raises:
        InvalidArguments: No address, one that is none, or a line break in a header.
        InvalidConfig: ``tasks.smtp`` is no URL of a mail server.
        DeliveryFailed: The server was not reachable or asked to come again; or ``failure_rate``
            struck.
        DeliveryRefused: The server refused for good.
    """
    progress = Progress()
    progress.to(0.0, "write the message")
    if not 0.0 <= failure_rate <= 1.0:
        raise InvalidArguments(f"failure_rate is {failure_rate}; expected 0 to 1")
    job = running_job()
    name = job.idempotency_key if job is not None else clock.new_id()
    message = _message(to, subject, body, html, sender or settings.mail_from)
    message["Message-ID"] = f"<{name}@stoker>"
    message["Date"] = format_datetime(datetime.fromtimestamp(clock.now(), UTC))
    if clock.random() < failure_rate:
        raise DeliveryFailed(
            f"this attempt failed because failure_rate={failure_rate} asked for it; nothing was "
            "sent"
        )
    if settings.smtp is None:
        return _into_outbox(message, settings.outbox, name, progress)
    return _by_smtp(message, _Server(settings.smtp), progress)


def _message(
    to: str | list[str], subject: str, body: str, html: str | None, sender: str
) -> EmailMessage:
    recipients = [_address(text, "to") for text in ([to] if isinstance(to, str) else to)]
    if not recipients:
        raise InvalidArguments("to is empty; expected at least one address")
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"] = _address(sender, "sender")
    message["To"] = recipients
    message["Subject"] = _one_line(subject, "subject")
    message.set_content(body)
    if html is not None:
        message.add_alternative(html, subtype="html")
    return message


def _address(text: str, what: str) -> Address:
    text = _one_line(text, what).strip()
    name, bracket, spec = text.rpartition("<")
    if bracket and not spec.endswith(">"):
        raise InvalidArguments(f"{what} is {text!r}; expected user@host or Name <user@host>")
    spec = spec.removesuffix(">").strip() if bracket else text
    try:
        address = Address(display_name=name.strip().strip('"'), addr_spec=spec)
    except (ValueError, IndexError, email.errors.MessageError):
        address = Address()
    # "a@b, c@d" is read as one address with a strange host, and mail would go astray.
    if not address.username or not address.domain or set(spec) & set(" ,;<>\"'()"):
        raise InvalidArguments(f"{what} is {text!r}; expected user@host or Name <user@host>")
    return address


def _one_line(text: str, what: str) -> str:
    # What follows a line break would be read as further headers: more recipients, another body.
    if any(ord(char) < 0x20 or char in "\x7f\x85\u2028\u2029" for char in text):  # noqa: PLR2004
        raise InvalidArguments(
            f"{what} is {text!r}, which holds a line break or a control character; "
            "expected one line"
        )
    return text


def _into_outbox(message: EmailMessage, outbox: str, name: str, progress: Progress) -> SentEmail:
    target = Folder(outbox).target(f"{name}.eml")
    progress.to(0.5, "write into the outbox")
    with writing(target) as handle:
        handle.write(message.as_bytes())
    return _sent(message, via="outbox", file=str(target))


def _by_smtp(message: EmailMessage, server: "_Server", progress: Progress) -> SentEmail:
    progress.to(0.2, f"connect to {server.name}")
    with _translated(server), server.opened() as client:
        progress.to(0.6, "send")
        answers = client.send_message(message)
    refused = {who: _reason(code, text) for who, (code, text) in answers.items()}
    return _sent(message, via="smtp", server=server.name, refused=refused)


def _sent(
    message: EmailMessage,
    *,
    via: Literal["smtp", "outbox"],
    server: str | None = None,
    file: str | None = None,
    refused: dict[str, str] | None = None,
) -> SentEmail:
    return SentEmail(
        message_id=str(message["Message-ID"]),
        to=[str(address.addr_spec) for address in message["To"].addresses],
        via=via,
        server=server,
        file=file,
        refused=refused or {},
    )


class _Server:
    """The mail server of the settings."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in _PORTS or not parts.hostname or port == -1:
            raise InvalidConfig(
                "tasks.smtp is no URL of a mail server; expected "
                "smtp://user:password@host:587 or smtps://user:password@host:465"
            )
        self._is_tls = parts.scheme == "smtps"
        self._host = parts.hostname
        self._port = port or _PORTS[parts.scheme]
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        self.name = f"{self._host}:{self._port}"

    @contextmanager
    def opened(self) -> Iterator[smtplib.SMTP]:
        client = self._connected()
        try:
            self._secure(client)
            if self._user:
                client.login(self._user, self._password)
            yield client
            # The message is accepted. A clumsy goodbye must not look like a failure, or the next
            # attempt sends it again.
            with suppress(OSError, smtplib.SMTPException):
                client.quit()
        finally:
            client.close()

    def _secure(self, client: smtplib.SMTP) -> None:
        if self._is_tls:
            return
        client.ehlo_or_helo_if_needed()
        if client.has_extn("starttls"):
            client.starttls(context=ssl.create_default_context())
        elif self._user and not _is_loopback(self._host):
            # Somebody on the way may have hidden the offer to get at the password.
            raise InvalidConfig(
                f"the mail server {self.name} offers no encryption, and the password is not sent "
                "in the clear; use smtps:// or a server with STARTTLS"
            )

    def _connected(self) -> smtplib.SMTP:
        if self._is_tls:
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(self._host, self._port, timeout=_TIMEOUT, context=context)
        return smtplib.SMTP(self._host, self._port, timeout=_TIMEOUT)


@contextmanager
def _translated(server: _Server) -> Iterator[None]:
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        reasons = [_reason(code, text) for code, text in error.recipients.values()]
        is_permanent = all(code >= _PERMANENT for code, _ in error.recipients.values())
        raise _failure(server, "; ".join(reasons), is_permanent=is_permanent) from None
    except smtplib.SMTPResponseException as error:
        reason = _reason(error.smtp_code, error.smtp_error)
        is_permanent = error.smtp_code >= _PERMANENT
        raise _failure(server, reason, is_permanent=is_permanent) from None
    except smtplib.SMTPNotSupportedError as error:
        raise _failure(server, str(error), is_permanent=True) from None
    except (OSError, smtplib.SMTPException) as error:
        raise _failure(server, str(error), is_permanent=False) from error


def _failure(server: _Server, reason: str, *, is_permanent: bool) -> DeliveryFailed:
    if is_permanent:
        return DeliveryRefused(f"the mail server {server.name} refused the message: {reason}")
    return DeliveryFailed(f"the mail server {server.name} did not take the message: {reason}")


def _reason(code: int, text: bytes | str) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(words.split())[:500]}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
