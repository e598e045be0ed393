"""The promises of `Store.exchange`, as far as it leases."""

from datetime import timedelta

import pytest

from stoker.core.errors import LeaseLost
from stoker.core.job import Leased, Outcome, Priority, SessionState
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.core.retry import RetryPolicy
from stoker.testing.conformance.hand import Hand, settlement
from stoker.testing.conformance.suite import StoreSuite


def ids_of(leased: list[Leased]) -> list[str]:
    """Return the ids of leases, in order."""
    return [lease.id for lease in leased]


class Order(StoreSuite):
    """Who comes first."""

    async def test_jobs_are_leased_by_priority_before_age(self, hand: Hand) -> None:
        low = await hand.put(priority=Priority.LOW)
        hand.clock.advance(1)
        medium = await hand.put()
        hand.clock.advance(1)
        high = await hand.put(priority=Priority.HIGH)
        order = [ids_of(await hand.lease(1))[0] for _ in range(3)]
        assert order == [high, medium, low]

    async def test_jobs_of_one_priority_are_leased_oldest_first(self, hand: Hand) -> None:
        jobs = []
        for _ in range(4):
            jobs.append(await hand.put())
            hand.clock.advance(1)
        assert [ids_of(await hand.lease(1))[0] for _ in range(4)] == jobs

    async def test_age_counts_from_the_moment_a_job_became_due(self, hand: Hand) -> None:
        delayed = await hand.put(delay=10)
        hand.clock.advance(5)
        plain = await hand.put()
        hand.clock.advance(10)
        assert [ids_of(await hand.lease(1))[0] for _ in range(2)] == [plain, delayed]

    async def test_jobs_of_one_moment_are_leased_in_the_order_of_submission(
        self, hand: Hand
    ) -> None:
        await hand.store.submit([hand.spec(id=job_id) for job_id in "zbyax"])
        assert [ids_of(await hand.lease(1))[0] for _ in range(5)] == list("zbyax")

    async def test_a_retry_is_as_old_as_the_moment_it_is_due(self, hand: Hand) -> None:
        failed = await hand.put()
        await hand.finish(failed, Outcome.FAILED, retry_in=10)
        hand.clock.advance(5)
        newer = await hand.put()
        hand.clock.advance(10)
        assert [ids_of(await hand.lease(1))[0] for _ in range(2)] == [newer, failed]

    async def test_queues_are_served_in_the_order_given(self, hand: Hand) -> None:
        one = await hand.put(queue="one")
        hand.clock.advance(1)
        two = await hand.put(queue="two", priority=Priority.LOW)
        assert ids_of(await hand.lease(1, queues={"two": 9, "one": 9})) == [two]
        assert ids_of(await hand.lease(1, queues={"two": 9, "one": 9})) == [one]

    async def test_the_oldest_job_gets_an_aged_lease_whatever_its_priority(
        self, hand: Hand
    ) -> None:
        low = await hand.put(priority=Priority.LOW)
        hand.clock.advance(1)
        high = await hand.put_many(5, priority=Priority.HIGH)
        assert sorted(ids_of(await hand.lease(3, aged=1))) == sorted([low, *high[:2]])

    async def test_aged_leases_are_within_those_wanted(self, hand: Hand) -> None:
        low = await hand.put_many(3, priority=Priority.LOW)
        hand.clock.advance(1)
        await hand.put(priority=Priority.HIGH)
        assert sorted(ids_of(await hand.lease(2, aged=5))) == sorted(low[:2])

    async def test_an_aged_lease_takes_the_oldest_job_of_all_queues(self, hand: Hand) -> None:
        old = await hand.put(queue="two", priority=Priority.LOW)
        hand.clock.advance(1)
        await hand.put(queue="one", priority=Priority.HIGH)
        assert ids_of(await hand.lease(1, queues={"one": 9, "two": 9}, aged=1)) == [old]


