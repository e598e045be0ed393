import bz2
import gzip
import hashlib
import io
import lzma
import zlib
from pathlib import Path
from typing import Any

import pytest

from stoker.core.errors import Cancelled, InvalidArguments
from stoker.settings import TaskSettings
from stoker.tasks.compression import SUFFIXES, Algorithm, compress, decompress
from stoker.tasks.errors import BadInput
from stoker.tasks.files import CHUNK
from stoker.tasks.stream import MAX_INLINE
from tests.unit.tasks.conftest import JobAround

ALGORITHMS: list[Algorithm] = ["gzip", "zlib", "bz2", "lzma"]
FOREIGN: dict[Algorithm, Any] = {"gzip": gzip, "zlib": zlib, "bz2": bz2, "lzma": lzma}
TEXT = b"".join(b"line %d of a text that repeats itself\n" % n for n in range(20_000))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_bytes(TEXT)
    return file


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_file_comes_back_as_it_was(
    text: Path, settings: TaskSettings, algorithm: Algorithm
) -> None:
    packed = compress(str(text), algorithm=algorithm, settings=settings)
    assert packed.file == f"{text}{SUFFIXES[algorithm]}"
    assert packed.data is None
    assert (packed.bytes_in, packed.bytes_out) == (len(TEXT), Path(packed.file).stat().st_size)
    assert packed.ratio is not None
    assert 0 < packed.ratio < 0.3
    assert packed.sha256 == hashlib.sha256(Path(packed.file).read_bytes()).hexdigest()
    back = decompress(packed.file, output="back.txt", settings=settings)
    assert back.file is not None
    assert Path(back.file).read_bytes() == TEXT
    assert back.algorithm == algorithm
    assert back.ratio == packed.ratio
    assert back.sha256 == hashlib.sha256(TEXT).hexdigest()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("data", [b"", b"x", TEXT[: 3 * CHUNK]], ids=["empty", "one", "chunks"])
def test_bytes_come_back_as_they_were(algorithm: Algorithm, data: bytes) -> None:
    packed = compress(data=data, algorithm=algorithm)
    assert packed.file is None
    assert packed.data is not None
    assert FOREIGN[algorithm].decompress(packed.data) == data
    assert decompress(data=packed.data).data == data


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_other_programs_compressed_is_read(algorithm: Algorithm) -> None:
    assert decompress(data=FOREIGN[algorithm].compress(TEXT)).data == TEXT


@pytest.mark.parametrize("algorithm", ["gzip", "bz2", "lzma"])
def test_several_streams_in_one_file_are_read_to_the_end(algorithm: Algorithm) -> None:
    foreign = FOREIGN[algorithm]
    data = foreign.compress(b"one ") + foreign.compress(b"") + foreign.compress(b"two")
    assert decompress(data=data).data == b"one two"
    assert decompress(data=data + bytes(512)).data == b"one two"


def test_streams_that_meet_at_the_border_of_a_chunk_are_read_to_the_end(
    tmp_path: Path, settings: TaskSettings
) -> None:
    stream = gzip.compress(b"a" * 1000)
    first = gzip.compress(bytes(hashlib.shake_128(b"seed").digest(CHUNK - 400)), 0)
    padding = bytes(CHUNK - len(first))
    (tmp_path / "two.gz").write_bytes(first + padding + bytes(10) + stream)
    done = decompress("two.gz", settings=settings)
    assert done.bytes_out == CHUNK - 400 + 1000


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_level_is_obeyed(algorithm: Algorithm) -> None:
    small = compress(data=TEXT, algorithm=algorithm, level=9)
    quick = compress(data=TEXT, algorithm=algorithm, level=1)
    assert small.bytes_out != quick.bytes_out
    with pytest.raises(InvalidArguments, match="level is 10"):
        compress(data=b"x", algorithm=algorithm, level=10)


