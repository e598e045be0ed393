"""PNG files, checked before anybody decodes them.

`chunks_of` walks over a PNG file and checks every length, checksum and order, `unpacked` that it
holds the pixels which its header promises, and `rebuilt` gives back a file with nothing in it but
the picture: whoever decodes that meets no text, colour profile or animation.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from stoker.tasks.errors import BadInput

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_AROUND = 12
_MOST = 0x7FFF_FFFF
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: {1, 2, 4, 8}, 2: {8}, 3: {1, 2, 4, 8}, 4: {8}, 6: {8}}
_SIXTEEN = 16
_GREY, _RGB, _PALETTE = 0, 2, 3
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


class Header(NamedTuple):
    """What a PNG file says of itself."""

    width: int
    height: int
    depth: int
    colour: int
    is_interlaced: bool


class Chunks(NamedTuple):
    """What the picture needs of a file."""

    header: Header
    palette: bytes
    transparency: bytes
    packed: bytes


def chunks_of(data: bytes) -> Chunks:
    """Check the chunks of a PNG file and gather what the picture needs.

    Raises:
        BadInput: Something is missing, damaged, out of place, or not of a known kind.
    """
    header: Header | None = None
    kept = {b"PLTE": b"", b"tRNS": b""}
    pixels: list[bytes] = []
    is_over = False
    for kind, body in _walk(data):
        if header is None or kind == b"IHDR":
            if header is not None or kind != b"IHDR":
                raise _damaged("its header is missing or there twice")
            header = _header(body)
        elif kind == b"IDAT":
            if is_over or (header.colour == _PALETTE and not kept[b"PLTE"]):
                raise _damaged("its pixels are out of place")
            pixels.append(body)
        elif kind == b"IEND" and pixels:
            return Chunks(header, kept[b"PLTE"], kept[b"tRNS"], b"".join(pixels))
        else:
            _check_other(kind, body, header, kept, has_pixels=bool(pixels))
            is_over = bool(pixels)
            if kind in kept:
                kept[kind] = body
    raise _damaged("it ends in the middle")


def unpacked(chunks: Chunks) -> bytes:
    """Return the filtered rows, exactly as many bytes as the header promises.

    Raises:
        BadInput: They do not unpack, or are more or fewer.
    """
    size = _size(chunks.header)
    machine = zlib.decompressobj()
    try:
        raw = machine.decompress(chunks.packed, size + 1)
        if machine.unconsumed_tail and len(raw) <= size:
            raw += machine.decompress(machine.unconsumed_tail, size + 1 - len(raw))
    except zlib.error as error:
        raise _damaged(f"its pixels do not unpack: {error}") from None
    if len(raw) > size:
        raise _damaged("it holds more pixels than its header says")
    if not machine.eof:
        raise _damaged("its pixels do not unpack: they are cut off")
    if len(raw) < size:
        raise _damaged("it holds fewer pixels than its header says")
    return raw


def rebuilt(chunks: Chunks) -> bytes:
    """Return a PNG file with nothing in it but the picture, transparency left out."""
    header = chunks.header
    packed = struct.pack(">IIBBBBB", *header[:4], 0, 0, header.is_interlaced)
    palette = [(b"PLTE", chunks.palette)] if header.colour == _PALETTE else []
    parts = [(b"IHDR", packed), *palette, (b"IDAT", chunks.packed), (b"IEND", b"")]
    return SIGNATURE + b"".join(_chunk(kind, body) for kind, body in parts)


def _chunk(kind: bytes, body: bytes) -> bytes:
    crc = zlib.crc32(body, zlib.crc32(kind))
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def _walk(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while True:
        if len(data) - at < _AROUND:
            raise _damaged("it ends in the middle")
        length, kind = struct.unpack_from(">I4s", data, at)
        if length > min(_MOST, len(data) - at - _AROUND):
            raise _damaged("a chunk is longer than the file")
        if not kind.isalpha():
            raise _damaged("a chunk has no name")
        body = data[at + 8 : at + 8 + length]
        if zlib.crc32(body, zlib.crc32(kind)) != int.from_bytes(data[at + 8 + length :][:4], "big"):
            raise _damaged("the checksum of a chunk is wrong")
        yield kind, body
        at += length + _AROUND


def _header(body: bytes) -> Header:
    if len(body) != struct.calcsize(">IIBBBBB"):
        raise _damaged("its header has the wrong length")
    width, height, depth, colour, packing, filtering, interlacing = struct.unpack(">IIBBBBB", body)
    if packing or filtering or interlacing > 1:
        raise _damaged("its header names a method that does not exist")
    if depth == _SIXTEEN and colour in _DEPTHS and colour != _PALETTE:
        raise BadInput("the PNG file has 16 bits a channel; expected 8 or fewer")
    if depth not in _DEPTHS.get(colour, ()):
        raise _damaged("its header names colours that do not exist")
    return Header(width, height, depth, colour, bool(interlacing))


def _check_other(
    kind: bytes, body: bytes, header: Header, kept: dict[bytes, bytes], *, has_pixels: bool
) -> None:
    if kind in kept and has_pixels:
        raise _damaged("its palette follows its pixels")
    if kind == b"PLTE":
        most = 1 << header.depth if header.colour == _PALETTE else 256
        is_right = 0 < len(body) <= 3 * most and len(body) % 3 == 0
        if any(kept.values()) or header.colour in {0, 4} or not is_right:
            raise _damaged("its palette is out of place or of the wrong size")
    elif kind == b"tRNS":
        if kept[kind] or not _is_right_transparency(body, header, len(kept[b"PLTE"]) // 3):
            raise _damaged("its transparency is out of place or of the wrong size")
    elif kind[:1].isupper():
        raise _damaged("it has a chunk that nobody knows and everybody must")


def _is_right_transparency(body: bytes, header: Header, colours: int) -> bool:
    if header.colour == _PALETTE:
        return 1 <= len(body) <= colours
    return len(body) == {_GREY: 2, _RGB: 6}.get(header.colour)


def _size(header: Header) -> int:
    passes = _ADAM7 if header.is_interlaced else ((0, 0, 1, 1),)
    total = 0
    for x, y, step_x, step_y in passes:
        width = max(0, -((x - header.width) // step_x))
        height = max(0, -((y - header.height) // step_y))
        if width:
            bits = width * _SAMPLES[header.colour] * header.depth
            total += height * (1 + (bits + 7) // 8)
    return total


def _damaged(why: str) -> BadInput:
    return BadInput(f"the PNG file is damaged: {why}")
