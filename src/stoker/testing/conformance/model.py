"""Random stories, told to the store under test and to the reference store, step by step.

Both live by clocks that tell the same time. After each step they must have given the same answer,
and must show the same jobs, counts, queues, sessions and workflows. What hypothesis finds it
shrinks to the shortest story that still tells the two apart. ``pytest --model-examples 1000`` tells
more of them, and other ones each time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from stoker.connect import open_store
from stoker.core.errors import StokerError
from stoker.core.job import (
    BeatReply,
    Exchanged,
    JobSpec,
    Leased,
    Outcome,
    Priority,
    SessionState,
    Submitted,
    WorkflowSpec,
)
from stoker.core.lifecycle import LIVE, TERMINAL, State
from stoker.core.records import Answer, JobQuery, Reaped
from stoker.core.retry import RetryPolicy
from stoker.core.store import Store
from stoker.testing.clock import FakeClock
from stoker.testing.conformance.hand import TTL, held_job, session_spec, settlement
from stoker.testing.conformance.hygiene import check_hygiene
from stoker.testing.conformance.suite import StoreSuite

EXAMPLES = 40
STEPS = 40
MOMENT = 1 / 64
"""Added to each advance, so that no moment ever falls exactly on a limit: what happens there is
nobody's promise. It is exact in binary."""

SESSIONS = st.sampled_from(["w1", "w2", "w3"])
QUEUES = st.sampled_from(["a", "b"])
NUMBERS = st.integers(0, 999)
"""Taken modulo the number of known jobs: which one is meant."""
FEW = st.lists(NUMBERS, max_size=2)
JOBS = st.fixed_dictionaries(
    {
        "queue": QUEUES,
        "priority": st.sampled_from(list(Priority)),
        "delay": st.sampled_from([0.0, 0.0, 0.0, 10.0, 100.0]),
        "unique_key": st.sampled_from([None, None, "k"]),
        "timeout": st.sampled_from([None, 15.0]),
        "max_lost": st.sampled_from([1, 2]),
        "on_parent_failure": st.sampled_from(["cancel", "run"]),
        "parents": FEW,
    }
)
ENDS = st.lists(st.tuples(NUMBERS, st.sampled_from(list(Outcome)), st.booleans()), max_size=3)
GRAPHS = st.lists(st.lists(st.integers(0, 3), max_size=2), min_size=1, max_size=4)
TIMES = st.sampled_from([0, 1, 4, 10, 16, 40, 200])
STATES = st.sets(st.sampled_from(sorted(TERMINAL)), max_size=2)


