"""The tasks ``image.blur`` and ``image.resize``, on PNG and PPM files.

``image.process`` reads every format and resizes with the best filter. These two read two formats,
and their arithmetic is defined to the last bit (it is Pillow's, in whole numbers), so that a worker
in another language gives the same picture: the plugin ``image_filters`` of the C worker does.
"""

import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from stoker.core.errors import InvalidArguments
from stoker.settings import TaskSettings
from stoker.tasks import png
from stoker.tasks.errors import BadInput, extra
from stoker.tasks.files import Folder, writing
from stoker.tasks.progress import Progress
from stoker.tasks.wiring import DEFAULTS

if TYPE_CHECKING:
    from PIL import Image

Filter = Literal["box", "bilinear"]
FilteredFormat = Literal["png", "ppm"]

MAX_PIXELS = 50_000_000
MAX_SIDE = 1_000_000
MAX_RADIUS = 1_000
_MAX_FILE = 8 * MAX_PIXELS

_SUFFIXES: dict[str, FilteredFormat] = {".png": "png", ".ppm": "ppm", ".pgm": "ppm"}
_FULL = 255

_GAP = rb"(?:[ \t-\r]|#[^\n]*+)++"
_PPM = re.compile(rb"P([56])" + (_GAP + rb"(\d{1,9}+)(?!\d)") * 3 + rb"[ \t-\r]")


class FilteredPicture(msgspec.Struct, frozen=True):
    """What `blur_image` and `resize_image` return."""

    file: str
    format: FilteredFormat
    mode: Literal["L", "LA", "RGB", "RGBA"]
    """Grey or colours, with alpha (``A``) or without."""
    width: int
    height: int
    pixels_sha256: str
    """Of the pixels, row by row and channel by channel, however the file packs them."""


def blur_image(
    file: str,
    output: str | None = None,
    radius: int = 2,
    *,
    settings: TaskSettings = DEFAULTS,
) -> FilteredPicture:
    """Blur a picture: each pixel becomes the mean of the square around it.

    Args:
        file: PNG (up to 8 bits a channel) or PPM, PGM (of bytes), up to 50 million pixels.
        output: The file to write: ``.png``, ``.ppm`` or ``.pgm``; by default beside ``file``, with
            ``-blurred`` in its name.
        radius: Pixels on each side, 0 to 1,000: the square is 2 · radius + 1 wide.
        settings: The worker's settings.

    Returns:
        The written file, and what is in it.

    Raises:
        FileNotFoundError: The input does not exist.
        BadInput: No such picture, damaged, or too large.
        InvalidArguments: A radius or a name that means nothing, or transparency into a PPM file.
        MissingExtra: Pillow is not installed.
    """
    if not 0 <= radius <= MAX_RADIUS:
        raise InvalidArguments(f"radius is {radius}; expected 0 to {MAX_RADIUS}")
    return _filtered(
        "image.blur", file, output, "-blurred", lambda picture: _blurred(picture, radius), settings
    )


def resize_image(
    file: str,
    output: str | None = None,
    width: int | None = None,
    height: int | None = None,
    filter: Filter = "bilinear",  # noqa: A002 - the payload's name, as people say it
    *,
    settings: TaskSettings = DEFAULTS,
) -> FilteredPicture:
    """Resize a picture.

    Args:
        file: PNG (up to 8 bits a channel) or PPM, PGM (of bytes), up to 50 million pixels.
        output: The file to write: ``.png``, ``.ppm`` or ``.pgm``; by default beside ``file``, with
            ``-resized`` in its name.
        width: Pixels; in proportion to ``height`` if not given.
        height: Pixels; in proportion to ``width`` if not given.
        filter: ``bilinear``, or ``box``, the plain mean.
        settings: The worker's settings.

    Returns:
        The written file, and what is in it.

    Raises:
        FileNotFoundError: The input does not exist.
        BadInput: No such picture, damaged, or too large.
        InvalidArguments: A size, filter or name that means nothing, or transparency into PPM.
        MissingExtra: Pillow is not installed.
    """
    for name, side in (("width", width), ("height", height)):
        if side is not None and not 1 <= side <= MAX_SIDE:
            raise InvalidArguments(f"{name} is {side}; expected 1 to {MAX_SIDE:,}")
    if width is None and height is None:
        raise InvalidArguments("resize needs width=, height= or both")
    if filter not in {"box", "bilinear"}:
        raise InvalidArguments(f"filter is {filter!r}; expected box or bilinear")

    def resized(picture: "Image.Image") -> "Image.Image":
        return _resized(picture, width, height, filter)

    return _filtered("image.resize", file, output, "-resized", resized, settings)


