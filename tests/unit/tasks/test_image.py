import hashlib
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stoker.core.errors import Cancelled, InvalidArguments
from stoker.settings import TaskSettings
from stoker.tasks.errors import BadInput
from stoker.tasks.image import Format, process_image
from tests.unit.tasks.conftest import JobAround

FORMATS: list[Format] = ["jpeg", "png", "webp", "gif", "bmp", "tiff"]
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """60 × 40: left half red, right half blue."""
    picture = Image.new("RGB", (60, 40), RED)
    picture.paste(BLUE, (30, 0, 60, 40))
    file = tmp_path / "photo.png"
    picture.save(file)
    return file


def pixel(file: str, at: tuple[int, int]) -> Any:
    with Image.open(file) as picture:
        return picture.convert("RGB").getpixel(at)


def near(one: Any, two: tuple[int, int, int]) -> bool:
    return all(abs(a - b) < 16 for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(30, None, (30, 20)), (None, 80, (120, 80)), (10, 10, (10, 10)), (1, None, (1, 1))],
)
def test_resize_makes_the_size_or_keeps_the_shape(
    photo: Path, settings: TaskSettings, width: int, height: int, size: tuple[int, int]
) -> None:
    done = process_image(str(photo), width=width, height=height, settings=settings)
    assert done.file == str(photo.with_name("photo-resized.png"))
    assert (done.width, done.height) == size
    with Image.open(done.file) as picture:
        assert picture.size == size
        assert picture.format == "PNG"
    assert done.bytes == Path(done.file).stat().st_size
    assert done.sha256 == hashlib.sha256(Path(done.file).read_bytes()).hexdigest()


def test_resize_keeps_the_picture(photo: Path, settings: TaskSettings) -> None:
    done = process_image(str(photo), width=120, settings=settings)
    assert near(pixel(done.file, (5, 5)), RED)
    assert near(pixel(done.file, (115, 75)), BLUE)


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(30, 30, (30, 20)), (None, None, (60, 40)), (500, 10, (15, 10)), (600, 600, (60, 40))],
)
def test_a_thumbnail_fits_and_never_grows(
    photo: Path, settings: TaskSettings, width: int, height: int, size: tuple[int, int]
) -> None:
    done = process_image(
        str(photo), operation="thumbnail", width=width, height=height, settings=settings
    )
    assert (done.width, done.height) == size
    assert done.file == str(photo.with_name("photo-thumbnail.png"))


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("wanted", FORMATS)
def test_every_format_becomes_every_format(
    tmp_path: Path, photo: Path, settings: TaskSettings, source: Format, wanted: Format
) -> None:
    with Image.open(photo) as picture:
        picture.save(tmp_path / "in", format=source.upper())
    done = process_image("in", "out", "convert", format=wanted, settings=settings)
    assert (done.format, done.width, done.height) == (wanted, 60, 40)
    with Image.open(done.file) as picture:
        assert str(picture.format).lower() == wanted
    assert near(pixel(done.file, (5, 5)), RED)
    assert near(pixel(done.file, (55, 35)), BLUE)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK", "YCbCr", "I", "F"])
@pytest.mark.parametrize("wanted", FORMATS)
@pytest.mark.parametrize("operation", ["convert", "thumbnail"])
def test_every_kind_of_pixels_is_storable(
    tmp_path: Path, settings: TaskSettings, mode: str, wanted: Format, operation: Any
) -> None:
    kind = "jpeg" if mode == "YCbCr" else "tiff"
    Image.new(mode, (20, 10)).save(tmp_path / "in", format=kind)
    done = process_image("in", "out", operation, format=wanted, settings=settings)
    with Image.open(done.file) as picture:
        picture.load()
        assert picture.size == (20, 10)


def test_what_shines_through_becomes_white_where_nothing_can_shine(
    tmp_path: Path, settings: TaskSettings
) -> None:
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    done = process_image("clear.png", operation="convert", format="jpeg", settings=settings)
    assert near(pixel(done.file, (4, 4)), WHITE)


def test_the_suffix_of_the_output_names_the_format(photo: Path, settings: TaskSettings) -> None:
    done = process_image(str(photo), "small.WEBP", width=10, settings=settings)
    assert done.format == "webp"
    with pytest.raises(InvalidArguments, match="suffix names no known format"):
        process_image(str(photo), "small.xyz", width=10, settings=settings)