class Story(RuleBasedStateMachine):
    """One story. The first store is the one under test, the second the reference."""

    suite: ClassVar[StoreSuite]

    def __init__(self) -> None:
        """Open both stores, empty."""
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.stack = AsyncExitStack()
        self.clocks = [FakeClock(), FakeClock()]
        self.jobs: list[str] = []
        self.flows: list[str] = []
        self.held: dict[str, dict[str, Leased]] = {"w1": {}, "w2": {}, "w3": {}}
        self.last: dict[str, Callable[[Store], Awaitable[Any]]] = {}
        self.names = 0

        async def open_both() -> list[Store]:
            first = await self.stack.enter_async_context(self.suite.open_store(self.clocks[0]))
            reference = open_store("memory://", clock=self.clocks[1])
            return [first, await self.stack.enter_async_context(reference)]

        self.stores = self.runner.run(open_both())

    def teardown(self) -> None:
        """Look at both once more, and close them."""
        try:
            for store in self.stores:
                self.runner.run(check_hygiene(store))
        finally:
            self.runner.run(self.stack.aclose())
            self.runner.close()

    @rule(specs=st.lists(JOBS, min_size=1, max_size=3))
    def submit(self, specs: list[dict[str, Any]]) -> None:
        """Submit jobs, some with parents, known or from the same batch."""
        batch: list[JobSpec] = []
        for spec in specs:
            job_id = self._name("job")
            parents = self._known(spec["parents"])
            batch.append(_spec(job_id, **(spec | {"parents": parents})))
            self.jobs.append(job_id)
        self._tell(lambda store: store.submit(batch))

    @rule(number=NUMBERS, queue=QUEUES)
    def submit_again(self, number: int, queue: str) -> None:
        """Submit a known id, as something else."""
        for job_id in self._known([number]):
            self._tell(partial(_submit_one, spec=_spec(job_id, queue=queue)))

    @rule(graph=GRAPHS, policy=st.sampled_from(["cancel", "run"]), queue=QUEUES)
    def submit_workflow(self, graph: list[list[int]], policy: str, queue: str) -> None:
        """Submit a small graph; a node names nodes by number, now and then in a circle."""
        flow = self._name("flow")
        ids = [self._name("node") for _ in graph]
        batch = [
            _spec(
                ids[number],
                queue=queue,
                workflow_id=flow,
                node=f"n{number}",
                on_parent_failure=policy,
                parents=tuple(dict.fromkeys(ids[p] for p in parents if p < len(ids))),
            )
            for number, parents in enumerate(graph)
        ]
        self.jobs += ids
        self.flows.append(flow)
        workflow = WorkflowSpec(id=flow, name="flow")
        self._tell(lambda store: store.submit(batch, workflow=workflow))

    @rule(session=SESSIONS, started=st.booleans(), forget=st.booleans(), drain=st.booleans())
    def beat(self, *, session: str, started: bool, forget: bool, drain: bool) -> None:
        """Beat, naming all that is held, or forgetting one of it."""
        leases = list(self.held[session].values())[1 if forget else 0 :]
        ran_for = 1.0 if started else None
        held = [held_job(lease, ran_for=ran_for, progress=0.5) for lease in leases]
        state = SessionState.DRAINING if drain else SessionState.ALIVE
        self._tell(lambda store: store.beat(session_spec(session, state=state), held, ttl=TTL))

    @rule(session=SESSIONS)
    def leave(self, session: str) -> None:
        """Say goodbye; the next life of this worker has another id in practice, here the same."""
        spec = session_spec(session, state=SessionState.LEFT)
        self._tell(lambda store: store.beat(spec, [], ttl=TTL))

    @rule(
        session=SESSIONS,
        ends=ENDS,
        caps=st.tuples(st.integers(0, 3), st.integers(0, 3)),
        want=st.integers(0, 4),
        aged=st.integers(0, 1),
        rung=FEW,
    )
    def exchange(
        self,
        *,
        session: str,
        ends: list[tuple[int, Outcome, bool]],
        caps: tuple[int, int],
        want: int,
        aged: int,
        rung: list[int],
    ) -> None:
        """Settle some of what is held, or was, and lease."""
        leases = list(self.held[session].values())
        told = [
            settlement(leases[n % len(leases)], end, retry_in=5.0 if again else None, result=b"1")
            for n, end, again in ends
            if leases
        ]
        call = partial(
            _exchange,
            session=session,
            told=told,
            queues={"b": caps[0], "a": caps[1]},
            want=want,
            nonce=self._name("nonce"),
            aged=aged,
            ids=self._known(rung),
        )
        self.last[session] = call
        self._learn(session, self._tell(call))

    @rule(session=SESSIONS)
    def exchange_again(self, session: str) -> None:
        """Repeat the last exchange of a session, as if its answer had been lost."""
        if session in self.last:
            self._learn(session, self._tell(self.last[session]))

    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=3))
    def cancel(self, numbers: list[int]) -> None:
        """Call jobs off by id."""
        query = JobQuery(ids=(*self._known(numbers), "nobody"))
        self._tell(lambda store: store.cancel(query))

    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=3), downstream=st.booleans())
    def requeue(self, *, numbers: list[int], downstream: bool) -> None:
        """Bring jobs back by id."""
        query = JobQuery(ids=(*self._known(numbers), "nobody"))
        self._tell(lambda store: store.requeue(query, downstream=downstream))

    @rule(number=NUMBERS, verb=st.sampled_from(["cancel", "requeue"]))
    def change_workflow(self, number: int, verb: str) -> None:
        """Call a whole workflow off, or bring it back."""
        if self.flows:
            query = JobQuery(workflow_id=self.flows[number % len(self.flows)])
            self._tell(lambda store: getattr(store, verb)(query))

    @rule(dead=st.sets(SESSIONS, max_size=1), grace=st.sampled_from([0.0, 20.0]))
    def reap(self, dead: set[str], grace: float) -> None:
        """Take back what is lost, and promote what is due."""
        self._tell(lambda store: store.reap(sessions=sorted(dead), grace=grace))

    @rule(states=STATES, keep=st.integers(0, 2), old=st.sampled_from([0.5, 20.5]))
    def purge(self, states: set[State], keep: int, old: float) -> None:
        """Delete ended jobs."""
        query = JobQuery(states=tuple(sorted(states)))
        self._tell(lambda store: store.purge(query, keep=keep, older_than=old))

    @rule(number=NUMBERS)
    def purge_one(self, number: int) -> None:
        """Delete one job by id, whatever its state."""
        query = JobQuery(ids=(*self._known([number]), "nobody"))
        self._tell(lambda store: store.purge(query))

    @rule(queue=QUEUES, paused=st.sampled_from([None, True, False, False]), limit=st.integers(0, 3))
    def set_queue(self, *, queue: str, paused: bool | None, limit: int) -> None:
        """Pause, resume or limit a queue."""
        self._tell(lambda store: store.set_queue(queue, paused=paused, limit=limit))

    @rule(seconds=TIMES)
    def advance(self, seconds: int) -> None:
        """Let time pass."""
        for clock in self.clocks:
            clock.advance(seconds + MOMENT)

    def _name(self, kind: str) -> str:
        self.names += 1
        return f"{kind}-{self.names:04}"

    def _known(self, numbers: Sequence[int]) -> tuple[str, ...]:
        count = len(self.jobs)
        return tuple(dict.fromkeys(self.jobs[n % count] for n in numbers)) if count else ()

    def _learn(self, session: str, answer: Any) -> None:
        if isinstance(answer, Exchanged):
            self.held[session] |= {lease.id: lease for lease in answer.leased}

    def _tell(self, call: Callable[[Store], Awaitable[Any]]) -> Any:
        """Tell both stores the same; return what the store under test answered."""
        answers = [self.runner.run(_answer(call, store)) for store in self.stores]
        ours, theirs = [_comparable(answer) for answer in answers]
        assert ours == theirs, "the answer differs from that of the reference"
        ours, theirs = [self.runner.run(_view(store, self.jobs)) for store in self.stores]
        for part, shown in ours.items():
            assert shown == theirs[part], f"{part} differ from those of the reference"
        return answers[0]


