"""PNG files made by hand, so that tests can make wrong ones too."""

import struct
import zlib
from typing import NamedTuple

SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
]
SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Shape(NamedTuple):
    width: int
    height: int
    depth: int
    colour: int
    interlaced: int = 0

    @property
    def header(self) -> bytes:
        head = self.width, self.height, self.depth, self.colour, 0, 0, self.interlaced
        return struct.pack(">IIBBBBB", *head)

    def rows(self) -> list[int]:
        """Return the bytes of each row, filter byte left out, in the order of the file."""
        passes = ADAM7 if self.interlaced else [(0, 0, 1, 1)]
        rows = []
        for x, y, step_x, step_y in passes:
            width = len(range(x, self.width, step_x))
            bits = width * SAMPLES[self.colour] * self.depth
            rows += [(bits + 7) // 8] * len(range(y, self.height, step_y)) if width else []
        return rows


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    crc = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def raw_of(shape: Shape, data: bytes, filters: bytes = b"\0") -> bytes:
    """Return filtered rows made of `data`, which is repeated, with `filters` in turn."""
    out = b""
    at = 0
    source = data * (sum(shape.rows()) // max(1, len(data)) + 1) if data else bytes(1 << 16)
    for number, length in enumerate(shape.rows()):
        out += filters[number % len(filters) :][:1] + source[at : at + length]
        at += length
    return out


def png_of(
    shape: Shape, raw: bytes, *, before: bytes = b"", palette: bytes = b"", alpha: bytes = b""
) -> bytes:
    parts = [chunk(b"PLTE", palette)] if palette else []
    parts += [chunk(b"tRNS", alpha)] if alpha else []
    body = chunk(b"IHDR", shape.header) + before + b"".join(parts)
    return SIGNATURE + body + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND")


def hostile_pngs() -> dict[str, bytes]:
    """Return files that no reader must take, by what is wrong with them."""
    shape = Shape(5, 4, 8, 2)
    raw = raw_of(shape, bytes(range(60)), b"\0\1\2\3\4")
    good = png_of(shape, raw)
    head = SIGNATURE + chunk(b"IHDR", shape.header)
    data, end = chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND")
    indexed = Shape(5, 4, 4, 3)
    dots = raw_of(indexed, bytes([0x12, 0x3F]))
    flipped = bytearray(data)
    flipped[-1] ^= 1
    wide = Shape(0x7FFFFFFF, 0x7FFFFFFF, 8, 6)

    def header(body: bytes) -> bytes:
        return SIGNATURE + chunk(b"IHDR", body) + data + end

    return {
        "empty": b"",
        "signature": SIGNATURE,
        "cut": good[:-5],
        "no-end": head + data,
        "no-pixels": head + end,
        "no-header": SIGNATURE + data + end,
        "two-headers": head + head[8:] + data + end,
        "short-header": header(shape.header[:-1]),
        "no-width": header(Shape(0, 4, 8, 2).header),
        "no-height": header(Shape(4, 0, 8, 2).header),
        "gigantic": header(wide.header),
        "many-pixels": header(Shape(50_000, 50_000, 1, 0).header),
        "long-side": header(Shape(1_000_001, 1, 8, 0).header),
        "overflow": header(Shape(0x10000, 0x10000, 8, 6).header),
        "depth-3": header(Shape(5, 4, 3, 0).header),
        "depth-4-rgb": header(Shape(5, 4, 4, 2).header),
        "depth-16": header(Shape(5, 4, 16, 2).header),
        "colour-1": header(Shape(5, 4, 8, 1).header),
        "colour-7": header(Shape(5, 4, 8, 7).header),
        "packing-1": header(shape.header[:10] + b"\1\0\0"),
        "filtering-1": header(shape.header[:11] + b"\1\0"),
        "interlacing-2": header(shape.header[:12] + b"\2"),
        "wrong-crc": head + bytes(flipped) + end,
        "no-chunk-name": head + chunk(b"1234") + data + end,
        "long-chunk": head + struct.pack(">I", 0xFFFFFFFF) + b"IDAT" + data,
        "unknown-critical": head + chunk(b"ABCD") + data + end,
        "pixels-apart": head + data + chunk(b"teXt") + data + end,
        "palette-late": head + data + chunk(b"PLTE", bytes(3)) + end,
        "palette-odd": head + chunk(b"PLTE", bytes(4)) + data + end,
        "palette-grey": png_of(
            Shape(5, 4, 8, 0), raw_of(Shape(5, 4, 8, 0), b"x"), palette=bytes(3)
        ),
        "palette-long": png_of(indexed, dots, palette=bytes(3 * 17)),
        "palette-missing": png_of(indexed, dots),
        "palette-twice": head + chunk(b"PLTE", bytes(3)) * 2 + data + end,
        "index-outside": png_of(indexed, dots, palette=bytes(3 * 3)),
        "alpha-long": png_of(indexed, dots, palette=bytes(48), alpha=bytes(17)),
        "alpha-rgba": png_of(Shape(5, 4, 8, 6), raw_of(Shape(5, 4, 8, 6), b"x"), alpha=bytes(2)),
        "alpha-short": png_of(shape, raw, alpha=bytes(5)),
        "alpha-twice": head + chunk(b"tRNS", bytes(6)) * 2 + data + end,
        "filter-5": png_of(shape, raw_of(shape, b"x", b"\5")),
        "filter-255-interlaced": png_of(
            Shape(9, 9, 8, 0, 1), raw_of(Shape(9, 9, 8, 0, 1), b"x", b"\xff")
        ),
        "too-few-pixels": png_of(shape, raw[:-1]),
        "too-many-pixels": png_of(shape, raw + b"\0"),
        "bomb": png_of(shape, raw + bytes(50_000_000)),
        "no-zlib": head + chunk(b"IDAT", b"not packed at all") + end,
        "zlib-cut": head + chunk(b"IDAT", zlib.compress(raw)[:-3]) + end,
        "zlib-checksum": head + chunk(b"IDAT", zlib.compress(raw)[:-1] + b"\0") + end,
        "zlib-dictionary": head + chunk(b"IDAT", b"\x78\xbb\0\0\0\0") + end,
        "jpeg": b"\xff\xd8\xff\xe0" + bytes(64),
    }


def hostile_ppms() -> dict[str, bytes]:
    return {
        "cut": b"P6\n5 4\n255\n" + bytes(59),
        "no-pixels": b"P6\n5 4\n255",
        "no-header": b"P6",
        "no-space": b"P65 4 255\n" + bytes(60),
        "letters": b"P6\nfive 4\n255\n" + bytes(60),
        "negative": b"P6\n-5 4\n255\n" + bytes(60),
        "nothing": b"P6\n0 4\n255\n",
        "maxval-65535": b"P6\n5 4\n65535\n" + bytes(120),
        "maxval-1": b"P6\n5 4\n1\n" + bytes(60),
        "long-number": b"P6\n00000000005 4\n255\n" + bytes(60),
        "overflow": b"P6\n4294967296 4294967296\n255\n" + bytes(60),
        "overflow-32": b"P6\n65536 65536\n255\n" + bytes(60),
        "comments-only": b"P6" + b"#" * 100_000,
        "ascii": b"P3\n1 1\n255\n1 2 3\n",
    }
