"""The task ``checksum``: SHA-256 or CRC-32 of a file or bytes."""

import hashlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from stoker.core.errors import InvalidArguments
from stoker.settings import TaskSettings
from stoker.tasks.files import Folder, read_chunks
from stoker.tasks.progress import Progress
from stoker.tasks.wiring import DEFAULTS

Checksummer = Literal["sha256", "crc32"]


class Checksum(msgspec.Struct, frozen=True):
    """What `checksum` returns."""

    file: str | None
    """The real path of the file; None for bytes."""
    algorithm: Checksummer
    checksum: str
    """In hexadecimal: 64 digits of SHA-256, 8 of CRC-32."""
    bytes: int


def checksum(
    file: str | None = None,
    data: bytes | None = None,
    algorithm: Checksummer = "sha256",
    *,
    settings: TaskSettings = DEFAULTS,
) -> Checksum:
    """Compute the checksum of a file or bytes.

    Args:
        file: The file to read. Give this or ``data``.
        data: The bytes; base64 in JSON.
        algorithm: ``sha256``, or ``crc32`` (the one of gzip, PNG and ZIP), which tells an accident
            but no attacker.
        settings: The worker's settings.

    Returns:
        The checksum in hexadecimal, and how many bytes there were.

    Raises:
        FileNotFoundError: The file does not exist.
        InvalidArguments: Not exactly one of ``file`` and ``data``, or a file that is not allowed.
    """
    if (file is None) == (data is None):
        given = "neither" if file is None else "both"
        raise InvalidArguments(f"{given} of file and data given; expected exactly one of them")
    if algorithm not in {"sha256", "crc32"}:
        raise InvalidArguments(f"algorithm is {algorithm!r}; expected sha256 or crc32")
    source = None if file is None else Folder(settings.files).source(file)
    with _opened(source, data) as (handle, size):
        total, found = _sum(handle, size, algorithm)
    return Checksum(
        file=None if source is None else str(source),
        algorithm=algorithm,
        checksum=found,
        bytes=total,
    )


@contextmanager
def _opened(source: Path | None, data: bytes | None) -> Iterator[tuple[BinaryIO, int]]:
    if source is None:
        yield io.BytesIO(data or b""), len(data or b"")
        return
    with source.open("rb") as handle:
        yield handle, source.stat().st_size


def _sum(handle: BinaryIO, size: int, algorithm: Checksummer) -> tuple[int, str]:
    progress = Progress()
    progress.to(0.0, "checksum")
    total, crc, sha = 0, 0, hashlib.sha256()
    for chunk in read_chunks(handle):
        if algorithm == "crc32":
            crc = zlib.crc32(chunk, crc)
        else:
            sha.update(chunk)
        total += len(chunk)
        progress.of(total, size)
    progress.to(1.0)
    return total, f"{crc:08x}" if algorithm == "crc32" else sha.hexdigest()
