"""Bytes in, other bytes out: the road that compress, decompress, encrypt and decrypt share.

The input is a file or bytes, the output a file or bytes; in between everything flows in chunks, so
a file of any size needs the memory of a few of them.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from stoker.core.codec import MAX_RESULT
from stoker.core.errors import InvalidArguments
from stoker.settings import TaskSettings
from stoker.tasks.errors import BadInput
from stoker.tasks.files import Folder, Measured, read_chunks, writing
from stoker.tasks.progress import Progress

MAX_INLINE = MAX_RESULT * 3 // 4 - 1024
"""The most bytes that travel inside a result: base64 makes four of three."""

Transform = Callable[[Iterator[bytes]], Iterator[bytes]]


class Flowed(msgspec.Struct, frozen=True):
    """What went in and what came out."""

    file: str | None
    data: bytes | None
    bytes_in: int
    bytes_out: int
    sha256: str


def flow(
    transform: Transform,
    *,
    file: str | None,
    data: bytes | None,
    output: str | None,
    name_after: Callable[[str], str],
    note: str,
    settings: TaskSettings,
) -> Flowed:
    """Send the input through a transformation into the output.

    Args:
        transform: Takes the chunks of the input and gives those of the output; it must read its
            input to the end.
        file: Input file, or None.
        data: Input bytes, or None.
        output: Output file; None: a file beside ``file``, or bytes when the input was bytes.
        name_after: Makes the name of that file from the input file's name.
        note: What is done, for the progress report.
        settings: The worker's settings.

    Raises:
        InvalidArguments: Not exactly one of ``file`` and ``data``, or a file that is not allowed.
        FileNotFoundError: The input does not exist.
        BadInput: The output is bytes, and too many for a result.
    """
    if (file is None) == (data is None):
        given = "neither" if file is None else "both"
        raise InvalidArguments(f"{given} of file and data given; expected exactly one of them")
    folder = Folder(settings.files)
    source = None if file is None else folder.source(file)
    if output is not None:
        target: Path | None = folder.target(output, source=source)
    else:
        target = None if source is None else folder.beside(source, name_after(source.name))
    with _opened(source, data) as (handle, size), _sink(target) as sink:
        measured = Measured(sink)
        for chunk in transform(_reported(handle, size, note)):
            measured.write(chunk)
        return Flowed(
            file=None if target is None else str(target),
            data=sink.getvalue() if isinstance(sink, _Inline) else None,
            bytes_in=handle.tell(),
            bytes_out=measured.size,
            sha256=measured.sha256,
        )


class _Inline(io.BytesIO):
    """Output that goes into the result."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if self.tell() + len(data) > MAX_INLINE:
            raise BadInput(
                f"the output has more than {MAX_INLINE:,} bytes, too many for a job's result; "
                "name a file with output="
            )
        return super().write(data)


@contextmanager
def _opened(source: Path | None, data: bytes | None) -> Iterator[tuple[BinaryIO, int]]:
    if source is None:
        yield io.BytesIO(data or b""), len(data or b"")
        return
    with source.open("rb") as handle:
        yield handle, source.stat().st_size


@contextmanager
def _sink(target: Path | None) -> Iterator[BinaryIO]:
    if target is None:
        yield _Inline()
        return
    with writing(target) as handle:
        yield handle


def _reported(handle: BinaryIO, size: int, note: str) -> Iterator[bytes]:
    progress = Progress()
    progress.to(0.0, note)
    for chunk in read_chunks(handle):
        yield chunk
        # After the chunk was worked on, not before: progress tells what is done.
        progress.of(handle.tell(), size)
    progress.to(1.0)
