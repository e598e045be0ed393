import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from stoker.core.errors import Cancelled, InvalidArguments, InvalidConfig
from stoker.settings import Secret, TaskSettings
from stoker.tasks.encryption import decrypt, encrypt
from stoker.tasks.errors import BadInput
from tests.unit.tasks.conftest import JobAround

HEADER, CHUNK, TAG = 40, 65_536, 16
SEALED = CHUNK + TAG
GOLDEN = (
    "U1RPS1JFTkMBng/ZtjI++vBy3K5cACpzjrPWBZtjHAYSmcQJEmjthzGnY5yZqFrvAGuc96acFODvnMrom4jV8IBY8J3v"
)
BYTES = hashlib.shake_128(b"seed").digest(3 * CHUNK + 1000)


def sealed(data: bytes, settings: TaskSettings) -> bytes:
    result = encrypt(data=data, settings=settings).data
    assert result is not None
    return result


def with_key(settings: TaskSettings, key: str | None) -> TaskSettings:
    return msgspec.structs.replace(settings, encryption_key=None if key is None else Secret(key))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, len(BYTES)])
def test_bytes_come_back_as_they_were(settings: TaskSettings, size: int) -> None:
    data = sealed(BYTES[:size], settings)
    assert len(data) == HEADER + size + TAG * max(1, -(-size // CHUNK))
    back = decrypt(data=data, settings=settings)
    assert back.data == BYTES[:size]
    assert (back.bytes_in, back.bytes_out) == (len(data), size)


def test_a_file_comes_back_as_it_was(tmp_path: Path, settings: TaskSettings) -> None:
    (tmp_path / "plain").write_bytes(BYTES)
    done = encrypt("plain", settings=settings)
    assert done.file == str(tmp_path / "plain.enc")
    (tmp_path / "plain").unlink()
    back = decrypt("plain.enc", settings=settings)
    assert back.file == str(tmp_path / "plain")
    assert (tmp_path / "plain").read_bytes() == BYTES
    assert back.sha256 == hashlib.sha256(BYTES).hexdigest()


def test_the_same_plaintext_never_gives_the_same_bytes(settings: TaskSettings) -> None:
    one, two = sealed(BYTES, settings), sealed(BYTES, settings)
    assert one[:17] == two[:17]
    assert one[17:40] != two[17:40]
    same = sum(a == b for a, b in zip(one[HEADER:], two[HEADER:], strict=True))
    assert same < len(one) / 100


def test_nothing_of_the_plaintext_or_the_key_is_in_the_output(settings: TaskSettings) -> None:
    data = sealed(b"attack at dawn " * 100, settings)
    assert b"attack" not in data
    assert bytes(range(8)) not in data


TAMPERING: dict[str, Callable[[bytes], bytes]] = {
    "bit of the key id's salt": lambda d: d[:20] + bytes([d[20] ^ 1]) + d[21:],
    "bit of the nonce prefix": lambda d: d[:35] + bytes([d[35] ^ 1]) + d[36:],
    "first bit of the text": lambda d: d[:HEADER] + bytes([d[HEADER] ^ 1]) + d[HEADER + 1 :],
    "bit in the middle": lambda d: d[:100_000] + bytes([d[100_000] ^ 128]) + d[100_001:],
    "last bit": lambda d: d[:-1] + bytes([d[-1] ^ 1]),
    "last byte cut off": lambda d: d[:-1],
    "last chunk cut off": lambda d: d[: HEADER + 3 * SEALED],
    "all but one chunk cut off": lambda d: d[: HEADER + SEALED],
    "all chunks cut off": lambda d: d[:HEADER],
    "a byte appended": lambda d: d + b"x",
    "last chunk repeated": lambda d: d + d[HEADER + 3 * SEALED :],
    "first chunk dropped": lambda d: d[:HEADER] + d[HEADER + SEALED :],
    "first chunk repeated": lambda d: d[: HEADER + SEALED] + d[HEADER:],
    "two chunks swapped": lambda d: (
        d[:HEADER]
        + d[HEADER + SEALED : HEADER + 2 * SEALED]
        + d[HEADER : HEADER + SEALED]
        + d[HEADER + 2 * SEALED :]
    ),
    "zeros": lambda d: d[:HEADER] + bytes(len(d) - HEADER),
}


@pytest.mark.parametrize("change", TAMPERING.values(), ids=TAMPERING.keys())
def test_tampering_is_noticed_and_nothing_is_put_out(
    tmp_path: Path, settings: TaskSettings, change: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "plain.enc").write_bytes(change(sealed(BYTES, settings)))
    with pytest.raises(BadInput):
        decrypt("plain.enc", settings=settings)
    assert [file.name for file in tmp_path.iterdir()] == ["plain.enc"]


def test_chunks_of_two_files_cannot_be_mixed(settings: TaskSettings) -> None:
    one, two = sealed(BYTES, settings), sealed(BYTES, settings)
    mixed = one[: HEADER + SEALED] + two[HEADER + SEALED :]
    with pytest.raises(BadInput, match="chunk 1 was changed, moved or cut off"):
        decrypt(data=mixed, settings=settings)


@pytest.mark.parametrize("size", range(HEADER))
def test_every_truncation_inside_the_header_is_refused(settings: TaskSettings, size: int) -> None:
    data = sealed(b"x", settings)
    with pytest.raises(BadInput):
        decrypt(data=data[:size], settings=settings)


def test_what_encrypt_did_not_write_is_told_apart(settings: TaskSettings) -> None:
    with pytest.raises(BadInput, match="was not written by encrypt"):
        decrypt(data=b"just a text, and long enough for a header of forty", settings=settings)


def test_another_version_of_the_format_is_told_apart(settings: TaskSettings) -> None:
    data = bytearray(sealed(b"x", settings))
    data[8] = 2
    with pytest.raises(BadInput, match=r"version 2 .* reads version 1"):
        decrypt(data=bytes(data), settings=settings)


def test_another_key_is_told_apart_from_damage(settings: TaskSettings) -> None:
    other = with_key(settings, base64.b64encode(b"k" * 32).decode())
    with pytest.raises(BadInput, match="encrypted with the key of id"):
        decrypt(data=sealed(b"x", settings), settings=other)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (None, "is not set"),
        ("", "has 0 bytes"),
        ("not base64 at all!", "is not base64"),
        ("c2hvcnQ=", "has 5 bytes"),
        (base64.b64encode(bytes(33)).decode(), "has 33 bytes"),
    ],
)
@pytest.mark.parametrize("task", [encrypt, decrypt])
def test_a_missing_or_wrong_key_says_how_to_make_one(
    settings: TaskSettings, task: Callable[..., object], key: str | None, words: str
) -> None:
    with pytest.raises(InvalidConfig, match=words) as it:
        task(data=b"x", settings=with_key(settings, key))
    assert "STOKER_TASKS__ENCRYPTION_KEY" in it.value.message
    assert not key or key not in it.value.message