class Limits(StoreSuite):
    """How many, and which not."""

    async def test_no_more_jobs_are_leased_than_wanted(self, hand: Hand) -> None:
        jobs = await hand.put_many(5)
        assert sorted(ids_of(await hand.lease(3))) == jobs[:3]
        assert ids_of(await hand.lease(0)) == []
        assert sorted(ids_of(await hand.lease(9))) == jobs[3:]

    async def test_only_jobs_of_the_named_queues_are_leased(self, hand: Hand) -> None:
        await hand.put(queue="other")
        assert await hand.lease(9) == []
        assert await hand.lease(9, queues={}) == []
        assert await hand.lease(9, queues={"never-seen": 5}) == []

    async def test_no_more_is_leased_from_a_queue_than_its_number(self, hand: Hand) -> None:
        one = await hand.put_many(4, queue="one")
        two = await hand.put_many(4, queue="two")
        leased = ids_of(await hand.lease(9, queues={"one": 2, "two": 3}))
        assert sorted(leased) == sorted(one[:2] + two[:3])

    async def test_the_number_of_a_queue_holds_for_ids_and_aged_leases_too(
        self, hand: Hand
    ) -> None:
        jobs = await hand.put_many(6)
        leased = await hand.lease(6, queues={"default": 2}, ids=jobs[2:5], aged=2)
        assert sorted(ids_of(leased)) == jobs[2:4]

    async def test_a_queue_at_its_limit_is_passed_over_by_all_sessions(self, hand: Hand) -> None:
        await hand.store.set_queue("default", limit=3)
        await hand.put_many(5)
        assert len(await hand.lease(2, session="w1")) == 2
        assert len(await hand.lease(2, session="w2")) == 1
        assert await hand.lease(2, session="w3") == []

    async def test_a_settled_job_makes_room_under_the_limit_in_the_same_call(
        self, hand: Hand
    ) -> None:
        await hand.store.set_queue("default", limit=1)
        await hand.put_many(2)
        [lease] = await hand.lease(2)
        answer = await hand.exchange(settlement(lease, Outcome.COMPLETED), want=2)
        assert len(answer.leased) == 1

    async def test_a_limit_of_one_queue_does_not_bind_another(self, hand: Hand) -> None:
        await hand.store.set_queue("one", limit=1)
        await hand.put_many(2, queue="one")
        await hand.put_many(2, queue="two")
        assert len(await hand.lease(9, queues={"one": 9, "two": 9})) == 3

    async def test_paused_queues_are_passed_over(self, hand: Hand) -> None:
        job = await hand.put()
        await hand.store.set_queue("default", paused=True)
        assert await hand.lease(9) == []
        assert await hand.lease(9, ids=[job], aged=1) == []
        assert await hand.state(job) is State.QUEUED
        await hand.store.set_queue("default", paused=False)
        assert ids_of(await hand.lease(9)) == [job]

    async def test_expired_jobs_are_passed_over(self, hand: Hand) -> None:
        expired = await hand.put(expires=5, priority=Priority.HIGH)
        fresh = await hand.put()
        hand.clock.advance(6)
        assert ids_of(await hand.lease(9, ids=[expired], aged=1)) == [fresh]
        assert await hand.state(expired) is State.QUEUED

    async def test_a_job_is_leased_right_up_to_its_expiry(self, hand: Hand) -> None:
        job = await hand.put(expires=5)
        hand.clock.advance(4)
        assert ids_of(await hand.lease()) == [job]

    async def test_jobs_that_wait_are_not_leased(self, hand: Hand) -> None:
        parent = await hand.put(queue="other")
        await hand.put(parents=(parent,))
        await hand.put(delay=60)
        await hand.reach(await hand.put(), State.RETRY_QUEUED)
        assert await hand.lease(9) == []

    async def test_due_jobs_are_leased_by_the_call_that_promotes_them(self, hand: Hand) -> None:
        scheduled = await hand.put(delay=60)
        failed = await hand.put()
        await hand.finish(failed, Outcome.FAILED, retry_in=60)
        hand.clock.advance(61)
        assert sorted(ids_of(await hand.lease(9))) == sorted([scheduled, failed])

    async def test_an_exchange_promotes_due_jobs_of_all_queues(self, hand: Hand) -> None:
        job = await hand.put(delay=60, queue="other")
        hand.clock.advance(61)
        await hand.exchange()
        assert await hand.state(job) is State.QUEUED

    async def test_a_job_is_in_the_hands_of_one_session_only(self, hand: Hand) -> None:
        jobs = await hand.put_many(4)
        first = ids_of(await hand.lease(3, session="w1"))
        second = ids_of(await hand.lease(3, session="w2"))
        assert sorted(first + second) == sorted(jobs)


