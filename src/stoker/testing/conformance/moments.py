"""Time: what `Store.reap` takes back and moves, deadlines, expiry, and how `Store.wait` wakes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from stoker.core.errors import TaskTimeout
from stoker.core.events import Kind
from stoker.core.job import Outcome
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.core.retry import RetryPolicy
from stoker.core.rules import DEADLINE_GRACE
from stoker.testing.conformance.hand import TTL, Hand, held_job, session_spec
from stoker.testing.conformance.suite import StoreSuite

SOON = 10.0
"""Real seconds within which a waiter must have woken: a generous deadline, not a measure."""


class Deaths(StoreSuite):
    """Sessions that are gone, and what they held."""

    async def test_a_session_past_its_time_is_declared_dead(self, hand: Hand) -> None:
        job_id = await hand.put()
        await hand.take(job_id)
        hand.clock.advance(TTL + 1)
        reaped = await hand.store.reap()
        assert (reaped.sessions, reaped.requeued, reaped.buried) == (("w1",), (job_id,), ())
        job = await hand.job(job_id)
        assert (job.state, job.attempt, job.lost, job.failed) == (State.QUEUED, 1, 1, 0)
        [attempt] = job.attempts
        assert (attempt.outcome, attempt.error and attempt.error.code) == ("lost", "worker_lost")
        assert await hand.store.sessions() == []

    async def test_a_session_within_its_time_is_left_alone(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        hand.clock.advance(TTL - 1)
        assert (await hand.store.reap()).sessions == ()
        assert await hand.state(lease.id) is State.ASSIGNED

    async def test_the_grace_spares_sessions_after_an_outage(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        hand.clock.advance(TTL + 20)
        assert (await hand.store.reap(grace=TTL)).sessions == ()
        assert await hand.state(lease.id) is State.ASSIGNED
        hand.clock.advance(TTL)
        assert (await hand.store.reap(grace=TTL)).sessions == ("w1",)

    async def test_a_session_known_to_be_dead_is_reaped_at_once(self, hand: Hand) -> None:
        mine = await hand.take(await hand.put(), session="w1")
        theirs = await hand.take(await hand.put(), session="w2")
        reaped = await hand.store.reap(sessions=["w1", "nobody"], grace=1e6)
        assert (reaped.sessions, reaped.requeued) == (("w1",), (mine.id,))
        assert await hand.states([mine.id, theirs.id]) == [State.QUEUED, State.ASSIGNED]

    async def test_a_session_dies_once(self, hand: Hand) -> None:
        await hand.take(await hand.put())
        assert (await hand.store.reap(sessions=["w1"])).sessions == ("w1",)
        again = await hand.store.reap(sessions=["w1"])
        assert (again.sessions, again.requeued, again.buried) == ((), (), ())
        assert len(await hand.events(Kind.WORKER_DIED)) == 1

    async def test_a_job_lost_too_often_is_a_dead_letter(self, hand: Hand) -> None:
        job_id = await hand.put(max_lost=3, retry=RetryPolicy(0))
        for number in (1, 2, 3):
            await hand.take(job_id, session=f"w{number}")
            reaped = await hand.store.reap(sessions=[f"w{number}"])
            assert (reaped.requeued, reaped.buried) == (
                ((job_id,), ()) if number < 3 else ((), (job_id,))
            )
        job = await hand.job(job_id)
        assert (job.state, job.lost, job.failed) == (State.DEAD_LETTER, 3, 0)
        assert job.error is not None
        assert job.error.code == "worker_lost"

    async def test_a_lost_job_that_was_called_off_is_cancelled(self, hand: Hand) -> None:
        job_id = await hand.put()
        await hand.take(job_id)
        await hand.store.cancel(JobQuery(ids=(job_id,)))
        reaped = await hand.store.reap(sessions=["w1"])
        assert (reaped.requeued, reaped.buried) == ((), ())
        assert await hand.state(job_id) is State.CANCELLED

    async def test_an_innocent_job_of_a_dead_session_keeps_its_retries(self, hand: Hand) -> None:
        job_id = await hand.put(retry=RetryPolicy(0))
        await hand.take(job_id)
        await hand.store.reap(sessions=["w1"])
        await hand.finish(job_id, session="w2")
        assert await hand.state(job_id) is State.COMPLETED

    async def test_losses_are_written_down_with_who_reaped(self, hand: Hand) -> None:
        job_id = await hand.put(max_lost=1)
        await hand.take(job_id)
        await hand.store.reap(sessions=["w1"], actor="keeper:k1")
        events = await hand.events(Kind.WORKER_DIED, Kind.JOB_LOST, Kind.JOB_DEAD)
        assert {event.kind for event in events} == {
            Kind.WORKER_DIED,
            Kind.JOB_LOST,
            Kind.JOB_DEAD,
        }
        assert {event.actor for event in events} == {"keeper:k1"}
        dead = next(event for event in events if event.kind is Kind.JOB_DEAD)
        assert (dead.job_id, dead.worker, dead.details["code"]) == (job_id, "W1", "worker_lost")

    async def test_what_one_call_leaves_the_next_one_takes(self, hand: Hand) -> None:
        jobs = await hand.put_many(5)
        await hand.lease(5)
        first = await hand.store.reap(sessions=["w1"], limit=2)
        assert len(first.requeued) == 2
        second = await hand.store.reap(limit=2)
        third = await hand.store.reap(limit=2)
        taken = [*first.requeued, *second.requeued, *third.requeued]
        assert sorted(taken) == sorted(jobs)


class Deadlines(StoreSuite):
    """Attempts that ran too long, and jobs that waited too long."""

    async def _overrun(self, hand: Hand, job_id: str, seconds: float) -> None:
        lease = await hand.take(job_id)
        hand.clock.advance(seconds)
        await hand.store.beat(session_spec("w1"), [held_job(lease, ran_for=seconds)], ttl=TTL)

    async def test_a_job_past_its_deadline_is_a_failed_attempt(self, hand: Hand) -> None:
        retry = RetryPolicy(2, backoff="fixed", base=40, jitter=False)
        job_id = await hand.put(timeout=20.0, retry=retry)
        await self._overrun(hand, job_id, 20 + DEADLINE_GRACE + 1)
        reaped = await hand.store.reap()
        assert (reaped.sessions, reaped.requeued) == ((), (job_id,))
        job = await hand.job(job_id)
        assert (job.state, job.failed, job.lost) == (State.RETRY_QUEUED, 1, 0)
        assert job.run_at.timestamp() == pytest.approx(hand.clock.now() + 40, abs=0.001)
        [attempt] = job.attempts
        assert (attempt.outcome, attempt.error and attempt.error.code) == ("timed_out", "timeout")
        assert [event.job_id for event in await hand.events(Kind.JOB_LOST)] == [job_id]

    async def test_a_job_just_past_its_deadline_is_left_to_its_worker(self, hand: Hand) -> None:
        job_id = await hand.put(timeout=20.0)
        await self._overrun(hand, job_id, 20 + DEADLINE_GRACE - 1)
        assert (await hand.store.reap()).requeued == ()
        assert await hand.state(job_id) is State.RUNNING

    async def test_whose_deadline_passed_first_goes_first_whoever_holds_it(
        self, hand: Hand
    ) -> None:
        names = ["w1", "w2", "w3"]
        jobs = [await hand.put(timeout=seconds) for seconds in (40.0, 20.0, 30.0, 10.0)]
        for name in names:
            await hand.beat(name)
        leases = [
            await hand.take(job_id, session=name)
            for job_id, name in zip(jobs, [*names, "w1"], strict=True)
        ]
        hand.clock.advance(35 + DEADLINE_GRACE)
        for name, mine in zip(names, [leases[::3], leases[1:2], leases[2:3]], strict=True):
            held = [held_job(lease, ran_for=35.0) for lease in mine]
            await hand.store.beat(session_spec(name), held, ttl=TTL)
        reaped = [(await hand.store.reap(limit=1)).requeued for _ in range(4)]
        assert reaped == [(jobs[3],), (jobs[1],), (jobs[2],), ()]
        assert await hand.state(jobs[0]) is State.RUNNING

    async def test_the_grace_holds_for_deadlines_too(self, hand: Hand) -> None:
        job_id = await hand.put(timeout=20.0)
        await self._overrun(hand, job_id, 20 + DEADLINE_GRACE + 5)
        assert (await hand.store.reap(grace=10.0)).requeued == ()
        assert (await hand.store.reap(grace=1.0)).requeued == (job_id,)

    async def test_a_job_without_retries_left_is_a_dead_letter(self, hand: Hand) -> None:
        job_id = await hand.put(timeout=20.0, retry=RetryPolicy(0))
        await self._overrun(hand, job_id, 30)
        assert (await hand.store.reap()).buried == (job_id,)
        job = await hand.job(job_id)
        assert (job.state, job.error and job.error.code) == (State.DEAD_LETTER, "timeout")

    async def test_a_policy_that_never_retries_timeouts_is_obeyed(self, hand: Hand) -> None:
        job_id = await hand.put(timeout=20.0, retry=RetryPolicy(5, never=[TaskTimeout]))
        await self._overrun(hand, job_id, 30)
        assert (await hand.store.reap()).buried == (job_id,)

    async def test_a_timed_out_job_that_was_called_off_is_cancelled(self, hand: Hand) -> None:
        job_id = await hand.put(timeout=20.0)
        await self._overrun(hand, job_id, 30)
        await hand.store.cancel(JobQuery(ids=(job_id,)))
        await hand.store.reap()
        assert await hand.state(job_id) is State.CANCELLED

    async def test_waiting_jobs_past_their_expiry_are_dead_letters(self, hand: Hand) -> None:
        parent = await hand.put()
        queued = await hand.put(expires=10)
        scheduled = await hand.put(expires=10, delay=60)
        blocked = await hand.put(expires=10, parents=(parent,))
        failed = await hand.put(expires=10)
        await hand.reach(failed, State.RETRY_QUEUED)
        hand.clock.advance(11)
        expired = [queued, scheduled, blocked, failed]
        assert sorted((await hand.store.reap()).buried) == sorted(expired)
        for job_id in expired:
            job = await hand.job(job_id)
            assert (job.state, job.error and job.error.code) == (State.DEAD_LETTER, "expired")

    async def test_a_leased_job_does_not_expire(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put(expires=10))
        hand.clock.advance(11)
        assert (await hand.store.reap()).buried == ()
        assert await hand.state(lease.id) is State.ASSIGNED

    async def test_a_reap_promotes_due_jobs(self, hand: Hand) -> None:
        scheduled = await hand.put(delay=60)
        failed = await hand.put()
        await hand.finish(failed, Outcome.FAILED, retry_in=60)
        later = await hand.put(delay=600)
        hand.clock.advance(61)
        assert (await hand.store.reap()).promoted == 2
        assert await hand.states([scheduled, failed, later]) == [
            State.QUEUED,
            State.QUEUED,
            State.SCHEDULED,
        ]

    async def test_an_idle_store_gives_a_reaper_nothing(self, hand: Hand) -> None:
        await hand.put()
        await hand.beat("w1")
        reaped = await hand.store.reap()
        assert (reaped.sessions, reaped.requeued, reaped.buried, reaped.promoted) == ((), (), (), 0)


class Waking(StoreSuite):
    """`Store.wait` is a hint, but it comes."""

    @asynccontextmanager
    async def _waiter(
        self, hand: Hand, *queues: str, ids: tuple[str, ...] = ()
    ) -> AsyncIterator["asyncio.Task[bool]"]:
        async with asyncio.timeout(SOON * 2), asyncio.TaskGroup() as group:
            task = group.create_task(hand.store.wait(queues, ids=ids, timeout=SOON))
            # Let it begin to listen.
            for _ in range(5):
                await asyncio.sleep(0)
            yield task

    async def test_a_waiter_is_woken_by_a_submit(self, hand: Hand) -> None:
        async with self._waiter(hand, "other", "default") as task:
            await hand.put()
        assert task.result()

    async def test_a_waiter_is_woken_by_the_second_hand(self, hand: Hand, other: Hand) -> None:
        async with self._waiter(hand, "default") as task:
            await other.put()
        assert task.result()

    async def test_a_waiter_is_woken_when_a_job_becomes_due(self, hand: Hand) -> None:
        await hand.put(delay=60)
        async with self._waiter(hand, "default") as task:
            hand.clock.advance(61)
        assert task.result()

    async def test_a_waiter_is_woken_when_a_job_submitted_later_becomes_due(
        self, hand: Hand, other: Hand
    ) -> None:
        async with self._waiter(hand, "default") as task:
            await other.put(delay=60)
            hand.clock.advance(61)
        assert task.result()

    async def test_a_waiter_is_woken_by_a_settled_job(self, hand: Hand, other: Hand) -> None:
        lease = await hand.take(await hand.put())
        async with self._waiter(other, ids=(lease.id,)) as task:
            await hand.settle(lease)
        assert task.result()

    async def test_a_waiter_is_woken_by_progress(self, hand: Hand, other: Hand) -> None:
        lease = await hand.take(await hand.put())
        async with self._waiter(other, ids=(lease.id,)) as task:
            told = held_job(lease, ran_for=1.0, progress=0.5)
            await hand.store.beat(session_spec("w1"), [told], ttl=TTL)
        assert task.result()

    async def test_a_waiter_is_woken_by_a_child_that_became_ready(
        self, hand: Hand, other: Hand
    ) -> None:
        parent = await hand.put(queue="parents")
        await hand.put(parents=(parent,))
        lease = await hand.take(parent)
        async with self._waiter(other, "default") as task:
            await hand.settle(lease)
        assert task.result()

    async def test_a_waiter_is_woken_when_a_queue_is_resumed(self, hand: Hand, other: Hand) -> None:
        await hand.put()
        await hand.store.set_queue("default", paused=True)
        async with self._waiter(hand, "default") as task:
            await other.store.set_queue("default", paused=False)
        assert task.result()

    async def test_a_wait_for_nothing_ends_after_its_time(self, hand: Hand) -> None:
        # A wait may wake for nothing, but not again and again.
        for _ in range(10):
            queue = await hand.store.wait(("default",), timeout=0.05)
            job = await hand.store.wait((), ids=("nobody",), timeout=0.05)
            if not queue and not job:
                return
        raise AssertionError("ten waits in a row woke, and nothing had happened")

    async def test_a_wait_may_be_cancelled(self, hand: Hand) -> None:
        async with asyncio.timeout(SOON):
            async with self._waiter(hand, "default") as task:
                task.cancel()
            assert task.cancelled()
        await hand.put()