def test_the_same_input_gives_the_same_output() -> None:
    assert compress(data=TEXT).sha256 == compress(data=TEXT).sha256


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("keep", [1, 0.5, -1])
def test_a_cut_off_input_is_refused_and_leaves_nothing(
    tmp_path: Path, settings: TaskSettings, algorithm: Algorithm, keep: float
) -> None:
    packed = FOREIGN[algorithm].compress(TEXT)
    end = int(len(packed) * keep) if 0 < keep < 1 else int(keep)
    (tmp_path / "cut").write_bytes(packed[:end])
    with pytest.raises(BadInput):
        decompress("cut", output="out", algorithm=algorithm, settings=settings)
    assert [file.name for file in tmp_path.iterdir()] == ["cut"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_flipped_bit_is_noticed(algorithm: Algorithm) -> None:
    packed = bytearray(FOREIGN[algorithm].compress(TEXT))
    packed[len(packed) // 2] ^= 0x10
    with pytest.raises(BadInput):
        decompress(data=bytes(packed))


@pytest.mark.parametrize("data", [b"", b"hello", b"\x1f", bytes(100), b"PK\x03\x04zip"])
def test_what_is_not_compressed_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match="none of"):
        decompress(data=data)


def test_what_follows_the_data_is_not_dropped_in_silence() -> None:
    with pytest.raises(BadInput):
        decompress(data=gzip.compress(b"x") + b"and more")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_bomb_stops_at_the_limit_and_leaves_nothing(
    tmp_path: Path, settings: TaskSettings, algorithm: Algorithm
) -> None:
    bomb = FOREIGN[algorithm].compress(bytes(20_000_000))
    assert len(bomb) < 40_000
    (tmp_path / "bomb").write_bytes(bomb)
    with pytest.raises(BadInput, match="more than 1,000,000 bytes"):
        decompress("bomb", output="out", max_bytes=1_000_000, settings=settings)
    assert [file.name for file in tmp_path.iterdir()] == ["bomb"]


def test_the_limit_itself_is_allowed() -> None:
    packed = gzip.compress(bytes(1000))
    assert decompress(data=packed, max_bytes=1000).bytes_out == 1000
    with pytest.raises(BadInput):
        decompress(data=packed, max_bytes=999)


def test_a_bomb_in_the_payload_does_not_fill_the_memory() -> None:
    with pytest.raises(BadInput, match=f"more than {MAX_INLINE:,} bytes.*output="):
        decompress(data=gzip.compress(bytes(MAX_INLINE + 1)))


def test_an_xz_header_cannot_ask_for_gigabytes_of_memory() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 29}]
    buffer = io.BytesIO()
    with lzma.LZMAFile(buffer, "wb", filters=filters) as packed:
        packed.write(b"x")
    with pytest.raises(BadInput, match=r"(?i)memory"):
        decompress(data=buffer.getvalue())


def test_exactly_one_input_is_expected(text: Path, settings: TaskSettings) -> None:
    with pytest.raises(InvalidArguments, match="neither of file and data"):
        compress(settings=settings)
    with pytest.raises(InvalidArguments, match="both of file and data"):
        compress(str(text), data=b"x", settings=settings)


def test_an_unknown_algorithm_is_refused_in_a_plain_call() -> None:
    with pytest.raises(InvalidArguments, match="expected gzip, zlib, bz2, lzma"):
        compress(data=b"x", algorithm="rar")  # type: ignore[arg-type]


def test_a_name_that_does_not_tell_the_plain_name_needs_an_output(
    tmp_path: Path, settings: TaskSettings
) -> None:
    (tmp_path / "packed.bin").write_bytes(gzip.compress(b"x"))
    with pytest.raises(InvalidArguments, match="output="):
        decompress("packed.bin", settings=settings)


def test_progress_rises_to_the_end(text: Path, settings: TaskSettings, job: JobAround) -> None:
    compress(str(text), settings=settings)
    assert job.reports[0] == (0.0, "compress with gzip")
    assert job.shares == sorted(job.shares)
    assert job.shares[-1] == 1.0
    assert any(0.1 < share < 0.9 for share in job.shares)


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_a_cancel_midway_ends_it_and_leaves_nothing(
    text: Path, settings: TaskSettings, job: JobAround, share: float
) -> None:
    job.cancel_from = share
    with pytest.raises(Cancelled):
        compress(str(text), settings=settings)
    assert job.shares[-1] < 1.0
    assert [file.name for file in text.parent.iterdir()] == ["text.txt"]


def test_a_cancel_is_heard_inside_a_bomb(
    tmp_path: Path, settings: TaskSettings, job: JobAround
) -> None:
    # One chunk of input, hundreds of output: no progress, but a chance to stop at each.
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(100_000_000)))
    job.cancel_from = 0.0
    with pytest.raises(Cancelled):
        decompress("bomb.gz", settings=settings)
    assert [file.name for file in tmp_path.iterdir()] == ["bomb.gz"]
