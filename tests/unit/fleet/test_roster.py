"""The supervisor's decisions, with time as a number."""

import pytest

from stoker.fleet.roster import HEALTHY, Phase, Roster, Slot

LIMIT = 40.0


@pytest.fixture
def roster() -> Roster:
    return Roster("w", backoff=0.1, cap=5.0, limit=LIMIT)


def spawn_all(roster: Roster, now: float) -> list[str]:
    slots = roster.to_spawn(now)
    for slot in slots:
        roster.spawned(slot, 1000 + slot.index, now)
    return [slot.name for slot in slots]


def slot(roster: Roster, name: str) -> Slot:
    return next(slot for slot in roster.slots if slot.name == name)


def names(slots: list[Slot]) -> list[str]:
    return [slot.name for slot in slots]


def test_scaling_up_spawns_numbered_workers(roster: Roster) -> None:
    roster.scale(3, 0)
    assert spawn_all(roster, 0) == ["w-1", "w-2", "w-3"]
    assert spawn_all(roster, 0) == []
    assert [s.pid for s in roster.slots] == [1001, 1002, 1003]


def test_scaling_down_drains_the_highest_numbers(roster: Roster) -> None:
    roster.scale(3, 0)
    spawn_all(roster, 0)
    roster.scale(1, 10)
    assert names(roster.to_drain(10)) == ["w-2", "w-3"]
    assert roster.to_drain(10) == []
    assert roster.exited(slot(roster, "w-2"), 0, 11) is None
    assert names(roster.slots) == ["w-1", "w-3"]
    assert roster.size == 1


def test_scaling_up_again_takes_the_lowest_free_number(roster: Roster) -> None:
    roster.scale(3, 0)
    spawn_all(roster, 0)
    roster.dismiss(slot(roster, "w-2"))
    roster.exited(slot(roster, "w-2"), 0, 5)
    assert (roster.size, names(roster.slots)) == (2, ["w-1", "w-3"])
    roster.scale(3, 10)
    assert spawn_all(roster, 10) == ["w-2"]


def test_a_worker_that_drains_is_replaced_at_once_when_it_is_wanted_again(roster: Roster) -> None:
    roster.scale(1, 0)
    spawn_all(roster, 0)
    roster.scale(0, 1)
    roster.to_drain(1)
    roster.scale(1, 2)
    assert spawn_all(roster, 2) == []
    assert roster.exited(slot(roster, "w-1"), 0, 3) == 0.0
    assert spawn_all(roster, 3) == ["w-1"]


def test_quick_deaths_double_the_wait_up_to_the_cap(roster: Roster) -> None:
    roster.scale(1, 0)
    now = 0.0
    waits: list[float | None] = []
    for _ in range(9):
        spawn_all(roster, now)
        now += 0.5
        wait = roster.exited(slot(roster, "w-1"), 1, now)
        waits.append(wait)
        now += wait or 0.0
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])
    assert slot(roster, "w-1").quick_deaths == 9
    assert slot(roster, "w-1").restarts == 9


def test_weeks_of_quick_deaths_do_not_overflow(roster: Roster) -> None:
    roster.scale(1, 0)
    slot(roster, "w-1").quick_deaths = 100_000
    assert roster.exited(slot(roster, "w-1"), 1, 0) == 5.0


def test_a_healthy_life_starts_the_count_anew(roster: Roster) -> None:
    roster.scale(1, 0)
    now = 0.0
    for _ in range(5):
        spawn_all(roster, now)
        now += 0.1
        now += roster.exited(slot(roster, "w-1"), 1, now) or 0.0
    spawn_all(roster, now)
    assert roster.exited(slot(roster, "w-1"), -9, now + HEALTHY) == pytest.approx(0.1)


@pytest.mark.parametrize("code", [0, 1, -9])
def test_a_wanted_worker_is_replaced_whatever_its_exit_code(roster: Roster, code: int) -> None:
    roster.scale(1, 0)
    spawn_all(roster, 0)
    wait = roster.exited(slot(roster, "w-1"), code, 60)
    assert wait == pytest.approx(0.1)
    assert spawn_all(roster, 60.05) == []
    assert spawn_all(roster, 60.1) == ["w-1"]


def test_a_spawn_that_failed_counts_as_a_quick_death(roster: Roster) -> None:
    roster.scale(1, 0)
    assert roster.exited(roster.to_spawn(100)[0], 127, 100) == pytest.approx(0.1)
    assert roster.exited(roster.to_spawn(101)[0], 127, 101) == pytest.approx(0.2)