def test_a_key_may_be_written_for_urls_too(settings: TaskSettings) -> None:
    key = bytes([0xFB, 0xFF] * 16)
    data = sealed(b"x", with_key(settings, base64.b64encode(key).decode()))
    urlsafe = with_key(settings, base64.urlsafe_b64encode(key).decode() + "\n")
    assert decrypt(data=data, settings=urlsafe).data == b"x"


def test_a_file_of_the_first_release_is_still_read(settings: TaskSettings) -> None:
    written = base64.b64decode(GOLDEN)
    assert decrypt(data=written, settings=settings).data == b"kept for ever"


def test_a_name_without_the_suffix_needs_an_output(tmp_path: Path, settings: TaskSettings) -> None:
    (tmp_path / "sealed").write_bytes(sealed(b"x", settings))
    with pytest.raises(InvalidArguments, match="output="):
        decrypt("sealed", settings=settings)


@pytest.mark.parametrize("task", [encrypt, decrypt])
def test_a_cancel_midway_ends_it_and_leaves_nothing(
    tmp_path: Path, settings: TaskSettings, job: JobAround, task: Callable[..., object]
) -> None:
    long = BYTES * 10
    (tmp_path / "in").write_bytes(long)
    if task is decrypt:
        encrypt("in", output="in2", settings=settings)
        (tmp_path / "in2").replace(tmp_path / "in")
        job.reports.clear()
    job.cancel_from = 0.2
    with pytest.raises(Cancelled):
        task("in", output="out", settings=settings)
    assert 0.2 <= job.shares[-1] < 1.0
    assert [file.name for file in tmp_path.iterdir()] == ["in"]
