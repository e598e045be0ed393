"""The promises of `Store.submit`."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from stoker.core.job import JobSpec, Outcome, Priority, WorkflowSpec
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.core.retry import RetryPolicy
from stoker.testing.conformance.hand import Hand
from stoker.testing.conformance.suite import StoreSuite


class Submitting(StoreSuite):
    """How jobs come in."""

    async def test_a_job_that_is_due_is_queued_at_once(self, hand: Hand) -> None:
        [answer] = await hand.store.submit([hand.spec()])
        assert (answer.created, answer.state, answer.error) == (True, State.QUEUED, None)
        assert await hand.state(answer.id) is State.QUEUED

    async def test_a_job_that_is_due_later_is_scheduled(self, hand: Hand) -> None:
        job = await hand.job(await hand.put(delay=60))
        assert job.state is State.SCHEDULED
        assert job.run_at - job.submitted_at == timedelta(seconds=60)

    @pytest.mark.parametrize(
        ("delay", "ahead", "wait"), [(60, 10, 60), (10, 60, 60), (10, -60, 10)]
    )
    async def test_the_later_of_delay_and_run_at_holds(
        self, hand: Hand, delay: float, ahead: float, wait: float
    ) -> None:
        job = await hand.job(await hand.put(delay=delay, run_at=hand.clock.now() + ahead))
        assert job.run_at - job.submitted_at == timedelta(seconds=wait)

    async def test_a_run_at_in_the_past_means_now(self, hand: Hand) -> None:
        job = await hand.job(await hand.put(run_at=hand.clock.now() - 1_000))
        assert (job.state, job.run_at) == (State.QUEUED, job.submitted_at)

    async def test_a_record_shows_all_that_was_submitted(self, hand: Hand) -> None:
        retry = RetryPolicy(7, backoff="linear", base="3s", never=["KeyError"])
        given: dict[str, Any] = {
            "task": "video.encode",
            "payload": '{"name": "Zoë \\u0000 🎬", "n": [1, 2.5, null]}'.encode(),
            "queue": "video",
            "priority": Priority.HIGH,
            "retry": retry,
            "timeout": 12.5,
            "soft_timeout": 10.25,
            "expires": 90.0,
            "unique_key": "movie'; drop table jobs; --",
            "tenant": "acme",
            "max_lost": 5,
            "schedule": "nightly",
            "node": "encode",
            "headers": {"traceparent": "00-ab-cd-01"},
        }
        job = await hand.job(await hand.put(**given))
        assert (
            job.to_dict()
            | {
                "task": "video.encode",
                "queue": "video",
                "priority": "high",
                "state": "queued",
                "attempt": 0,
                "max_retries": 7,
                "timeout": 12.5,
                "soft_timeout": 10.25,
                "unique_key": "movie'; drop table jobs; --",
                "tenant": "acme",
                "schedule": "nightly",
                "node": "encode",
                "failed": 0,
                "lost": 0,
                "attempts": [],
                "logs": [],
                "worker": None,
                "result": None,
                "error": None,
                "cancel_requested": False,
            }
            == job.to_dict()
        )
        assert bytes(job.payload) == given["payload"]
        assert RetryPolicy.from_json(bytes(job.retry)) == retry
        assert job.expires_at == job.submitted_at + timedelta(seconds=90)

    async def test_times_are_those_of_the_clock(self, hand: Hand) -> None:
        job = await hand.job(await hand.put())
        assert job.submitted_at.timestamp() == pytest.approx(hand.clock.now(), abs=0.001)
        assert job.submitted_at.utcoffset() == timedelta(0)

    async def test_the_same_id_again_changes_nothing(self, hand: Hand) -> None:
        job_id = await hand.put(payload=b'{"n": 1}')
        before = (await hand.job(job_id)).to_dict()
        hand.clock.advance(5)
        other = hand.spec(id=job_id, task="else", queue="else", payload=b"{}", delay=9)
        [answer] = await hand.store.submit([other])
        assert (answer.id, answer.created, answer.state) == (job_id, False, State.QUEUED)
        assert (await hand.job(job_id)).to_dict() == before
        assert await hand.all_jobs(queues=("else",)) == []

    async def test_the_same_id_again_tells_the_present_state(self, hand: Hand) -> None:
        job_id = await hand.put()
        await hand.finish(job_id, result=b"1")
        [answer] = await hand.store.submit([hand.spec(id=job_id)])
        assert (answer.created, answer.state) == (False, State.COMPLETED)

    async def test_one_id_twice_in_one_call_makes_one_job(self, hand: Hand) -> None:
        spec = hand.spec()
        answers = await hand.store.submit([spec, spec])
        assert [answer.created for answer in answers] == [True, False]
        assert len(await hand.all_jobs()) == 1

    async def test_ids_need_not_be_of_this_library(self, hand: Hand) -> None:
        ids = ["1", "Ünïcode 🎬", "a'b\"c", "x" * 200]
        answers = await hand.store.submit([hand.spec(id=job_id) for job_id in ids])
        assert [(answer.id, answer.created) for answer in answers] == [(i, True) for i in ids]
        assert [record.id for record in await hand.store.get(ids) if record] == ids

    async def test_payloads_come_back_byte_for_byte(self, hand: Hand) -> None:
        payload = b'{"big":  "' + b"x" * 1_000_000 + b'"}'
        job_id = await hand.put(payload=payload)
        assert bytes((await hand.job(job_id)).payload) == payload
        assert (await hand.take(job_id)).payload == payload

    async def test_a_large_batch_is_answered_in_order(self, hand: Hand) -> None:
        specs = [hand.spec(delay=n % 2) for n in range(1_000)]
        answers = await hand.store.submit(specs)
        assert [answer.id for answer in answers] == [spec.id for spec in specs]
        states = [answer.state for answer in answers]
        assert states == [State.QUEUED, State.SCHEDULED] * 500

    async def test_an_empty_batch_is_answered_by_nothing(self, hand: Hand) -> None:
        assert await hand.store.submit([]) == []


class UniqueKeys(StoreSuite):
    """While a job with a key lives, no second one is made."""

    async def test_a_second_job_with_the_key_of_a_live_one_is_not_made(self, hand: Hand) -> None:
        first = await hand.put(unique_key="k")
        [answer] = await hand.store.submit([hand.spec(unique_key="k")])
        assert (answer.id, answer.created, answer.state) == (first, False, State.QUEUED)
        assert answer.error is None
        assert len(await hand.all_jobs()) == 1

    async def test_the_scope_of_a_key_is_the_tenant_and_the_task(self, hand: Hand) -> None:
        await hand.put(unique_key="k", tenant="a")
        others = [
            {"unique_key": "k", "tenant": "b"},
            {"unique_key": "k"},
            {"unique_key": "k", "tenant": "a", "task": "else"},
            {"unique_key": "other", "tenant": "a"},
            {"tenant": "a"},
        ]
        answers = await hand.store.submit([hand.spec(**given) for given in others])
        assert [answer.created for answer in answers] == [True] * len(others)

    async def test_jobs_without_a_tenant_share_one_scope(self, hand: Hand) -> None:
        first = await hand.put(unique_key="k", queue="one")
        [answer] = await hand.store.submit([hand.spec(unique_key="k", queue="two")])
        assert (answer.id, answer.created) == (first, False)

    async def test_one_key_twice_in_one_call_makes_one_job(self, hand: Hand) -> None:
        first, second = await hand.store.submit([hand.spec(unique_key="k") for _ in range(2)])
        assert (first.created, second.created, second.id) == (True, False, first.id)

    @pytest.mark.parametrize("state", [State.ASSIGNED, State.RUNNING, State.RETRY_QUEUED])
    async def test_a_key_is_held_as_long_as_the_job_lives(self, hand: Hand, state: State) -> None:
        first = await hand.put(unique_key="k")
        await hand.reach(first, state)
        [answer] = await hand.store.submit([hand.spec(unique_key="k")])
        assert (answer.id, answer.created, answer.state) == (first, False, state)

    @pytest.mark.parametrize("state", [State.COMPLETED, State.DEAD_LETTER, State.CANCELLED])
    async def test_a_key_is_free_when_the_job_ended(self, hand: Hand, state: State) -> None:
        await hand.reach(await hand.put(unique_key="k"), state)
        [answer] = await hand.store.submit([hand.spec(unique_key="k")])
        assert answer.created


class Parents(StoreSuite):
    """Jobs that wait for jobs."""

    async def test_a_job_with_a_live_parent_is_blocked(self, hand: Hand) -> None:
        parent = await hand.put()
        [answer] = await hand.store.submit([hand.spec(parents=(parent,))])
        job = await hand.job(answer.id)
        assert answer.state is State.BLOCKED
        assert (job.state, job.waiting_for, job.parents) == (State.BLOCKED, 1, (parent,))

    async def test_a_parent_that_completed_blocks_nobody(self, hand: Hand) -> None:
        parent = await hand.put()
        await hand.finish(parent)
        assert await hand.state(await hand.put(parents=(parent,))) is State.QUEUED

    @pytest.mark.parametrize("ended", [State.DEAD_LETTER, State.CANCELLED])
    async def test_a_failed_parent_cancels_the_child_at_once(
        self, hand: Hand, ended: State
    ) -> None:
        parent = await hand.put()
        await hand.reach(parent, ended)
        [answer] = await hand.store.submit([hand.spec(parents=(parent,))])
        job = await hand.job(answer.id)
        assert (answer.created, answer.state, job.state) == (True, State.CANCELLED, State.CANCELLED)
        assert job.error is not None
        assert job.error.code == "parent_failed"

    async def test_a_failed_parent_lets_the_child_run_that_wants_to(self, hand: Hand) -> None:
        parent = await hand.put()
        await hand.finish(parent, Outcome.FAILED)
        child = await hand.put(parents=(parent,), on_parent_failure="run")
        assert await hand.state(child) is State.QUEUED

    async def test_an_unknown_parent_refuses_that_job_alone(self, hand: Hand) -> None:
        specs = [hand.spec(), hand.spec(parents=("nobody",)), hand.spec()]
        first, bad, last = await hand.store.submit(specs)
        assert (first.created, bad.created, last.created) == (True, False, True)
        assert bad.error is not None
        assert (bad.id, bad.error.code) == (specs[1].id, "invalid_workflow")
        assert "nobody" in bad.error.message
        assert await hand.store.get([specs[1].id]) == [None]
        assert len(await hand.all_jobs()) == 2

    async def test_a_parent_may_stand_earlier_in_the_batch(self, hand: Hand) -> None:
        parent = hand.spec()
        child = hand.spec(parents=(parent.id,))
        answers = await hand.store.submit([parent, child])
        assert [answer.state for answer in answers] == [State.QUEUED, State.BLOCKED]

    async def test_a_parent_may_not_stand_later_in_a_plain_batch(self, hand: Hand) -> None:
        parent = hand.spec()
        child, made = await hand.store.submit([hand.spec(parents=(parent.id,)), parent])
        assert child.error is not None
        assert (child.created, made.created) == (False, True)

    async def test_a_child_of_a_refused_job_is_refused(self, hand: Hand) -> None:
        bad = hand.spec(parents=("nobody",))
        answers = await hand.store.submit([bad, hand.spec(parents=(bad.id,))])
        assert [answer.created for answer in answers] == [False, False]
        assert await hand.all_jobs() == []

    async def test_the_same_parent_named_twice_is_waited_for_once(self, hand: Hand) -> None:
        parent = await hand.put()
        child = await hand.put(parents=(parent, parent))
        assert (await hand.job(child)).waiting_for == 1
        await hand.finish(parent)
        assert await hand.state(child) is State.QUEUED


class WholeWorkflows(StoreSuite):
    """All of a workflow, or nothing of it."""

    async def _graph(self, hand: Hand) -> tuple[WorkflowSpec, list[JobSpec]]:
        flow = WorkflowSpec(id=hand.clock.new_id(), name="press")
        first = hand.spec(workflow_id=flow.id, node="first")
        last = hand.spec(workflow_id=flow.id, node="last", parents=(first.id,))
        # The child stands before its parent.
        return flow, [last, first]

    async def test_parents_may_stand_anywhere_in_a_workflow(self, hand: Hand) -> None:
        flow, specs = await self._graph(hand)
        answers = await hand.store.submit(specs, workflow=flow)
        assert [answer.state for answer in answers] == [State.BLOCKED, State.QUEUED]
        [info] = (await hand.store.workflows([flow.id]))[0]
        assert (info.name, info.total, info.state) == ("press", 2, "running")

    async def test_submitting_a_workflow_again_changes_nothing(self, hand: Hand) -> None:
        flow, specs = await self._graph(hand)
        await hand.store.submit(specs, workflow=flow)
        before = [job.to_dict() for job in await hand.all_jobs()]
        hand.clock.advance(1)
        again = await hand.store.submit(specs, workflow=flow)
        assert [(a.created, a.state) for a in again] == [
            (False, State.BLOCKED),
            (False, State.QUEUED),
        ]
        assert [job.to_dict() for job in await hand.all_jobs()] == before
        assert len((await hand.store.workflows())[0]) == 1

    async def _refused(self, hand: Hand, specs: list[JobSpec], flow: WorkflowSpec) -> list[str]:
        before = len(await hand.all_jobs())
        answers = await hand.store.submit(specs, workflow=flow)
        assert [answer.id for answer in answers] == [spec.id for spec in specs]
        assert [answer.created for answer in answers] == [False] * len(specs)
        assert len(await hand.all_jobs()) == before, "a refused workflow left jobs behind"
        assert (await hand.store.workflows([flow.id]))[0] == []
        codes = [answer.error.code for answer in answers if answer.error is not None]
        assert len(codes) == len(specs), f"each answer must carry an error: {answers}"
        return codes

    async def test_one_unknown_parent_refuses_the_whole_workflow(self, hand: Hand) -> None:
        flow, specs = await self._graph(hand)
        specs.append(hand.spec(workflow_id=flow.id, parents=("nobody",)))
        codes = await self._refused(hand, specs, flow)
        assert codes[-1] == "invalid_workflow"

    async def test_one_key_that_is_taken_refuses_the_whole_workflow(self, hand: Hand) -> None:
        await hand.put(unique_key="k")
        flow, specs = await self._graph(hand)
        specs.append(hand.spec(workflow_id=flow.id, unique_key="k"))
        codes = await self._refused(hand, specs, flow)
        assert codes[-1] == "duplicate_job"

    async def test_a_cycle_refuses_the_whole_workflow(self, hand: Hand) -> None:
        flow, [last, first] = await self._graph(hand)
        first = msgspec.structs.replace(first, parents=(last.id,))
        await self._refused(hand, [last, first], flow)

    async def test_a_failed_parent_outside_cancels_its_part_of_a_workflow(self, hand: Hand) -> None:
        outside = await hand.put()
        await hand.store.cancel(JobQuery(ids=(outside,)))
        flow, [last, first] = await self._graph(hand)
        first = msgspec.structs.replace(first, parents=(outside,))
        free = hand.spec(workflow_id=flow.id)
        answers = await hand.store.submit([last, first, free], workflow=flow)
        assert [answer.state for answer in answers] == [
            State.CANCELLED,
            State.CANCELLED,
            State.QUEUED,
        ]

    async def test_a_submit_at_once_from_many_callers_makes_each_job_once(self, hand: Hand) -> None:
        specs = [hand.spec() for _ in range(20)]
        answers = await asyncio.gather(*(hand.store.submit(specs) for _ in range(5)))
        made = [answer.id for batch in answers for answer in batch if answer.created]
        assert sorted(made) == sorted(spec.id for spec in specs)
