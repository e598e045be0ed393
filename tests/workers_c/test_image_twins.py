"""image.blur and image.resize: the plugin gives the picture that the task in Python gives."""

import hashlib
import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.unit.tasks.pictures import (
    Shape,
    chunk,
    hostile_pngs,
    hostile_ppms,
    png_of,
    raw_of,
)
from tests.workers_c.twins import Answer, Twins

KINDS = {0: (1, 2, 4, 8), 2: (8,), 3: (1, 2, 4, 8), 4: (8,), 6: (8,)}
SHAPES = [
    Shape(13, 11, depth, colour, interlaced)
    for colour, depths in KINDS.items()
    for depth in depths
    for interlaced in (0, 1)
]
HOSTILE = {f"{k}.png": v for k, v in hostile_pngs().items()}
HOSTILE |= {f"{k}.ppm": v for k, v in hostile_ppms().items()}


pytestmark = pytest.mark.timeout(600)  # the first test builds


@pytest.fixture
def twins(tmp_path: Path) -> Twins:
    return Twins(tmp_path)


def written(answer: Answer) -> str:
    """Return the digest of the pixels that stand in the written file, as Pillow reads it."""
    with Image.open(answer.result["file"]) as picture:
        assert picture.mode == answer.result["mode"]
        return hashlib.sha256(picture.tobytes()).hexdigest()


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    colour = draw(st.sampled_from(sorted(KINDS)))
    depth = draw(st.sampled_from(KINDS[colour]))
    side = st.integers(1, 40)
    return Shape(draw(side), draw(side), depth, colour, draw(st.integers(0, 1)))


def file_of(shape: Shape, data: bytes, filters: bytes, *, has_alpha: bool) -> bytes:
    palette = (data * 800)[: 3 << shape.depth] if shape.colour == 3 else b""
    alpha = {0: b"\0\1", 2: b"\0\1\0\2\0\3", 3: data[:2]}.get(shape.colour, b"")
    raw = raw_of(shape, data, filters)
    return png_of(shape, raw, palette=palette, alpha=alpha if has_alpha else b"")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shape=shapes(),
    data=st.binary(min_size=2, max_size=300),
    filters=st.lists(st.integers(0, 4), min_size=1, max_size=6).map(bytes),
    has_alpha=st.booleans(),
    radius=st.integers(0, 60),
)
def test_any_picture_is_blurred_alike(
    shape: Shape, data: bytes, filters: bytes, radius: int, *, has_alpha: bool
) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder, "in.png")
        file.write_bytes(file_of(shape, data, filters, has_alpha=has_alpha))
        answer = Twins(Path(folder)).both("image.blur", file="in.png", radius=radius)
        assert answer.error is None, answer
        assert written(answer) == answer.result["pixels_sha256"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shape=shapes(),
    data=st.binary(min_size=2, max_size=300),
    has_alpha=st.booleans(),
    width=st.none() | st.integers(1, 90),
    height=st.integers(1, 90),
    kind=st.sampled_from(["box", "bilinear"]),
)
def test_any_picture_is_resized_alike(
    shape: Shape, data: bytes, width: int | None, height: int, kind: str, *, has_alpha: bool
) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder, "in.png")
        file.write_bytes(file_of(shape, data, b"\4\3\2\1\0", has_alpha=has_alpha))
        answer = Twins(Path(folder)).both(
            "image.resize", file="in.png", width=width, height=height, filter=kind
        )
        assert answer.error is None, answer
        assert written(answer) == answer.result["pixels_sha256"]


@pytest.mark.parametrize("size", [(70, 5), (5, 70), (5, 5), (70, 60), (13, 5), (5, 31)], ids=str)
@pytest.mark.parametrize("kind", ["box", "bilinear"])
def test_each_direction_goes_its_way_alike(twins: Twins, size: tuple[int, int], kind: str) -> None:
    """What Pillow does in one call depends on the sizes; the twins do not."""
    shape = Shape(13, 31, 8, 6)
    data = hashlib.sha512(b"noise").digest() + hashlib.sha512(b"more").digest()
    (twins.folder / "in.png").write_bytes(png_of(shape, raw_of(shape, data)))
    width, height = size
    answer = twins.both("image.resize", file="in.png", width=width, height=height, filter=kind)
    assert (answer.result["width"], answer.result["height"]) == size


@pytest.mark.parametrize("suffix", ["png", "ppm"])
def test_a_real_picture_is_filtered_alike(twins: Twins, suffix: str) -> None:
    colours = [Image.linear_gradient("L"), Image.radial_gradient("L"), Image.linear_gradient("L")]
    picture = Image.merge("RGB", colours).resize((640, 427))
    picture.save(twins.folder / f"in.{suffix}")
    blurred = twins.both("image.blur", file=f"in.{suffix}", radius=7)
    small = twins.both("image.resize", file=f"in.{suffix}", width=99, output="small.png")
    assert (blurred.result["format"], small.result["height"]) == (suffix, 66)
    assert written(blurred) == blurred.result["pixels_sha256"]
    assert written(small) == small.result["pixels_sha256"]
    assert twins.names == {f"in.{suffix}", f"in-blurred.{suffix}", "small.png"}


