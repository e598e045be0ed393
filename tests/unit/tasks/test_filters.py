import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from PIL.ImageFilter import BoxBlur

from stoker.core.errors import Cancelled, InvalidArguments
from stoker.settings import TaskSettings
from stoker.tasks import png
from stoker.tasks.errors import BadInput
from stoker.tasks.filters import FilteredPicture, blur_image, resize_image
from tests.unit.tasks.conftest import JobAround
from tests.unit.tasks.pictures import (
    Shape,
    chunk,
    hostile_pngs,
    hostile_ppms,
    png_of,
    raw_of,
)

SIZE = (37, 23)


def noise(mode: str, size: tuple[int, int] = SIZE) -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    seed = hashlib.sha256(mode.encode()).digest()
    count = size[0] * size[1] * channels
    pixels = b"".join(
        hashlib.sha256(seed + bytes([n % 256, n // 256])).digest() for n in range(count // 32 + 1)
    )
    return Image.frombytes(mode, size, pixels[:count])


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "picture.png"
    noise("RGB").save(file)
    return file


def shown(found: FilteredPicture) -> Image.Image:
    with Image.open(found.file) as picture:
        picture.load()
        assert picture.mode == found.mode
        assert picture.size == (found.width, found.height)
        assert found.pixels_sha256 == hashlib.sha256(picture.tobytes()).hexdigest()
        return picture.copy()


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("radius", [0, 1, 5, 100])
def test_a_blur_is_the_mean_of_the_square_around_each_pixel(
    tmp_path: Path, settings: TaskSettings, mode: str, radius: int
) -> None:
    noise(mode).save(tmp_path / "in.png")
    found = blur_image("in.png", radius=radius, settings=settings)
    assert found.file == str(tmp_path / "in-blurred.png")
    expected = noise(mode).filter(BoxBlur(radius))
    assert shown(found).tobytes() == expected.tobytes()


def test_what_is_transparent_does_not_bleed_into_what_is_seen(
    tmp_path: Path, settings: TaskSettings
) -> None:
    """A red dot on transparent green blurs to transparent red, without a green fringe."""
    dot = Image.new("RGBA", (9, 9), (0, 255, 0, 0))
    dot.putpixel((4, 4), (255, 0, 0, 255))
    dot.save(tmp_path / "dot.png")
    for found in (
        blur_image("dot.png", radius=1, settings=settings),
        resize_image("dot.png", width=5, settings=settings),
    ):
        seen = [pixel for pixel in shown(found).get_flattened_data() if pixel[3] > 0]  # type: ignore[index]
        assert seen
        assert all(pixel[1] == 0 for pixel in seen)  # type: ignore[index]


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("kind", ["box", "bilinear"])
def test_a_picture_is_resized_as_pillow_resizes_it(
    tmp_path: Path, settings: TaskSettings, mode: str, kind: str
) -> None:
    noise(mode).save(tmp_path / "in.png")
    found = resize_image("in.png", width=20, height=50, filter=kind, settings=settings)  # type: ignore[arg-type]
    how = Image.Resampling.BOX if kind == "box" else Image.Resampling.BILINEAR
    weighed = noise(mode).convert({"LA": "La", "RGBA": "RGBa"}.get(mode, mode))
    expected = weighed.resize((20, SIZE[1]), how).resize((20, 50), how).convert(mode)
    assert shown(found).tobytes() == expected.tobytes()


def test_rows_are_resized_before_columns_whatever_the_sizes(
    tmp_path: Path, settings: TaskSettings
) -> None:
    """Pillow goes the other way where that is quicker, and it is rounded in between."""
    noise("L").save(tmp_path / "in.png")
    how = Image.Resampling.BILINEAR
    rows_first = noise("L").resize((90, SIZE[1]), how).resize((90, 7), how)
    columns_first = noise("L").resize((SIZE[0], 7), how).resize((90, 7), how)
    assert rows_first.tobytes() != columns_first.tobytes()
    found = resize_image("in.png", width=90, height=7, settings=settings)
    assert shown(found).tobytes() == rows_first.tobytes()


def test_one_side_follows_the_other_in_proportion(picture: Path, settings: TaskSettings) -> None:
    assert resize_image(str(picture), width=74, settings=settings).height == 46
    assert resize_image(str(picture), height=1, settings=settings).width == 2
    assert resize_image(str(picture), width=1, settings=settings).height == 1


def test_a_picture_may_change_between_png_and_ppm(picture: Path, settings: TaskSettings) -> None:
    there = blur_image(str(picture), "there.ppm", radius=0, settings=settings)
    assert there.format == "ppm"
    assert Path(there.file).read_bytes() == b"P6\n37 23\n255\n" + noise("RGB").tobytes()
    back = blur_image("there.ppm", "back.png", radius=0, settings=settings)
    assert (back.format, back.pixels_sha256) == ("png", there.pixels_sha256)


def test_a_ppm_header_may_have_comments(tmp_path: Path, settings: TaskSettings) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5#one\n # two\n2\t2 #three\n255\r\1\2\3\4and more")
    found = blur_image("a.pgm", "b.ppm", radius=0, settings=settings)
    assert Path(found.file).read_bytes() == b"P5\n2 2\n255\n\1\2\3\4"


def opened_by_pillow(data: bytes, mode: str) -> Image.Image:
    with Image.open(io.BytesIO(data)) as picture:
        return picture.convert(mode)


SHAPES = [
    (depth, colour, interlaced)
    for colour, depths in {0: (1, 2, 4, 8), 2: (8,), 3: (1, 2, 4, 8), 4: (8,), 6: (8,)}.items()
    for depth in depths
    for interlaced in (0, 1)
]


@pytest.mark.parametrize(("depth", "colour", "interlaced"), SHAPES)
def test_every_kind_of_png_is_read(
    tmp_path: Path, settings: TaskSettings, depth: int, colour: int, interlaced: int
) -> None:
    shape = Shape(*SIZE, depth, colour, interlaced)
    palette = bytes(range(256)) * 3 if colour == 3 else b""
    data = png_of(
        shape,
        raw_of(shape, hashlib.sha512(b"x").digest(), b"\0\1\2\3\4"),
        before=chunk(b"gAMA", b"\0\0\xb1\x8f") + chunk(b"prVt", b"of others"),
        palette=palette[: 3 << depth],
    )
    (tmp_path / "in.png").write_bytes(data)
    found = blur_image("in.png", radius=0, settings=settings)
    assert found.mode == {0: "L", 2: "RGB", 3: "RGB", 4: "LA", 6: "RGBA"}[colour]
    plain = Image.open(io.BytesIO(data))
    assert shown(found).tobytes() == plain.convert(found.mode).tobytes()


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 5), (4, 4), (5, 8), (9, 2)])
def test_an_interlaced_picture_with_empty_passes_is_read(
    tmp_path: Path, settings: TaskSettings, size: tuple[int, int]
) -> None:
    shape = Shape(*size, 8, 0, 1)
    (tmp_path / "in.png").write_bytes(png_of(shape, raw_of(shape, bytes(range(99)))))
    assert shown(blur_image("in.png", radius=0, settings=settings)).size == size


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_the_transparent_grey_becomes_alpha(
    tmp_path: Path, settings: TaskSettings, depth: int
) -> None:
    shape = Shape(8, 3, depth, 0)
    data = png_of(shape, raw_of(shape, bytes([0b00011011, 1, 0xFF])), alpha=b"\0\1")
    (tmp_path / "in.png").write_bytes(data)
    seen = shown(blur_image("in.png", radius=0, settings=settings))
    key = 255 // ((1 << depth) - 1)
    greys, alphas = seen.getchannel(0).tobytes(), seen.getchannel(1).tobytes()
    assert list(alphas) == [0 if grey == key else 255 for grey in greys]
    assert set(alphas) == {0, 255}


