"""Election, the trust window, and letting go."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from stoker.connect import open_store
from stoker.core.errors import OutcomeUnknown, Unavailable
from stoker.core.events import Kind
from stoker.core.records import EventQuery
from stoker.keeper.leader import Leader
from stoker.testing import After, Before, FakeClock, FaultyStore

TERM = 15.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(clock: FakeClock) -> AsyncIterator[FaultyStore]:
    async with FaultyStore(open_store("memory://", clock=clock)) as opened:
        yield opened


def candidate(store: FaultyStore, clock: FakeClock, name: str = "a") -> Leader:
    return Leader(store, name=name, term=TERM, clock=clock)


async def test_one_of_two_candidates_is_elected(store: FaultyStore, clock: FakeClock) -> None:
    one, other = candidate(store, clock), candidate(store, clock)
    assert await one.stand()
    assert not await other.stand()
    assert one.is_trusted()
    assert not other.is_trusted()


async def test_two_candidates_of_one_name_are_two_holders(
    store: FaultyStore, clock: FakeClock
) -> None:
    one, other = candidate(store, clock), candidate(store, clock)
    assert one.holder != other.holder
    await one.stand()
    assert not await other.stand()


async def test_a_leader_that_asks_in_time_keeps_its_term(
    store: FaultyStore, clock: FakeClock
) -> None:
    leader = candidate(store, clock)
    await leader.stand()
    elected = leader.elected_at
    for _ in range(10):
        clock.advance(TERM / 3)
        assert await leader.stand()
    assert leader.elected_at == elected


async def test_a_silent_leader_stops_trusting_itself_before_its_term_ends(
    store: FaultyStore, clock: FakeClock
) -> None:
    leader, rival = candidate(store, clock), candidate(store, clock, "b")
    await leader.stand()
    clock.advance(TERM * 0.75)
    assert leader.is_trusted()
    clock.advance(TERM * 0.1)
    assert not leader.is_trusted()
    assert not await rival.stand()
    clock.advance(TERM * 0.2)
    assert await rival.stand()
    assert not await leader.stand()


async def test_trust_counts_from_the_question_not_from_the_answer(
    store: FaultyStore, clock: FakeClock
) -> None:
    leader = candidate(store, clock)
    hold = store.hold("lead")
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(leader.stand())
        await hold.reached.wait()
        clock.advance(TERM * 0.9)
        hold.release()
    assert asked.result()
    assert not leader.is_trusted()


async def test_a_new_term_after_an_unnoticed_end_is_another_one(
    store: FaultyStore, clock: FakeClock
) -> None:
    leader = candidate(store, clock)
    await leader.stand()
    first = leader.elected_at
    clock.advance(TERM * 2)
    assert await leader.stand()
    assert leader.elected_at != first


async def test_a_question_without_an_answer_leaves_the_trust_window_as_it_was(
    store: FaultyStore, clock: FakeClock
) -> None:
    leader = candidate(store, clock)
    await leader.stand()
    store.plan("lead", Before(), After())
    clock.advance(TERM * 0.5)
    with pytest.raises(Unavailable):
        await leader.stand()
    with pytest.raises(OutcomeUnknown):
        await leader.stand()
    assert leader.is_trusted()
    clock.advance(TERM * 0.35)
    assert not leader.is_trusted()


async def test_resigning_lets_the_next_one_lead_at_once(
    store: FaultyStore, clock: FakeClock
) -> None:
    leader, rival = candidate(store, clock), candidate(store, clock, "b")
    await leader.stand()
    assert await leader.resign()
    assert not leader.is_trusted()
    assert await rival.stand()
    kinds = [event.kind for event in await store.events(EventQuery(after=0))]
    assert kinds == [Kind.KEEPER_ELECTED, Kind.KEEPER_RESIGNED, Kind.KEEPER_ELECTED]


async def test_resigning_an_old_term_does_not_end_a_newer_one(
    store: FaultyStore, clock: FakeClock
) -> None:
    leader, rival = candidate(store, clock), candidate(store, clock, "b")
    await leader.stand()
    clock.advance(TERM * 2)
    assert await rival.stand()
    assert not await leader.resign()
    assert await rival.stand()


async def test_a_candidate_that_never_led_has_nothing_to_resign(
    store: FaultyStore, clock: FakeClock
) -> None:
    assert not await candidate(store, clock).resign()
    assert store.calls["resign"] == 0


async def test_the_stores_time_is_read_from_the_term(store: FaultyStore, clock: FakeClock) -> None:
    leader = candidate(store, clock)
    assert leader.store_now() == 0.0
    await leader.stand()
    clock.advance(3.5)
    assert leader.store_now() == pytest.approx(clock.now())
