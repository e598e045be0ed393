"""How jobs come in: one by one, each on its own, or a whole workflow or none of it."""

from collections.abc import Sequence

from stoker.core import rules
from stoker.core.errors import InvalidWorkflow
from stoker.core.events import Kind
from stoker.core.job import ErrorInfo, JobSpec, Submitted, WorkflowSpec
from stoker.core.lifecycle import State
from stoker.core.workflow import check_graph
from stoker.stores.memory.world import Flow, Job, UniqueKey, World


def submit(
    world: World, specs: Sequence[JobSpec], workflow: WorkflowSpec | None, actor: str
) -> list[Submitted]:
    """See `Store.submit`."""
    if workflow is None:
        return [accept(world, spec) for spec in specs]
    refused = _refusals(world, specs)
    if refused:
        return [_refused(spec, refused) for spec in specs]
    return _accept_workflow(world, specs, workflow, actor)


def accept(world: World, spec: JobSpec) -> Submitted:
    """Take one job, if nothing speaks against it."""
    known = _known(world, spec)
    if known is not None:
        return Submitted(id=known.id, created=False, state=known.state)
    missing = [parent for parent in spec.parents if parent not in world.jobs]
    if missing:
        return Submitted(id=spec.id, created=False, error=_unknown_parent(missing[0]))
    job = _make(world, spec, spec.workflow_id)
    _start(world, job)
    return Submitted(id=job.id, created=True, state=job.state)


def _known(world: World, spec: JobSpec) -> Job | None:
    found = world.jobs.get(spec.id)
    if found is None and spec.unique_key is not None:
        holder = world.unique.get((spec.tenant, spec.task, spec.unique_key))
        found = None if holder is None else world.jobs[holder]
    return found


def _accept_workflow(
    world: World, specs: Sequence[JobSpec], workflow: WorkflowSpec, actor: str
) -> list[Submitted]:
    made: dict[str, Job] = {}
    for spec in specs:
        if spec.id not in world.jobs:
            made[spec.id] = _make(world, spec, workflow.id)
    if made and workflow.id not in world.flows:
        world.flows[workflow.id] = Flow(world.next_seq(), workflow.id, workflow.name, world.now)
        world.log(
            Kind.WORKFLOW_SUBMITTED,
            actor,
            workflow=workflow.id,
            name=workflow.name,
            jobs=len(made),
        )
    # A parent that is cancelled at once must be known before its children are looked at.
    for job_id in _order(made):
        _start(world, made[job_id])
    created: dict[str, bool] = dict.fromkeys(made, True)
    return [
        Submitted(id=s.id, created=created.pop(s.id, False), state=world.jobs[s.id].state)
        for s in specs
    ]


def _order(made: dict[str, Job]) -> list[str]:
    inside = {job_id: [p for p in job.parents if p in made] for job_id, job in made.items()}
    return check_graph(inside) if inside else []


def _refusals(world: World, specs: Sequence[JobSpec]) -> dict[str, ErrorInfo]:
    refused: dict[str, ErrorInfo] = {}
    batch = {spec.id: spec for spec in specs}
    keys: dict[UniqueKey, str] = {}
    for spec in batch.values():
        if spec.id in world.jobs:
            continue
        if spec.unique_key is not None:
            key = (spec.tenant, spec.task, spec.unique_key)
            holder = world.unique.get(key) or keys.setdefault(key, spec.id)
            if holder != spec.id:
                refused[spec.id] = _duplicate(spec.unique_key, holder)
        missing = [p for p in spec.parents if p not in batch and p not in world.jobs]
        if missing:
            refused[spec.id] = _unknown_parent(missing[0])
    return refused or _cycle(world, batch)


def _cycle(world: World, batch: dict[str, JobSpec]) -> dict[str, ErrorInfo]:
    graph = {
        job_id: [parent for parent in spec.parents if parent in batch]
        for job_id, spec in batch.items()
        if job_id not in world.jobs
    }
    graph = {job_id: [p for p in parents if p in graph] for job_id, parents in graph.items()}
    try:
        check_graph(graph or {"": ()})
    except InvalidWorkflow as error:
        return dict.fromkeys(batch, ErrorInfo(code=error.code, message=error.message))
    return {}


def _refused(spec: JobSpec, refused: dict[str, ErrorInfo]) -> Submitted:
    first, error = next(iter(refused.items()))
    neighbour = ErrorInfo(
        code=InvalidWorkflow.code,
        message=f"the workflow was refused as a whole because of job {first}: {error.message}",
    )
    return Submitted(id=spec.id, created=False, error=refused.get(spec.id, neighbour))


def _make(world: World, spec: JobSpec, workflow_id: str | None) -> Job:
    now = world.now
    job = Job(
        seq=world.next_seq(),
        spec=spec,
        line=world.line(spec.queue),
        submitted_at=now,
        run_at=max(now + spec.delay, spec.run_at or 0.0),
        expires_at=None if spec.expires is None else now + spec.expires,
        payload=spec.payload,
        workflow_id=workflow_id,
    )
    world.jobs[job.id] = job
    if job.unique is not None:
        world.unique[job.unique] = job.id
    if job.expires_at is not None:
        world.expiring[job.id] = job
    for parent in job.parents:
        world.children.setdefault(parent, {})[job.id] = None
    if workflow_id is not None:
        world.members.setdefault(workflow_id, {})[job.id] = None
    return job


def _start(world: World, job: Job) -> None:
    world.count(job, "submitted")
    if world.spoiled(job):
        job.error = rules.PARENT_FAILED
        world.place(job, State.CANCELLED, None)
        return
    job.waiting_for = sum(rules.parent_holds(p.state) for p in world.parents_of(job))
    state = rules.first_state(waiting_for=job.waiting_for, due_at=job.run_at, now=world.now)
    world.place(job, state, None)


def _unknown_parent(parent: str) -> ErrorInfo:
    return ErrorInfo(
        code=InvalidWorkflow.code,
        message=f"the parent {parent!r} is unknown; submit it first, or in the same workflow",
    )


def _duplicate(key: str, holder: str) -> ErrorInfo:
    return ErrorInfo(
        code="duplicate_job", message=f"the live job {holder} holds the unique key {key!r}"
    )
