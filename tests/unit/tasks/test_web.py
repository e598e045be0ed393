import gzip
import socket
import ssl
import threading
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpcore2
import pytest

from stoker.core.errors import Cancelled, InvalidArguments
from stoker.tasks.errors import AddressRefused, BadInput, FetchFailed, FetchRefused
from stoker.tasks.web import MAX_REDIRECTS, Guard, fetch, resolve
from tests.unit.tasks.certificates import self_signed
from tests.unit.tasks.conftest import JobAround
from tests.unit.tasks.sites import http, site

PUBLIC = "93.184.216.34"


@dataclass
class Network(httpcore2.NetworkBackend):
    """Leads every connection to one local port, and notes where it wanted to go."""

    port: int = 0
    dialled: list[tuple[str, int]] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        self.dialled.append((host, port))
        if host in self.dead or not self.port:
            raise httpcore2.ConnectError(f"{host} is dead")
        return httpcore2.SyncBackend().connect_tcp("127.0.0.1", self.port, timeout)


def public(_host: str, _port: int) -> list[str]:
    return [PUBLIC]


def read(url: str, guard: Guard, *, max_bytes: int = 1 << 20, timeout: float = 10.0) -> bytes:
    with fetch(url, guard=guard, timeout=timeout, max_bytes=max_bytes) as answer:
        return b"".join(answer.chunks())


# Every spelling here leads, with some reader of URLs, to an address inside.
EVASIONS = [
    "http://127.0.0.1/",
    "http://127.0.0.1:80/",
    "http://127.1/",
    "http://127.0.1/",
    "http://0/",
    "http://0.0.0.0/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0x0.0x0.0x1/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://0177.0.0.01/",
    "http://017700000001/",
    "http://127.0.0.1.",
    "http://127.000.000.001/",
    "http://localhost/",
    "http://LOCALHOST/",
    "http://LocalHost./",
    "HTTP://127.0.0.1/",
    "http://127.0.0.1#@example.com/",
    "http://127.0.0.1?@example.com/",
    "http://example.com@127.0.0.1/",
    "http://example.com:80@127.0.0.1/",
    "http://user:password@example.com/",
    "http://example.com%40127.0.0.1/",
    "http://127.0.0.1%2f@example.com/",
    "http://127.0.0.1\\@example.com/",
    "http://example.com\\@127.0.0.1/",
    "http:\\\\127.0.0.1\\",
    "http://127.0.0.1%00.example.com/",
    "http://127.0.0.1\x00.example.com/",
    "http://127.0.0.1\n.example.com/",
    "http://127.0.0.1\r\nHost: example.com",
    "http://127.0.0.1\t/",
    " http://127.0.0.1/",
    "http://[::1]/",
    "http://[::]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b::169.254.169.254]/",
    "http://[2002:7f00:1::]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[ff02::1]/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://100.64.0.1/",
    "http://100.100.100.200/latest/meta-data/",
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://168.63.129.16/machine",
    "http://255.255.255.255/",
    "http://224.0.0.1/",
    "http://\uff11\uff12\uff17.0.0.1/",
    "http://127\u30020\u30020\u30021/",
    "http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/",
    "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/",
    "https://127.0.0.1/",
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "ftp://127.0.0.1/",
    "dict://127.0.0.1:11211/stat",
    "ldap://127.0.0.1/",
    "data:text/html,hello",
    "javascript:alert(1)",
    "unix:///var/run/docker.sock",
    "jar:http://127.0.0.1!/",
    "ws://127.0.0.1/",
    "//127.0.0.1/",
    "/etc/passwd",
    "127.0.0.1",
    "http:127.0.0.1",
    "http:/127.0.0.1",
    "http:///127.0.0.1",
    "http://",
    "http://:80/",
    "",
    "http://example.com:0/",
    "http://example.com:65536/",
    "http://example.com:-1/",
    "http://" + "a" * 9000 + "/",
]


@pytest.mark.parametrize("url", EVASIONS, ids=lambda url: ascii(url)[:60])
def test_no_spelling_of_a_url_opens_an_address_inside(url: str) -> None:
    network = Network()
    with pytest.raises(AddressRefused):
        read(url, Guard(network=network, resolve=_system_or_public))
    assert network.dialled == []


