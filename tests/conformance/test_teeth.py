"""The suite has teeth: one rule broken in the reference store, and the named test notices.

A suite that passes on a right store proves little until it fails on wrong ones. Each bug here is
one that a store could have, and the test that must notice it is named beside it.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from stoker.core import rules
from stoker.core.errors import StokerError
from stoker.core.job import Outcome, WorkflowSpec
from stoker.core.lifecycle import Event, State
from stoker.core.records import Counts, JobQuery
from stoker.core.retry import RetryPolicy
from stoker.stores.memory import MemoryStore, accepting, caring, planning, reading, running
from stoker.stores.memory.bell import Bell
from stoker.stores.memory.world import Job, Line, Try, World
from stoker.testing import FakeClock, FaultyStore
from stoker.testing.conformance import StoreConformance, faults, moments
from stoker.testing.conformance.hand import TTL, Hand, held_job, session_spec
from stoker.testing.conformance.hygiene import check_hygiene
from stoker.testing.conformance.settling import line

Patch = pytest.MonkeyPatch
BUGS: dict[str, tuple[Callable[[Patch], None], dict[str, Any]]] = {}


def bug(killer: str, **given: Any) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Register a bug under the test that kills it, and what that test is given."""

    def register(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        shown = ", ".join(str(getattr(v, "__name__", v)) for v in given.values())
        BUGS[f"{plant.__name__}, {killer}, {shown}"] = (plant, given)
        return plant

    return register


@bug("test_a_wrong_fence_settles_nothing", wrong={"nonce": "f" * 32})
def the_nonce_is_not_compared(patch: Patch) -> None:
    patch.setattr(Try, "fits", lambda self, epoch, nonce: self.epoch == epoch)


@bug("test_a_wrong_fence_settles_nothing", wrong={"epoch": 2})
@bug("test_an_old_epoch_with_the_present_nonce_settles_nothing")
def the_epoch_is_not_compared(patch: Patch) -> None:
    patch.setattr(Try, "fits", lambda self, epoch, nonce: self.nonce == nonce)


@bug("test_an_old_fence_settles_nothing")
@bug("test_a_settlement_is_refused_once_the_job_was_taken_back")
def whoever_comes_may_settle(patch: Patch) -> None:
    patch.setattr(Job, "owns", lambda self, epoch, nonce: bool(self.tries))


@bug("test_the_same_settlement_again_is_repeated", outcome=Outcome.COMPLETED)
@bug("test_a_repeated_call_settles_once_and_leases_once")
def repeated_settlements_are_forgotten(patch: Patch) -> None:
    patch.setattr(running, "_obeyed", lambda job, told: False)


@bug("test_another_outcome_for_an_ended_attempt_is_not_obeyed")
def an_ended_attempt_may_end_again(patch: Patch) -> None:
    settle = running.settle

    def wrong(world: World, session: Any, told: Any) -> Any:
        job = world.jobs[told.id]
        if job.session is None and told.outcome is Outcome.FAILED:
            job.state = State.RUNNING
            job.session = session
        return settle(world, session, told)

    patch.setattr(running, "settle", wrong)


@bug("test_the_same_nonce_gives_the_same_leases")
@bug("test_a_call_whose_answer_was_lost_may_be_repeated", prepare=faults.prepare_lease)
def nonces_are_forgotten(patch: Patch) -> None:
    lease = running.lease

    def wrong(world: World, session: Any, **how: Any) -> Any:
        session.nonce = None
        return lease(world, session, **how)

    patch.setattr(running, "lease", wrong)


@bug("test_jobs_are_leased_by_priority_before_age")
def priorities_are_ignored(patch: Patch) -> None:
    patch.setattr(Line, "best", Line.oldest)


@bug("test_the_oldest_job_gets_an_aged_lease_whatever_its_priority")
def aged_leases_go_by_priority(patch: Patch) -> None:
    patch.setattr(Line, "oldest", Line.best)


@bug("test_paused_queues_are_passed_over")
@bug("test_a_queue_at_its_limit_is_passed_over_by_all_sessions")
def settings_of_queues_are_ignored(patch: Patch) -> None:
    patch.setattr(Line, "room", lambda self, most: most)


@bug("test_expired_jobs_are_passed_over")
@bug("test_waiting_jobs_past_their_expiry_are_dead_letters")
def nothing_ever_expires(patch: Patch) -> None:
    patch.setattr(Job, "expired", lambda self, now: False)


@bug("test_due_jobs_are_leased_by_the_call_that_promotes_them")
def an_exchange_promotes_nothing(patch: Patch) -> None:
    patch.setattr(running, "promote", lambda world, limit=None: 0)


@bug("test_a_session_that_does_not_live_gets_nothing", end="dead")
@bug("test_a_session_that_does_not_live_gets_nothing", end="left")
def dead_sessions_work_on(patch: Patch) -> None:
    patch.setattr(running, "living", lambda world, session_id: world.sessions[session_id])


@bug("test_a_job_just_past_its_deadline_is_left_to_its_worker")
def the_reaper_is_hasty(patch: Patch) -> None:
    patch.setattr(rules, "DEADLINE_GRACE", 0.0)


@bug("test_a_lease_that_is_not_named_is_given_back_uncounted")
def undelivered_leases_stay(patch: Patch) -> None:
    patch.setattr(rules, "CONFIRM_SHARE", 1e9)


@bug("test_a_young_lease_that_is_not_named_is_left_alone")
def young_leases_are_given_back(patch: Patch) -> None:
    patch.setattr(rules, "CONFIRM_SHARE", -1.0)


@bug("test_a_beat_from_before_the_lease_that_arrives_late_takes_nothing_back")
def one_beat_is_enough(patch: Patch) -> None:
    patch.setattr(running, "min", lambda _, old: old, raising=False)


@bug("test_a_snoozed_job_is_put_off_uncounted")
def every_outcome_is_counted(patch: Patch) -> None:
    patch.setattr(rules, "UNCOUNTED", frozenset())


@bug("test_a_job_lost_too_often_is_a_dead_letter")
@bug("test_a_lost_job_that_was_called_off_is_cancelled")
def lost_jobs_always_live_on(patch: Patch) -> None:
    patch.setattr(rules, "losing", lambda **_: Event.LOSE)


@bug("test_more_failures_than_retries_make_a_dead_letter", retries=1)
def retries_have_no_end(patch: Patch) -> None:
    ending = rules.ending
    patch.setattr(rules, "ending", lambda outcome, **how: ending(outcome, **(how | {"failed": 0})))


@bug("test_a_child_becomes_ready_in_the_commit_that_ends_its_last_parent")
@bug("test_descendants_of_a_failed_job_are_cancelled")
def children_are_told_nothing(patch: Patch) -> None:
    patch.setattr(World, "cascade", lambda self, ended: None)


@bug("test_a_child_that_still_waits_waits_for_a_revived_parent_again")
def a_revived_parent_is_not_waited_for(patch: Patch) -> None:
    revive = caring._revive

    def wrong(world: World, revived: dict[str, Job]) -> None:
        before = {job.id: job.waiting_for for job in world.jobs.values()}
        revive(world, revived)
        for job in world.jobs.values():
            if job.id not in revived:
                job.waiting_for = before[job.id]

    patch.setattr(caring, "_revive", wrong)


@bug("test_a_revived_child_falls_again_with_a_parent_that_stayed_dead")
def only_the_last_parent_spoils(patch: Patch) -> None:
    patch.setattr(World, "spoiled", lambda self, job: False)


@bug("test_descendants_that_fell_with_a_job_come_back_with_it")
def descendants_stay_where_they_fell(patch: Patch) -> None:
    patch.setattr(caring, "_drag", lambda world, revived, downstream: None)


@bug("test_a_repeated_beat_changes_nothing_more")
def log_lines_are_kept_twice(patch: Patch) -> None:
    report = World.report

    def wrong(self: World, job: Job, progress: Any, note: Any, logs: Any) -> None:
        report(self, job, progress, note, ())
        job.logs.extend(logs)

    patch.setattr(World, "report", wrong)


@bug("test_a_key_is_free_when_the_job_ended", state=State.COMPLETED)
def keys_are_never_freed(patch: Patch) -> None:
    patch.setattr(World, "_end", lambda self, job: setattr(job, "finished_at", self.now))


@bug("test_one_unknown_parent_refuses_the_whole_workflow")
def half_a_workflow_is_accepted(patch: Patch) -> None:
    def wrong(world: World, specs: Any, workflow: Any, actor: str) -> Any:
        return [accepting.accept(world, spec) for spec in specs]

    patch.setattr(accepting, "submit", wrong)


@bug("test_a_job_goes_only_when_its_whole_workflow_has_ended")
def workflows_are_torn_apart(patch: Patch) -> None:
    patch.setattr(caring, "_whole_workflow_over", lambda world: lambda job: True)


@bug("test_an_old_term_cannot_resign_a_newer_one")
def terms_of_one_holder_are_one(patch: Patch) -> None:
    def wrong(world: World, term: Any) -> bool:
        present = world.terms.get(term.name)
        return present is not None and bool(world.terms.pop(term.name))

    patch.setattr(planning, "resign", wrong)


@bug("test_a_paused_or_missing_schedule_does_not_fire")
def a_schedule_fires_whatever_was_expected(patch: Patch) -> None:
    fire = planning.fire

    def wrong(world: World, firing: Any, actor: str) -> Any:
        return fire(world, msgspec.structs.replace(firing, manual=True), actor)

    patch.setattr(planning, "fire", wrong)


@bug("test_every_end_of_an_attempt_is_counted_by_its_outcome")
def nothing_is_counted(patch: Patch) -> None:
    patch.setattr(World, "count", lambda self, job, outcome, **_: None)


@bug("test_a_waiter_is_woken_by_a_submit")
def nobody_is_woken(patch: Patch) -> None:
    patch.setattr(Bell, "ring", lambda self, queue: None)
    patch.setattr(moments, "SOON", 0.2)


@bug("test_pages_hold_every_job_once")
def pages_overlap(patch: Patch) -> None:
    patch.setattr(reading, "_place", lambda cursor, kind: float("inf"))


@bug("test_a_policy_that_never_retries_timeouts_is_obeyed")
def the_reaper_does_not_ask_the_policy(patch: Patch) -> None:
    patch.setattr(RetryPolicy, "decide", lambda self, *_: 1.0)


@pytest.mark.parametrize("name", sorted(BUGS))
async def test_a_store_with_a_bug_fails_the_named_test(name: str, monkeypatch: Patch) -> None:
    plant, given = BUGS[name]
    test = getattr(StoreConformance(), name.split(", ")[1])
    clock = FakeClock()
    async with MemoryStore(clock=clock) as store:
        await test(Hand(store, clock), **given)
    plant(monkeypatch)
    async with MemoryStore(clock=clock) as store:
        with pytest.raises((AssertionError, KeyError, StokerError, pytest.fail.Exception)):
            await test(Hand(store, clock), **given)


class Lying(FaultyStore):
    """A store that miscounts what it is told to."""

    def __init__(self, inner: Any, lie: str) -> None:
        super().__init__(inner)
        self.lie = lie

    async def counts(self, *, window: float = 0.0) -> Counts:
        counts = await super().counts(window=window)
        if self.lie == "tallies":
            return msgspec.structs.replace(counts, tallies=counts.tallies[1:])
        return msgspec.structs.replace(counts, oldest={}) if self.lie == "oldest" else counts

    async def sessions(self, *, ended: bool = False) -> Any:
        return [] if self.lie == "sessions" else await super().sessions(ended=ended)

    async def find(self, query: JobQuery, **how: Any) -> Any:
        page = await super().find(query, **how)
        for job in page.jobs:
            if self.lie == "waiting_for" and job.state is State.BLOCKED:
                job.waiting_for += 1
            if self.lie == "attempts":
                job.attempts *= 2
            if self.lie == "keys":
                job.unique_key = "one for all"
        return page

    async def workflows(self, *args: Any, **how: Any) -> Any:
        infos, cursor = await super().workflows(*args, **how)
        if self.lie == "workflows":
            infos = [msgspec.structs.replace(info, total=info.total + 1) for info in infos]
        return infos, cursor


async def furnished(hand: Hand) -> None:
    """Put something of everything into a store."""
    leases = [await hand.take(await hand.put()) for _ in range(2)]
    await hand.put(parents=(leases[0].id,))
    await hand.put()
    flow = hand.spec(workflow_id="f")
    await hand.store.submit([flow], workflow=WorkflowSpec(id="f", name="f"))
    told = held_job(leases[0], ran_for=1.0, logs=(line(1),))
    await hand.store.beat(session_spec("w1"), [told], ttl=TTL)
    assert Counter(job.state for job in await hand.all_jobs())[State.RUNNING] == 1


@pytest.mark.parametrize(
    "lie", ["tallies", "oldest", "sessions", "waiting_for", "attempts", "keys", "workflows"]
)
async def test_a_store_that_contradicts_itself_is_noticed(lie: str) -> None:
    clock = FakeClock()
    async with MemoryStore(clock=clock) as store:
        await furnished(Hand(store, clock))
        await check_hygiene(store)
        with pytest.raises(AssertionError):
            await check_hygiene(Lying(store, lie))
