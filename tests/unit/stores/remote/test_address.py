"""URLs of remote stores."""

from pathlib import Path

import pytest

from stoker.connect import open_store
from stoker.core.errors import InvalidConfig
from stoker.settings import Secret, masked
from stoker.stores.remote import RemoteStore
from stoker.stores.remote.address import read_address


@pytest.mark.parametrize(
    ("url", "host", "port", "is_tls"),
    [
        ("tcp://127.0.0.1", "127.0.0.1", 8001, False),
        ("tcp://[::1]:9", "::1", 9, False),
        ("tls://jobs.example.com", "jobs.example.com", 8001, True),
        ("http://localhost:8000/", "localhost", 8000, False),
        ("http://localhost", "localhost", 80, False),
        ("https://jobs.example.com/stoker/", "jobs.example.com", 443, True),
    ],
)
def test_a_url_says_where_a_store_is(url: str, host: str, port: int, *, is_tls: bool) -> None:
    address = read_address(url)
    assert (address.host, address.port, address.is_tls) == (host, port, is_tls)


def test_a_path_stands_before_that_of_the_gateway() -> None:
    assert read_address("https://x/stoker/").path == "/stoker"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("tcp://", "expected a host"),
        ("tcp://host/path", "a path means nothing"),
        ("tcp://host:70000", "[Pp]ort"),
        ("tcp://host?colour=red", "'colour' is unknown"),
        ("tcp://host?ca=x", "certificates need tls"),
        ("http://host?cert=x", "certificates need https"),
        ("tls://host?key=x", "a key needs its cert"),
        ("tls://host?token_file=/nowhere", "cannot be read"),
        ("tcp://host?timeout=never", "timeout"),
        ("tcp://host?timeout=0", "above 0"),
        ("tcp://[host", "IPv6"),
    ],
)
def test_a_url_that_means_nothing_is_refused(url: str, words: str) -> None:
    with pytest.raises(InvalidConfig, match=words):
        read_address(url)


def test_a_token_comes_from_the_url_then_a_file_then_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from the file\n")
    given = Secret("from the settings")
    assert read_address("tcp://from%20the%20url@h", token=given).token == Secret("from the url")
    assert read_address("tcp://:password@h").token == Secret("password")
    assert read_address(f"tcp://h?token_file={file}", token=given).token == Secret("from the file")
    assert read_address("tcp://h", token=given).token == given
    assert read_address("tcp://h").token is None


def test_an_empty_token_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("\n")
    with pytest.raises(InvalidConfig, match="is empty"):
        read_address(f"tcp://h?token_file={file}")


@pytest.mark.parametrize("scheme", ["tcp", "tls", "http", "https"])
def test_a_token_is_never_shown(scheme: str) -> None:
    url = f"{scheme}://s3cret@host:1"
    assert "s3cret" not in masked(url)
    assert "s3cret" not in repr(read_address(url))
    assert masked(f"{scheme}://host:1") == f"{scheme}://host:1"
    with pytest.raises(InvalidConfig) as refused:
        read_address(f"{url}?colour=red")
    assert "s3cret" not in refused.value.message


@pytest.mark.parametrize("scheme", ["tcp", "tls", "http", "https"])
def test_a_url_of_a_server_opens_a_remote_store(scheme: str) -> None:
    assert isinstance(open_store(f"{scheme}://127.0.0.1:1", token=Secret("t")), RemoteStore)
