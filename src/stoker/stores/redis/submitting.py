"""Jobs to the arguments of ``submit``, and its answers to `Submitted`."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import isfinite
from typing import Any

import msgspec

from stoker.core.errors import DuplicateJob, InvalidOption, InvalidWorkflow
from stoker.core.job import ErrorInfo, JobSpec, Submitted, WorkflowSpec
from stoker.core.lifecycle import State
from stoker.core.retry import RetryPolicy
from stoker.core.workflow import check_graph
from stoker.stores.redis.functions import STATES
from stoker.stores.redis.records import Packed, blob, pack, pack_spec, unpack, write_json


class Batch:
    """The jobs of one submit."""

    def __init__(self, specs: Sequence[JobSpec], workflow: WorkflowSpec | None) -> None:
        """Pack the jobs. Those that cannot be written are set aside."""
        self._specs = specs
        self._workflow = workflow
        self._unwritable: dict[int, ErrorInfo] = {}
        self._packed: list[Packed] = []
        for place, spec in enumerate(specs):
            try:
                self._packed.append(packed_job(spec, workflow))
            except ValueError as error:
                self._unwritable[place] = _unwritable(error)

    def refused(self) -> list[Submitted] | None:
        """Return the answers if nothing needs to be asked."""
        if self._unwritable and (self._workflow or len(self._unwritable) == len(self._specs)):
            return self._refusals(self._unwritable)
        return None if self._specs else []

    @property
    def jobs(self) -> Sequence[Packed]:
        """The jobs that can be written, as the functions take them."""
        return self._packed

    def workflow_arguments(self, actor: str) -> bytes:
        """Return what the function takes for a workflow."""
        workflow = self._workflow
        flow = None if workflow is None else (workflow.id, workflow.name)
        order, cycle = _order(self._specs)
        return pack((actor, flow, self._packed, order, cycle))

    def workflow_answers(self, reply: bytes) -> list[Submitted]:
        """Return the answer for each job of a workflow, in order."""
        refused, told = unpack(reply)
        if not refused:
            return self.answers(told)
        specs = self._specs
        found = {n: _error(specs[n], reason) for n, reason in enumerate(told) if reason}
        return self._refusals(found)

    def answers(self, told: Sequence[Any]) -> list[Submitted]:
        """Return the answer for each job, in order."""
        rest = iter(told)
        return [
            Submitted(spec.id, created=False, error=self._unwritable[place])
            if place in self._unwritable
            else answer(spec, next(rest))
            for place, spec in enumerate(self._specs)
        ]

    def _refusals(self, refused: Mapping[int, ErrorInfo]) -> list[Submitted]:
        first, error = next(iter(refused.items()))
        neighbour = ErrorInfo(
            code=InvalidWorkflow.code,
            message="the workflow was refused as a whole because of job "
            f"{self._specs[first].id}: {error.message}",
        )
        return [
            Submitted(spec.id, created=False, error=refused.get(place, neighbour))
            for place, spec in enumerate(self._specs)
        ]


def packed_job(spec: JobSpec, workflow: WorkflowSpec | None = None) -> Packed:
    """Return a job as the functions take it.

    Raises:
        ValueError: A text that UTF-8 cannot say, or a time that is no number. The server would
            notice the latter only after it had written half of the job.
    """
    for moment in (spec.delay, spec.run_at, spec.expires, spec.timeout):
        if moment is not None and not isfinite(moment):
            raise ValueError(f"{moment} is no time")
    workflow_id = workflow.id if workflow else spec.workflow_id
    head = _head(
        spec.queue,
        spec.priority.rank,
        spec.task,
        spec.retry.max_retries,
        spec.max_lost,
        spec.timeout,
        spec.expires,
        spec.on_parent_failure == "run" or None,
        workflow_id,
        spec.tenant,
        spec.schedule,
    )
    parents = list(dict.fromkeys(spec.parents)) or None
    unique = None
    if spec.unique_key is not None:
        unique = write_json((spec.tenant, spec.task, spec.unique_key))
    kept = pack_spec(spec, workflow_id, _policy(spec.retry), bool(parents))
    return (head, spec.id, spec.delay, spec.run_at, unique, spec.node, parents, blob(kept))


def answer(spec: JobSpec, told: Any) -> Submitted:
    """Return what became of one job: its state, what was there already, or what is wrong."""
    if isinstance(told, int):
        return Submitted(spec.id, created=True, state=_state(told))
    first, second = told
    if isinstance(first, int):
        return Submitted(second, created=False, state=_state(first))
    return Submitted(spec.id, created=False, error=_error(spec, told))


def _state(code: int) -> State:
    return STATES[code - 1]


@lru_cache(maxsize=1_024)
def _head(*values: Any) -> msgspec.Raw:
    return blob(pack(values))


@lru_cache(maxsize=1_024)
def _policy(policy: RetryPolicy) -> bytes:
    return policy.to_json()


def _order(specs: Sequence[JobSpec]) -> tuple[list[int], bool]:
    places = {spec.id: place for place, spec in reversed(list(enumerate(specs)))}
    graph = {
        job_id: [parent for parent in specs[place].parents if parent in places]
        for job_id, place in places.items()
    }
    try:
        return [places[job_id] + 1 for job_id in check_graph(graph)], False
    except InvalidWorkflow:
        return [], True


def _error(spec: JobSpec, reason: Sequence[Any]) -> ErrorInfo:
    code, argument = reason
    if code == DuplicateJob.code:
        message = f"the live job {argument} holds the unique key {spec.unique_key!r}"
    elif argument is False:
        message = "the jobs wait for each other in a circle; a workflow has no cycle"
    else:
        message = f"the parent {argument!r} is unknown; submit it first, or in the same workflow"
    return ErrorInfo(code=code, message=message)


def _unwritable(error: ValueError) -> ErrorInfo:
    message = f"an option of the job cannot be written: {error}"
    return ErrorInfo(code=InvalidOption.code, message=message)
