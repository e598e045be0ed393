"""Random stories, told to the store under test and to the reference store, step by step.

Both live by clocks that tell the same time. After each step they must have given the same answer,
and must show the same jobs, counts, queues, sessions and workflows. What hypothesis finds it
shrinks to the shortest story that still tells the two apart. ``pytest --model-examples 1000`` tells
more of them, and other ones each time.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from stoker.connect import open_store
from stoker.core.errors import StokerError
from stoker.core.job import (
    BeatReply,
    Exchanged,
    JobSpec,
    Leased,
    Outcome,
    Priority,
    SessionSpec,
    SessionState,
    Settlement,
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

EXAMPLES = 60
STEPS = 40
MANY = 12
"""Jobs from which on a story also deletes some: before, it would only empty the stage."""
MOMENT = 1 / 64
"""Added to each advance, so that no moment ever falls exactly on a limit: what happens there is
nobody's promise. It is exact in binary."""

WORKERS = ("w1", "w2")
SESSIONS = st.sampled_from(WORKERS)
QUEUES = st.sampled_from(["a", "b"])
NUMBERS = st.integers(0, 999)
"""Taken modulo the number of known jobs: which one is meant."""
FEW = st.lists(NUMBERS, max_size=2)
JOBS = st.fixed_dictionaries(
    {
        "queue": QUEUES,
        "priority": st.sampled_from(list(Priority)),
        "delay": st.sampled_from([0.0, 0.0, 0.0, 0.0, 0.0, 10.0]),
        "unique_key": st.sampled_from([None, None, "k"]),
        "timeout": st.sampled_from([None, 15.0]),
        "max_lost": st.sampled_from([1, 2]),
        "on_parent_failure": st.sampled_from(["cancel", "run"]),
        "parents": FEW,
    }
)
OUTCOMES = st.sampled_from([Outcome.COMPLETED, *Outcome])
CAPS = st.tuples(st.integers(0, 3), st.integers(1, 3))
ENDS = st.lists(st.tuples(NUMBERS, OUTCOMES, st.booleans()), min_size=1, max_size=3)
SELDOM = st.sampled_from([False, False, False, True])
MOODS = st.sampled_from([SessionState.ALIVE] * 4 + [SessionState.DRAINING, SessionState.LEFT])
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
        self.lives = Counter(WORKERS)
        self.held: dict[str, dict[str, Leased]] = {worker: {} for worker in WORKERS}
        self.spent: dict[str, dict[str, Leased]] = {worker: {} for worker in WORKERS}
        self.last: dict[str, Callable[[Store], Awaitable[Any]]] = {}
        self.names = 0

        async def open_both() -> list[Store]:
            first = await self.stack.enter_async_context(self.suite.open_store(self.clocks[0]))
            reference = open_store("memory://", clock=self.clocks[1])
            return [first, await self.stack.enter_async_context(reference)]

        self.stores = self.runner.run(open_both())

    @initialize(specs=st.lists(JOBS, min_size=3, max_size=6))
    def begin(self, specs: list[dict[str, Any]]) -> None:
        """Begin with a few jobs, and with every worker alive."""
        self.submit(specs=specs)
        for worker in WORKERS:
            self.beat(worker=worker, started=False, forget=False, mood=SessionState.ALIVE)

    def teardown(self) -> None:
        """Look at both once more, and close them."""
        try:
            self._compare(_overview)
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

    @rule(worker=SESSIONS, started=st.booleans(), forget=SELDOM, mood=MOODS)
    def beat(self, *, worker: str, started: bool, forget: bool, mood: SessionState) -> None:
        """Beat, naming all that is held, or forgetting one of it."""
        leases = list(self.held[worker].values())[1 if forget else 0 :]
        ran_for = 1.0 if started else None
        held = [held_job(lease, ran_for=ran_for, progress=0.5) for lease in leases]
        spec = self._session(worker, mood)
        reply = self._tell(lambda store: store.beat(spec, held, ttl=TTL))
        if not reply.alive or mood is SessionState.LEFT:
            self._bury(worker)

    @rule(worker=SESSIONS, want=st.integers(1, 4), caps=CAPS, aged=st.integers(0, 1), rung=FEW)
    def lease(
        self, *, worker: str, want: int, caps: tuple[int, int], aged: int, rung: list[int]
    ) -> None:
        """Lease jobs."""
        self._exchange(worker, [], want=want, caps=caps, aged=aged, rung=rung)

    @rule(worker=SESSIONS, ends=ENDS, zombie=SELDOM, want=st.integers(0, 2))
    def settle(
        self, *, worker: str, ends: list[tuple[int, Outcome, bool]], zombie: bool, want: int
    ) -> None:
        """Settle some of what is held, or, as a zombie, of what was; and lease."""
        leases = list((self.spent if zombie else self.held)[worker].values())[::-1]
        told = [
            settlement(leases[n % len(leases)], end, retry_in=5.0 if again else None, result=b"1")
            for n, end, again in ends
            if leases
        ]
        self._exchange(worker, told, want=want)

    @rule(worker=SESSIONS)
    def repeat(self, worker: str) -> None:
        """Repeat the last exchange of a session, as if its answer had been lost."""
        if worker in self.last:
            self._tell(self.last[worker])

    @rule(
        verb=st.sampled_from(["requeue", "requeue", "cancel", "submit"]),
        numbers=st.lists(NUMBERS, min_size=1, max_size=3),
        downstream=st.booleans(),
        whole=st.booleans(),
    )
    def change(self, *, verb: str, numbers: list[int], downstream: bool, whole: bool) -> None:
        """Cancel or requeue some jobs or a whole workflow, or submit a known job once more."""
        query = JobQuery(ids=(*self._known(numbers), "nobody"))
        if whole and self.flows:
            query = JobQuery(workflow_id=self.flows[numbers[0] % len(self.flows)])
        if verb == "cancel":
            self._tell(lambda store: store.cancel(query))
        elif verb == "requeue":
            self._tell(lambda store: store.requeue(query, downstream=downstream))
        else:
            there = self.runner.run(self.stores[1].get(self._known(numbers)))
            again = [_spec(job.id, queue="b", delay=5.0) for job in there if job is not None]
            self._tell(lambda store: store.submit(again))

    @rule(dead=st.lists(SESSIONS, max_size=1), grace=st.sampled_from([0.0, 20.0]))
    def reap(self, dead: list[str], grace: float) -> None:
        """Take back what is lost, and promote what is due."""
        named = [self._session(worker).id for worker in dead]
        self._tell(lambda store: store.reap(sessions=named, grace=grace))

    @precondition(lambda self: len(self.jobs) > MANY)
    @rule(
        states=STATES,
        keep=st.integers(0, 2),
        old=st.sampled_from([0.5, 20.5]),
        number=NUMBERS,
        whatever=SELDOM,
    )
    def purge(
        self, *, states: set[State], keep: int, old: float, number: int, whatever: bool
    ) -> None:
        """Delete ended jobs, or, seldom, one job by its id, whatever its state."""
        query = JobQuery(states=tuple(sorted(states)))
        if whatever:
            query = JobQuery(ids=(*self._known([number]), "nobody"))
        self._tell(lambda store: store.purge(query, keep=keep, older_than=old))

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

    def _session(self, worker: str, state: SessionState = SessionState.ALIVE) -> SessionSpec:
        return session_spec(f"{worker}.{self.lives[worker]}", name=worker, state=state)

    def _exchange(
        self,
        worker: str,
        told: list[Settlement],
        *,
        want: int,
        caps: tuple[int, int] = (3, 3),
        aged: int = 0,
        rung: Sequence[int] = (),
    ) -> None:
        call = partial(
            _exchange,
            session=self._session(worker).id,
            told=told,
            queues={"b": caps[0], "a": caps[1]},
            want=want,
            nonce=self._name("nonce"),
            aged=aged,
            ids=self._known(rung),
        )
        self.last[worker] = call
        answer = self._tell(call)
        if not isinstance(answer, Exchanged):
            self._bury(worker)
            return
        for settled in told:
            lease = self.held[worker].pop(settled.id, None)
            if lease is not None:
                self.spent[worker][lease.id] = lease
        self.held[worker] |= {lease.id: lease for lease in answer.leased}

    def _bury(self, worker: str) -> None:
        """Begin the next life of a worker; it remembers the fences of its last one."""
        self.lives[worker] += 1
        self.last.pop(worker, None)
        self.spent[worker] = self.held[worker]
        self.held[worker] = {}
        self.beat(worker=worker, started=False, forget=False, mood=SessionState.ALIVE)

    def _tell(self, call: Callable[[Store], Awaitable[Any]]) -> Any:
        """Tell both stores the same; return what the store under test answered."""
        answers = [self.runner.run(_answer(call, store)) for store in self.stores]
        ours, theirs = [_comparable(answer) for answer in answers]
        assert ours == theirs, "the answer differs from that of the reference"
        self._compare(_jobs)
        return answers[0]

    def _compare(self, look: Callable[[Store, Sequence[str]], Awaitable[dict[str, Any]]]) -> None:
        async def both() -> list[dict[str, Any]]:
            return [await look(store, self.jobs) for store in self.stores]

        ours, theirs = self.runner.run(both())
        for part, shown in ours.items():
            assert shown == theirs[part], f"{part} differ from those of the reference"


def _spec(job_id: str, **changes: Any) -> JobSpec:
    retry = RetryPolicy(1, backoff="fixed", base=10, jitter=False)
    return JobSpec(id=job_id, task="work", retry=retry, **changes)


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


async def _jobs(store: Store, ids: Sequence[str]) -> dict[str, Any]:
    """Return what may differ after each step."""
    records = await store.get(ids)
    return {"jobs": [record and _record(record.to_dict()) for record in records]}


async def _overview(store: Store, _: Sequence[str]) -> dict[str, Any]:
    """Return what else can be seen of a store."""
    counts = await store.counts(window=3_600)
    flows, _cursor = await store.workflows(limit=1_000)
    page = await store.find(JobQuery(), limit=1_000)
    return {
        "pages": [job.id for job in page.jobs],
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

    @pytest.mark.timeout(900)
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
                # To explain, hypothesis would trace every line of both stores.
                phases=[Phase.generate, Phase.shrink],
            ),
        )
