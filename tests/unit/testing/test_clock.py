"""The clock in the hands of a test."""

import uuid

import pytest

from stoker.testing import FakeClock


def test_the_clock_stands_still_until_it_is_moved() -> None:
    clock = FakeClock(start=100.0)
    assert (clock.now(), clock.monotonic()) == (100.0, 0.0)
    assert clock.advance(2.5) == 102.5
    assert (clock.now(), clock.monotonic()) == (102.5, 2.5)


def test_time_does_not_run_back() -> None:
    with pytest.raises(ValueError, match="time does not run back"):
        FakeClock().advance(-1)


def test_the_hands_may_be_set_without_time_passing() -> None:
    clock = FakeClock(start=100.0)
    assert clock.step(-40) == 60.0
    assert (clock.now(), clock.monotonic()) == (60.0, 0.0)


def test_one_seed_tells_one_story() -> None:
    stories = [
        [(clock.new_id(), clock.new_nonce(), clock.random()) for _ in range(50)]
        for clock in (FakeClock(seed=1), FakeClock(seed=1), FakeClock(seed=2))
    ]
    assert stories[0] == stories[1]
    assert stories[0] != stories[2]


def test_ids_rise_while_time_stands_still_and_after_it_stepped_back() -> None:
    clock = FakeClock()
    ids = [clock.new_id() for _ in range(1_000)]
    clock.advance(5)
    ids += [clock.new_id() for _ in range(10)]
    clock.step(-100)
    ids += [clock.new_id() for _ in range(10)]
    assert ids == sorted(set(ids))
    assert {uuid.UUID(made).version for made in ids} == {7}


def test_nonces_differ_and_look_like_real_ones() -> None:
    clock = FakeClock()
    nonces = {clock.new_nonce() for _ in range(1_000)}
    assert len(nonces) == 1_000
    assert {len(nonce) for nonce in nonces} == {32}