@pytest.mark.parametrize(
    "text", [b"P5#a\n2 2 #b\n255\n\1\2\3\4", b"P6\t1\r1\v255\f\1\2\3\n and more"]
)
def test_ppm_headers_are_read_alike(twins: Twins, text: bytes) -> None:
    (twins.folder / "in.ppm").write_bytes(text)
    answer = twins.both("image.blur", file="in.ppm", output="out.png", radius=0)
    assert written(answer) == answer.result["pixels_sha256"]


def test_chunks_that_are_no_part_of_the_picture_are_left_behind(twins: Twins) -> None:
    shape = Shape(5, 4, 8, 2)
    extra = chunk(b"tEXt", b"Author\0somebody") + chunk(b"gAMA", struct.pack(">I", 45455))
    (twins.folder / "in.png").write_bytes(png_of(shape, raw_of(shape, b"abc"), before=extra))
    answer = twins.both("image.blur", file="in.png")
    assert b"somebody" not in Path(answer.result["file"]).read_bytes()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_alike_and_leaves_nothing(twins: Twins, name: str) -> None:
    (twins.folder / name).write_bytes(HOSTILE[name])
    twins.refused("image.blur", "BadInput", file=name)
    assert twins.names == {name}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=40), at=st.integers(0, 160))
def test_a_damaged_file_is_refused_or_read_alike(data: bytes, at: int) -> None:
    shape = Shape(6, 5, 8, 3)
    good = png_of(shape, raw_of(shape, b"\0\1", b"\0\4"), palette=b"abcdef", alpha=b"x")
    with TemporaryDirectory() as folder:
        Path(folder, "in.png").write_bytes(good[:at] + data + good[at + len(data) :])
        assert Twins(Path(folder)).both("image.blur", file="in.png").error in {None, "BadInput"}


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"file": 5},
        {"file": ""},
        {"file": "in.png", "radius": -1},
        {"file": "in.png", "radius": 1001},
        {"file": "in.png", "radius": "2"},
        {"file": "in.png", "radiuss": 2},
        {"file": "in.png", "output": "out.jpg"},
        {"file": "in.png", "output": "in.png"},
        {"file": "in.png", "output": "clear.ppm"},
        {"file": "in.png", "output": "../out.png"},
        {"file": "in.png", "output": "folder.png"},
        {"file": "folder.png"},
        {"file": "/etc/hostname"},
        {"file": "a\0b"},
    ],
    ids=str,
)
def test_a_payload_that_means_nothing_is_refused_alike(
    twins: Twins, payload: dict[str, object]
) -> None:
    Image.new("RGBA", (4, 4)).save(twins.folder / "in.png")
    (twins.folder / "folder.png").mkdir()
    twins.refused("image.blur", "InvalidArguments", **payload)
    assert twins.names == {"in.png", "folder.png"}


@pytest.mark.parametrize(
    "payload",
    [{}, {"width": 0}, {"height": 1_000_001}, {"width": 4, "filter": "lanczos"}, {"width": 1.5}],
    ids=str,
)
def test_a_size_that_means_nothing_is_refused_alike(
    twins: Twins, payload: dict[str, object]
) -> None:
    Image.new("L", (4, 4)).save(twins.folder / "in.png")
    twins.refused("image.resize", "InvalidArguments", file="in.png", **payload)


def test_an_output_that_would_be_too_large_is_refused_alike(twins: Twins) -> None:
    (twins.folder / "tall.pgm").write_bytes(b"P5\n1 100000\n255\n" + bytes(100_000))
    twins.refused("image.resize", "BadInput", file="tall.pgm", width=1000)
    twins.refused("image.resize", "BadInput", file="tall.pgm", width=1000, height=1)
    twins.refused("image.blur", "FileNotFoundError", file="none.png")


def test_links_lead_where_they_may(twins: Twins) -> None:
    Image.new("L", (4, 4)).save(twins.folder / "in.png")
    (twins.folder / "link.png").symlink_to("in.png")
    (twins.folder / "out.png").symlink_to("/etc/hostname")
    (twins.folder / "loop.png").symlink_to("loop.png")
    assert twins.both("image.blur", file="link.png", output="a/b/../new/x.png").error is None
    twins.refused("image.blur", "InvalidArguments", file="out.png")
    twins.refused("image.blur", "InvalidArguments", file="in.png", output="out.png")
    assert twins.both("image.blur", file="loop.png").error is not None


def test_what_a_killed_process_left_behind_goes(twins: Twins) -> None:
    """Either side removes the parts of the other, for it names and locks them alike."""
    Image.new("L", (4, 4)).save(twins.folder / "in.png")
    prefix = f".stoker-{hashlib.sha256(b'out.png').hexdigest()[:16]}-"
    (twins.folder / f"{prefix}000000000000.part").write_bytes(b"half a picture")
    (twins.folder / ".stoker-another.part").write_bytes(b"not ours")
    assert twins.c("image.blur", b'{"file":"in.png","output":"out.png"}').error is None
    assert twins.names == {"in.png", "out.png", ".stoker-another.part"}