def _filtered(
    task: str,
    file: str,
    output: str | None,
    mark: str,
    change: Callable[["Image.Image"], "Image.Image"],
    settings: TaskSettings,
) -> FilteredPicture:
    with extra(task, "Pillow"):
        import PIL.Image  # noqa: F401
    progress = Progress()
    progress.to(0.0, "read")
    folder = Folder(settings.files)
    source = folder.source(file)
    picture, found = _load(source)
    progress.to(0.3, task)
    wanted = _format(output, found)
    name = output or str(source.with_name(f"{source.stem}{mark}.{wanted}"))
    target = folder.target(name, source=source)
    if wanted == "ppm" and picture.mode in {"LA", "RGBA"}:
        raise InvalidArguments(
            "the picture has transparency, which PPM cannot hold; name a .png file as output="
        )
    changed = change(picture)
    progress.to(0.7, f"write {wanted}")
    with writing(target) as handle:
        handle.write(_encoded(changed, wanted))
    return FilteredPicture(
        file=str(target),
        format=wanted,
        mode=changed.mode,  # type: ignore[arg-type]
        width=changed.width,
        height=changed.height,
        pixels_sha256=hashlib.sha256(changed.tobytes()).hexdigest(),
    )


def _blurred(picture: "Image.Image", radius: int) -> "Image.Image":
    from PIL.ImageFilter import BoxBlur

    if radius == 0:
        return picture
    return _weighed(picture).filter(BoxBlur(radius)).convert(picture.mode)


def _resized(
    picture: "Image.Image", width: int | None, height: int | None, kind: Filter
) -> "Image.Image":
    from PIL.Image import Resampling

    size = (
        width or _in_proportion(picture.width, picture.height, height or 1),
        height or _in_proportion(picture.height, picture.width, width or 1),
    )
    _check_size(*size, "the output would have")
    _check_size(size[0], picture.height, "half way, the picture would have")
    if size == picture.size:
        return picture
    how = Resampling.BOX if kind == "box" else Resampling.BILINEAR
    # Rows first, always: in one call Pillow would pick the order by the sizes, and rounds between.
    wide = _weighed(picture).resize((size[0], picture.height), how)
    return wide.resize(size, how).convert(picture.mode)


def _weighed(picture: "Image.Image") -> "Image.Image":
    """Multiply colours by alpha: what nobody sees must not shine through."""
    return picture.convert({"LA": "La", "RGBA": "RGBa"}.get(picture.mode, picture.mode))