def _system_or_public(host: str, port: int) -> list[str]:
    """As the system's resolver, which reads numbers in every base; other names are public."""
    try:
        return resolve(host.rstrip("."), port)
    except OSError:
        return [PUBLIC]


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        ["169.254.169.254"],
        [PUBLIC, "10.0.0.1"],
        ["10.0.0.1", PUBLIC],
        ["::1", PUBLIC],
        ["::ffff:10.0.0.1"],
    ],
)
def test_a_name_with_any_address_inside_is_refused(answers: list[str]) -> None:
    network = Network()
    with pytest.raises(AddressRefused, match=r"the host 'example\.com' is "):
        read("http://example.com/", Guard(network=network, resolve=lambda *_: answers))
    assert network.dialled == []


def test_a_name_that_changes_its_mind_gains_nothing() -> None:
    """DNS rebinding: the address that was checked is the one that is opened."""
    answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])
    with site(lambda _: http(b"hello")) as server:
        network = Network(server.port)
        guard = Guard(network=network, resolve=lambda *_: next(answers))
        assert read("http://rebind.example/", guard) == b"hello"
    assert network.dialled == [(PUBLIC, 80)]
    assert next(answers) == ["127.0.0.1"], "the name was resolved more than once"


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "//127.0.0.1/",
        "http://[::1]/",
        "http://2130706433/",
        "http://user@example.com/",
        "http://inside.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "ftp://example.com/",
    ],
)
def test_a_redirect_passes_the_same_gate(location: str) -> None:
    def names(host: str, port: int) -> list[str]:
        if host == "inside.example":
            return ["192.168.0.7"]
        return [PUBLIC] if host == "example.com" else resolve(host, port)

    with site(lambda _: http(status="302 Found", Location=location)) as server:
        network = Network(server.port)
        with pytest.raises((AddressRefused, FetchFailed)) as it:
            read("http://example.com/", Guard(network=network, resolve=names))
    assert not isinstance(it.value, FetchFailed) or "nsupported" in str(it.value)
    assert network.dialled == [(PUBLIC, 80)]


def test_a_redirect_to_a_public_page_is_followed() -> None:
    def answers(path: str) -> bytes:
        if path == "/old":
            return http(status="301 Moved Permanently", Location="/new?x=1")
        return http(path.encode())

    with site(answers) as server:
        guard = Guard(network=Network(server.port), resolve=public)
        with fetch("http://example.com/old", guard=guard, timeout=10, max_bytes=99) as answer:
            assert answer.url == "http://example.com/new?x=1"
            assert b"".join(answer.chunks()) == b"/new?x=1"
        assert [line.split()[1] for line in server.requests] == ["/old", "/new?x=1"]


def test_redirects_end_some_time() -> None:
    with site(lambda _: http(status="302 Found", Location="/again")) as server:
        with pytest.raises(FetchFailed, match="redirects more than"):
            read("http://example.com/", Guard(network=Network(server.port), resolve=public))
        assert len(server.requests) == MAX_REDIRECTS + 1


def test_the_host_header_is_the_name_and_not_the_address() -> None:
    with site(lambda _: http()) as server:
        read("http://example.com:8080/x", Guard(network=Network(server.port), resolve=public))
        assert "Host: example.com:8080" in server.requests[0]


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    with site(lambda _: http(b"direct")) as server:
        network = Network(server.port)
        assert read("http://example.com/", Guard(network=network, resolve=public)) == b"direct"
    assert network.dialled == [(PUBLIC, 80)]


def test_the_next_address_is_tried_when_one_is_dead() -> None:
    with site(lambda _: http(b"hello")) as server:
        network = Network(server.port, dead={PUBLIC})
        guard = Guard(network=network, resolve=lambda *_: [PUBLIC, "1.1.1.1"])
        assert read("http://example.com/", guard) == b"hello"
    assert [host for host, _ in network.dialled] == [PUBLIC, "1.1.1.1"]


