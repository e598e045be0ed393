"""The task ``image.process``: resize, convert and thumbnail with Pillow."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from stoker.core.errors import InvalidArguments
from stoker.settings import TaskSettings
from stoker.tasks.errors import BadInput, extra
from stoker.tasks.files import Folder, Measured, writing
from stoker.tasks.progress import Progress
from stoker.tasks.wiring import DEFAULTS

if TYPE_CHECKING:
    from PIL import Image

Operation = Literal["resize", "convert", "thumbnail"]
Format = Literal["jpeg", "png", "webp", "gif", "bmp", "tiff"]

MAX_PIXELS = 50_000_000
"""Of a picture, read or written: a few kilobytes can claim gigabytes of them."""

_SUFFIXES: dict[str, Format] = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".png": "png",
    ".webp": "webp",
    ".gif": "gif",
    ".bmp": "bmp",
    ".tif": "tiff",
    ".tiff": "tiff",
}
_SUFFIX_OF: dict[Format, str] = {
    "jpeg": ".jpg",
    "png": ".png",
    "webp": ".webp",
    "gif": ".gif",
    "bmp": ".bmp",
    "tiff": ".tif",
}
_THUMBNAIL = 256


class Picture(msgspec.Struct, frozen=True):
    """What `process_image` returns."""

    file: str
    format: Format
    width: int
    height: int
    bytes: int
    sha256: str


def process_image(
    file: str,
    output: str | None = None,
    operation: Operation = "resize",
    width: int | None = None,
    height: int | None = None,
    format: Format | None = None,  # noqa: A002 - the payload's name, as people say it
    quality: int = 85,
    *,
    settings: TaskSettings = DEFAULTS,
) -> Picture:
    """Resize or convert a picture, or make a thumbnail of it.

    The picture is turned upright as its EXIF data say; of an animation the first frame is taken.
    Metadata do not reach the output.

    Args:
        file: JPEG, PNG, WebP, GIF, BMP or TIFF, up to 50 million pixels.
        output: The file to write; by default beside ``file``, with the operation in its name.
        operation: ``resize`` to exactly ``width`` × ``height`` (with one of them given, the other
            follows), ``convert`` to another format at the same size, or ``thumbnail``: fit into
            ``width`` × ``height`` (256 where not given), never larger than it was.
        width: Pixels.
        height: Pixels.
        format: ``jpeg``, ``png``, ``webp``, ``gif``, ``bmp`` or ``tiff``; by default what the
            suffix of ``output`` says, else the input's.
        quality: 1 to 95, for JPEG and WebP.
        settings: The worker's settings.

    Returns:
        The written file, its format and size.

    Raises:
        FileNotFoundError: The input does not exist.
        BadInput: Not a picture of a known format, damaged, or with too many pixels.
        InvalidArguments: Sizes or names that mean nothing.
        MissingExtra: Pillow is not installed.
    """
    _check(operation, width, height, format, quality)
    with extra("image.process", "Pillow"):
        import PIL.Image  # noqa: F401
    progress = Progress()
    progress.to(0.0, "read")
    folder = Folder(settings.files)
    source = folder.source(file)
    picture, source_format = _load(source)
    wanted = _format(format, output, source_format)
    name = output or str(source.with_name(_name(source, operation, wanted)))
    target = folder.target(name, source=source)
    progress.to(0.4, operation)
    changed = _changed(picture, operation, width, height)
    progress.to(0.7, f"write {wanted}")
    encoded = _encoded(changed, wanted, quality)
    progress.to(0.9)
    with writing(target) as handle:
        measured = Measured(handle)
        measured.write(encoded)
    return Picture(
        file=str(target),
        format=wanted,
        width=changed.width,
        height=changed.height,
        bytes=measured.size,
        sha256=measured.sha256,
    )


def _check(
    operation: str, width: int | None, height: int | None, wanted: str | None, quality: int
) -> None:
    if operation not in {"resize", "convert", "thumbnail"}:
        raise InvalidArguments(f"operation is {operation!r}; expected resize, convert, thumbnail")
    if wanted is not None and wanted not in _SUFFIX_OF:
        raise InvalidArguments(f"format is {wanted!r}; expected {', '.join(_SUFFIX_OF)}")
    if not 1 <= quality <= 95:  # noqa: PLR2004 - beyond 95 JPEG files grow and nothing else
        raise InvalidArguments(f"quality is {quality}; expected 1 to 95")
    sides = [side for side in (width, height) if side is not None]
    if any(side < 1 for side in sides):
        raise InvalidArguments(f"the size is {width} x {height}; expected at least 1 x 1")
    if operation == "resize" and not sides:
        raise InvalidArguments("resize needs width=, height= or both")
    if operation == "convert" and sides:
        raise InvalidArguments("convert keeps the size; use operation=resize to change it")


def _load(source: Path) -> "tuple[Image.Image, Format]":
    """Return the picture, decoded and upright, and the format it was in."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    formats = [name.upper() for name in _SUFFIX_OF]
    too_large = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        with Image.open(source, formats=formats) as picture:
            # The header only: no pixel is decoded before its claim is checked.
            _check_pixels(picture.width, picture.height, f"{source.name} has")
            found = str(picture.format).lower()
            upright = ImageOps.exif_transpose(picture)
    except too_large as error:
        raise BadInput(f"{source.name} is too large: {error}") from None
    except UnidentifiedImageError:
        raise BadInput(
            f"{source.name} is no picture of a known format ({', '.join(_SUFFIX_OF)})"
        ) from None
    except (SyntaxError, EOFError, ValueError, OverflowError) as error:
        raise BadInput(f"{source.name} is damaged: {error}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        # What Pillow says of a picture that ends in the middle.
        raise BadInput(f"{source.name} is damaged: {error}") from None
    # Phones write JPEG files with a second picture inside, which Pillow calls MPO.
    return upright, next((name for name in _SUFFIX_OF if name == found), "jpeg")


def _check_pixels(width: int, height: int, what: str) -> None:
    if width * height > MAX_PIXELS:
        raise BadInput(
            f"{what} {width} x {height} = {width * height:,} pixels; the limit is {MAX_PIXELS:,}"
        )


def _format(wanted: Format | None, output: str | None, found: Format) -> Format:
    if wanted is not None:
        return wanted
    if output is not None:
        suffix = Path(output).suffix.lower()
        if suffix not in _SUFFIXES:
            raise InvalidArguments(
                f"output is {output!r}, whose suffix names no known format; expected one of "
                f"{', '.join(_SUFFIXES)}, or format="
            )
        return _SUFFIXES[suffix]
    return found


def _name(source: Path, operation: Operation, wanted: Format) -> str:
    mark = {"resize": "-resized", "convert": "", "thumbnail": "-thumbnail"}[operation]
    return f"{source.stem}{mark}{_SUFFIX_OF[wanted]}"


def _changed(
    picture: "Image.Image", operation: Operation, width: int | None, height: int | None
) -> "Image.Image":
    from PIL.Image import Resampling

    if operation == "convert":
        return picture
    if operation == "thumbnail":
        box = (width or _THUMBNAIL, height or _THUMBNAIL)
        scale = min(1.0, box[0] / picture.width, box[1] / picture.height)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    else:
        size = (
            width or max(1, round(picture.width * (height or 1) / picture.height)),
            height or max(1, round(picture.height * (width or 1) / picture.width)),
        )
    _check_pixels(*size, "the output would have")
    # Palettes and single bits cannot be averaged.
    smooth = picture.convert("RGBA") if picture.mode in {"P", "PA", "1"} else picture
    return smooth.resize(size, Resampling.LANCZOS)


def _encoded(picture: "Image.Image", wanted: Format, quality: int) -> bytes:
    buffer = io.BytesIO()
    options = {"quality": quality} if wanted in {"jpeg", "webp"} else {}
    plain = _without_metadata(_storable(picture, wanted))
    plain.save(buffer, format=wanted.upper(), **options)
    return buffer.getvalue()


def _storable(picture: "Image.Image", wanted: Format) -> "Image.Image":
    """Return the picture in a mode that the format can hold; what shines through is white."""
    if wanted in {"jpeg", "bmp"}:
        if picture.mode in {"RGB", "L"}:
            return picture
        return _flattened(picture)
    allowed = {
        "png": {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"},
        "webp": {"RGB", "RGBA"},
        "gif": {"1", "L", "P", "RGB", "RGBA"},
        "tiff": {"1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"},
    }[wanted]
    if picture.mode in allowed:
        return picture
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def _flattened(picture: "Image.Image") -> "Image.Image":
    from PIL import Image

    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    ground = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(ground, layer).convert("RGB")


def _without_metadata(picture: "Image.Image") -> "Image.Image":
    copy = picture.copy()
    copy.info = {key: copy.info[key] for key in ("transparency",) if key in copy.info}
    return copy
