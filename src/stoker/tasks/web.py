"""An HTTP client for URLs that somebody else chose.

It guards the worker's network and the worker itself:

- Only http and https, and no credentials in the URL.
- A host name is resolved once, every address it has is checked (`stoker.tasks.address`), and the
  connection goes to a checked address: a name that answers differently the second time gains
  nothing. The certificate and the Host header are still those of the name.
- Every redirect passes the same gate. No proxy is used, for a proxy would resolve the name again.
- Time, size (also after decompression) and redirects are bounded; a cancelled job stops reading.

httpx2 is imported here, so this module is imported inside the tasks that need it.
"""

import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore2
import httpx2

from stoker.core.clock import Clock, SystemClock
from stoker.core.errors import InvalidArguments, StokerError
from stoker.tasks.address import refusal
from stoker.tasks.errors import AddressRefused, BadInput, FetchFailed, FetchRefused
from stoker.tasks.progress import Progress

MAX_REDIRECTS = 5
MAX_URL = 8_192

_SLICE = 0.25
_CHUNK = 65_536
_TRY_AGAIN = {408, 425, 429}
_BAD_REQUEST = 400
_SERVER_ERROR = 500

Resolve = Callable[[str, int], list[str]]


def resolve(host: str, port: int) -> list[str]:
    """Return the IP addresses of a host in the order in which the system wants them tried.

    Raises:
        OSError: The name cannot be resolved.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Guard:
    """Decides which addresses may be opened, and opens only those."""

    def __init__(
        self,
        *,
        allow_private: bool = False,
        resolve: Resolve = resolve,
        network: httpcore2.NetworkBackend | None = None,
        ssl_context: ssl.SSLContext | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Make a guard.

        Args:
            allow_private: Whether private and loopback addresses may be opened.
            resolve: Turns a name into addresses.
            network: Connects to a checked address.
            ssl_context: For https; by default the system's certificates.
            clock: Time.
        """
        self.allow_private = allow_private
        self.network = network or httpcore2.SyncBackend()
        self.ssl_context = ssl_context
        self.clock = clock or SystemClock()
        self._resolve = resolve

    def check_url(self, text: str) -> httpx2.URL:
        """Return a parsed URL whose form is allowed; its host is checked when it is connected to.

        Raises:
            AddressRefused: Not http or https, no host, credentials, or characters that readers
                of URLs disagree about.
        """
        if len(text) > MAX_URL or any(c.isspace() or c == "\\" or c < "!" for c in text):
            raise AddressRefused(
                f"the URL {text[:200]!r} is longer than {MAX_URL:,} characters, or holds a space, "
                "a backslash or a control character; expected http://host/path"
            )
        try:
            url = httpx2.URL(text)
        except (httpx2.InvalidURL, ValueError) as error:
            raise AddressRefused(f"{text[:200]!r} is no URL: {error}") from None
        if url.scheme not in {"http", "https"} or not url.host:
            raise AddressRefused(
                f"the URL {text[:200]!r} is not allowed; expected http://host/... or "
                "https://host/..."
            )
        if "%" in url.host:
            raise AddressRefused(f"the host {url.host[:200]!r} holds a %, which no host name does")
        if url.userinfo:
            raise AddressRefused(
                f"the URL for host {url.host!r} holds a user name; leave out what stands before @"
            )
        if url.port is not None and not 0 < url.port < 2**16:
            raise AddressRefused(f"the URL {text[:200]!r} has port {url.port}")
        return url

    def addresses(self, host: str, port: int, *, timeout: float) -> list[str]:
        """Resolve a host once and return its addresses, all of them checked.

        Raises:
            AddressRefused: At least one of them must not be opened.
            FetchFailed: The name cannot be resolved in time.
        """
        found = _in_time(lambda: self._resolve(host, port), host, timeout)
        for address in found:
            reason = refusal(address, allow_private=self.allow_private)
            if reason is not None:
                raise AddressRefused(
                    f"the host {host!r} is {address}, which {reason}; tasks.scrape_private allows "
                    "private and loopback addresses, and nothing allows the others",
                    host=host,
                    address=address,
                )
        if not found:
            raise FetchFailed(f"the host {host!r} has no address")
        return found


