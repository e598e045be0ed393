"""Every state times every event (I1): what the table allows happens, what it forbids does not.

A job is brought into each state through the verbs alone, then each event is applied to it through
the verbs alone, whether it makes sense there or not. What is forbidden changes nothing at all.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stoker.core.job import HeldJob, Outcome, Settlement
from stoker.core.lifecycle import TABLE, Event, State
from stoker.core.records import JobQuery
from stoker.testing.conformance.hand import BOOM, Hand, session_spec
from stoker.testing.conformance.suite import StoreSuite

AGES = 1e7
HOUR = 3_600.0

TWINS = {Event.CANCEL: Event.REQUEST_CANCEL, Event.REQUEST_CANCEL: Event.CANCEL}
"""Two events that one verb causes: the store picks the one that the state allows."""


class Subject:
    """A job with a parent in another queue, and the ways to hit it."""

    def __init__(self, hand: Hand) -> None:
        """Make a subject that was not submitted yet."""
        self.hand = hand
        self.elder = self.parent = self.id = ""
        self.epoch, self.nonce = 1, "0" * 32
        """The fence of its lease; an invented one if it never had any."""

    async def bring(self, state: State, *, later: bool) -> None:
        """Submit parent and child, and bring the child into the state."""
        hand = self.hand
        await hand.beat("w1", ttl=AGES)
        await hand.beat("w2", ttl=AGES)
        delay = 2 * HOUR if later or state is State.SCHEDULED else 0.0
        self.elder = await hand.put(queue="elders")
        await hand.store.cancel(JobQuery(ids=(self.elder,)))
        self.parent = await hand.put(queue="parents")
        self.id = await hand.put(parents=(self.parent,), expires=100 * HOUR, delay=delay)
        if state is not State.BLOCKED:
            await self.end_parent()
        if state not in {State.BLOCKED, State.SCHEDULED}:
            hand.clock.advance(3 * HOUR)
            await hand.exchange()
            await self._reach(state)
        assert await hand.state(self.id) is state, "the test could not bring the job there"

    async def end_parent(self) -> None:
        """Complete the parent, bringing it back to life first if it has ended."""
        hand = self.hand
        if (await hand.job(self.parent)).finished_at is not None:
            await hand.store.requeue(JobQuery(ids=(self.parent,)))
        [lease] = await hand.lease(session="w2", queues={"parents": 1})
        await hand.settle(lease, session="w2")

    async def settle(self, outcome: Outcome, retry_in: float | None = None) -> None:
        """Settle with the subject's fence."""
        told = Settlement(
            id=self.id,
            epoch=self.epoch,
            nonce=self.nonce,
            outcome=outcome,
            retry_in=retry_in,
            error=BOOM,
        )
        await self.hand.exchange(told, session="w1")

    async def start(self) -> None:
        """Say in a beat that the subject runs."""
        held = HeldJob(id=self.id, epoch=self.epoch, nonce=self.nonce, ran_for=1.0)
        await self.hand.store.beat(session_spec("w1"), [held], ttl=AGES)

    async def _reach(self, state: State) -> None:
        if state is State.QUEUED:
            return
        if state is State.CANCELLED:
            await self.hand.store.cancel(JobQuery(ids=(self.id,)))
            return
        lease = await self.hand.take(self.id, session="w1")
        self.epoch, self.nonce = lease.epoch, lease.nonce
        if state is State.RUNNING:
            await self.start()
        elif state is State.RETRY_QUEUED:
            await self.settle(Outcome.FAILED, 2 * HOUR)
        elif state is State.COMPLETED:
            await self.settle(Outcome.COMPLETED)
        elif state is State.DEAD_LETTER:
            await self.settle(Outcome.FAILED)


async def _time_comes(subject: Subject) -> None:
    subject.hand.clock.advance(4 * HOUR)
    await subject.hand.exchange()


async def _somebody_leases(subject: Subject) -> None:
    await subject.hand.lease(10, session="w2", ids=[subject.id])


async def _session_dies(subject: Subject) -> None:
    await subject.hand.store.reap(sessions=["w1"])


async def _it_expires(subject: Subject) -> None:
    subject.hand.clock.advance(200 * HOUR)
    await subject.hand.store.reap()


async def _cancel(subject: Subject) -> None:
    await subject.hand.store.cancel(JobQuery(ids=(subject.id,)))


async def _requeue_now(subject: Subject) -> None:
    await subject.hand.store.requeue(JobQuery(ids=(subject.id,)))


async def _requeue_later(subject: Subject) -> None:
    ids = (subject.elder, subject.id)
    await subject.hand.store.requeue(JobQuery(ids=ids), interval=HOUR)


async def _requeue_with_parent(subject: Subject) -> None:
    await subject.hand.store.requeue(JobQuery(ids=(subject.parent, subject.id)))


def _settles(
    outcome: Outcome, retry_in: float | None = None
) -> Callable[[Subject], Awaitable[None]]:
    return lambda subject: subject.settle(outcome, retry_in)


HAPPENINGS: dict[Event, Callable[[Subject], Awaitable[Any]]] = {
    Event.UNBLOCK: Subject.end_parent,
    Event.DEFER: Subject.end_parent,
    Event.DUE: _time_comes,
    Event.LEASE: _somebody_leases,
    Event.START: Subject.start,
    Event.COMPLETE: _settles(Outcome.COMPLETED),
    Event.RETRY: _settles(Outcome.FAILED, 60.0),
    Event.SNOOZE: _settles(Outcome.SNOOZED, 60.0),
    Event.RELEASE: _settles(Outcome.RELEASED),
    Event.LOSE: _session_dies,
    Event.BURY: _settles(Outcome.FAILED),
    Event.EXPIRE: _it_expires,
    Event.CANCEL: _cancel,
    Event.REQUEST_CANCEL: _cancel,
    Event.ABORT: _settles(Outcome.CANCELLED),
    Event.REQUEUE: _requeue_now,
    Event.RESCHEDULE: _requeue_later,
    Event.REBLOCK: _requeue_with_parent,
}
"""How each event is brought about."""


class Transitions(StoreSuite):
    """The table, cell by cell."""

    @pytest.mark.parametrize("event", list(Event), ids=str)
    @pytest.mark.parametrize("state", list(State), ids=str)
    async def test_each_event_in_each_state_does_what_the_table_says(
        self, hand: Hand, state: State, event: Event
    ) -> None:
        subject = Subject(hand)
        await subject.bring(state, later=event is Event.DEFER)
        before = (await hand.job(subject.id)).to_dict()

        await HAPPENINGS[event](subject)

        after = (await hand.job(subject.id)).to_dict()
        expected = TABLE.get((state, event)) or TABLE.get((state, TWINS.get(event, event)))
        if expected is None:
            assert after == before, f"{event} is forbidden when {state}, and changed the job"
        else:
            assert after["state"] == expected, f"{event} when {state}"

    def test_every_event_of_the_table_is_brought_about(self) -> None:
        assert set(HAPPENINGS) == set(Event)