def test_whoever_drains_too_long_is_killed_once(roster: Roster) -> None:
    roster.scale(1, 0)
    spawn_all(roster, 0)
    roster.close(10)
    roster.to_drain(10)
    assert roster.to_kill(10 + LIMIT - 0.1) == []
    assert names(roster.to_kill(10 + LIMIT)) == ["w-1"]
    assert roster.to_kill(10 + LIMIT) == []
    assert slot(roster, "w-1").phase is Phase.KILLED


def test_closing_drains_everybody_and_replaces_nobody(roster: Roster) -> None:
    roster.scale(2, 0)
    spawn_all(roster, 0)
    roster.close(1)
    assert names(roster.to_drain(1)) == ["w-1", "w-2"]
    assert roster.exited(slot(roster, "w-1"), 0, 2) is None
    assert not roster.is_over
    assert roster.exited(slot(roster, "w-2"), 1, 2) is None
    assert roster.is_over
    assert spawn_all(roster, 100) == []


def test_closing_twice_kills_whoever_still_drains(roster: Roster) -> None:
    roster.scale(2, 0)
    spawn_all(roster, 0)
    roster.close(1)
    roster.to_drain(1)
    roster.close(3)
    assert names(roster.to_kill(3)) == ["w-1", "w-2"]


def test_closing_twice_before_anybody_was_asked_to_drain_still_kills(roster: Roster) -> None:
    roster.scale(1, 0)
    spawn_all(roster, 0)
    roster.close(1)
    roster.close(1)
    roster.to_drain(1)
    assert names(roster.to_kill(1)) == ["w-1"]


def test_a_closed_roster_cannot_grow_again(roster: Roster) -> None:
    roster.close(0)
    roster.scale(5, 0)
    assert roster.size == 0
    assert roster.is_over


def test_the_next_moment_is_the_earliest_spawn_or_kill(roster: Roster) -> None:
    assert roster.next_at() is None
    roster.scale(2, 0)
    assert roster.next_at() == 0
    spawn_all(roster, 0)
    assert roster.next_at() is None
    roster.exited(slot(roster, "w-2"), 1, 20)
    assert roster.next_at() == pytest.approx(20.1)
    roster.close(20)
    roster.to_drain(20)
    assert roster.next_at() == 20 + LIMIT


def test_a_slot_that_waits_to_be_replaced_is_dropped_by_scaling_down(roster: Roster) -> None:
    roster.scale(2, 0)
    spawn_all(roster, 0)
    roster.exited(slot(roster, "w-2"), 1, 1)
    roster.scale(1, 1)
    assert names(roster.slots) == ["w-1"]
    assert spawn_all(roster, 100) == []


def test_spare_workers_retire_and_only_those_that_are_named(roster: Roster) -> None:
    roster.scale(4, 0)
    spawn_all(roster, 0)
    roster.spare(1, ["w-2", "w-3"])
    assert roster.size == 2
    assert roster.to_drain(1) == []
    assert names(roster.to_retire()) == ["w-2", "w-3"]
    assert roster.to_retire() == []
    assert roster.to_kill(1e9) == [], "a worker that retires has no limit"


def test_fewer_workers_are_spared_than_named_if_that_is_enough(roster: Roster) -> None:
    roster.scale(3, 0)
    spawn_all(roster, 0)
    roster.spare(2, ["w-1", "w-2", "w-3"])
    assert names(roster.to_retire()) == ["w-3"]


def test_a_renewed_worker_retires_and_is_replaced_at_once(roster: Roster) -> None:
    roster.scale(1, 0)
    spawn_all(roster, 0)
    assert roster.renew("w-1")
    assert names(roster.to_retire()) == ["w-1"]
    assert not roster.renew("w-1"), "it is on its way already"
    assert roster.exited(slot(roster, "w-1"), 0, 50) == 0.0
    assert spawn_all(roster, 50) == ["w-1"]
    assert roster.to_retire() == []


def test_closing_gives_retiring_workers_a_limit(roster: Roster) -> None:
    roster.scale(1, 0)
    spawn_all(roster, 0)
    roster.renew("w-1")
    roster.to_retire()
    roster.close(10)
    assert names(roster.to_drain(10)) == ["w-1"]
    assert names(roster.to_kill(10 + LIMIT)) == ["w-1"]


def test_a_retiring_worker_that_is_wanted_again_is_replaced_when_it_has_ended(
    roster: Roster,
) -> None:
    roster.scale(2, 0)
    spawn_all(roster, 0)
    roster.spare(1, ["w-2"])
    roster.to_retire()
    roster.scale(2, 5)
    assert roster.to_drain(5) == []
    assert roster.exited(slot(roster, "w-2"), 0, 6) == 0.0
    assert spawn_all(roster, 6) == ["w-2"]
