"""The promises of `Store.exchange`, as far as it settles."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from stoker.core.job import ErrorInfo, Leased, LogLine, Outcome, Settled, Settlement
from stoker.core.lifecycle import State
from stoker.core.records import MAX_LOGS, JobQuery
from stoker.core.retry import RetryPolicy
from stoker.testing.conformance.hand import BOOM, TTL, Hand, held_job, session_spec, settlement
from stoker.testing.conformance.suite import StoreSuite

STARS = datetime(2030, 1, 1, tzinfo=UTC)


def line(number: int, attempt: int = 1) -> LogLine:
    """Return a log line."""
    return LogLine(STARS + timedelta(milliseconds=number), f"line {number}", attempt)


class Outcomes(StoreSuite):
    """Where each end of an attempt leads."""

    async def test_a_completed_job_keeps_its_result(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        hand.clock.advance(2)
        assert await hand.settle(lease, result=b'{"n": [1]}', ran_for=1.5) is Settled.OK
        job = await hand.job(lease.id)
        assert (job.state, job.attempt, job.failed, job.error) == (State.COMPLETED, 1, 0, None)
        assert bytes(job.result or b"") == b'{"n": [1]}'
        assert job.finished_at is not None
        assert job.finished_at.timestamp() == pytest.approx(hand.clock.now(), abs=0.001)
        [attempt] = job.attempts
        assert (attempt.outcome, attempt.error) == ("completed", None)
        assert attempt.finished_at == job.finished_at
        assert attempt.started_at == job.finished_at - timedelta(seconds=1.5)
        assert job.started_at == attempt.started_at

    async def test_a_completed_job_may_have_no_result(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        await hand.settle(lease)
        job = await hand.job(lease.id)
        assert (job.state, job.result) == (State.COMPLETED, None)

    async def test_a_failed_job_is_repeated_when_its_worker_says_so(self, hand: Hand) -> None:
        job_id = await hand.put()
        await hand.finish(job_id, Outcome.FAILED, retry_in=40.0)
        job = await hand.job(job_id)
        assert (job.state, job.attempt, job.failed) == (State.RETRY_QUEUED, 1, 1)
        assert job.run_at.timestamp() == pytest.approx(hand.clock.now() + 40, abs=0.001)
        assert job.error == BOOM
        assert [(a.outcome, a.error) for a in job.attempts] == [("failed", BOOM)]

    async def test_a_failed_job_without_another_attempt_is_a_dead_letter(self, hand: Hand) -> None:
        job_id = await hand.put()
        await hand.finish(job_id, Outcome.FAILED, retry_in=None)
        job = await hand.job(job_id)
        assert (job.state, job.failed, job.error) == (State.DEAD_LETTER, 1, BOOM)
        assert job.finished_at is not None

    @pytest.mark.parametrize("retries", [0, 1, 2])
    async def test_more_failures_than_retries_make_a_dead_letter(
        self, hand: Hand, retries: int
    ) -> None:
        job_id = await hand.put(retry=RetryPolicy(retries))
        for failures in range(retries + 1):
            assert await hand.state(job_id) is State.QUEUED, f"after {failures} failures"
            await hand.finish(job_id, Outcome.FAILED, retry_in=1.0)
            hand.clock.advance(2)
            await hand.exchange()
        assert await hand.state(job_id) is State.DEAD_LETTER

    async def test_a_retry_at_once_is_leased_by_a_later_call(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        told = settlement(lease, Outcome.FAILED, retry_in=0.0)
        answer = await hand.exchange(told, want=5)
        assert (answer.settled, answer.leased) == ([Settled.OK], [])
        assert await hand.state(lease.id) is State.RETRY_QUEUED
        assert [again.id for again in await hand.lease(5)] == [lease.id]

    async def test_a_crashed_job_is_queued_again_and_counted_apart(self, hand: Hand) -> None:
        job_id = await hand.put()
        await hand.finish(job_id, Outcome.CRASHED)
        job = await hand.job(job_id)
        assert (job.state, job.attempt, job.failed, job.lost) == (State.QUEUED, 1, 0, 1)
        assert job.error == BOOM
        lease = await hand.take(job_id)
        assert (lease.attempt, lease.lost, lease.failed) == (2, 1, 0)

    @pytest.mark.parametrize("most", [1, 2, 3])
    async def test_a_job_that_crashed_too_often_is_a_dead_letter(
        self, hand: Hand, most: int
    ) -> None:
        job_id = await hand.put(max_lost=most, retry=RetryPolicy(0))
        for _ in range(most):
            assert await hand.state(job_id) is State.QUEUED
            await hand.finish(job_id, Outcome.CRASHED)
        job = await hand.job(job_id)
        assert (job.state, job.lost, job.error) == (State.DEAD_LETTER, most, BOOM)

    async def test_a_snoozed_job_is_put_off_uncounted(self, hand: Hand) -> None:
        job_id = await hand.put(retry=RetryPolicy(0))
        await hand.finish(job_id, Outcome.SNOOZED, retry_in=90.0)
        job = await hand.job(job_id)
        assert (job.state, job.attempt, job.failed, job.lost) == (State.SCHEDULED, 0, 0, 0)
        assert job.run_at.timestamp() == pytest.approx(hand.clock.now() + 90, abs=0.001)
        assert [attempt.outcome for attempt in job.attempts] == ["snoozed"]

    async def test_a_released_job_is_queued_again_uncounted(self, hand: Hand) -> None:
        job_id = await hand.put(retry=RetryPolicy(0))
        await hand.finish(job_id, Outcome.RELEASED)
        job = await hand.job(job_id)
        assert (job.state, job.attempt, job.failed, job.lost) == (State.QUEUED, 0, 0, 0)
        assert [attempt.outcome for attempt in job.attempts] == ["released"]

    async def test_a_job_that_obeyed_a_cancel_is_cancelled(self, hand: Hand) -> None:
        job_id = await hand.put()
        await hand.finish(job_id, Outcome.CANCELLED)
        job = await hand.job(job_id)
        assert (job.state, [a.outcome for a in job.attempts]) == (State.CANCELLED, ["cancelled"])

    @pytest.mark.parametrize(
        "outcome", [Outcome.FAILED, Outcome.CRASHED, Outcome.SNOOZED, Outcome.RELEASED]
    )
    async def test_a_job_that_is_called_off_does_not_live_on(
        self, hand: Hand, outcome: Outcome
    ) -> None:
        lease = await hand.take(await hand.put())
        await hand.store.cancel(JobQuery(ids=(lease.id,)))
        assert await hand.settle(lease, outcome, retry_in=5.0) is Settled.OK
        job = await hand.job(lease.id)
        assert (job.state, job.attempts[0].outcome) == (State.CANCELLED, outcome.value)

    async def test_a_job_that_completes_before_it_obeys_a_cancel_is_completed(
        self, hand: Hand
    ) -> None:
        lease = await hand.take(await hand.put())
        await hand.store.cancel(JobQuery(ids=(lease.id,)))
        await hand.settle(lease, result=b"1")
        assert await hand.state(lease.id) is State.COMPLETED

    async def test_the_error_of_a_job_is_that_of_its_last_failed_attempt(self, hand: Hand) -> None:
        job_id = await hand.put()
        errors = [ErrorInfo(code="task_error", message=f"no {number}") for number in (1, 2)]
        for error in errors:
            await hand.finish(job_id, Outcome.FAILED, retry_in=1.0, error=error)
            hand.clock.advance(2)
            await hand.exchange()
        job = await hand.job(job_id)
        assert job.error == errors[-1]
        assert [attempt.error for attempt in job.attempts] == errors

    async def test_what_a_settlement_reports_is_kept(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        logs = (line(1), line(2))
        await hand.settle(lease, progress=0.75, note="almost", logs=logs)
        job = await hand.job(lease.id)
        assert (job.progress, job.progress_note, job.logs) == (0.75, "almost", list(logs))

    async def test_only_the_newest_log_lines_are_kept(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        early = held_job(lease, logs=tuple(line(n) for n in range(10)))
        await hand.store.beat(session_spec("w1"), [early], ttl=TTL)
        await hand.settle(lease, logs=tuple(line(n) for n in range(10, MAX_LOGS + 5)))
        assert (await hand.job(lease.id)).logs == [line(n) for n in range(5, MAX_LOGS + 5)]


class Fences(StoreSuite):
    """Only whoever shows both halves of the fence may settle (I3, I4)."""

    async def _unchanged(self, hand: Hand, told: Settlement, answer: Settled) -> None:
        before = [job.to_dict() for job in await hand.all_jobs()]
        assert (await hand.exchange(told)).settled == [answer]
        assert [job.to_dict() for job in await hand.all_jobs()] == before

    @pytest.mark.parametrize(
        "wrong", [{"nonce": "f" * 32}, {"epoch": 0}, {"epoch": 2}, {"id": "nobody"}]
    )
    async def test_a_wrong_fence_settles_nothing(self, hand: Hand, wrong: dict[str, Any]) -> None:
        lease = await hand.take(await hand.put())
        told = msgspec.structs.replace(settlement(lease, Outcome.COMPLETED), **wrong)
        await self._unchanged(hand, told, Settled.LEASE_LOST)

    async def test_an_old_fence_settles_nothing(self, hand: Hand) -> None:
        job_id = await hand.put()
        old = await hand.take(job_id, session="w1")
        await hand.store.reap(sessions=["w1"])
        new = await hand.take(job_id, session="w2")
        zombie = Hand(hand.store, hand.clock)
        await zombie.beat("w3")
        told = settlement(old, Outcome.COMPLETED, result=b'"of the zombie"')
        assert (await zombie.exchange(told, session="w3")).settled == [Settled.LEASE_LOST]
        assert await hand.settle(new, session="w2", result=b'"of the heir"') is Settled.OK
        assert bytes((await hand.job(job_id)).result or b"") == b'"of the heir"'

    async def test_an_old_epoch_with_the_present_nonce_settles_nothing(self, hand: Hand) -> None:
        job_id = await hand.put()
        await hand.finish(job_id, Outcome.RELEASED)
        lease = await hand.take(job_id)
        told = msgspec.structs.replace(settlement(lease, Outcome.COMPLETED), epoch=1)
        await self._unchanged(hand, told, Settled.LEASE_LOST)

    @pytest.mark.parametrize("outcome", list(Outcome), ids=str)
    async def test_the_same_settlement_again_is_repeated(
        self, hand: Hand, outcome: Outcome
    ) -> None:
        lease = await hand.take(await hand.put())
        told = settlement(lease, outcome, retry_in=5.0)
        assert (await hand.exchange(told)).settled == [Settled.OK]
        hand.clock.advance(1)
        await self._unchanged(hand, told, Settled.REPEATED)

    async def test_the_same_settlement_is_repeated_after_the_job_moved_on(self, hand: Hand) -> None:
        job_id = await hand.put()
        told = settlement(await hand.take(job_id), Outcome.FAILED, retry_in=1.0)
        await hand.exchange(told)
        hand.clock.advance(2)
        await hand.exchange()
        await hand.take(job_id, session="w2")
        await self._unchanged(hand, told, Settled.REPEATED)

    async def test_another_outcome_for_an_ended_attempt_is_not_obeyed(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        await hand.settle(lease, result=b"1")
        before = (await hand.job(lease.id)).to_dict()
        assert await hand.settle(lease, Outcome.FAILED) is not Settled.OK
        assert (await hand.job(lease.id)).to_dict() == before

    async def test_a_settlement_twice_in_one_call_is_obeyed_once(self, hand: Hand) -> None:
        told = settlement(await hand.take(await hand.put()), Outcome.COMPLETED)
        assert (await hand.exchange(told, told)).settled == [Settled.OK, Settled.REPEATED]

    async def test_a_repeated_settlement_is_counted_once(self, hand: Hand) -> None:
        told = settlement(await hand.take(await hand.put()), Outcome.COMPLETED)
        for _ in range(3):
            await hand.exchange(told)
        assert (await hand.store.counts()).totals["completed"] == 1

    async def test_a_wrong_settlement_harms_no_neighbour(self, hand: Hand) -> None:
        leases = [await hand.take(await hand.put()) for _ in range(3)]
        wrong = msgspec.structs.replace(settlement(leases[1], Outcome.COMPLETED), nonce="0" * 32)
        told = [settlement(x, Outcome.COMPLETED) for x in leases]
        answer = await hand.exchange(told[0], wrong, told[2])
        assert answer.settled == [Settled.OK, Settled.LEASE_LOST, Settled.OK]
        states = await hand.states([lease.id for lease in leases])
        assert states == [State.COMPLETED, State.ASSIGNED, State.COMPLETED]

    async def test_a_late_settlement_is_obeyed_while_nobody_took_the_job_back(
        self, hand: Hand
    ) -> None:
        lease = await hand.take(await hand.put(timeout=5.0))
        hand.clock.advance(TTL * 10)
        assert await hand.settle(lease) is Settled.OK
        assert await hand.state(lease.id) is State.COMPLETED

    async def test_a_settlement_is_refused_once_the_job_was_taken_back(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put(timeout=5.0))
        hand.clock.advance(20)
        await hand.beat("w1", held=[lease])
        await hand.store.reap()
        assert await hand.settle(lease) is Settled.LEASE_LOST
        assert await hand.state(lease.id) is State.RETRY_QUEUED

    async def test_a_running_job_is_settled_like_an_assigned_one(self, hand: Hand) -> None:
        lease = await hand.take(await hand.put())
        await hand.beat(started=[lease])
        assert await hand.settle(lease) is Settled.OK
        assert await hand.state(lease.id) is State.COMPLETED

    async def test_fences_are_never_issued_twice(self, hand: Hand) -> None:
        job_id = await hand.put(max_lost=99)
        fences: list[Leased] = []
        for _ in range(6):
            fences.append(await hand.take(job_id))
            await hand.settle(fences[-1], Outcome.CRASHED)
            await hand.store.cancel(JobQuery(ids=(job_id,)))
            await hand.store.requeue(JobQuery(ids=(job_id,)))
        assert [lease.epoch for lease in fences] == [1, 2, 3, 4, 5, 6]
