"""The books equal a recount after anything that can happen to jobs."""

import random  # noqa: TID251 - seeded
from typing import Any

import pytest

from stoker.core.clock import Clock
from stoker.core.job import (
    ErrorInfo,
    HeldJob,
    JobSpec,
    Leased,
    Outcome,
    Priority,
    SessionSpec,
    SessionState,
    Settlement,
    WorkflowSpec,
)
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.core.retry import RetryPolicy
from stoker.stores.sqlite import SQLiteStore
from stoker.testing import FakeClock
from tests.unit.stores.sqlite.books import recount
from tests.unit.stores.sqlite.conftest import Rows

QUEUES = {"default": 9, "mail": 2, "slow": 3}


class Chaos:
    """Random commands on a store, repeatable by a seed."""

    def __init__(self, store: SQLiteStore, clock: FakeClock, seed: int) -> None:
        self.store = store
        self.clock = clock
        self.chance = random.Random(seed)
        self.held: dict[str, list[Leased]] = {"s1": [], "s2": []}
        self.ids: list[str] = []
        self.flows = 0

    async def step(self) -> None:
        """Do one random thing."""
        deeds = [
            self.submit, self.submit_workflow, self.exchange, self.exchange, self.exchange,
            self.beat, self.cancel, self.requeue, self.reap, self.purge, self.wander,
        ]  # fmt: skip
        await self.chance.choice(deeds)()

    def spec(self, job_id: str, **changes: Any) -> JobSpec:
        chance = self.chance
        return JobSpec(
            id=job_id,
            task=chance.choice(["one", "two"]),
            queue=chance.choice(list(QUEUES)),
            priority=chance.choice(list(Priority)),
            delay=chance.choice([0.0, 0.0, 0.0, 3.0]),
            expires=chance.choice([None, None, None, 8.0]),
            timeout=chance.choice([None, 4.0]),
            unique_key=chance.choice([None, None, "a", "b"]),
            retry=RetryPolicy(chance.choice([0, 1, 3]), base=1),
            payload=chance.choice([b"{}", b'{"x":"' + b"y" * 3_000 + b'"}']),
            on_parent_failure=chance.choice(["cancel", "run"]),
            **changes,
        )

    async def submit(self) -> None:
        ids = [self.clock.new_id() for _ in range(self.chance.randint(1, 5))]
        parents = self.some(2) if self.chance.random() < 0.4 else ()
        made = await self.store.submit([self.spec(each, parents=parents) for each in ids])
        self.ids += [answer.id for answer in made if answer.created]

    async def submit_workflow(self) -> None:
        self.flows += 1
        ids = [self.clock.new_id() for _ in range(self.chance.randint(2, 8))]
        jobs = [
            self.spec(each, parents=tuple(self.chance.sample(ids[:place], min(place, 2))))
            for place, each in enumerate(ids)
        ]
        self.chance.shuffle(jobs)
        flow = WorkflowSpec(id=f"flow-{self.flows}", name="flow")
        made = await self.store.submit(jobs, workflow=flow)
        self.ids += [answer.id for answer in made if answer.created]

    async def exchange(self) -> None:
        session = self.chance.choice(list(self.held))
        held = self.held[session]
        self.chance.shuffle(held)
        ends = [held.pop() for _ in range(self.chance.randint(0, len(held)))]
        told = [self.settlement(lease) for lease in ends]
        told += told[:1]
        got = await self.store.exchange(
            session,
            told,
            queues=QUEUES,
            want=self.chance.randint(0, 6),
            nonce=self.clock.new_nonce(),
            aged=self.chance.randint(0, 2),
            ids=self.some(2),
        )
        held += got.leased

    def settlement(self, lease: Leased) -> Settlement:
        chance = self.chance
        outcome = chance.choice([*Outcome, Outcome.COMPLETED, Outcome.COMPLETED])
        failed = outcome in {Outcome.FAILED, Outcome.CRASHED}
        return Settlement(
            lease.id,
            lease.epoch,
            chance.choice([lease.nonce] * 9 + ["wrong"]),
            outcome,
            result=b"1",
            error=ErrorInfo("task_error", "no") if failed else None,
            retry_in=chance.choice([None, 0.0, 2.0]),
            ran_for=chance.choice([None, 0.5]),
            progress=chance.choice([None, 0.5]),
        )

    async def beat(self) -> None:
        session = self.chance.choice(list(self.held))
        held = [
            HeldJob(x.id, x.epoch, x.nonce, ran_for=self.chance.choice([None, 1.0]))
            for x in self.held[session]
            if self.chance.random() < 0.9
        ]
        state = self.chance.choice([SessionState.ALIVE] * 9 + [SessionState.LEFT])
        reply = await self.store.beat(
            SessionSpec(id=session, name=session, state=state), held, ttl=6.0
        )
        if not reply.alive or state is SessionState.LEFT:
            self.held.pop(session)
            self.held[self.clock.new_id()] = []
            for each in self.held:
                await self.store.beat(SessionSpec(id=each, name=each), [], ttl=6.0)

    async def cancel(self) -> None:
        await self.store.cancel(JobQuery(ids=self.some(3)))

    async def requeue(self) -> None:
        await self.store.requeue(JobQuery(ids=self.some(3)), downstream=self.chance.random() < 0.5)

    async def reap(self) -> None:
        await self.store.reap(sessions=self.some_session(), grace=1.0, limit=5)
        for each in list(self.held):
            if not (await self.store.beat(SessionSpec(id=each, name=each), [], ttl=6.0)).alive:
                self.held.pop(each)
                self.held[self.clock.new_id()] = []
        for each in self.held:
            await self.store.beat(SessionSpec(id=each, name=each), [], ttl=6.0)

    async def purge(self) -> None:
        state = self.chance.choice(list(State))
        await self.store.purge(JobQuery(states=(state,)), older_than=2.0, limit=2)

    async def wander(self) -> None:
        self.clock.advance(self.chance.choice([0.1, 1.0, 3.0, 70.0]))

    def some(self, most: int) -> tuple[str, ...]:
        count = min(len(self.ids), self.chance.randint(1, most))
        return tuple(self.chance.sample(self.ids, count))

    def some_session(self) -> list[str]:
        return self.chance.sample(list(self.held), self.chance.choice([0, 0, 0, 1]))