def test_quality_is_obeyed(photo: Path, settings: TaskSettings) -> None:
    noise = Image.effect_noise((200, 200), 80)
    noise.save(photo)
    sizes = [
        process_image(str(photo), "q.jpg", "convert", quality=q, settings=settings).bytes
        for q in (10, 90)
    ]
    assert sizes[0] < sizes[1] / 2


def test_a_photo_is_turned_upright_and_its_metadata_stay_behind(
    tmp_path: Path, settings: TaskSettings
) -> None:
    picture = Image.new("RGB", (60, 40), RED)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010F] = "secret camera"
    picture.save(tmp_path / "in.jpg", exif=exif)
    done = process_image("in.jpg", "out.jpg", "convert", settings=settings)
    assert (done.width, done.height) == (40, 60)
    assert b"secret camera" not in Path(done.file).read_bytes()
    with Image.open(done.file) as made:
        assert dict(made.getexif()) == {}


def test_a_photo_with_a_second_picture_inside_stays_a_jpeg(
    tmp_path: Path, settings: TaskSettings
) -> None:
    frames = [Image.new("RGB", (10, 10), colour) for colour in (RED, BLUE)]
    frames[0].save(tmp_path / "in.jpg", format="MPO", save_all=True, append_images=frames[1:])
    done = process_image("in.jpg", width=5, settings=settings)
    assert done.format == "jpeg"
    assert near(pixel(done.file, (2, 2)), RED)


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path, settings: TaskSettings) -> None:
    frames = [Image.new("RGB", (10, 10), colour) for colour in (RED, BLUE)]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:])
    done = process_image("in.gif", "out.png", "convert", settings=settings)
    assert near(pixel(done.file, (5, 5)), RED)


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    "size", [(8000, 8000), (10_000, 10_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)]
)
def test_a_picture_that_claims_too_many_pixels_is_not_decoded(
    tmp_path: Path, settings: TaskSettings, size: tuple[int, int]
) -> None:
    (tmp_path / "bomb.png").write_bytes(png_that_claims(*size))
    with pytest.raises(BadInput, match=r"pixels|too large"):
        process_image("bomb.png", width=10, settings=settings)


def test_an_output_of_too_many_pixels_is_not_made(photo: Path, settings: TaskSettings) -> None:
    with pytest.raises(BadInput, match="the output would have 10000 x 10000"):
        process_image(str(photo), width=10_000, height=10_000, settings=settings)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_that_ends_in_the_middle_is_refused(
    tmp_path: Path, settings: TaskSettings, kind: Format, share: float
) -> None:
    Image.effect_noise((100, 100), 80).save(tmp_path / "whole", format=kind.upper())
    whole = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: int(len(whole) * share)])
    (tmp_path / "whole").unlink()
    with pytest.raises(BadInput):
        process_image("cut", "out.png", width=10, settings=settings)
    assert [file.name for file in tmp_path.iterdir()] == ["cut"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"just a text",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"P6 1000000 1000000 255\n",
    ],
)
def test_what_is_no_known_picture_is_refused(
    tmp_path: Path, settings: TaskSettings, content: bytes
) -> None:
    (tmp_path / "in.png").write_bytes(content)
    with pytest.raises(BadInput, match="no picture of a known format"):
        process_image("in.png", width=10, settings=settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"width": 0},
        {"height": -5},
        {"operation": "convert", "width": 5},
        {"operation": "explode"},
        {"width": 5, "format": "eps"},
        {"width": 5, "quality": 0},
        {"width": 5, "quality": 96},
        {"operation": "convert"},
    ],
)
def test_arguments_that_mean_nothing_are_refused(
    photo: Path, settings: TaskSettings, wrong: Any
) -> None:
    with pytest.raises(InvalidArguments):
        process_image(str(photo), settings=settings, **wrong)


def test_a_missing_picture_is_an_error(settings: TaskSettings) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        process_image("nothing.png", width=10, settings=settings)


def test_progress_is_told_and_a_cancel_midway_leaves_nothing(
    photo: Path, settings: TaskSettings, job: JobAround
) -> None:
    process_image(str(photo), "one.png", width=10, settings=settings)
    assert job.reports[0] == (0.0, "read")
    assert job.shares == sorted(job.shares)
    job.reports.clear()
    job.cancel_from = 0.4
    with pytest.raises(Cancelled):
        process_image(str(photo), "two.png", width=10, settings=settings)
    assert not (photo.parent / "two.png").exists()
