"""The tasks ``compress`` and ``decompress``.

Formats are the common ones, so that any other program reads and writes them too: gzip, zlib, bzip2
and xz. ``decompress`` sees from the first bytes which it is, and stops at a limit: a few kilobytes
can hold a file that fills every disk.
"""

import bz2
import itertools
import lzma
import zlib
from collections.abc import Iterator
from typing import Literal, Protocol

import msgspec

from stoker.core.errors import InvalidArguments
from stoker.settings import TaskSettings
from stoker.tasks.errors import BadInput
from stoker.tasks.files import CHUNK
from stoker.tasks.progress import Progress
from stoker.tasks.stream import flow
from stoker.tasks.wiring import DEFAULTS

Algorithm = Literal["gzip", "zlib", "bz2", "lzma"]

SUFFIXES: dict[Algorithm, str] = {"gzip": ".gz", "zlib": ".zz", "bz2": ".bz2", "lzma": ".xz"}
"""What `compress` appends to a file's name."""

MAX_EXPANDED = 1 << 30
"""Default limit of `decompress` in bytes."""

_LEVELS: dict[Algorithm, tuple[int, int, int]] = {
    "gzip": (0, 6, 9),
    "zlib": (0, 6, 9),
    "bz2": (1, 9, 9),
    "lzma": (0, 6, 9),
}
_XZ_MEMORY = 256 * 1024 * 1024
_DEFLATE = 8
_WBITS = {"gzip": 31, "zlib": 15}


class Compressed(msgspec.Struct, frozen=True):
    """What `compress` and `decompress` return."""

    file: str | None
    """The written file, if the output is one."""
    data: bytes | None
    """The output itself otherwise; base64 in JSON."""
    algorithm: Algorithm
    bytes_in: int
    bytes_out: int
    ratio: float | None
    """Compressed size by plain size, the smaller the better; None for an empty input."""
    sha256: str
    """Of the output."""


def compress(
    file: str | None = None,
    data: bytes | None = None,
    output: str | None = None,
    algorithm: Algorithm = "gzip",
    level: int | None = None,
    *,
    settings: TaskSettings = DEFAULTS,
) -> Compressed:
    """Compress a file or bytes.

    Args:
        file: The file to compress. Give this or ``data``.
        data: The bytes to compress; base64 in JSON.
        output: The file to write; by default the input's name with the algorithm's suffix, or no
            file at all for ``data``: the result then holds the bytes.
        algorithm: ``gzip`` (.gz), ``zlib`` (.zz), ``bz2`` (.bz2) or ``lzma`` (.xz).
        level: 0 (1 for bz2), the fastest, to 9, the smallest; by default the algorithm's own.
        settings: The worker's settings.

    Returns:
        Where the output is, its size, ratio and SHA-256.

    Raises:
        FileNotFoundError: The input does not exist.
        InvalidArguments: A file that is not allowed, or a level that the algorithm does not have.
    """
    low, usual, high = _LEVELS[_known(algorithm)]
    wanted = usual if level is None else level
    if not low <= wanted <= high:
        raise InvalidArguments(f"level is {wanted}; {algorithm} has {low} to {high}")

    def shrink(chunks: Iterator[bytes]) -> Iterator[bytes]:
        machine = _compressor(algorithm, wanted)
        for chunk in chunks:
            if shrunk := machine.compress(chunk):
                yield shrunk
        yield machine.flush()

    done = flow(
        shrink,
        file=file,
        data=data,
        output=output,
        name_after=lambda name: name + SUFFIXES[algorithm],
        note=f"compress with {algorithm}",
        settings=settings,
    )
    return Compressed(
        file=done.file,
        data=done.data,
        algorithm=algorithm,
        bytes_in=done.bytes_in,
        bytes_out=done.bytes_out,
        ratio=_ratio(done.bytes_out, done.bytes_in),
        sha256=done.sha256,
    )