def _spec(job_id: str, **changes: Any) -> JobSpec:
    retry = RetryPolicy(1, backoff="fixed", base=10, jitter=False)
    return JobSpec(id=job_id, task="work", retry=retry, **changes)


async def _submit_one(store: Store, *, spec: JobSpec) -> Any:
    return await store.submit([spec])


async def _exchange(store: Store, *, session: str, told: Any, **how: Any) -> Any:
    return await store.exchange(session, told, **how)


async def _answer(call: Callable[[Store], Awaitable[Any]], store: Store) -> Any:
    try:
        return await call(store)
    except StokerError as error:
        return type(error)


def _comparable(answer: Any) -> Any:
    """Return an answer without what the protocol leaves open: order, words of errors."""
    if isinstance(answer, Exchanged):
        return answer.settled, sorted(map(_lease, answer.leased))
    if isinstance(answer, BeatReply):
        reply = (answer.alive, answer.command)
        return (*reply, set(answer.cancel), set(answer.lost)) if answer.alive else reply
    if isinstance(answer, Reaped):
        taken = (answer.sessions, answer.requeued, answer.buried)
        return [sorted(ids) for ids in taken], answer.promoted
    if isinstance(answer, list) and answer and isinstance(answer[0], Submitted):
        return [(x.id, x.created, x.state, x.error and x.error.code) for x in answer]
    if isinstance(answer, list) and answer and isinstance(answer[0], Answer):
        return sorted((x.id, x.answer) for x in answer)
    return answer


def _lease(lease: Leased) -> tuple[Any, ...]:
    counters = (lease.attempt, lease.epoch, lease.failed, lease.lost, lease.cancel_requested)
    parents = None if lease.parents is None else tuple(sorted(lease.parents.items()))
    return (lease.id, lease.nonce, lease.queue, lease.payload, counters, parents)


async def _view(store: Store, ids: Sequence[str]) -> dict[str, Any]:
    """Return what can be seen of a store."""
    records = await store.get(ids)
    counts = await store.counts(window=3_600)
    flows, _ = await store.workflows(limit=1_000)
    page = await store.find(JobQuery(), limit=1_000)
    return {
        "jobs": [record and _record(record.to_dict()) for record in records],
        "pages": [job.id for job in page.jobs],
        "tallies": {(t.queue, t.priority, t.state): t.count for t in counts.tallies if t.count},
        "oldest jobs": dict(counts.oldest),
        "totals": {name: count for name, count in counts.totals.items() if count},
        "activities": sorted(
            (a.minute_at, a.queue, a.outcome, a.count, round(a.waited, 3), round(a.ran, 3))
            for a in counts.activity
        ),
        "queues": [(q.name, q.paused, q.limit) for q in await store.queues()],
        "sessions": [
            (s.id, s.state, s.busy, s.expires_at, s.command)
            for s in await store.sessions(ended=True)
        ],
        "workflows": sorted((f.id, f.state, f.total, f.finished_at) for f in flows),
    }


def _record(record: dict[str, Any]) -> dict[str, Any]:
    if record["state"] != State.BLOCKED:
        del record["waiting_for"]
    if record["state"] not in LIVE:
        del record["run_at"]
    return record


class Model(StoreSuite):
    """The store against the reference."""

    def test_random_stories_go_as_with_the_reference(self, pytestconfig: pytest.Config) -> None:
        asked = pytestconfig.getoption("--model-examples")
        run_state_machine_as_test(
            type("Story", (Story,), {"suite": self}),
            settings=settings(
                max_examples=asked or EXAMPLES,
                stateful_step_count=STEPS,
                derandomize=asked is None,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
