"""Five thousand jobs of every kind, made from a seed, with what must become of each."""

import json
import random  # noqa: TID251 - seeded
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from stoker.core.clock import SystemClock
from stoker.core.job import PRIORITIES, JobSpec, WorkflowSpec
from stoker.core.lifecycle import State
from tests.integration.combinations.program import LOSABLE, ONCE, SOON

JOBS = 5_000
QUEUES = ("default", "mail", "video")
LEAVES, FAN_IN = 200, 20
"""A workflow: one root, so many leaves behind it, a join for each so many, one join of all."""
DELAYED, FLAKY, DOOMED, WAITING, SLOW, THREADED = 600, 600, 100, 100, 60, 800
BATCH = 250
LONG = 3_600.0
"""Seconds: a job that is due so late never runs within a test."""
SLOW_PACE = 1.0


@dataclass
class Workload:
    """What is submitted.

    Attributes:
        batches: Jobs that go in together, with their workflow if it is one.
        expected: Job id to the state it ends in, unless it is called off.
        called_off: Jobs that the test cancels while they run or wait.
        parents: Job id to the ids of those it waits for.
        sums: Join to the result it must have.
        workflow: The id of the workflow.
    """

    batches: list[tuple[list[JobSpec], WorkflowSpec | None]] = field(default_factory=list)
    expected: dict[str, State] = field(default_factory=dict)
    called_off: list[str] = field(default_factory=list)
    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=dict)
    workflow: str = ""

    @property
    def ids(self) -> list[str]:
        """All jobs."""
        return list(self.expected)

    @property
    def effects(self) -> int:
        """How many jobs have an effect if none is called off."""
        return sum(state is State.COMPLETED for state in self.expected.values())


class _Maker:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._clock = SystemClock()
        self._number = 0
        self.load = Workload()

    def job(self, task: str, state: State = State.COMPLETED, **given: Any) -> JobSpec:
        self._number += 1
        options = {k: given.pop(k) for k in tuple(given) if k in JobSpec.__struct_fields__}
        spec = JobSpec(
            id=self._clock.new_id(),
            task=task,
            payload=json.dumps(given).encode(),
            queue=self._chance.choice(QUEUES),
            priority=self._chance.choice(PRIORITIES),
            max_lost=LOSABLE,
            timeout=60.0,
            **options,
        )
        self.load.expected[spec.id] = state
        self.load.parents[spec.id] = spec.parents
        return spec

    def pace(self) -> float:
        return self._chance.choice((0.0, 0.005, 0.02, 0.05))

    def work(self, task: str = "work", **given: Any) -> JobSpec:
        return self.job(task, number=self._number, **{"pace": self.pace(), **given})

    def workflow(self) -> list[JobSpec]:
        flow = WorkflowSpec(id=self._clock.new_id(), name="fan-out and fan-in")
        root = self.work(workflow_id=flow.id, node="root")
        specs = [root]
        joins: list[JobSpec] = []
        for group in range(LEAVES // FAN_IN):
            leaves = [
                self.work(workflow_id=flow.id, node=f"leaf-{group}-{i}", parents=(root.id,))
                for i in range(FAN_IN)
            ]
            joins.append(self._join(flow.id, f"join-{group}", leaves))
            specs += [*leaves, joins[-1]]
        specs.append(self._join(flow.id, "end", joins))
        self.load.batches.append((specs, flow))
        self.load.workflow = flow.id
        return specs

    def _join(self, flow: str, node: str, parents: list[JobSpec]) -> JobSpec:
        ids = tuple(parent.id for parent in parents)
        spec = self.job("join", workflow_id=flow, node=node, parents=ids)
        own = (json.loads(parent.payload).get("number") for parent in parents)
        self.load.sums[spec.id] = sum(
            self.load.sums.get(parent.id, number or 0)
            for parent, number in zip(parents, own, strict=True)
        )
        return spec

    def singles(self, count: int) -> Iterator[JobSpec]:
        for _ in range(DELAYED):
            yield self.work(delay=self._chance.uniform(0.1, 4.0))
        for _ in range(FLAKY):
            failures = self._chance.randint(1, 3)
            yield self.job("flaky", number=self._number, failures=failures, retry=SOON)
        for _ in range(DOOMED):
            yield self.job("doomed", State.DEAD_LETTER, number=self._number, retry=ONCE)
        for _ in range(THREADED):
            yield self.work("plain")
        for off in (*[self.work(delay=LONG) for _ in range(WAITING)], *self._slow()):
            self.load.called_off.append(off.id)
            yield off
        for _ in range(count - DELAYED - FLAKY - DOOMED - THREADED - WAITING - SLOW):
            yield self.work()

    def _slow(self) -> list[JobSpec]:
        return [self.work(pace=SLOW_PACE) for _ in range(SLOW)]


def make_workload(seed: int) -> Workload:
    """Return the jobs of a seed."""
    chance = random.Random(seed)
    maker = _Maker(chance)
    flow = maker.workflow()
    singles = list(maker.singles(JOBS - len(flow)))
    chance.shuffle(singles)
    batches = [(singles[at : at + BATCH], None) for at in range(0, len(singles), BATCH)]
    # The workflow goes in among the others, so that its fan-in meets faults.
    load = maker.load
    load.batches[:] = [*batches[:4], *load.batches, *batches[4:]]
    chance.shuffle(load.called_off)
    return load
