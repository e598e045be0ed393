"""The promises of `Store.cancel`, `Store.requeue`, `Store.purge` and `Store.set_queue`."""

from datetime import timedelta
from typing import Any

import pytest

from stoker.core.errors import UsageError
from stoker.core.events import Kind
from stoker.core.job import Outcome
from stoker.core.lifecycle import State
from stoker.core.records import Answer, JobQuery
from stoker.testing.conformance.hand import Hand
from stoker.testing.conformance.suite import StoreSuite

ENDED = [State.COMPLETED, State.DEAD_LETTER, State.CANCELLED]
HELD = [State.ASSIGNED, State.RUNNING]


class Cancelling(StoreSuite):
    """Calling jobs off."""

    @pytest.mark.parametrize("state", [State.QUEUED, State.SCHEDULED, State.RETRY_QUEUED])
    async def test_a_waiting_job_is_cancelled_at_once(self, hand: Hand, state: State) -> None:
        job_id = await hand.put()
        await hand.reach(job_id, state)
        assert await hand.store.cancel(JobQuery(ids=(job_id,))) == [Answer(job_id, "cancelled")]
        job = await hand.job(job_id)
        assert (job.state, job.finished_at is not None) == (State.CANCELLED, True)
        hand.clock.advance(1e5)
        assert await hand.lease(9) == []

    @pytest.mark.parametrize("state", HELD)
    async def test_a_leased_job_is_asked_to_stop(self, hand: Hand, state: State) -> None:
        job_id = await hand.put()
        await hand.reach(job_id, state)
        for _ in range(2):
            answers = await hand.store.cancel(JobQuery(ids=(job_id,)))
            assert answers == [Answer(job_id, "requested")]
        job = await hand.job(job_id)
        assert (job.state, job.cancel_requested) == (state, True)

    @pytest.mark.parametrize("state", ENDED)
    async def test_an_ended_job_stays_as_it_is(self, hand: Hand, state: State) -> None:
        job_id = await hand.put()
        await hand.reach(job_id, state)
        before = (await hand.job(job_id)).to_dict()
        assert await hand.store.cancel(JobQuery(ids=(job_id,))) == [Answer(job_id, "too_late")]
        assert (await hand.job(job_id)).to_dict() == before

    async def test_each_id_is_answered_in_order(self, hand: Hand) -> None:
        waiting, ended = await hand.put_many(2)
        await hand.finish(ended)
        held = await hand.put(queue="other")
        await hand.take(held)
        asked = ("nobody", held, waiting, ended, waiting)
        answers = await hand.store.cancel(JobQuery(ids=asked))
        assert [answer.id for answer in answers] == list(asked)
        assert [answer.answer for answer in answers][:4] == [
            "unknown",
            "requested",
            "cancelled",
            "too_late",
        ]

    async def test_without_ids_each_live_job_that_matches_is_answered(self, hand: Hand) -> None:
        ended = await hand.put()
        await hand.finish(ended)
        live = await hand.put_many(2)
        await hand.put(queue="other")
        answers = await hand.store.cancel(JobQuery(queues=("default",)))
        assert sorted(answer.id for answer in answers) == sorted(live)
        assert {answer.answer for answer in answers} == {"cancelled"}

    async def test_without_ids_the_limit_holds(self, hand: Hand) -> None:
        jobs = await hand.put_many(5)
        assert len(await hand.store.cancel(JobQuery(queues=("default",)), limit=2)) == 2
        assert (await hand.states(jobs)).count(State.CANCELLED) == 2

    async def test_cancelling_nothing_answers_nothing(self, hand: Hand) -> None:
        assert await hand.store.cancel(JobQuery(queues=("nowhere",))) == []

    async def test_a_cancel_is_written_down_with_who_asked(self, hand: Hand) -> None:
        waiting, held = await hand.put_many(2)
        await hand.take(held)
        for _ in range(2):
            await hand.store.cancel(
                JobQuery(ids=(waiting, held)), actor="cli:eve", reason="the wrong movie"
            )
        events = await hand.events(Kind.JOB_CANCELLED)
        told = {event.job_id: (event.actor, event.details["answer"]) for event in events}
        assert told == {waiting: ("cli:eve", "cancelled"), held: ("cli:eve", "requested")}
        assert len(events) == 2, "a cancel that changes nothing is not written down again"
        assert {event.details["reason"] for event in events} == {"the wrong movie"}


