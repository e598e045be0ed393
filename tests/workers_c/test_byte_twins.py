"""compress, decompress, checksum, encrypt, decrypt: what one side writes, the other reads."""

import base64
import bz2
import gzip
import hashlib
import json
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.workers_c.twins import KEY, SANITIZED, Twins, run_c

TEXT = b"".join(b"line %d of a text that repeats itself\n" % n for n in range(20_000))


pytestmark = pytest.mark.timeout(600)  # the first test builds


@pytest.fixture
def twins(tmp_path: Path) -> Twins:
    return Twins(tmp_path)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def plain(answer: Any) -> bytes:
    assert answer.error is None, answer
    return base64.b64decode(answer.result["data"])


# ---- compress and decompress


@pytest.mark.parametrize("algorithm", ["gzip", "zlib"])
@pytest.mark.parametrize("level", [None, 0, 1, 9])
def test_each_side_reads_what_the_other_compressed(
    twins: Twins, algorithm: str, level: int | None
) -> None:
    payload = json.dumps({"data": b64(TEXT), "algorithm": algorithm, "level": level}).encode()
    ours, theirs = twins.python("compress", payload), twins.c("compress", payload)
    for packed in (ours, theirs):
        assert twins.both("decompress", data=packed.result["data"]).result["data"] == b64(TEXT)
    same = ("file", "algorithm", "bytes_in")
    assert [ours.result[key] for key in same] == [theirs.result[key] for key in same]
    for side in (ours, theirs):
        size = len(plain(side))
        assert side.result["bytes_out"] == size
        assert side.result["ratio"] == round(size / len(TEXT), 4)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    parts=st.lists(st.binary(max_size=200), min_size=1, max_size=3),
    zeros=st.integers(0, 3),
    algorithm=st.sampled_from(["gzip", "zlib"]),
)
def test_several_streams_with_padding_are_expanded_alike(
    parts: list[bytes], zeros: int, algorithm: str
) -> None:
    pack = zlib.compress if algorithm == "zlib" else gzip.compress
    data = b"".join(pack(part) + bytes(zeros) for part in parts)
    with TemporaryDirectory() as folder:
        answer = Twins(Path(folder)).both("decompress", data=b64(data), algorithm=algorithm)
    assert plain(answer) == b"".join(parts)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=st.binary(min_size=1, max_size=400),
    at=st.integers(0, 400),
    wrong=st.binary(min_size=1, max_size=4),
    cut=st.integers(0, 20),
)
def test_a_damaged_stream_is_expanded_or_refused_alike(
    data: bytes, at: int, wrong: bytes, cut: int
) -> None:
    packed = gzip.compress(data, mtime=0)
    damaged = packed[:at] + wrong + packed[at + len(wrong) : len(packed) - cut]
    with TemporaryDirectory() as folder:
        answer = Twins(Path(folder)).both("decompress", data=b64(damaged), algorithm="gzip")
    assert answer.error in {None, "BadInput"}


BAD_STREAMS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "empty": (b"", {}),
    "empty-zlib": (b"", {"algorithm": "zlib"}),
    "text": (b"no stream at all", {}),
    "cut": (gzip.compress(TEXT)[:-1], {}),
    "followed": (gzip.compress(TEXT) + b"x", {}),
    "named-wrongly": (gzip.compress(TEXT), {"algorithm": "zlib"}),
    "checksum": (zlib.compress(TEXT)[:-1] + b"x", {}),
    "one-over": (gzip.compress(TEXT), {"max_bytes": len(TEXT) - 1}),
    "bomb": (gzip.compress(bytes(20_000_000)), {"max_bytes": 10_000_000, "output": "out"}),
    "bomb-inside": (gzip.compress(bytes(20_000_000)), {}),
    "dictionary": (b"\x78\xbb\0\0\0\0", {}),
}


@pytest.mark.parametrize("name", BAD_STREAMS)
def test_what_does_not_expand_is_refused_alike(twins: Twins, name: str) -> None:
    data, more = BAD_STREAMS[name]
    twins.refused("decompress", "BadInput", data=b64(data), **more)
    assert twins.names == set()


