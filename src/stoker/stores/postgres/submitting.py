"""How jobs come in: what is sent for a batch, and what its answer means.

Jobs of one batch mostly differ in nothing but id and payload. So their options are sent once for
all jobs that share them, and a job is an id, a number and a payload.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from stoker.core.errors import DuplicateJob, InvalidOption, InvalidPayload, InvalidWorkflow
from stoker.core.job import ErrorInfo, JobSpec, Submitted, WorkflowSpec
from stoker.core.retry import RetryPolicy
from stoker.core.workflow import check_graph
from stoker.stores.postgres.faults import UNKNOWN_PARENT, GraphRefusedError
from stoker.stores.postgres.lines import Rows
from stoker.stores.postgres.phrases import STATES, clean, encode, to_json

CALL = """SELECT states, places, ids, known, rung, changed
    FROM @submit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"""
_DEFAULT_RETRY = RetryPolicy().to_json()
_LONGEST = 2_000
"""Bytes of an id, a queue, or a unique key with its task and tenant: what an index can hold."""

Kind = tuple[Any, ...]
Given = tuple[Any, ...]
"""The arguments of the function ``submit`` that describe the jobs."""


class Batch:
    """Some jobs that are submitted together."""

    def __init__(self, specs: Sequence[JobSpec], workflow: WorkflowSpec | None = None) -> None:
        """Look at jobs: those that cannot be kept are refused here, alone."""
        self.workflow = workflow
        self._specs = specs
        self._answers: dict[str, Submitted] = {}
        self._new: dict[str, JobSpec] = {}
        for spec in specs:
            self._new.setdefault(spec.id, spec)
        for job_id, fault in _faults(self._new.values()).items():
            self._refuse({job_id: fault})
        if workflow is not None and self._new:
            self._refuse(_cycle(self._new))

    @property
    def size(self) -> int:
        """How many jobs are left to be sent."""
        return len(self._new)

    @property
    def is_plain(self) -> bool:
        """Whether its jobs stand for themselves, and may travel with those of others."""
        return self.workflow is None and not any(spec.parents for spec in self._new.values())

    def left(self) -> list[JobSpec]:
        """Return the jobs that are to be sent."""
        return list(self._new.values())

    def given(self) -> Given:
        """Return what is sent for the jobs that are left."""
        return given(self._new.values(), self.workflow)

    def take(self, rows: Rows) -> None:
        """Take the answer of the function ``submit``."""
        states, places, ids, known, _, _ = rows[0]
        specs = list(self._new.values())
        for spec, state in zip(specs, states, strict=True):
            if state is not None:
                self._answers[spec.id] = Submitted(spec.id, True, STATES[state])  # noqa: FBT003 - its own order
        for place, job_id, state in zip(places, ids, known, strict=True):
            self._answers[specs[place - 1].id] = Submitted(job_id, False, STATES[state])  # noqa: FBT003 - likewise
        self._new = {}

    def refuse(self, refused: GraphRefusedError) -> None:
        """Take out the jobs that the store refused; the others may be sent again."""
        specs = list(self._new.values())
        faults: dict[str, ErrorInfo] = {}
        for place, text in refused.places:
            spec = specs[place - 1]
            unknown = refused.cause == UNKNOWN_PARENT
            fault = _unknown_parent(text) if unknown else _duplicate(spec.unique_key or "", text)
            faults.setdefault(spec.id, fault)
        self._refuse(faults)

    def answers(self) -> list[Submitted]:
        """Return what became of each job, in order.

        One that was named twice was there already the second time.
        """
        told: list[Submitted] = []
        seen: set[str] = set()
        for spec in self._specs:
            answer = self._answers[spec.id]
            if answer.created and spec.id in seen:
                answer = Submitted(spec.id, False, answer.state)  # noqa: FBT003 - its own order
            seen.add(spec.id)
            told.append(answer)
        return told

    def _refuse(self, faults: Mapping[str, ErrorInfo]) -> None:
        if faults and self.workflow is not None:
            first, error = next(iter(faults.items()))
            neighbour = ErrorInfo(
                code=InvalidWorkflow.code,
                message=f"the workflow was refused as a whole because of job {first}: "
                f"{error.message}",
            )
            faults = {job_id: faults.get(job_id, neighbour) for job_id in self._new}
        for job_id, fault in faults.items():
            del self._new[job_id]
            self._answers[job_id] = Submitted(job_id, created=False, error=fault)


def given(specs: Iterable[JobSpec], workflow: WorkflowSpec | None = None) -> Given:
    """Return the arguments of the function ``submit`` for jobs that can be kept."""
    kinds: dict[Kind, int] = {}
    ids: list[str] = []
    numbers: list[int] = []
    payloads: list[bytes] = []
    children: list[int] = []
    parents: list[str] = []
    flow = None if workflow is None else workflow.id
    for place, spec in enumerate(specs, 1):
        kind = _kind(spec, flow)
        numbers.append(kinds.setdefault(kind, len(kinds) + 1))
        ids.append(spec.id)
        payloads.append(spec.payload)
        for parent in spec.parents:
            children.append(place)
            parents.append(clean(parent))
    return (
        encode([dict(zip(_FIELDS, kind, strict=True)) for kind in kinds]).decode(),
        ids,
        numbers,
        payloads,
        children,
        parents,
    )


_FIELDS = (
    "queue", "priority", "task", "delay", "run_at", "timeout", "soft_timeout", "expires",
    "max_retries", "max_lost", "retry", "run_anyway", "workflow_id", "node", "tenant",
    "unique_key", "schedule", "headers", "parents",
)  # fmt: skip


def _kind(spec: JobSpec, flow: str | None) -> Kind:
    retries, retry = _retry(spec.retry)
    return (
        spec.queue,
        spec.priority.rank,
        spec.task,
        spec.delay,
        spec.run_at,
        spec.timeout,
        spec.soft_timeout,
        spec.expires,
        retries,
        spec.max_lost,
        retry,
        spec.on_parent_failure == "run",
        flow or spec.workflow_id,
        spec.node,
        spec.tenant,
        spec.unique_key,
        spec.schedule,
        to_json(spec.headers) if spec.headers else None,
        tuple(clean(parent) for parent in spec.parents) or None,
    )


@lru_cache(maxsize=256)
def _retry(policy: RetryPolicy) -> tuple[int, str | None]:
    text = policy.to_json()
    return policy.max_retries, None if text == _DEFAULT_RETRY else text.decode()


def _faults(specs: Iterable[JobSpec]) -> dict[str, ErrorInfo]:
    return {spec.id: fault for spec in specs if (fault := _fault(spec)) is not None}


def _fault(spec: JobSpec) -> ErrorInfo | None:
    """Return what keeps a job out of the tables; None for nearly all."""
    try:
        spec.payload.decode()
    except UnicodeDecodeError as error:
        return ErrorInfo(code=InvalidPayload.code, message=f"the payload is not UTF-8: {error}")
    texts = (
        spec.id, spec.task, spec.queue, spec.unique_key, spec.tenant, spec.node, spec.schedule,
        spec.workflow_id,
    )  # fmt: skip
    joined = "".join(text for text in texts if text is not None)
    if "\0" in joined:
        message = "an option of the job holds a NUL character, which PostgreSQL cannot keep"
        return ErrorInfo(code=InvalidOption.code, message=message)
    try:
        size = len(joined.encode())
    except UnicodeEncodeError as error:
        message = f"an option of the job holds text that UTF-8 cannot say: {error}"
        return ErrorInfo(code=InvalidOption.code, message=message)
    return None if size <= _LONGEST else _too_long(spec)


def _too_long(spec: JobSpec) -> ErrorInfo | None:
    keys = "".join((spec.unique_key or "", spec.task, spec.tenant or ""))
    told = {
        "id": spec.id,
        "queue": spec.queue,
        "workflow_id": spec.workflow_id or "",
        "unique key with its task and tenant": keys if spec.unique_key else "",
    }
    for name, text in told.items():
        if len(text.encode()) > _LONGEST:
            message = f"the {name} has {len(text.encode()):,} bytes; the limit is {_LONGEST:,}"
            return ErrorInfo(code=InvalidOption.code, message=message)
    return None


def _cycle(new: Mapping[str, JobSpec]) -> dict[str, ErrorInfo]:
    graph = {job_id: [p for p in spec.parents if p in new] for job_id, spec in new.items()}
    try:
        check_graph(graph)
    except InvalidWorkflow as error:
        return dict.fromkeys(new, ErrorInfo(code=error.code, message=error.message))
    return {}


def _unknown_parent(parent: str) -> ErrorInfo:
    return ErrorInfo(
        code=InvalidWorkflow.code,
        message=f"the parent {parent!r} is unknown; submit it first, or in the same workflow",
    )


def _duplicate(key: str, holder: str) -> ErrorInfo:
    return ErrorInfo(
        code=DuplicateJob.code, message=f"the live job {holder} holds the unique key {key!r}"
    )


def flow_of(workflow: WorkflowSpec | None) -> tuple[str | None, str | None]:
    """Return a workflow's id and its name as JSON."""
    if workflow is None:
        return None, None
    return clean(workflow.id), msgspec.json.encode(clean(workflow.name)).decode()