class Requeueing(StoreSuite):
    """Bringing ended jobs back to life."""

    @pytest.mark.parametrize("state", ENDED)
    async def test_an_ended_job_lives_again_with_its_counters_at_zero(
        self, hand: Hand, state: State
    ) -> None:
        job_id = await hand.put()
        await hand.finish(job_id, Outcome.CRASHED, progress=0.5, note="half")
        await hand.reach(job_id, state)
        attempts = (await hand.job(job_id)).attempts
        hand.clock.advance(5)
        assert await hand.store.requeue(JobQuery(ids=(job_id,))) == [Answer(job_id, "requeued")]
        job = await hand.job(job_id)
        assert (job.state, job.failed, job.lost) == (State.QUEUED, 0, 0)
        assert (job.result, job.error, job.progress, job.progress_note) == (None,) * 4
        assert (job.finished_at, job.cancel_requested) == (None, False)
        assert (job.attempts, job.attempt) == (attempts, len(attempts))
        lease = await hand.take(job_id)
        assert (lease.attempt, lease.epoch) == (len(attempts) + 1, len(attempts) + 1)

    @pytest.mark.parametrize("state", [State.QUEUED, State.SCHEDULED, State.RETRY_QUEUED, *HELD])
    async def test_a_job_that_has_not_ended_is_refused(self, hand: Hand, state: State) -> None:
        job_id = await hand.put()
        await hand.reach(job_id, state)
        before = (await hand.job(job_id)).to_dict()
        assert await hand.store.requeue(JobQuery(ids=(job_id,))) == [Answer(job_id, "refused")]
        assert (await hand.job(job_id)).to_dict() == before

    async def test_a_job_whose_key_is_taken_is_refused(self, hand: Hand) -> None:
        first = await hand.put(unique_key="k")
        await hand.finish(first)
        second = await hand.put(unique_key="k")
        assert await hand.store.requeue(JobQuery(ids=(first,))) == [Answer(first, "refused")]
        assert await hand.states([first, second]) == [State.COMPLETED, State.QUEUED]

    async def test_a_requeued_job_holds_its_key_again(self, hand: Hand) -> None:
        first = await hand.put(unique_key="k")
        await hand.finish(first)
        await hand.store.requeue(JobQuery(ids=(first,)))
        [answer] = await hand.store.submit([hand.spec(unique_key="k")])
        assert (answer.id, answer.created) == (first, False)

    async def test_only_one_of_two_jobs_with_one_key_lives_again(self, hand: Hand) -> None:
        jobs = []
        for _ in range(2):
            jobs.append(await hand.put(unique_key="k"))
            await hand.finish(jobs[-1])
        answers = await hand.store.requeue(JobQuery(ids=tuple(jobs)))
        assert sorted(answer.answer for answer in answers) == ["refused", "requeued"]

    async def test_each_id_is_answered_and_an_unknown_one_too(self, hand: Hand) -> None:
        ended = await hand.put()
        await hand.finish(ended)
        live = await hand.put()
        answers = await hand.store.requeue(JobQuery(ids=("nobody", live, ended)))
        assert answers == [
            Answer("nobody", "unknown"),
            Answer(live, "refused"),
            Answer(ended, "requeued"),
        ]

    async def test_without_ids_only_ended_jobs_are_taken(self, hand: Hand) -> None:
        dead, done, live = await hand.put_many(3)
        await hand.reach(dead, State.DEAD_LETTER)
        await hand.reach(done, State.COMPLETED)
        query = JobQuery(states=(State.DEAD_LETTER,))
        assert await hand.store.requeue(query) == [Answer(dead, "requeued")]
        assert await hand.store.requeue(JobQuery(queues=("default",))) == [Answer(done, "requeued")]
        assert await hand.state(live) is State.QUEUED

    async def test_without_ids_the_limit_holds(self, hand: Hand) -> None:
        for job_id in await hand.put_many(4):
            await hand.finish(job_id)
        assert len(await hand.store.requeue(JobQuery(queues=("default",)), limit=3)) == 3
        assert len(await hand.all_jobs(states=(State.QUEUED,))) == 3

    async def test_an_interval_spreads_jobs_out(self, hand: Hand) -> None:
        jobs = await hand.put_many(3)
        for job_id in jobs:
            await hand.finish(job_id)
        hand.clock.advance(100)
        await hand.store.requeue(JobQuery(queues=("default",)), interval=10.0)
        due = sorted([(await hand.job(job_id)).run_at for job_id in jobs])
        assert due[0].timestamp() == pytest.approx(hand.clock.now(), abs=0.001)
        assert [later - due[0] for later in due[1:]] == [timedelta(seconds=n) for n in (10, 20)]
        assert sorted(await hand.states(jobs)) == ["queued", "scheduled", "scheduled"]

    async def test_a_single_job_may_get_a_new_payload(self, hand: Hand) -> None:
        job_id = await hand.put(payload=b'{"old": 1}')
        await hand.finish(job_id)
        await hand.store.requeue(JobQuery(ids=(job_id,)), payload=b'{"new": 2}')
        assert bytes((await hand.job(job_id)).payload) == b'{"new": 2}'
        assert (await hand.take(job_id)).payload == b'{"new": 2}'

    async def test_several_jobs_do_not_get_one_payload(self, hand: Hand) -> None:
        jobs = await hand.put_many(2, payload=b'{"old": 1}')
        for job_id in jobs:
            await hand.finish(job_id)
        with pytest.raises(UsageError):
            await hand.store.requeue(JobQuery(ids=tuple(jobs)), payload=b"{}")
        assert await hand.states(jobs) == [State.COMPLETED] * 2

    async def test_a_requeued_job_may_fail_as_often_as_a_new_one(self, hand: Hand) -> None:
        job_id = await hand.put(max_lost=2)
        for _ in range(2):
            for state in (State.QUEUED, State.DEAD_LETTER):
                await hand.finish(job_id, Outcome.CRASHED)
                assert await hand.state(job_id) is state
            await hand.store.requeue(JobQuery(ids=(job_id,)))

    async def test_a_requeued_job_gets_its_time_to_expire_anew(self, hand: Hand) -> None:
        job_id = await hand.put(expires=10)
        hand.clock.advance(20)
        assert (await hand.store.reap()).buried == (job_id,)
        await hand.store.requeue(JobQuery(ids=(job_id,)))
        hand.clock.advance(5)
        assert (await hand.store.reap()).buried == ()
        assert [lease.id for lease in await hand.lease()] == [job_id]

    async def test_a_requeue_is_written_down_with_who_asked(self, hand: Hand) -> None:
        job_id = await hand.put()
        await hand.finish(job_id)
        query = JobQuery(ids=(job_id, "nobody"))
        await hand.store.requeue(query, actor="cli:eve", reason="fixed")
        [event] = await hand.events(Kind.JOB_REQUEUED)
        assert (event.job_id, event.actor, event.details["reason"]) == (job_id, "cli:eve", "fixed")


