"""Calls that fail before the write, and calls whose answer is lost after it.

The store is wrapped in `stoker.testing.FaultyStore`; what is proved is the protocol's word: nothing
was done after `Unavailable`, and what is idempotent may be repeated after `OutcomeUnknown`.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from stoker.core.errors import OutcomeUnknown, Unavailable
from stoker.core.job import Outcome, WorkflowSpec
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.core.store import Store
from stoker.testing.clock import FakeClock
from stoker.testing.conformance.hand import TTL, Hand, held_job, session_spec, settlement
from stoker.testing.conformance.settling import line
from stoker.testing.conformance.suite import StoreSuite
from stoker.testing.faults import After, Before, Fault, FaultyStore

Call = Callable[[Store], Awaitable[Any]]


async def prepare_submit(hand: Hand) -> Call:
    """Two jobs, one with a key."""
    specs = [hand.spec(unique_key="k"), hand.spec()]
    return lambda store: store.submit(specs)


async def prepare_workflow(hand: Hand) -> Call:
    """A workflow of two jobs."""
    flow = WorkflowSpec(id="flow", name="flow")
    parent = hand.spec(workflow_id="flow")
    specs = [hand.spec(workflow_id="flow", parents=(parent.id,)), parent]
    return lambda store: store.submit(specs, workflow=flow)


async def prepare_lease(hand: Hand) -> Call:
    """Jobs to lease."""
    await hand.put_many(3)
    await hand.beat("w1")
    nonce = hand.clock.new_nonce()
    return lambda store: store.exchange("w1", [], queues={"default": 9}, want=2, nonce=nonce)


async def prepare_exchange(hand: Hand) -> Call:
    """A parent to settle, one that fails, and whatever becomes ready."""
    parent, failing = await hand.put_many(2)
    await hand.put(parents=(parent,))
    told = [
        settlement(await hand.take(parent), Outcome.COMPLETED, result=b"1", logs=(line(1),)),
        settlement(await hand.take(failing), Outcome.FAILED, retry_in=30.0),
    ]
    nonce = hand.clock.new_nonce()
    return lambda store: store.exchange("w1", told, queues={"default": 9}, want=2, nonce=nonce)


async def prepare_beat(hand: Hand) -> Call:
    """A job to report on, and one whose lease never arrived."""
    lease = await hand.take(await hand.put())
    await hand.take(await hand.put())
    hand.clock.advance(TTL / 3)
    await hand.beat("w1", held=[lease])
    hand.clock.advance(TTL / 3)
    told = held_job(lease, ran_for=1.0, progress=0.5, logs=(line(1), line(2)))
    return lambda store: store.beat(session_spec("w1"), [told], ttl=TTL)


async def prepare_cancel(hand: Hand) -> Call:
    """One job that waits, one that is held."""
    waiting, held = await hand.put_many(2)
    await hand.take(held)
    return lambda store: store.cancel(JobQuery(ids=(waiting, held)))


async def prepare_reap(hand: Hand) -> Call:
    """A session to take back from."""
    await hand.put_many(2)
    await hand.lease(2)
    return lambda store: store.reap(sessions=["w1"])


PREPARATIONS = [
    prepare_submit,
    prepare_workflow,
    prepare_lease,
    prepare_exchange,
    prepare_beat,
    prepare_cancel,
    prepare_reap,
]


async def snapshot(hand: Hand) -> dict[str, Any]:
    """Return all that can be seen of a store, without the moments of beats."""
    store = hand.store
    jobs = [job.id for job in await hand.all_jobs()]
    records = [record.to_dict() for record in await store.get(jobs) if record]
    sessions = [(s.id, s.state, s.busy) for s in await store.sessions(ended=True)]
    counts = await store.counts(window=3_600)
    return {
        "jobs": records,
        "sessions": sessions,
        "totals": dict(counts.totals),
        "workflows": await store.workflows(),
        "events": await hand.events(),
    }


class Faults(StoreSuite):
    """What a caller may rely on when a call fails."""

    @pytest.mark.parametrize("prepare", PREPARATIONS)
    async def test_a_call_that_failed_before_the_write_changed_nothing(
        self, hand: Hand, prepare: Callable[[Hand], Awaitable[Call]]
    ) -> None:
        call = await prepare(hand)
        faulty = FaultyStore(hand.store)
        faulty.rule = lambda verb: Before()  # noqa: ARG005 - all verbs alike
        before = await snapshot(hand)
        with pytest.raises(Unavailable):
            await call(faulty)
        assert await snapshot(hand) == before

    @pytest.mark.parametrize("prepare", PREPARATIONS)
    async def test_a_call_whose_answer_was_lost_may_be_repeated(
        self, hand: Hand, prepare: Callable[[Hand], Awaitable[Call]]
    ) -> None:
        call = await prepare(hand)
        faulty = FaultyStore(hand.store)
        faulty.rule = lambda verb: After()  # noqa: ARG005 - all verbs alike
        with pytest.raises(OutcomeUnknown):
            await call(faulty)
        after_one = await snapshot(hand)
        await call(hand.store)
        assert await snapshot(hand) == after_one

    async def test_the_repeated_call_gets_the_answer_that_was_lost(self, hand: Hand) -> None:
        call = await prepare_lease(hand)
        faulty = FaultyStore(hand.store)
        faulty.plan("exchange", After())
        with pytest.raises(OutcomeUnknown):
            await call(faulty)
        answer = await call(faulty)
        assert len(answer.leased) == 2
        assert {await hand.state(lease.id) for lease in answer.leased} == {State.ASSIGNED}

    async def test_a_worker_that_repeats_until_it_is_answered_runs_each_job_once(
        self, hand: Hand
    ) -> None:
        faulty = FaultyStore(hand.store)
        chance = FakeClock(seed=7)
        kinds: list[Fault] = [Before(), After(), None]
        faulty.rule = lambda verb: kinds[int(chance.random() * 3)]  # noqa: ARG005 - all alike
        specs = [hand.spec() for _ in range(40)]
        await _stubborn(lambda: faulty.submit(specs))
        await _stubborn(lambda: faulty.beat(session_spec("w1"), [], ttl=1e6))
        told: list[Any] = []
        ran: list[str] = []
        while len(ran) < len(specs) or told:
            nonce = hand.clock.new_nonce()
            call = partial(faulty.exchange, queues={"default": 99}, want=3, nonce=nonce)
            answer = await _stubborn(partial(call, "w1", told))
            assert "lease_lost" not in answer.settled
            ran += [lease.id for lease in answer.leased]
            told = [settlement(lease, Outcome.COMPLETED) for lease in answer.leased]
        assert sorted(ran) == sorted(spec.id for spec in specs)
        assert {job.attempt for job in await hand.all_jobs()} == {1}
        assert {job.state for job in await hand.all_jobs()} == {State.COMPLETED}


async def _stubborn(call: Callable[[], Awaitable[Any]]) -> Any:
    for _ in range(1_000):
        try:
            return await call()
        except (Unavailable, OutcomeUnknown):
            continue
    raise AssertionError("a thousand faults in a row")
