"""Schedules and leaders: any number of keepers at once do no harm (I7, I8)."""

import asyncio
from typing import Any

import pytest

from stoker.core.events import Kind
from stoker.core.job import JobSpec, Submitted
from stoker.core.lifecycle import State
from stoker.core.records import Firing, ScheduleSpec
from stoker.testing.conformance.hand import TTL, Hand
from stoker.testing.conformance.suite import StoreSuite


def schedule(name: str = "nightly", **changes: Any) -> ScheduleSpec:
    """Return a schedule that is due at 100 seconds after 1970."""
    job = JobSpec(id="template", task="report", payload=b'{"of": "day"}', queue="reports")
    given: dict[str, Any] = {"job": job, "cron": "0 3 * * *", "next_at": 100.0}
    return ScheduleSpec(name=name, **(given | changes))


class Schedules(StoreSuite):
    """Putting, showing and removing schedules."""

    async def test_a_schedule_comes_back_as_it_was_put(self, hand: Hand) -> None:
        spec = schedule(timezone="Europe/Berlin", catch_up="all", paused=True)
        assert await hand.store.put_schedules([spec], actor="cli:eve") == ["nightly"]
        [info] = await hand.store.schedules(["nightly"])
        assert info.spec == spec
        assert (info.last_at, info.last_job_id, info.fired) == (None, None, 0)
        assert info.created_at == info.updated_at
        assert info.created_at.timestamp() == pytest.approx(hand.clock.now(), abs=0.001)
        [event] = await hand.events(Kind.SCHEDULE_PUT)
        assert event.actor == "cli:eve"

    async def test_an_interval_comes_back_as_it_was_put(self, hand: Hand) -> None:
        spec = schedule(cron=None, every=2.5, next_at=None)
        await hand.store.put_schedules([spec])
        assert (await hand.store.schedules())[0].spec == spec

    async def test_schedules_are_listed_in_alphabetical_order(self, hand: Hand) -> None:
        await hand.store.put_schedules([schedule("c"), schedule("a"), schedule("b")])
        assert [info.spec.name for info in await hand.store.schedules()] == ["a", "b", "c"]
        named = await hand.store.schedules(["c", "nobody", "a"])
        assert [info.spec.name for info in named] == ["a", "c"]

    async def test_names_that_did_not_exist_before_are_returned(self, hand: Hand) -> None:
        await hand.store.put_schedules([schedule("old")])
        answer = await hand.store.put_schedules([schedule("old"), schedule("new")])
        assert answer == ["new"]
        assert await hand.store.put_schedules(remove=["old", "nobody"]) == ["nobody"]
        assert [info.spec.name for info in await hand.store.schedules()] == ["new"]

    async def test_a_changed_schedule_keeps_its_history(self, hand: Hand) -> None:
        await hand.store.put_schedules([schedule()])
        [made] = await hand.store.schedules()
        firing = Firing(name="nightly", at=100.0, expect=100.0, next_at=200.0, job=hand.spec())
        await hand.store.fire([firing])
        hand.clock.advance(10)
        await hand.store.put_schedules([schedule(cron="* * * * *", next_at=300.0)])
        [info] = await hand.store.schedules()
        assert (info.spec.cron, info.spec.next_at) == ("* * * * *", 300.0)
        assert (info.last_at, info.fired, info.created_at) == (100.0, 1, made.created_at)
        assert info.updated_at > info.created_at

    async def test_pausing_and_resuming_are_written_down(self, hand: Hand) -> None:
        for paused in (False, True, False):
            await hand.store.put_schedules([schedule(paused=paused)], actor="cli:eve")
        await hand.store.put_schedules(remove=["nightly"], actor="cli:eve")
        events = await hand.events(
            Kind.SCHEDULE_PAUSED, Kind.SCHEDULE_RESUMED, Kind.SCHEDULE_REMOVED
        )
        assert [(event.kind, event.actor) for event in events] == [
            (Kind.SCHEDULE_PAUSED, "cli:eve"),
            (Kind.SCHEDULE_RESUMED, "cli:eve"),
            (Kind.SCHEDULE_REMOVED, "cli:eve"),
        ]