class RungIds(StoreSuite):
    """Jobs that a broker rang for."""

    async def test_ids_are_leased_before_everything_else(self, hand: Hand) -> None:
        await hand.put_many(3, priority=Priority.HIGH)
        rung = await hand.put(priority=Priority.LOW)
        assert ids_of(await hand.lease(1, ids=[rung])) == [rung]

    async def test_ids_count_among_those_wanted(self, hand: Hand) -> None:
        jobs = await hand.put_many(5)
        assert sorted(ids_of(await hand.lease(3, ids=[jobs[4]]))) == sorted([*jobs[:2], jobs[4]])
        rung = await hand.put_many(3)
        assert len(await hand.lease(2, ids=rung)) == 2

    async def test_ids_that_cannot_be_leased_are_ignored(self, hand: Hand) -> None:
        waiting = await hand.put(delay=60)
        elsewhere = await hand.put(queue="other")
        taken = await hand.put()
        await hand.take(taken, session="w2")
        ended = await hand.put()
        await hand.finish(ended)
        rung = ["never-seen", waiting, elsewhere, taken, ended]
        assert await hand.lease(9, ids=rung) == []

    async def test_an_id_rung_twice_is_leased_once(self, hand: Hand) -> None:
        job = await hand.put()
        assert ids_of(await hand.lease(5, ids=[job, job])) == [job]


class Leases(StoreSuite):
    """What a lease is."""

    async def test_a_lease_carries_what_a_worker_needs(self, hand: Hand) -> None:
        retry = RetryPolicy(4, base="7s")
        job_id = await hand.put(
            task="mail",
            payload=b'{"to": "you"}',
            timeout=30.0,
            soft_timeout=20.0,
            tenant="acme",
            headers={"traceparent": "00-ab"},
            retry=retry,
        )
        nonce = hand.clock.new_nonce()
        [lease] = await hand.lease(1, nonce=nonce)
        assert (lease.id, lease.task, lease.queue) == (job_id, "mail", "default")
        assert (lease.payload, lease.timeout, lease.soft_timeout) == (b'{"to": "you"}', 30.0, 20.0)
        assert (lease.attempt, lease.epoch, lease.nonce) == (1, 1, nonce)
        assert (lease.failed, lease.lost, lease.cancel_requested) == (0, 0, False)
        assert (lease.tenant, dict(lease.headers or {})) == ("acme", {"traceparent": "00-ab"})
        assert RetryPolicy.from_json(lease.retry) == retry
        assert (lease.parents, lease.workflow_id) == (None, None)

    async def test_a_lease_is_recorded_as_an_attempt(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put(timeout=30.0), session="w1")
        job = await hand.job(lease.id)
        [attempt] = job.attempts
        assert (job.state, job.attempt, job.worker) == (State.ASSIGNED, 1, "W1")
        assert (attempt.attempt, attempt.epoch, attempt.worker) == (1, 1, "W1")
        assert (attempt.started_at, attempt.finished_at, attempt.outcome) == (None, None, None)
        assert attempt.leased_at.timestamp() == pytest.approx(hand.clock.now(), abs=0.001)

    async def test_a_lease_fixes_the_deadline(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put(timeout=30.0))
        job = await hand.job(lease.id)
        assert job.deadline_at == job.attempts[0].leased_at + timedelta(seconds=30)
        hand.clock.advance(10)
        await hand.beat(started=[lease])
        assert (await hand.job(lease.id)).deadline_at == job.deadline_at

    async def test_a_job_without_a_timeout_has_no_deadline(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put(timeout=None))
        assert (await hand.job(lease.id)).deadline_at is None

    async def test_each_lease_raises_attempt_and_epoch_by_one(self, hand: Hand) -> None:
        job_id = await hand.put()
        for number in (1, 2, 3):
            lease = await hand.take(job_id)
            assert (lease.attempt, lease.epoch, lease.failed) == (number, number, number - 1)
            await hand.settle(lease, Outcome.FAILED, retry_in=1)
            hand.clock.advance(2)
            await hand.exchange()

    async def test_an_uncounted_attempt_still_raises_the_epoch(self, hand: Hand) -> None:
        job_id = await hand.put()
        await hand.finish(job_id, Outcome.RELEASED)
        lease = await hand.take(job_id)
        assert (lease.attempt, lease.epoch) == (1, 2)

    @pytest.mark.parametrize("end", ["unknown", "left", "dead"])
    async def test_a_session_that_does_not_live_gets_nothing(self, hand: Hand, end: str) -> None:
        held, queued = await hand.put_many(2)
        await hand.beat("w2")
        lease = await hand.take(held, session="w2")
        if end == "left":
            await hand.beat("w1")
            await hand.beat("w1", state=SessionState.LEFT)
        elif end == "dead":
            await hand.beat("w1")
            await hand.store.reap(sessions=["w1"])
        with pytest.raises(LeaseLost):
            await hand.store.exchange(
                "w1",
                [settlement(lease, Outcome.COMPLETED)],
                queues={"default": 9},
                want=9,
                nonce=hand.clock.new_nonce(),
            )
        assert await hand.states([held, queued]) == [State.ASSIGNED, State.QUEUED]


