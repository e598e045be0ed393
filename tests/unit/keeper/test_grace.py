"""When nobody may be declared dead."""

import pytest

from stoker.keeper.grace import Grace
from stoker.keeper.leader import Sighting

LEASE = 30.0
OFFSET = 1_000_000.0


class Passes:
    """A keeper's passes: one contact a second unless told otherwise."""

    def __init__(self) -> None:
        self.grace = Grace(lease=LEASE, interval=1.0)
        self.now = 100.0
        self.offset = OFFSET
        self.contact()

    def contact(self, *, trip: float = 0.0) -> None:
        sent = self.now
        self.now += trip
        self.grace.contact(Sighting(sent + self.offset, sent, self.now))

    def step(self, seconds: float = 1.0, *, trip: float = 0.0) -> None:
        self.grace.rested(self.now)
        self.now += seconds
        self.contact(trip=trip)

    @property
    def remaining(self) -> float:
        return self.grace.remaining(self.now)


@pytest.fixture
def passes() -> Passes:
    return Passes()


def test_regular_passes_need_no_grace(passes: Passes) -> None:
    for _ in range(50):
        passes.step()
    assert passes.remaining == 0


def test_a_grace_lasts_for_one_lease(passes: Passes) -> None:
    passes.grace.begin(passes.now, "a new keeper leads")
    assert passes.remaining == LEASE
    assert passes.grace.remaining(passes.now + LEASE - 0.1) == pytest.approx(0.1)
    assert passes.grace.remaining(passes.now + LEASE) == 0


def test_a_process_that_overslept_grants_grace(passes: Passes) -> None:
    passes.step(11.5)
    assert passes.remaining == LEASE


def test_a_slow_pass_is_not_taken_for_sleep(passes: Passes) -> None:
    passes.now += 25
    passes.step()
    assert passes.remaining == 0


def test_an_outage_grants_grace_once_the_store_is_back(passes: Passes) -> None:
    passes.grace.failed(passes.now)
    assert passes.remaining == 0
    passes.step()
    assert passes.remaining == LEASE


def test_short_outages_again_and_again_do_not_keep_the_dead_alive(passes: Passes) -> None:
    graced = []
    for _ in range(100):
        passes.grace.failed(passes.now)
        passes.step()
        graced.append(passes.remaining > 0)
    assert graced[:31] == [True] * 30 + [False]
    assert graced.count(False) == 3


def test_a_long_outage_inside_a_grace_begins_a_new_one(passes: Passes) -> None:
    passes.grace.failed(passes.now)
    passes.step()
    passes.step()
    passes.grace.failed(passes.now)
    for _ in range(12):
        passes.grace.rested(passes.now)
        passes.now += 1
        passes.grace.failed(passes.now)
    passes.contact()
    assert passes.remaining == LEASE


def test_a_store_that_stood_still_and_then_answered_grants_grace(passes: Passes) -> None:
    passes.step()
    passes.step(trip=11.0)
    assert passes.remaining == LEASE


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 3.5, -3.5])
def test_a_jump_of_the_stores_clock_grants_grace(passes: Passes, jump: float) -> None:
    passes.step()
    passes.offset += jump
    passes.step()
    assert passes.remaining == LEASE


def test_a_machine_that_slept_with_a_standing_clock_grants_grace(passes: Passes) -> None:
    passes.step()
    passes.offset += 8 * 3600
    passes.step()
    assert passes.remaining == LEASE


def test_clocks_that_drift_by_little_need_no_grace(passes: Passes) -> None:
    for _ in range(50):
        passes.offset += 0.05
        passes.step()
    assert passes.remaining == 0


def test_slow_answers_are_not_taken_for_a_jump(passes: Passes) -> None:
    passes.step(trip=9.0)
    passes.step()
    passes.step(trip=9.0)
    assert passes.remaining == 0


def test_a_longer_lease_lengthens_a_grace_under_way(passes: Passes) -> None:
    passes.grace.begin(passes.now, "a new keeper leads")
    passes.now += 10
    passes.grace.lengthen(300.0, passes.now)
    assert passes.remaining == 290
    passes.grace.lengthen(60.0, passes.now)
    assert passes.remaining == 290


def test_a_longer_lease_lengthens_the_next_grace(passes: Passes) -> None:
    passes.grace.lengthen(300.0, passes.now)
    assert passes.remaining == 0
    passes.grace.begin(passes.now, "the store was away")
    assert passes.remaining == 300