def test_a_bound_is_met_to_the_byte(twins: Twins) -> None:
    packed = b64(gzip.compress(TEXT))
    assert plain(twins.both("decompress", data=packed, max_bytes=len(TEXT))) == TEXT
    assert twins.both("decompress", data=b64(gzip.compress(b"")), max_bytes=0).error is None


def test_files_are_named_alike(twins: Twins) -> None:
    (twins.folder / "a.txt").write_bytes(TEXT)
    assert twins.both("compress", file="a.txt").result["file"] == f"{twins.folder}/a.txt.gz"
    twins.both("compress", file="a.txt", algorithm="zlib", output="sub/a.zz")
    back = twins.both("decompress", file="sub/a.zz")
    assert Path(back.result["file"]).read_bytes() == TEXT
    (twins.folder / "strange").write_bytes(zlib.compress(TEXT))
    twins.refused("decompress", "InvalidArguments", file="strange")
    assert twins.names == {"a.txt", "a.txt.gz", "sub", "strange"}


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"file": "a", "data": ""},
        {"data": "*"},
        {"data": "QQ"},
        {"data": "QQ==QQ=="},
        {"data": "", "level": 10},
        {"data": "", "level": -1},
        {"data": "", "algorithm": "rar"},
        {"data": "", "bound": 1},
        {"data": 5},
    ],
    ids=str,
)
def test_a_payload_that_means_nothing_is_refused_alike(
    twins: Twins, payload: dict[str, Any]
) -> None:
    twins.refused("compress", "InvalidArguments", **payload)


def test_what_only_python_knows_is_said_to_be_so(twins: Twins) -> None:
    """The one difference: the plugin has zlib, and neither bzip2 nor xz."""
    answer = twins.c("compress", b'{"data": "", "algorithm": "bz2"}')
    assert answer.error == "InvalidArguments"
    assert "a worker in Python" in answer.message
    payload = json.dumps({"data": b64(bz2.compress(b"x"))}).encode()
    assert twins.c("decompress", payload).error == "BadInput"
    assert twins.python("decompress", payload).error is None


# ---- checksum


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=2000), algorithm=st.sampled_from(["sha256", "crc32"]))
def test_bytes_have_the_same_checksum(data: bytes, algorithm: str) -> None:
    with TemporaryDirectory() as folder:
        answer = Twins(Path(folder)).both("checksum", data=b64(data), algorithm=algorithm)
    crc, sha = f"{zlib.crc32(data):08x}", hashlib.sha256(data).hexdigest()
    assert answer.result["checksum"] == (sha if algorithm == "sha256" else crc)


def test_a_file_has_the_same_checksum(twins: Twins) -> None:
    (twins.folder / "a").write_bytes(TEXT)
    for algorithm in ("sha256", "crc32"):
        assert twins.both("checksum", file="a", algorithm=algorithm).result["bytes"] == len(TEXT)
    twins.refused("checksum", "InvalidArguments", file="a", algorithm="md5")
    twins.refused("checksum", "InvalidArguments", file="a", output="b")
    twins.refused("checksum", "FileNotFoundError", file="b")