@pytest.fixture(params=range(8))
def seed(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


async def test_the_books_equal_a_recount_whatever_happens(
    store: SQLiteStore, fake_clock: FakeClock, rows: Rows, seed: int
) -> None:
    chaos = Chaos(store, fake_clock, seed)
    for session in chaos.held:
        await store.beat(SessionSpec(id=session, name=session), [], ttl=6.0)
    for _ in range(60):
        await chaos.step()
        await chaos.step()
        assert recount(rows, purged=True) == []


async def test_the_books_of_all_time_equal_a_recount_of_all_attempts(
    store: SQLiteStore, fake_clock: FakeClock, rows: Rows, seed: int
) -> None:
    chaos = Chaos(store, fake_clock, seed)
    for session in chaos.held:
        await store.beat(SessionSpec(id=session, name=session), [], ttl=6.0)
    deeds = [chaos.submit, chaos.exchange, chaos.exchange, chaos.reap, chaos.requeue, chaos.wander]
    for _ in range(10):
        for deed in deeds:
            await deed()
    assert recount(rows) == []


async def test_running_jobs_are_told_apart_from_assigned_ones(
    store: SQLiteStore, fake_clock: Clock
) -> None:
    await store.beat(SessionSpec(id="s", name="w"), [], ttl=60)
    flow = WorkflowSpec(id="f", name="flow")
    await store.submit([JobSpec(id=each, task="work") for each in "abc"], workflow=flow)
    got = await store.exchange("s", [], queues={"default": 9}, want=3, nonce="n")
    held = [HeldJob(x.id, x.epoch, x.nonce, ran_for=None) for x in got.leased]
    held[0] = HeldJob(held[0].id, held[0].epoch, held[0].nonce, ran_for=1.0)
    await store.beat(SessionSpec(id="s", name="w"), held, ttl=60)
    expected = {State.ASSIGNED: 2, State.RUNNING: 1}
    assert {t.state: t.count for t in (await store.counts()).tallies} == expected
    [queue] = await store.queues()
    assert queue.counts == expected
    [workflow], _ = await store.workflows()
    assert (workflow.counts, workflow.total) == (expected, 3)
    held = [HeldJob(x.id, x.epoch, x.nonce, ran_for=1.0) for x in got.leased]
    await store.beat(SessionSpec(id="s", name="w"), held, ttl=60)
    [workflow], _ = await store.workflows()
    assert workflow.counts == {State.RUNNING: 3}


async def test_activity_older_than_a_day_is_forgotten_and_totals_are_not(
    store: SQLiteStore, fake_clock: FakeClock, rows: Rows
) -> None:
    await store.submit([JobSpec(id="a", task="work")])
    fake_clock.advance(86_400 + 120)
    await store.reap()
    assert rows("SELECT count(*) FROM activity") == [(0,)]
    assert (await store.counts(window=86_400)).totals == {"submitted": 1}