class Purging(StoreSuite):
    """Deleting what is old."""

    async def _ended(self, hand: Hand, count: int, **changes: Any) -> list[str]:
        jobs = []
        for _ in range(count):
            jobs.append(await hand.put(**changes))
            await hand.finish(jobs[-1])
            hand.clock.advance(10)
        return jobs

    async def _left(self, hand: Hand) -> list[str]:
        return sorted(job.id for job in await hand.all_jobs())

    async def test_ended_jobs_that_match_are_deleted(self, hand: Hand) -> None:
        await self._ended(hand, 2)
        kept = await self._ended(hand, 1, queue="other")
        live = await hand.put()
        assert await hand.store.purge(JobQuery(queues=("default",))) == 2
        assert await self._left(hand) == sorted([*kept, live])

    async def test_young_jobs_are_spared(self, hand: Hand) -> None:
        jobs = await self._ended(hand, 4)
        assert await hand.store.purge(JobQuery(), older_than=25.0) == 2
        assert await self._left(hand) == sorted(jobs[2:])

    async def test_the_newest_that_match_are_spared(self, hand: Hand) -> None:
        jobs = await self._ended(hand, 4)
        other = await self._ended(hand, 1, queue="other")
        assert await hand.store.purge(JobQuery(queues=("default",)), keep=3) == 1
        assert await self._left(hand) == sorted(jobs[1:] + other)
        assert await hand.store.purge(JobQuery(queues=("default",)), keep=9) == 0

    async def test_age_and_number_both_spare(self, hand: Hand) -> None:
        jobs = await self._ended(hand, 5)
        assert await hand.store.purge(JobQuery(), older_than=35.0, keep=1) == 2
        assert await self._left(hand) == sorted(jobs[2:])

    async def test_the_oldest_are_deleted_first_when_there_is_a_limit(self, hand: Hand) -> None:
        jobs = await self._ended(hand, 4)
        assert await hand.store.purge(JobQuery(), limit=3) == 3
        assert await self._left(hand) == [jobs[3]]

    async def test_waiting_jobs_are_deleted_only_when_asked_for(self, hand: Hand) -> None:
        waiting = await hand.put()
        scheduled = await hand.put(delay=60)
        assert await hand.store.purge(JobQuery(queues=("default",))) == 0
        assert await hand.store.purge(JobQuery(ids=(scheduled,))) == 1
        assert await hand.store.purge(JobQuery(states=(State.QUEUED,))) == 1
        assert await hand.store.get([waiting, scheduled]) == [None, None]
        assert await hand.lease(9) == []

    async def test_a_leased_job_is_never_deleted(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        assert await hand.store.purge(JobQuery(ids=(lease.id,))) == 0
        assert await hand.store.purge(JobQuery(states=(State.ASSIGNED, State.RUNNING))) == 0
        assert await hand.state(lease.id) is State.ASSIGNED

    async def test_a_deleted_job_frees_its_id_and_its_key(self, hand: Hand) -> None:
        job_id = await hand.put(unique_key="k")
        await hand.store.purge(JobQuery(ids=(job_id,)))
        [answer] = await hand.store.submit([hand.spec(id=job_id, unique_key="k")])
        assert answer.created
        assert (await hand.job(job_id)).attempts == []

    async def test_nobody_waits_for_ever_for_a_deleted_job(self, hand: Hand) -> None:
        parent = await hand.put()
        child = await hand.put(parents=(parent,))
        eager = await hand.put(parents=(parent,), on_parent_failure="run")
        assert await hand.store.purge(JobQuery(ids=(parent,))) == 1
        assert await hand.states([child, eager]) == [State.CANCELLED, State.QUEUED]

    async def test_a_new_job_under_a_deleted_id_is_nobodys_parent(self, hand: Hand) -> None:
        deleted, live = await hand.put_many(2)
        waits = await hand.put(parents=(deleted, live), queue="children")
        ended = await hand.put(parents=(deleted,), queue="children")
        await hand.finish(deleted)
        await hand.finish(ended)
        hand.clock.advance(1)
        assert await hand.store.purge(JobQuery(ids=(deleted,))) == 1
        await hand.put(id=deleted)
        await hand.finish(live)
        assert await hand.state(waits) is State.QUEUED
        await hand.store.requeue(JobQuery(ids=(ended,)))
        assert await hand.state(ended) is State.QUEUED

    async def test_settling_a_deleted_job_is_harmless(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        await hand.settle(lease)
        hand.clock.advance(1)
        await hand.store.purge(JobQuery(ids=(lease.id,)))
        assert await hand.settle(lease) == "lease_lost"

    async def test_a_purge_is_written_down_with_its_count(self, hand: Hand) -> None:
        await self._ended(hand, 3)
        await hand.store.purge(JobQuery(), actor="keeper:k1")
        await hand.store.purge(JobQuery(), actor="keeper:k1")
        [event] = await hand.events(Kind.JOBS_PURGED)
        assert (event.actor, event.details["count"]) == ("keeper:k1", 3)

    async def test_totals_do_not_fall_when_jobs_are_deleted(self, hand: Hand) -> None:
        await self._ended(hand, 3)
        before = (await hand.store.counts()).totals
        await hand.store.purge(JobQuery())
        assert (await hand.store.counts()).totals == before


class Queues(StoreSuite):
    """A queue's settings."""

    async def test_a_queue_may_be_paused_before_its_first_job(self, hand: Hand) -> None:
        info = await hand.store.set_queue("new", paused=True)
        assert (info.name, info.paused, info.limit) == ("new", True, None)
        await hand.put(queue="new")
        assert await hand.lease(1, queues={"new": 1}) == []

    async def test_what_is_not_named_stays(self, hand: Hand) -> None:
        await hand.store.set_queue("q", paused=True, limit=5)
        info = await hand.store.set_queue("q", limit=7)
        assert (info.paused, info.limit) == (True, 7)
        info = await hand.store.set_queue("q", paused=False)
        assert (info.paused, info.limit) == (False, 7)

    async def test_a_limit_of_zero_removes_the_limit(self, hand: Hand) -> None:
        await hand.store.set_queue("default", limit=1)
        await hand.put_many(3)
        info = await hand.store.set_queue("default", limit=0)
        assert info.limit is None
        assert len(await hand.lease(9)) == 3

    async def test_all_queues_are_listed_by_name(self, hand: Hand) -> None:
        await hand.store.set_queue("z", limit=2)
        job = await hand.put(queue="m")
        await hand.put(queue="a", delay=60)
        await hand.store.purge(JobQuery(ids=(job,)))
        queues = await hand.store.queues()
        assert [queue.name for queue in queues] == ["a", "m", "z"]
        assert [dict(queue.counts) for queue in queues] == [{State.SCHEDULED: 1}, {}, {}]
        assert queues[2].limit == 2

    async def test_a_change_is_written_down_with_who_asked(self, hand: Hand) -> None:
        await hand.store.set_queue("q", paused=True, actor="cli:eve")
        await hand.store.set_queue("q", paused=False, actor="cli:eve")
        await hand.store.set_queue("q", limit=3, actor="cli:eve")
        events = await hand.events(queue="q")
        assert [(event.kind, event.actor) for event in events] == [
            (Kind.QUEUE_PAUSED, "cli:eve"),
            (Kind.QUEUE_RESUMED, "cli:eve"),
            (Kind.QUEUE_LIMITED, "cli:eve"),
        ]