# ---- encrypt and decrypt


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_each_side_reads_what_the_other_encrypted(twins: Twins, size: int) -> None:
    data = (TEXT * 2)[:size]
    payload = json.dumps({"data": b64(data)}).encode()
    for side in (twins.python, twins.c):
        sealed = side("encrypt", payload)
        chunks = max(1, -(-size // 65_536))
        assert sealed.result["bytes_out"] == 40 + size + 16 * chunks
        assert plain(twins.both("decrypt", data=sealed.result["data"])) == data


def test_a_job_that_runs_twice_never_meets_a_nonce_again(twins: Twins) -> None:
    payload = json.dumps({"data": b64(b"the same text")}).encode()
    headers = {plain(twins.c("encrypt", payload))[17:40] for _ in range(4)}
    assert len(headers) == 4


def test_files_are_encrypted_under_their_names(twins: Twins) -> None:
    (twins.folder / "a.txt").write_bytes(TEXT)
    assert twins.c("encrypt", b'{"file":"a.txt"}').result["file"] == f"{twins.folder}/a.txt.enc"
    back = twins.both("decrypt", file="a.txt.enc", output="b.txt")
    assert Path(back.result["file"]).read_bytes() == TEXT
    twins.refused("decrypt", "InvalidArguments", file="b.txt")


def _sealed(twins: Twins, data: bytes) -> bytes:
    return plain(twins.python("encrypt", json.dumps({"data": b64(data)}).encode()))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(at=st.integers(0, 152), flip=st.integers(1, 255))
def test_a_changed_byte_is_noticed_alike(at: int, flip: int) -> None:
    with TemporaryDirectory() as folder:
        twins = Twins(Path(folder))
        sealed = bytearray(_sealed(twins, bytes(97)))
        sealed[at] ^= flip
        twins.refused("decrypt", "BadInput", data=b64(bytes(sealed)), output="out")
        assert twins.names == set()


def test_what_was_moved_cut_or_never_sealed_is_refused_alike(twins: Twins) -> None:
    sealed = _sealed(twins, bytes(150_000))
    head, step = 40, 65_552
    first, second, last = (
        sealed[head : head + step],
        sealed[head + step :][:step],
        sealed[head:][2 * step :],
    )
    wrong = {
        "cut": sealed[:-1],
        "without the last": sealed[: head + 2 * step],
        "swapped": sealed[:head] + second + first + last,
        "twice": sealed + last,
        "header only": sealed[:head],
        "half a header": sealed[:20],
        "nothing": b"",
        "version 2": sealed[:8] + b"\2" + sealed[9:],
        "text": b"STOKRENX" + sealed[8:],
    }
    for data in wrong.values():
        twins.refused("decrypt", "BadInput", data=b64(data), output="out")
    assert twins.names == set()


def test_the_key_of_another_is_told_from_damage(twins: Twins) -> None:
    sealed = _sealed(twins, b"secret")
    other = b64(bytes(32))
    payload = json.dumps({"data": b64(sealed)}).encode()
    ran = run_c("decrypt", payload, STOKER_TASKS__ENCRYPTION_KEY=other)
    assert "was encrypted with the key of id" in ran.stderr.decode()
    assert KEY not in ran.stderr.decode()


@pytest.mark.parametrize("key", ["", "short", b64(bytes(31)), "*" * 44, "A" * 5000])
def test_a_worker_without_a_right_key_does_not_start(key: str) -> None:
    """Each job would fail for good, and be lost to whoever reads no dead letters."""
    ran = run_c("encrypt", b'{"data":""}', STOKER_TASKS__ENCRYPTION_KEY=key)
    assert ran.returncode not in {0, 1}
    assert "key" in ran.stderr.decode()
    assert not key or key not in ran.stderr.decode()


def test_a_key_may_stand_in_a_file(tmp_path: Path, twins: Twins) -> None:
    """A file of the platform's secrets, with the newline that editors leave."""
    file = tmp_path / "key"
    file.write_text(KEY.translate(str.maketrans("+/", "-_")) + "\n")
    sealed = b64(_sealed(twins, b"secret"))
    ran = run_c(
        "decrypt",
        json.dumps({"data": sealed}).encode(),
        STOKER_TASKS__ENCRYPTION_KEY_FILE=str(file),
    )
    assert json.loads(ran.stdout)["data"] == b64(b"secret")
    gone = run_c("decrypt", b"{}", STOKER_TASKS__ENCRYPTION_KEY_FILE=str(tmp_path / "none"))
    assert "cannot read the encryption key" in gone.stderr.decode()


def test_the_plugins_are_built_with_the_sanitizers() -> None:
    for name in ("image_filters", "compression", "encryption", "checksum", "csv_statistics"):
        assert b"__asan_init" in (SANITIZED / "plugins" / f"{name}.so").read_bytes()