def test_private_addresses_open_with_the_setting_and_metadata_does_not() -> None:
    with site(lambda _: http(b"inside")) as server:
        url = f"http://127.0.0.1:{server.port}/"
        assert read(url, Guard(allow_private=True)) == b"inside"
        with pytest.raises(AddressRefused):
            read(url, Guard())
    with pytest.raises(AddressRefused):
        read("http://169.254.169.254/", Guard(allow_private=True))


def test_https_checks_the_certificate_of_the_name_at_the_checked_address(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    at_server, at_client = tls
    names: list[str | None] = []
    at_server.sni_callback = lambda _socket, name, _context: names.append(name)
    with site(lambda _: http(b"secure"), at_server) as server:
        network = Network(server.port)
        guard = Guard(network=network, resolve=public, ssl_context=at_client)
        assert read("https://example.com/", guard) == b"secure"
        with pytest.raises(FetchFailed, match=r"(?i)certificate"):
            read("https://other.example/", guard)
    assert names == ["example.com", "other.example"]
    assert network.dialled == [(PUBLIC, 443)] * 2


def test_a_slow_answer_over_tls_is_waited_for(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    """The waits are cut into slices, and TLS must survive the cuts."""

    def slowly(_path: str) -> bytes:
        threading.Event().wait(0.6)
        return http(b"secure")

    with site(slowly, tls[0]) as server:
        network = Network(server.port)
        guard = Guard(network=network, resolve=public, ssl_context=tls[1])
        assert read("https://example.com/", guard) == b"secure"


def test_an_unknown_certificate_is_not_accepted(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    with site(lambda _: http(b"secure"), tls[0]) as server:
        guard = Guard(network=Network(server.port), resolve=public)
        with pytest.raises(FetchFailed, match=r"(?i)certificate"):
            read("https://example.com/", guard)
        assert server.requests == []


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("400 Bad Request", FetchRefused),
        ("404 Not Found", FetchRefused),
        ("410 Gone", FetchRefused),
        ("408 Request Timeout", FetchFailed),
        ("429 Too Many Requests", FetchFailed),
        ("500 Internal Server Error", FetchFailed),
        ("503 Service Unavailable", FetchFailed),
    ],
)
def test_an_error_status_says_whether_a_retry_may_help(
    status: str, error: type[FetchFailed]
) -> None:
    with (
        site(lambda _: http(b"no", status)) as server,
        pytest.raises(FetchFailed, match=status[:3]) as it,
    ):
        read("http://example.com/", Guard(network=Network(server.port), resolve=public))
    assert type(it.value) is error
    assert it.value.details["status"] == int(status[:3])


def test_a_body_beyond_the_limit_is_cut_off() -> None:
    with site(lambda _: http(bytes(100_001))) as server:
        guard = Guard(network=Network(server.port), resolve=public)
        with pytest.raises(BadInput, match="more than 100,000 bytes"):
            read("http://example.com/", guard, max_bytes=100_000)
        assert len(read("http://example.com/", guard, max_bytes=100_001)) == 100_001


def test_a_compressed_body_is_expanded() -> None:
    text = b"steam " * 50_000
    with site(lambda _: http(gzip.compress(text), Content_Encoding="gzip")) as server:
        guard = Guard(network=Network(server.port), resolve=public)
        assert read("http://example.com/", guard) == text
        assert "accept-encoding: gzip\r\n" in server.requests[0].lower()


def test_a_compressed_bomb_is_cut_off_at_the_limit() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with site(lambda _: http(bomb, Content_Encoding="gzip")) as server:
        guard = Guard(network=Network(server.port), resolve=public)
        with pytest.raises(BadInput, match="more than 100,000 bytes"):
            read("http://example.com/", guard, max_bytes=100_000)


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "deflate", "compress", "zstd"])
def test_an_encoding_that_was_not_asked_for_is_refused(encoding: str) -> None:
    with site(lambda _: http(zlib.compress(b"x"), Content_Encoding=encoding)) as server:
        guard = Guard(network=Network(server.port), resolve=public)
        with pytest.raises(BadInput, match="not asked for"):
            read("http://example.com/", guard)