def decompress(
    file: str | None = None,
    data: bytes | None = None,
    output: str | None = None,
    algorithm: Algorithm | None = None,
    max_bytes: int = MAX_EXPANDED,
    *,
    settings: TaskSettings = DEFAULTS,
) -> Compressed:
    """Expand a file or bytes that `compress` or another program compressed.

    Args:
        file: The file to expand. Give this or ``data``.
        data: The bytes to expand; base64 in JSON.
        output: The file to write; by default the input's name without the algorithm's suffix, or
            no file at all for ``data``: the result then holds the bytes.
        algorithm: What it was compressed with; by default the first bytes tell.
        max_bytes: Stop when the output would be larger; 1 GiB by default.
        settings: The worker's settings.

    Returns:
        Where the output is, its size, ratio and SHA-256.

    Raises:
        FileNotFoundError: The input does not exist.
        InvalidArguments: A file that is not allowed, or an input without a known suffix and no
            ``output``.
        BadInput: Damaged, truncated, not compressed at all, or larger than ``max_bytes``. No
            output is left behind.
    """
    if max_bytes < 0:
        raise InvalidArguments(f"max_bytes is {max_bytes}; expected 0 or more")
    seen: list[Algorithm] = [] if algorithm is None else [_known(algorithm)]

    def grow(chunks: Iterator[bytes]) -> Iterator[bytes]:
        first = next(chunks, b"")
        if not seen:
            seen.append(_recognised(first))
        return _limited(_expanded(seen[0], itertools.chain([first], chunks)), max_bytes)

    done = flow(
        grow,
        file=file,
        data=data,
        output=output,
        name_after=_plain_name,
        note="decompress",
        settings=settings,
    )
    return Compressed(
        file=done.file,
        data=done.data,
        algorithm=seen[0],
        bytes_in=done.bytes_in,
        bytes_out=done.bytes_out,
        ratio=_ratio(done.bytes_in, done.bytes_out),
        sha256=done.sha256,
    )


def _known(algorithm: Algorithm) -> Algorithm:
    if algorithm not in SUFFIXES:
        raise InvalidArguments(f"algorithm is {algorithm!r}; expected {', '.join(SUFFIXES)}")
    return algorithm


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Expander(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _ZlibExpander:
    """zlib's object with the manners of those of bz2 and lzma."""

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)
        self._is_full = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        # A full answer may have left output inside even when all input was taken.
        return not self._is_full and not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self._is_full = len(out) == max_length
        return out


def _compressor(algorithm: Algorithm, level: int) -> _Compressor:
    if algorithm == "bz2":
        return bz2.BZ2Compressor(level)
    if algorithm == "lzma":
        return lzma.LZMACompressor(preset=level)
    return zlib.compressobj(level, zlib.DEFLATED, _WBITS[algorithm])


def _expander(algorithm: Algorithm) -> _Expander:
    if algorithm == "bz2":
        return bz2.BZ2Decompressor()
    if algorithm == "lzma":
        # A header may ask for a dictionary of 4 GiB.
        return lzma.LZMADecompressor(lzma.FORMAT_AUTO, memlimit=_XZ_MEMORY)
    return _ZlibExpander(_WBITS[algorithm])


def _expanded(algorithm: Algorithm, chunks: Iterator[bytes]) -> Iterator[bytes]:
    progress = Progress()
    machine = _expander(algorithm)
    try:
        for chunk in chunks:
            rest = chunk.lstrip(b"\0") if machine.eof else chunk
            while rest or not (machine.eof or machine.needs_input):
                if machine.eof:
                    machine = _expander(algorithm)
                yield machine.decompress(rest, CHUNK)
                progress.check()
                rest = _next_member(machine)
    except (zlib.error, OSError, EOFError, lzma.LZMAError, ValueError) as error:
        raise BadInput(f"the input is not whole {algorithm} data: {error}") from None
    if not machine.eof:
        raise BadInput(f"the {algorithm} data end in the middle: the input was cut off")


def _next_member(machine: _Expander) -> bytes:
    # Files may be several streams one after the other, padded with zeros.
    return machine.unused_data.lstrip(b"\0") if machine.eof else b""


def _limited(chunks: Iterator[bytes], limit: int) -> Iterator[bytes]:
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > limit:
            raise BadInput(
                f"the input expands to more than {limit:,} bytes; raise max_bytes if that is no "
                "surprise"
            )
        yield chunk


def _recognised(first: bytes) -> Algorithm:
    magic: dict[bytes, Algorithm] = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "lzma"}
    for beginning, algorithm in magic.items():
        if first.startswith(beginning):
            return algorithm
    # RFC 1950: the method in the low half of the first byte, and a check over two bytes.
    if len(first) > 1 and first[0] & 0x0F == _DEFLATE and int.from_bytes(first[:2]) % 31 == 0:
        return "zlib"
    raise BadInput(
        f"the input begins with {first[:6].hex(' ') or 'nothing'}, which is none of "
        f"{', '.join(SUFFIXES)}; say algorithm= if it is one of them"
    )


def _plain_name(name: str) -> str:
    for suffix in (*SUFFIXES.values(), ".gzip", ".zlib"):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    raise InvalidArguments(
        f"the name {name!r} does not tell what the plain file is called (it ends in none of "
        f"{', '.join(SUFFIXES.values())}); name it with output="
    )


def _ratio(small: int, large: int) -> float | None:
    return round(small / large, 4) if large else None