def _in_proportion(own: int, other: int, given: int) -> int:
    return max(1, (2 * own * given + other) // (2 * other))


def _check_size(width: int, height: int, what: str) -> None:
    if width < 1 or height < 1:
        raise BadInput(f"{what} {width} x {height} pixels; expected at least 1 x 1")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise BadInput(
            f"{what} {width} x {height} pixels; the limit is {MAX_PIXELS:,} in all, and "
            f"{MAX_SIDE:,} a side"
        )


def _format(output: str | None, found: FilteredFormat) -> FilteredFormat:
    if output is None:
        return found
    suffix = Path(output).suffix.lower()
    if suffix not in _SUFFIXES:
        raise InvalidArguments(
            f"output is {output!r}, whose suffix names no known format; expected .png, .ppm or .pgm"
        )
    return _SUFFIXES[suffix]


def _load(source: Path) -> "tuple[Image.Image, FilteredFormat]":
    size = source.stat().st_size
    if size > _MAX_FILE:
        raise BadInput(f"{source.name} has {size:,} bytes; the limit is {_MAX_FILE:,}")
    data = source.read_bytes()
    if data.startswith(png.SIGNATURE):
        return _read_png(data), "png"
    if data[:2] in {b"P5", b"P6"}:
        return _read_ppm(data), "ppm"
    raise BadInput(f"{source.name} is no picture of a known format (PNG; PPM or PGM of bytes)")


def _read_ppm(data: bytes) -> "Image.Image":
    from PIL import Image

    header = _PPM.match(data)
    if header is None:
        raise BadInput("the PPM file is damaged: its header is cut off or wrong")
    mode, channels = ("RGB", 3) if header[1] == b"6" else ("L", 1)
    width, height, greatest = (int(header[i]) for i in (2, 3, 4))
    if greatest != _FULL:
        raise BadInput(f"the PPM file has {greatest} as its greatest value; expected {_FULL}")
    _check_size(width, height, "the PPM file has")
    pixels = data[header.end() :][: width * height * channels]
    if len(pixels) < width * height * channels:
        raise BadInput("the PPM file is damaged: it holds fewer pixels than its header says")
    return Image.frombytes(mode, (width, height), pixels)


def _read_png(data: bytes) -> "Image.Image":
    from PIL import Image

    chunks = png.chunks_of(data)
    _check_size(chunks.header.width, chunks.header.height, "the PNG file has")
    png.unpacked(chunks)
    try:
        with Image.open(io.BytesIO(png.rebuilt(chunks)), formats=["PNG"]) as picture:
            picture.load()
            plain = picture.convert("L") if picture.mode == "1" else picture.copy()
    except (OSError, SyntaxError, ValueError) as error:
        raise BadInput(f"the PNG file is damaged: {error}") from None
    plain.info = {}
    return _coloured(plain, chunks) if plain.mode == "P" else _keyed(plain, chunks)


def _coloured(picture: "Image.Image", chunks: png.Chunks) -> "Image.Image":
    """Return the colours that the indices of a palette stand for."""
    from PIL import Image

    indices = Image.frombytes("L", picture.size, picture.tobytes())
    colours = len(chunks.palette) // 3
    most = indices.getextrema()[1]
    if most >= colours:  # type: ignore[operator]
        raise BadInput(f"the PNG file is damaged: a pixel has colour {most} of {colours}")
    bands = [indices.point(_table(chunks.palette[band::3])) for band in range(3)]
    if not chunks.transparency:
        return Image.merge("RGB", bands)
    return Image.merge("RGBA", [*bands, indices.point(_table(chunks.transparency))])


def _table(values: bytes) -> list[int]:
    return list(values.ljust(256, b"\xff"))


def _keyed(picture: "Image.Image", chunks: png.Chunks) -> "Image.Image":
    """Make the one colour transparent that the file says is so, if it does."""
    from PIL import Image, ImageChops

    if not chunks.transparency:
        return picture
    factor = _FULL // ((1 << chunks.header.depth) - 1)
    bands = picture.split()
    is_key = Image.new("L", picture.size, 255)
    for i, band in enumerate(bands):
        key = int.from_bytes(chunks.transparency[2 * i : 2 * i + 2], "big") * factor
        is_key = ImageChops.darker(is_key, band.point([255 * (v == key) for v in range(256)]))
    alpha = ImageChops.invert(is_key)
    return Image.merge("LA" if len(bands) == 1 else "RGBA", [*bands, alpha])


def _encoded(picture: "Image.Image", wanted: FilteredFormat) -> bytes:
    if wanted == "ppm":
        kind = "P5" if picture.mode == "L" else "P6"
        header = f"{kind}\n{picture.width} {picture.height}\n{_FULL}\n"
        return header.encode() + picture.tobytes()
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