def test_the_transparent_colour_becomes_alpha(tmp_path: Path, settings: TaskSettings) -> None:
    shape = Shape(2, 1, 8, 2)
    data = png_of(shape, raw_of(shape, bytes([1, 2, 3, 3, 2, 1])), alpha=b"\0\3\0\2\0\1")
    (tmp_path / "in.png").write_bytes(data)
    seen = shown(blur_image("in.png", radius=0, settings=settings))
    assert seen.tobytes() == bytes([1, 2, 3, 255, 3, 2, 1, 0])


def test_a_palette_may_be_partly_transparent(tmp_path: Path, settings: TaskSettings) -> None:
    shape = Shape(4, 1, 2, 3)
    data = png_of(shape, b"\0\x1b", palette=bytes(range(12)), alpha=b"\x07\x08")
    (tmp_path / "in.png").write_bytes(data)
    seen = shown(blur_image("in.png", radius=0, settings=settings))
    assert seen.tobytes() == bytes([0, 1, 2, 7, 3, 4, 5, 8, 6, 7, 8, 255, 9, 10, 11, 255])


HOSTILE = {f"{k}.png": v for k, v in hostile_pngs().items()}
HOSTILE |= {f"{k}.ppm": v for k, v in hostile_ppms().items()}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_and_leaves_nothing(
    tmp_path: Path, settings: TaskSettings, name: str
) -> None:
    (tmp_path / name).write_bytes(HOSTILE[name])
    with pytest.raises(BadInput):
        blur_image(name, settings=settings)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200), st.integers(0, 400))