class Answer:
    """What a web server answered; its body is read from `chunks`."""

    def __init__(self, response: httpx2.Response, max_bytes: int) -> None:
        """Wrap a response whose body is not read yet."""
        self._response = response
        self._max_bytes = max_bytes
        self.url = str(response.url)
        self.status = response.status_code
        self.content_type = response.headers.get("content-type", "").partition(";")[0].strip()
        self.charset = response.charset_encoding

    @property
    def length(self) -> int | None:
        """Bytes that the server announced, if it did."""
        text = self._response.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() else None

    def chunks(self) -> Iterator[bytes]:
        """Iterate over the decoded body.

        Raises:
            BadInput: Larger than the limit, or encoded in a way that was not asked for.
            FetchFailed: The connection broke or the time ran out.
        """
        total = 0
        with _translated(self.url):
            for chunk in _decoded(self._response):
                total += len(chunk)
                if total > self._max_bytes:
                    raise BadInput(f"{self.url} answers with more than {self._max_bytes:,} bytes")
                yield chunk


@contextmanager
def fetch(
    url: str, *, guard: Guard, timeout: float, max_bytes: int, idle: float | None = None
) -> Iterator[Answer]:
    """Get a URL, following redirects through the guard.

    Args:
        url: What somebody wants.
        guard: Decides where to go.
        timeout: Seconds for everything: names, connections, redirects and the body.
        max_bytes: The most of the decoded body.
        idle: Seconds of silence after which the server is given up; ``timeout`` if not given.

    Raises:
        AddressRefused: The URL or a redirect leads where it must not.
        FetchRefused: The server answered with a 4xx.
        FetchFailed: It did not answer in time, answered with a 5xx, or redirected in circles.
        Cancelled: The job was called off meanwhile.
    """
    if not timeout > 0:
        raise InvalidArguments(f"timeout is {timeout}; expected seconds, more than 0")
    checked = guard.check_url(url)
    waits = httpx2.Timeout(min(idle or timeout, timeout))
    transport = _Transport(guard, _Limits(guard.clock, timeout))
    with httpx2.Client(transport=transport, trust_env=False, timeout=waits) as client:
        # The translation ends before the caller's own code begins: a full disk there is no
        # failure of the web.
        with _translated(url):
            response = _follow(client, checked, guard)
        try:
            yield Answer(response, max_bytes)
        finally:
            response.close()


def _follow(client: httpx2.Client, url: httpx2.URL, guard: Guard) -> httpx2.Response:
    headers = {"User-Agent": "stoker", "Accept-Encoding": "gzip"}
    request = client.build_request("GET", url, headers=headers)
    for _ in range(MAX_REDIRECTS + 1):
        response = client.send(request, stream=True)
        onward = response.next_request
        try:
            if onward is None:
                _check_status(response)
                return response
            guard.check_url(str(onward.url))
        except StokerError:
            response.close()
            raise
        response.close()
        request = onward
    raise FetchFailed(f"{url} redirects more than {MAX_REDIRECTS} times")


