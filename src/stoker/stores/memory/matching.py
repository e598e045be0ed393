"""Which jobs a `JobQuery` means."""

from collections.abc import Iterable, Iterator

from stoker.core.records import JobQuery
from stoker.stores.memory.world import Job, World


def matching(world: World, query: JobQuery) -> Iterator[Job]:
    """Iterate over the jobs that match: in the order of the ids, else oldest submitted first."""
    return (job for job in _candidates(world, query) if matches(job, query))


def matching_newest_first(world: World, query: JobQuery) -> Iterator[Job]:
    """Iterate over the jobs that match, newest submitted first."""
    found = list(_candidates(world, query))
    if query.ids:
        found.sort(key=lambda job: job.seq)
    return (job for job in reversed(found) if matches(job, query))


def matches(job: Job, query: JobQuery) -> bool:
    """Whether a job is meant by every field that says something."""
    spec = job.spec
    wanted = (
        (query.ids, job.id),
        (query.states, job.state),
        (query.queues, spec.queue),
        (query.tasks, spec.task),
        (query.priorities, spec.priority),
    )
    if any(allowed and value not in allowed for allowed, value in wanted):
        return False
    exact = (
        (query.tenant, spec.tenant),
        (query.workflow_id, job.workflow_id),
        (query.schedule, spec.schedule),
        (query.worker, job.tries[-1].worker if job.tries else None),
    )
    if any(asked is not None and asked != value for asked, value in exact):
        return False
    return _submitted_inside(job, query) and _error_holds(job, query.error)


def _candidates(world: World, query: JobQuery) -> Iterable[Job]:
    if query.ids:
        found = (world.jobs.get(job_id) for job_id in dict.fromkeys(query.ids))
        return (job for job in found if job is not None)
    if query.workflow_id is not None:
        return [world.jobs[job_id] for job_id in world.members.get(query.workflow_id, ())]
    return world.jobs.values()


def _submitted_inside(job: Job, query: JobQuery) -> bool:
    after, before = query.submitted_after, query.submitted_before
    return (after is None or job.submitted_at >= after) and (
        before is None or job.submitted_at < before
    )


def _error_holds(job: Job, text: str | None) -> bool:
    if text is None:
        return True
    error = job.error
    if error is None:
        return False
    return any(
        text.casefold() in part.casefold() for part in (error.code, error.type, error.message)
    )