def test_a_damaged_file_is_refused_or_read_whole(noise_: bytes, at: int) -> None:
    """No exception but the one that says so, whatever bytes stand where."""
    shape = Shape(6, 5, 8, 6)
    good = png_of(shape, raw_of(shape, bytes(range(120)), b"\4\3"))
    damaged = good[:at] + noise_ + good[at + len(noise_) :]
    try:
        chunks = png.chunks_of(damaged) if damaged.startswith(png.SIGNATURE) else None
    except BadInput:
        return
    if chunks is not None and chunks.header.width * chunks.header.height < 1000:
        png.unpacked(chunks)


def test_text_and_animation_reach_neither_pillow_nor_the_output(
    tmp_path: Path, settings: TaskSettings
) -> None:
    secret = PngImagePlugin.PngInfo()
    secret.add_text("Author", "somebody")
    noise("RGB").save(tmp_path / "in.png", pnginfo=secret)
    assert b"somebody" in (tmp_path / "in.png").read_bytes()
    found = blur_image("in.png", settings=settings)
    assert b"somebody" not in Path(found.file).read_bytes()


def test_arguments_that_mean_nothing_are_refused(picture: Path, settings: TaskSettings) -> None:
    name = str(picture)
    with pytest.raises(InvalidArguments, match="radius is -1"):
        blur_image(name, radius=-1, settings=settings)
    with pytest.raises(InvalidArguments, match="width=, height= or both"):
        resize_image(name, settings=settings)
    with pytest.raises(InvalidArguments, match="width is 0"):
        resize_image(name, width=0, settings=settings)
    with pytest.raises(InvalidArguments, match="box or bilinear"):
        resize_image(name, width=1, filter="best", settings=settings)  # type: ignore[arg-type]
    with pytest.raises(InvalidArguments, match="suffix names no known format"):
        blur_image(name, "out.jpg", settings=settings)
    with pytest.raises(InvalidArguments, match="both the input and the output"):
        blur_image(name, name, settings=settings)
    with pytest.raises(InvalidArguments, match="outside"):
        blur_image(name, "/tmp/elsewhere.png", settings=settings)  # noqa: S108 - refused
    with pytest.raises(FileNotFoundError):
        blur_image("none.png", settings=settings)


def test_an_output_that_would_be_too_large_is_refused(
    tmp_path: Path, settings: TaskSettings
) -> None:
    (tmp_path / "tall.pgm").write_bytes(b"P5\n1 100000\n255\n" + bytes(100_000))
    with pytest.raises(BadInput, match="the output would have"):
        resize_image("tall.pgm", width=1_000, settings=settings)
    with pytest.raises(BadInput, match="half way"):
        resize_image("tall.pgm", width=1_000, height=1, settings=settings)


def test_transparency_does_not_go_into_a_ppm_file(tmp_path: Path, settings: TaskSettings) -> None:
    noise("RGBA").save(tmp_path / "in.png")
    with pytest.raises(InvalidArguments, match="transparency"):
        blur_image("in.png", "out.ppm", settings=settings)


def test_it_reports_progress_and_stops_when_it_is_called_off(
    picture: Path, settings: TaskSettings, job: JobAround
) -> None:
    blur_image(str(picture), settings=settings)
    assert job.shares == sorted(job.shares)
    job.reports.clear()
    job.cancel_from = 0.3
    with pytest.raises(Cancelled):
        blur_image(str(picture), settings=settings)


def test_a_second_run_writes_the_same_again(picture: Path, settings: TaskSettings) -> None:
    first = blur_image(str(picture), settings=settings)
    assert blur_image(str(picture), settings=settings) == first