class _Limits:
    """When to stop: out of time, or called off."""

    def __init__(self, clock: Clock, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._end = clock.monotonic() + timeout
        self._progress = Progress()

    def left(self) -> float:
        """Return the seconds that are left, more than none."""
        self._progress.check()
        left = self._end - self._clock.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout(f"no full answer within {self._timeout:g} s")
        return left

    def now(self) -> float:
        return self._clock.monotonic()


class _Stream(httpcore2.NetworkStream):
    """A connection that keeps the limits, however slowly the other side drips."""

    def __init__(self, inner: httpcore2.NetworkStream, limits: _Limits) -> None:
        self._inner = inner
        self._limits = limits

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        given_up_at = self._limits.now() + (timeout or self._limits.left())
        while True:
            wait = min(_SLICE, self._limits.left())
            try:
                return self._inner.read(max_bytes, wait)
            except httpcore2.ReadTimeout:
                # Short waits, so that a cancel is heard while the server says nothing.
                if self._limits.now() >= given_up_at:
                    raise httpcore2.ReadTimeout("the server went silent") from None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        left = self._limits.left()
        self._inner.write(buffer, min(timeout or left, left))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        left = self._limits.left()
        secured = self._inner.start_tls(ssl_context, server_hostname, min(timeout or left, left))
        return _Stream(secured, self._limits)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Network(httpcore2.NetworkBackend):
    """Connects to checked addresses only."""

    def __init__(self, guard: Guard, limits: _Limits) -> None:
        self._guard = guard
        self._limits = limits

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        addresses = self._guard.addresses(host, port, timeout=self._limits.left())
        failure: Exception = FetchFailed(f"no address of {host} answers")
        for address in addresses:
            left = self._limits.left()
            try:
                stream = self._guard.network.connect_tcp(
                    address,
                    port,
                    timeout=min(timeout or left, left),
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream, self._limits)
        raise failure


class _Transport(httpx2.BaseTransport):
    """httpx2 over a connection pool that uses `_Network`."""

    def __init__(self, guard: Guard, limits: _Limits) -> None:
        self._pool = httpcore2.ConnectionPool(
            ssl_context=guard.ssl_context,
            network_backend=_Network(guard, limits),
            max_connections=2,
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = httpcore2.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        raw = httpcore2.Request(
            request.method, url, headers=request.headers.raw, extensions=request.extensions
        )
        answer = self._pool.handle_request(raw)
        return httpx2.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        self._pool.close()


class _Body(httpx2.SyncByteStream):
    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


def _decoded(response: httpx2.Response) -> Iterator[bytes]:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in {"identity", ""}:
        yield from response.iter_raw()
        return
    if encoding not in {"gzip", "x-gzip"}:
        raise BadInput(f"{response.url} is encoded as {encoding!r}, which was not asked for")
    # Not httpx2's own decoder: it expands a whole chunk, and layer on layer, before anybody can
    # count.
    machine = zlib.decompressobj(31)
    try:
        for chunk in response.iter_raw():
            rest = chunk
            while rest and not machine.eof:
                yield machine.decompress(rest, _CHUNK)
                rest = machine.unconsumed_tail
            if machine.eof:
                return
        yield machine.flush()
    except zlib.error as error:
        raise BadInput(f"{response.url} is not the gzip data it claims to be: {error}") from None


def _check_status(response: httpx2.Response) -> None:
    status = response.status_code
    if status < _BAD_REQUEST:
        return
    message = f"{response.url} answers {status} {response.reason_phrase}"
    if status >= _SERVER_ERROR or status in _TRY_AGAIN:
        raise FetchFailed(message, status=status)
    raise FetchRefused(message, status=status)


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
        raise FetchFailed(f"{url} cannot be fetched: {error}") from error
    except (
        httpcore2.TimeoutException,
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        httpcore2.UnsupportedProtocol,
        OSError,
    ) as error:
        raise FetchFailed(f"{url} cannot be fetched: {_words(error)}") from error


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _in_time(look_up: Callable[[], list[str]], host: str, timeout: float) -> list[str]:
    """Resolve in a thread of its own: the system's resolver knows no timeout."""
    answers: list[list[str]] = []
    failures: list[OSError | UnicodeError] = []

    def work() -> None:
        try:
            answers.append(look_up())
        except (OSError, UnicodeError) as error:
            failures.append(error)

    thread = threading.Thread(target=work, name=f"resolve {host}", daemon=True)
    thread.start()
    thread.join(timeout)
    if failures:
        raise FetchFailed(f"the host {host!r} cannot be resolved: {failures[0]}")
    if not answers:
        raise FetchFailed(f"the host {host!r} was not resolved within {timeout:.3g} s")
    return answers[0]
