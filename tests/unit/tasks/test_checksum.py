import hashlib
import zlib
from pathlib import Path

import pytest

from stoker.core.errors import Cancelled, InvalidArguments
from stoker.settings import TaskSettings
from stoker.tasks.checksum import checksum
from stoker.tasks.files import CHUNK
from tests.unit.tasks.conftest import JobAround


@pytest.mark.parametrize(
    "data", [b"", b"x", bytes(range(256)) * 2000], ids=["empty", "one", "many"]
)
def test_bytes_and_a_file_have_the_checksums_that_other_programs_compute(
    tmp_path: Path, settings: TaskSettings, data: bytes
) -> None:
    file = tmp_path / "data"
    file.write_bytes(data)
    sha, crc = hashlib.sha256(data).hexdigest(), f"{zlib.crc32(data):08x}"
    assert checksum(data=data).checksum == sha
    assert checksum(str(file), settings=settings).checksum == sha
    found = checksum("data", algorithm="crc32", settings=settings)
    assert (found.checksum, found.bytes, found.file) == (crc, len(data), str(file))


def test_exactly_one_input_is_wanted() -> None:
    with pytest.raises(InvalidArguments, match="neither of file and data"):
        checksum()
    with pytest.raises(InvalidArguments, match="both of file and data"):
        checksum("a", b"b")
    with pytest.raises(InvalidArguments, match="sha256 or crc32"):
        checksum(data=b"", algorithm="md5")  # type: ignore[arg-type]


def test_a_file_outside_the_folder_is_refused(settings: TaskSettings) -> None:
    with pytest.raises(InvalidArguments, match="outside"):
        checksum("/etc/hostname", settings=settings)


def test_it_reports_progress_and_stops_when_it_is_called_off(
    tmp_path: Path, settings: TaskSettings, job: JobAround
) -> None:
    file = tmp_path / "data"
    file.write_bytes(bytes(8 * CHUNK))
    checksum(str(file), settings=settings)
    assert job.shares == sorted(job.shares)
    assert job.shares[-1] == 1.0
    job.reports.clear()
    job.cancel_from = 0.5
    with pytest.raises(Cancelled):
        checksum(str(file), settings=settings)