class Firings(StoreSuite):
    """One firing is one compare-and-set."""

    def _firing(self, hand: Hand, **changes: Any) -> Firing:
        given: dict[str, Any] = {
            "name": "nightly",
            "at": 100.0,
            "expect": 100.0,
            "next_at": 200.0,
            "job": hand.spec(schedule="nightly", queue="reports"),
        }
        return Firing(**(given | changes))

    async def test_a_firing_submits_the_job_and_moves_on(self, hand: Hand) -> None:
        await hand.store.put_schedules([schedule()])
        firing = self._firing(hand)
        [answer] = await hand.store.fire([firing], actor="keeper:k1")
        assert firing.job is not None
        assert answer == Submitted(id=firing.job.id, created=True, state=State.QUEUED)
        [info] = await hand.store.schedules()
        assert (info.spec.next_at, info.last_at, info.fired) == (200.0, 100.0, 1)
        assert info.last_job_id == firing.job.id
        assert [job.id for job in await hand.all_jobs(schedule="nightly")] == [firing.job.id]
        [event] = await hand.events(Kind.SCHEDULE_FIRED)
        assert (event.actor, event.job_id) == ("keeper:k1", firing.job.id)

    async def test_an_instant_fires_at_most_once(self, hand: Hand, other: Hand) -> None:
        await hand.store.put_schedules([schedule()])
        answers = await asyncio.gather(
            *(
                keeper.store.fire([self._firing(keeper)])
                for keeper in (hand, other, hand, other, hand)
            )
        )
        fired = [answer for [answer] in answers if answer is not None]
        assert len(fired) == 1
        assert len(await hand.all_jobs()) == 1
        assert (await hand.store.schedules())[0].fired == 1

    async def test_the_last_instant_of_a_schedule_leaves_none(self, hand: Hand) -> None:
        await hand.store.put_schedules([schedule()])
        await hand.store.fire([self._firing(hand, next_at=None)])
        assert (await hand.store.schedules())[0].spec.next_at is None
        assert await hand.store.fire([self._firing(hand)]) == [None]

    async def test_a_paused_or_missing_schedule_does_not_fire(self, hand: Hand) -> None:
        await hand.store.put_schedules([schedule(paused=True)])
        firings = [self._firing(hand), self._firing(hand, name="nobody")]
        assert await hand.store.fire(firings) == [None, None]
        assert await hand.all_jobs() == []

    async def test_a_skipped_firing_moves_on_without_a_job(self, hand: Hand) -> None:
        await hand.store.put_schedules([schedule()])
        [answer] = await hand.store.fire([self._firing(hand, job=None)])
        assert answer == Submitted(id="", created=False)
        [info] = await hand.store.schedules()
        assert (info.spec.next_at, info.last_at, info.fired) == (200.0, None, 0)
        assert await hand.all_jobs() == []

    async def test_a_person_may_fire_at_any_time(self, hand: Hand) -> None:
        await hand.store.put_schedules([schedule(paused=True)])
        firing = self._firing(hand, at=55.0, expect=None, next_at=999.0, manual=True)
        [answer] = await hand.store.fire([firing], actor="cli:eve")
        assert answer is not None
        assert answer.created
        [info] = await hand.store.schedules()
        assert (info.spec.next_at, info.fired, info.last_job_id) == (100.0, 1, answer.id)

    async def test_a_firing_respects_the_key_of_its_job(self, hand: Hand) -> None:
        await hand.store.put_schedules([schedule()])
        live = await hand.put(unique_key="k")
        [answer] = await hand.store.fire([self._firing(hand, job=hand.spec(unique_key="k"))])
        assert answer is not None
        assert (answer.id, answer.created) == (live, False)
        assert (await hand.store.schedules())[0].spec.next_at == 200.0

    async def test_firings_are_answered_in_order(self, hand: Hand) -> None:
        await hand.store.put_schedules([schedule("a"), schedule("b")])
        firings = [self._firing(hand, name=name) for name in ("b", "nobody", "a", "b")]
        answers = await hand.store.fire(firings)
        assert [answer is not None for answer in answers] == [True, False, True, False]

    async def test_several_instants_of_one_schedule_fire_in_one_call(self, hand: Hand) -> None:
        await hand.store.put_schedules([schedule()])
        instants = [(100.0, 200.0), (200.0, 300.0), (300.0, 400.0)]
        firings = [
            self._firing(hand, at=at, expect=at, next_at=after, job=hand.spec())
            for at, after in instants
        ]
        answers = await hand.store.fire(firings)
        assert all(answer is not None and answer.created for answer in answers)
        [info] = await hand.store.schedules()
        assert (info.fired, info.last_at, info.spec.next_at) == (3, 300.0, 400.0)


