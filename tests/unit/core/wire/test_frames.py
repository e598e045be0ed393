"""Frames: bytes in, bodies out, however they are cut."""

import contextlib
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.errors import FrameTooLarge, ProtocolError
from stoker.core.wire.frames import HEADER, MAX_HELLO, FrameReader, pack


def read_all(frames: FrameReader) -> list[bytes]:
    bodies = []
    while (body := frames.next()) is not None:
        bodies.append(body)
    return bodies


@given(bodies=st.lists(st.binary(max_size=300), max_size=10), cuts=st.lists(st.integers(1, 50)))
def test_what_was_packed_comes_out_however_it_is_cut(bodies: list[bytes], cuts: list[int]) -> None:
    data = b"".join(map(pack, bodies))
    frames = FrameReader(1_000)
    found: list[bytes] = []
    for size in cuts:
        frames.feed(data[:size])
        data = data[size:]
        found += read_all(frames)
    frames.feed(data)
    assert found + read_all(frames) == bodies
    assert not frames.is_inside


@given(data=st.binary(max_size=500), limit=st.integers(0, 100))
def test_any_bytes_give_frames_within_the_limit_or_an_error(data: bytes, limit: int) -> None:
    frames = FrameReader(limit)
    frames.feed(data)
    found: list[bytes] = []
    with contextlib.suppress(FrameTooLarge):
        while (body := frames.next()) is not None:
            found.append(body)
    assert all(len(body) <= limit for body in found)
    assert data.startswith(b"".join(map(pack, found)))


def test_a_length_over_the_limit_is_refused_by_its_header_alone() -> None:
    frames = FrameReader(10)
    frames.feed((11).to_bytes(HEADER, "big"))
    with pytest.raises(FrameTooLarge, match="11 bytes") as refused:
        frames.next()
    assert isinstance(refused.value, ProtocolError)


def test_a_length_at_the_limit_is_taken() -> None:
    frames = FrameReader(10)
    frames.feed(pack(b"x" * 10))
    assert frames.next() == b"x" * 10


def test_the_limit_may_grow_between_two_frames() -> None:
    frames = FrameReader(2)
    frames.feed(pack(b"hi") + pack(b"welcome"))
    assert frames.next() == b"hi"
    frames.limit = 7
    assert frames.next() == b"welcome"


@pytest.mark.parametrize("size", [MAX_HELLO, 2**31, 2**32 - 1])
def test_an_announced_length_allocates_nothing(size: int) -> None:
    frames = FrameReader(2**32)
    tracemalloc.start()
    try:
        frames.feed(size.to_bytes(HEADER, "big") + b"x" * 6)
        assert frames.next() is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 65_536


def test_a_reader_knows_whether_it_is_inside_a_frame() -> None:
    frames = FrameReader(10)
    assert not frames.is_inside
    frames.feed(b"\0")
    assert frames.next() is None
    assert frames.is_inside
    frames.feed(b"\0\0\1x")
    assert frames.next() == b"x"
    assert not frames.is_inside
