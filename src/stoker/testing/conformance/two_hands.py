"""Two hands on the same data at once, as two processes would have them."""

import asyncio
from collections import Counter

from stoker.core.job import Leased, Outcome, SessionState, Settled
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.testing.conformance.hand import Hand, settlement
from stoker.testing.conformance.suite import StoreSuite


class TwoHands(StoreSuite):
    """No verb of one hand sees, or leaves, half of what the other does."""

    async def test_what_one_hand_submits_the_other_sees(self, hand: Hand, other: Hand) -> None:
        job_id = await hand.put()
        assert (await other.job(job_id)).to_dict() == (await hand.job(job_id)).to_dict()
        lease = await other.take(job_id, session="w2")
        await other.settle(lease, session="w2", result=b"1")
        assert await hand.state(job_id) is State.COMPLETED

    async def test_no_job_is_leased_twice(self, hand: Hand, other: Hand) -> None:
        jobs = await hand.put_many(200)

        async def drain(mine: Hand, session: str) -> list[Leased]:
            await mine.beat(session)
            leased: list[Leased] = []
            while got := await mine.lease(7, session=session):
                leased += got
            return leased

        hands = [(hand, "w1"), (other, "w2"), (hand, "w3"), (other, "w4")]
        drained = await asyncio.gather(*(drain(mine, name) for mine, name in hands))
        leased = [lease.id for part in drained for lease in part]
        assert sorted(leased) == sorted(jobs)

    async def test_one_job_is_taken_by_one_of_many(self, hand: Hand, other: Hand) -> None:
        [job_id] = await hand.put_many(1)
        names = [f"w{number}" for number in range(10)]
        hands = [hand, other] * 5
        for mine, name in zip(hands, names, strict=True):
            await mine.beat(name)
        taken = await asyncio.gather(
            *(
                mine.lease(1, session=name, ids=[job_id])
                for mine, name in zip(hands, names, strict=True)
            )
        )
        assert [len(leases) for leases in taken].count(1) == 1

    async def test_the_limit_of_a_queue_holds_over_both_hands(
        self, hand: Hand, other: Hand
    ) -> None:
        await hand.store.set_queue("default", limit=5)
        await hand.put_many(50)
        hands = [(hand, "w1"), (other, "w2"), (hand, "w3"), (other, "w4")]
        for mine, name in hands:
            await mine.beat(name)
        taken = await asyncio.gather(*(mine.lease(4, session=name) for mine, name in hands))
        assert sum(len(leases) for leases in taken) == 5

    async def test_one_of_two_settlements_with_one_fence_is_obeyed(
        self, hand: Hand, other: Hand
    ) -> None:
        lease = await hand.take(await hand.put(), session="w1")
        await other.beat("w2")
        told = settlement(lease, Outcome.COMPLETED, result=b"1")
        answers = await asyncio.gather(
            *(mine.exchange(told, session=name) for mine, name in [(hand, "w1"), (other, "w2")] * 3)
        )
        settled = Counter(answer.settled[0] for answer in answers)
        assert settled == {Settled.OK: 1, Settled.REPEATED: 5}
        assert (await hand.store.counts()).totals["completed"] == 1

    async def test_a_settlement_and_a_reap_do_not_both_happen(
        self, hand: Hand, other: Hand
    ) -> None:
        for number in range(20):
            session = f"s{number}"
            lease = await hand.take(await hand.put(max_lost=1), session=session)
            answer, reaped = await asyncio.gather(
                hand.exchange(settlement(lease, Outcome.COMPLETED), session=session),
                other.store.reap(sessions=[session]),
                return_exceptions=True,
            )
            assert not isinstance(reaped, BaseException)
            won = not isinstance(answer, BaseException) and answer.settled == [Settled.OK]
            assert await hand.state(lease.id) is (State.COMPLETED if won else State.DEAD_LETTER)
            assert (reaped.buried == ()) == won

    async def test_a_cancel_and_a_lease_do_not_both_win(self, hand: Hand, other: Hand) -> None:
        await hand.beat("w1")
        for _ in range(20):
            job_id = await hand.put()
            leased, answers = await asyncio.gather(
                hand.lease(1, ids=[job_id]), other.store.cancel(JobQuery(ids=(job_id,)))
            )
            job = await hand.job(job_id)
            if leased:
                assert (answers[0].answer, job.cancel_requested) == ("requested", True)
                await hand.settle(leased[0], Outcome.CANCELLED)
            else:
                assert (answers[0].answer, job.state) == ("cancelled", State.CANCELLED)

    async def test_a_unique_key_is_held_over_both_hands(self, hand: Hand, other: Hand) -> None:
        answers = await asyncio.gather(
            *(mine.store.submit([mine.spec(unique_key="k")]) for mine in [hand, other] * 5)
        )
        assert sum(answer.created for [answer] in answers) == 1
        assert len({answer.id for [answer] in answers}) == 1

    async def test_the_last_two_parents_release_their_child_once(
        self, hand: Hand, other: Hand
    ) -> None:
        for _ in range(20):
            parents = await hand.put_many(2, queue="parents")
            child = await hand.put(parents=tuple(parents))
            first = await hand.take(parents[0], session="w1")
            second = await other.take(parents[1], session="w2")
            await asyncio.gather(
                hand.settle(first, session="w1"), other.settle(second, session="w2")
            )
            assert await hand.state(child) is State.QUEUED
            await hand.finish(child)

    async def test_two_reapers_take_each_job_back_once(self, hand: Hand, other: Hand) -> None:
        jobs = await hand.put_many(40, max_lost=9)
        await hand.lease(40)
        reaped = await asyncio.gather(
            *(mine.store.reap(sessions=["w1"]) for mine in [hand, other] * 3)
        )
        taken = [job_id for one in reaped for job_id in one.requeued]
        assert sorted(taken) == sorted(jobs)
        assert {(await hand.job(job_id)).lost for job_id in jobs} == {1}

    async def test_two_requeues_bring_a_job_back_once(self, hand: Hand, other: Hand) -> None:
        job_id = await hand.put()
        await hand.finish(job_id)
        answers = await asyncio.gather(
            *(mine.store.requeue(JobQuery(ids=(job_id,))) for mine in (hand, other))
        )
        assert sorted(answer.answer for [answer] in answers) == ["refused", "requeued"]

    async def test_a_session_may_speak_through_either_hand(self, hand: Hand, other: Hand) -> None:
        lease = await hand.take(await hand.put(), session="w1")
        assert (await other.beat("w1", started=[lease])).lost == ()
        assert await other.settle(lease, session="w1") is Settled.OK
        await other.beat("w1", state=SessionState.LEFT)
        assert await hand.store.sessions() == []

    async def test_many_callers_at_once_lose_nothing(self, hand: Hand, other: Hand) -> None:
        """A storm of submitters and workers; every job ends once, none is left over."""
        total = 300

        async def submitter(mine: Hand) -> list[str]:
            return [job_id for _ in range(10) for job_id in await mine.put_many(total // 40)]

        async def worker(mine: Hand, session: str) -> int:
            await mine.beat(session)
            done = 0
            leased: list[Leased] = []
            for _ in range(10_000):
                told = [settlement(lease, Outcome.COMPLETED) for lease in leased]
                answer = await mine.exchange(*told, session=session, want=10)
                done += answer.settled.count(Settled.OK)
                leased = answer.leased
                if not leased and not submitting:
                    return done
            raise AssertionError("the workers do not come to an end")

        async def submit_all() -> list[str]:
            made = await asyncio.gather(*(submitter(mine) for mine in [hand, other] * 2))
            submitting.clear()
            return [job_id for part in made for job_id in part]

        submitting = [True]
        made, *done = await asyncio.gather(
            submit_all(),
            worker(hand, "w1"),
            worker(other, "w2"),
            worker(hand, "w3"),
            worker(other, "w4"),
        )
        assert sum(done) == len(made) == len(await hand.all_jobs(states=(State.COMPLETED,)))


class Keeping(StoreSuite):
    """What is there after a handle was closed."""

    async def test_closing_one_handle_leaves_the_data(self, hand: Hand) -> None:
        if self.capabilities.second_handle:
            async with self.open_second(hand.store, hand.clock) as second:
                job_id = await Hand(second, hand.clock).put()
            assert await hand.state(job_id) is State.QUEUED

    async def test_a_durable_store_is_opened_again_with_all_it_had(self, hand: Hand) -> None:
        """I5, I9: what was accepted is there, and reads as it did."""
        if not self.capabilities.durable:
            assert hand.store.info.durability == "none"
            return
        lease = await hand.take(await hand.put(timeout=60.0))
        await hand.beat("w1", started=[lease])
        ended = await hand.put(unique_key="k", tenant="acme", headers={"a": "b"})
        await hand.finish(ended, result=b'{"n": [1, 2]}')
        flow = await hand.put(parents=(lease.id,))
        await hand.store.set_queue("default", limit=7)
        before = [job.to_dict() for job in await hand.all_jobs()]
        counts = await hand.store.counts(window=3_600)
        await hand.store.__aexit__(None, None, None)
        try:
            async with self.open_second(hand.store, hand.clock) as again:
                late = Hand(again, hand.clock)
                assert [job.to_dict() for job in await late.all_jobs()] == before
                assert await again.counts(window=3_600) == counts
                assert (await again.queues())[0].limit == 7
                assert (await again.sessions())[0].busy == 1
                # The lease outlived the handle that gave it.
                assert await late.settle(lease) is Settled.OK
                assert await late.state(flow) is State.QUEUED
        finally:
            await hand.store.__aenter__()