class Leading(StoreSuite):
    """One keeper at a time, as far as a lease can promise."""

    async def test_only_one_holder_leads(self, hand: Hand, other: Hand) -> None:
        term = await hand.store.lead("keeper", "k1", ttl=TTL)
        assert term is not None
        assert (term.name, term.holder) == ("keeper", "k1")
        assert term.elected_at == pytest.approx(hand.clock.now(), abs=0.001)
        assert term.expires_at == pytest.approx(hand.clock.now() + TTL, abs=0.001)
        assert await other.store.lead("keeper", "k2", ttl=TTL) is None
        assert await other.store.lead("another", "k2", ttl=TTL) is not None

    async def test_a_leader_prolongs_its_term(self, hand: Hand) -> None:
        first = await hand.store.lead("keeper", "k1", ttl=TTL)
        hand.clock.advance(TTL - 1)
        again = await hand.store.lead("keeper", "k1", ttl=TTL)
        assert first is not None
        assert again is not None
        assert again.elected_at == first.elected_at
        assert again.expires_at > first.expires_at
        hand.clock.advance(TTL - 1)
        assert await hand.store.lead("keeper", "k2", ttl=TTL) is None

    async def test_a_term_that_ran_out_is_free_for_anybody(self, hand: Hand) -> None:
        first = await hand.store.lead("keeper", "k1", ttl=TTL)
        hand.clock.advance(TTL + 1)
        second = await hand.store.lead("keeper", "k2", ttl=TTL)
        assert first is not None
        assert second is not None
        assert second.elected_at > first.elected_at
        assert await hand.store.lead("keeper", "k1", ttl=TTL) is None

    async def test_the_same_holder_gets_a_new_term_when_its_old_one_ran_out(
        self, hand: Hand
    ) -> None:
        first = await hand.store.lead("keeper", "k1", ttl=TTL)
        hand.clock.advance(TTL + 1)
        second = await hand.store.lead("keeper", "k1", ttl=TTL)
        assert first is not None
        assert second is not None
        assert second.elected_at > first.elected_at

    async def test_a_leader_resigns_its_own_term(self, hand: Hand) -> None:
        term = await hand.store.lead("keeper", "k1", ttl=TTL)
        assert term is not None
        hand.clock.advance(1)
        await hand.store.lead("keeper", "k1", ttl=TTL)
        assert await hand.store.resign(term)
        assert not await hand.store.resign(term)
        assert await hand.store.lead("keeper", "k2", ttl=TTL) is not None

    async def test_an_old_term_cannot_resign_a_newer_one(self, hand: Hand) -> None:
        old = await hand.store.lead("keeper", "k1", ttl=TTL)
        assert old is not None
        await hand.store.resign(old)
        new = await hand.store.lead("keeper", "k1", ttl=TTL)
        assert new is not None
        assert new.elected_at > old.elected_at, "two terms of one holder must differ"
        assert not await hand.store.resign(old)
        assert await hand.store.lead("keeper", "k2", ttl=TTL) is None

    async def test_somebody_else_cannot_resign_a_term(self, hand: Hand) -> None:
        term = await hand.store.lead("keeper", "k1", ttl=TTL)
        assert term is not None
        forged = type(term)(term.name, "k2", term.elected_at, term.expires_at)
        assert not await hand.store.resign(forged)

    async def test_many_candidates_at_once_elect_one(self, hand: Hand, other: Hand) -> None:
        terms = await asyncio.gather(
            *(
                candidate.store.lead("keeper", f"k{number}", ttl=TTL)
                for number, candidate in enumerate([hand, other] * 5)
            )
        )
        assert len([term for term in terms if term is not None]) == 1

    async def test_elections_and_resignations_are_written_down(self, hand: Hand) -> None:
        term = await hand.store.lead("keeper", "k1", ttl=TTL)
        assert term is not None
        await hand.store.lead("keeper", "k1", ttl=TTL)
        await hand.store.resign(term)
        events = await hand.events(Kind.KEEPER_ELECTED, Kind.KEEPER_RESIGNED)
        assert [event.kind for event in events] == [Kind.KEEPER_ELECTED, Kind.KEEPER_RESIGNED]