class Repeating(StoreSuite):
    """A call whose answer was lost is made again."""

    async def test_the_same_nonce_gives_the_same_leases(self, hand: Hand) -> None:
        await hand.put_many(3)
        first = await hand.lease(2, nonce="n" * 32)
        again = await hand.lease(2, nonce="n" * 32)
        assert sorted(again, key=lambda x: x.id) == sorted(first, key=lambda x: x.id)
        assert len(await hand.lease(9, nonce="m" * 32)) == 1

    async def test_the_same_nonce_gives_nothing_new(self, hand: Hand) -> None:
        [job] = ids_of(await hand.lease(5, nonce="n" * 32)) or [await hand.put()]
        assert await hand.lease(5, nonce="n" * 32) == []
        assert await hand.state(job) is State.QUEUED

    async def test_the_same_nonce_gives_only_what_is_still_held(self, hand: Hand) -> None:
        lost, kept = await hand.put_many(2, timeout=10.0, retry=RetryPolicy(5, jitter=False))
        leases = await hand.lease(2, nonce="n" * 32)
        hand.clock.advance(1)
        await hand.settle(next(x for x in leases if x.id == lost), Outcome.RELEASED, session="w1")
        await hand.take(lost, session="w2")
        again = await hand.store.exchange("w1", [], queues={"default": 9}, want=2, nonce="n" * 32)
        assert ids_of(again.leased) == [kept]

    async def test_a_call_that_only_settles_may_come_between(self, hand: Hand) -> None:
        first, second, third = await hand.put_many(3)
        leases = await hand.lease(2, nonce="n" * 32)
        told = settlement(leases[0], Outcome.COMPLETED)
        assert (await hand.exchange(told, want=0, nonce="m" * 32)).settled == ["ok"]
        assert ids_of(await hand.lease(2, nonce="n" * 32)) == [second]
        states = await hand.states([first, second, third])
        assert states == [State.COMPLETED, State.ASSIGNED, State.QUEUED]

    async def test_a_lease_that_was_taken_back_is_not_given_again(self, hand: Hand) -> None:
        job = await hand.put(timeout=10.0, retry=RetryPolicy(5, base=0, jitter=False))
        await hand.lease(1, nonce="n" * 32)
        hand.clock.advance(20)
        assert (await hand.store.reap(grace=1.0)).requeued == (job,)
        await hand.exchange(session="w2")
        assert await hand.state(job) is State.QUEUED
        assert await hand.lease(1, nonce="n" * 32) == []

    async def test_a_repeated_call_settles_once_and_leases_once(self, hand: Hand) -> None:
        first, second, third = await hand.put_many(3)
        lease = await hand.take(first)
        told = settlement(lease, Outcome.COMPLETED, result=b"1")
        answer = await hand.exchange(told, want=1, nonce="n" * 32)
        again = await hand.exchange(told, want=1, nonce="n" * 32)
        assert [answer.settled, again.settled] == [["ok"], ["repeated"]]
        assert ids_of(answer.leased) == ids_of(again.leased) == [second]
        assert await hand.state(third) is State.QUEUED

    async def test_a_repeated_call_shows_a_cancel_that_came_meanwhile(self, hand: Hand) -> None:
        job = await hand.put()
        await hand.lease(1, nonce="n" * 32)
        await hand.store.cancel(JobQuery(ids=(job,)))
        [again] = await hand.lease(1, nonce="n" * 32)
        assert again.cancel_requested