def test_a_damaged_compressed_body_is_refused() -> None:
    with site(lambda _: http(b"no gzip at all", Content_Encoding="gzip")) as server:
        guard = Guard(network=Network(server.port), resolve=public)
        with pytest.raises(BadInput, match="not the gzip data"):
            read("http://example.com/", guard)


def test_a_body_that_ends_early_is_a_failure() -> None:
    with site(lambda _: http(b"short", Content_Length="1000")) as server:
        guard = Guard(network=Network(server.port), resolve=public)
        with pytest.raises(FetchFailed, match="cannot be fetched"):
            read("http://example.com/", guard)


def test_nonsense_instead_of_http_is_a_failure() -> None:
    with site(lambda _: b"SSH-2.0-OpenSSH_9.2\r\n\r\n") as server:
        guard = Guard(network=Network(server.port), resolve=public)
        with pytest.raises(FetchFailed, match="cannot be fetched"):
            read("http://example.com/", guard)


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        guard = Guard(network=Network(silent.getsockname()[1]), resolve=public)
        with pytest.raises(FetchFailed, match=r"within 0\.3 s|silent"):
            read("http://example.com/", guard, timeout=0.3)


def test_a_server_that_drips_does_not_outlast_the_timeout() -> None:
    """Each byte comes in time, and all of them never."""
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not stop.wait(0.02):
                try:
                    connection.sendall(b".")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: drip(listener.accept()[0]))
        thread.start()
        guard = Guard(network=Network(listener.getsockname()[1]), resolve=public)
        with pytest.raises(FetchFailed, match=r"within 0\.5 s|silent"):
            read("http://example.com/", guard, timeout=0.5)
        stop.set()
        thread.join(10)


def test_a_cancel_is_heard_while_the_server_says_nothing(job: JobAround) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        guard = Guard(network=Network(silent.getsockname()[1]), resolve=public)
        accepted: list[socket.socket] = []
        switch = threading.Thread(target=_cancel_once_connected, args=(silent, accepted, job))
        switch.start()
        with pytest.raises(Cancelled):
            read("http://example.com/", guard, timeout=60)
        switch.join(10)
        accepted[0].close()


def _cancel_once_connected(
    server: socket.socket, accepted: list[socket.socket], job: JobAround
) -> None:
    accepted.append(server.accept()[0])
    job.reports.append((0.0, None))
    job.cancel_from = 0.0


def test_a_resolver_that_hangs_does_not_hang_the_task() -> None:
    free = threading.Event()

    def hang(_host: str, _port: int) -> list[str]:
        free.wait(30)
        return [PUBLIC]

    with pytest.raises(FetchFailed, match="was not resolved within"):
        read("http://example.com/", Guard(network=Network(), resolve=hang), timeout=0.2)
    free.set()


def test_a_name_that_does_not_exist_is_a_failure() -> None:
    def unknown(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(FetchFailed, match=r"'nowhere\.example' cannot be resolved"):
        read("http://nowhere.example/", Guard(network=Network(), resolve=unknown))
    with pytest.raises(FetchFailed, match="has no address"):
        read("http://nowhere.example/", Guard(network=Network(), resolve=lambda *_: []))


def test_the_callers_own_errors_are_not_taken_for_the_webs() -> None:
    def write_to_a_full_disk(guard: Guard) -> None:
        with fetch("http://example.com/", guard=guard, timeout=10, max_bytes=9):
            raise OSError(28, "No space left on device")

    with site(lambda _: http()) as server, pytest.raises(OSError, match="No space left") as it:
        write_to_a_full_disk(Guard(network=Network(server.port), resolve=public))
    assert it.value.errno == 28


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan")])
def test_a_timeout_that_means_nothing_is_refused(timeout: float) -> None:
    with pytest.raises(InvalidArguments, match="timeout"):
        read("http://example.com/", Guard(network=Network()), timeout=timeout)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS of a server for ``example.com``, and of a client that trusts it."""
    file = self_signed(tmp_path_factory.mktemp("tls"), "example.com")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=file)


def test_the_system_resolver_gives_addresses() -> None:
    found: list[Any] = resolve("localhost", 80)
    assert {"127.0.0.1", "::1"} & set(found)
