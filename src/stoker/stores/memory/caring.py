"""What people and the keeper do to jobs: cancel, requeue, reap, purge."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from stoker.core import rules
from stoker.core.errors import InvalidQuery, TaskTimeout
from stoker.core.events import Kind
from stoker.core.job import Outcome, SessionState
from stoker.core.lifecycle import LEASED, LIVE, TERMINAL, WAITING, Event, State
from stoker.core.records import Answer, JobQuery, Reaped
from stoker.core.retry import exception_names
from stoker.stores.memory.matching import matching
from stoker.stores.memory.running import end_session, finish, lose, promote
from stoker.stores.memory.world import Job, Session, World

_REVIVAL = {
    State.BLOCKED: Event.REBLOCK,
    State.SCHEDULED: Event.RESCHEDULE,
    State.QUEUED: Event.REQUEUE,
}
_TIMEOUT_NAMES = exception_names(TaskTimeout(""))


def cancel(world: World, query: JobQuery, *, actor: str, reason: str, limit: int) -> list[Answer]:
    """See `Store.cancel`."""
    jobs = _chosen(world, query, LIVE, limit)
    answers = {job.id: _call_off(world, job, actor, reason) for job in jobs}
    # Jobs that were named are cancelled by their own right first, what depends on them after.
    world.cascade([job for job in jobs if answers[job.id].answer == "cancelled"])
    return _in_order(query, answers)


def requeue(
    world: World,
    query: JobQuery,
    *,
    downstream: bool,
    payload: bytes | None,
    interval: float,
    actor: str,
    reason: str,
    limit: int,
) -> list[Answer]:
    """See `Store.requeue`."""
    if payload is not None and len(query.ids) != 1:
        raise InvalidQuery("a new payload goes to a single job; name exactly one id")
    answers: dict[str, Answer] = {}
    revived: dict[str, Job] = {}
    for job in _chosen(world, query, TERMINAL, limit):
        free = job.state in TERMINAL and _take_key(world, job)
        answers[job.id] = Answer(job.id, "requeued" if free else "refused")
        if free:
            _renew(world, job, len(revived) * interval, payload)
            revived[job.id] = job
            world.log(Kind.JOB_REQUEUED, actor, job=job, reason=reason)
    _drag(world, revived, downstream=downstream)
    _revive(world, revived)
    return _in_order(query, answers)


def reap(world: World, sessions: Sequence[str], *, grace: float, limit: int, actor: str) -> Reaped:
    """See `Store.reap`."""
    dead = _declare_dead(world, sessions, grace, actor)
    taken: list[Job] = []
    for job in list(islice(_of_the_dead(world), limit)):
        lose(world, job, actor=actor)
        taken.append(job)
    for job in list(islice(_overdue(world, grace), limit - len(taken))):
        _time_out(world, job, actor)
        taken.append(job)
    expired = list(islice(_expired(world), limit - len(taken)))
    for job in expired:
        job.error = rules.EXPIRED
        world.bury(job, Event.EXPIRE, actor)
    world.cascade(expired)
    taken += expired
    return Reaped(
        sessions=tuple(dead),
        requeued=tuple(job.id for job in taken if job.state in WAITING),
        buried=tuple(job.id for job in taken if job.state is State.DEAD_LETTER),
        promoted=promote(world, limit - len(taken)),
    )


def purge(
    world: World, query: JobQuery, *, older_than: float, keep: int, limit: int, actor: str
) -> int:
    """See `Store.purge`."""
    found = list(matching(world, query))
    ended = [job for job in found if job.state in TERMINAL]
    ended.sort(key=lambda job: (job.finished_at or 0.0, job.seq))
    over = _whole_workflow_over(world)
    doomed = [
        job
        for job in ended[: max(0, len(ended) - keep)]
        if world.now - (job.finished_at or 0.0) >= older_than and over(job)
    ]
    if query.states or query.ids:
        doomed += [j for j in found if j.state in WAITING and j.workflow_id is None]
    del doomed[limit:]
    called_off = [job for job in doomed if job.state in WAITING]
    for job in called_off:
        world.shift(job, Event.CANCEL)
    world.cascade(called_off)
    for job in doomed:
        world.forget(job)
    if doomed:
        world.log(Kind.JOBS_PURGED, actor, count=len(doomed))
    return len(doomed)


def _chosen(world: World, query: JobQuery, states: frozenset[State], limit: int) -> list[Job]:
    found = matching(world, query)
    if query.ids:
        return list(found)
    return list(islice((job for job in found if job.state in states), limit))


def _in_order(query: JobQuery, answers: dict[str, Answer]) -> list[Answer]:
    if not query.ids:
        return list(answers.values())
    return [answers.get(job_id) or Answer(job_id, "unknown") for job_id in query.ids]


def _call_off(world: World, job: Job, actor: str, reason: str) -> Answer:
    if job.state in TERMINAL:
        return Answer(job.id, "too_late")
    if job.state in LEASED and job.cancel_requested:
        return Answer(job.id, "requested")
    answer = Answer(job.id, "requested" if job.state in LEASED else "cancelled")
    job.cancel_requested = job.state in LEASED
    world.shift(job, Event.REQUEST_CANCEL if job.state in LEASED else Event.CANCEL)
    world.log(Kind.JOB_CANCELLED, actor, job=job, answer=answer.answer, reason=reason)
    return answer


def _take_key(world: World, job: Job) -> bool:
    key = job.unique
    return key is None or world.unique.setdefault(key, job.id) == job.id


def _renew(world: World, job: Job, delay: float, payload: bytes | None) -> None:
    job.failed = job.lost = 0
    job.result = job.error = job.progress = job.note = job.finished_at = None
    job.cancel_requested = False
    job.run_at = world.now + delay
    if payload is not None:
        job.payload = payload
    if job.spec.expires is not None:
        job.expires_at = world.now + job.spec.expires
        world.expiring[job.id] = job


def _drag(world: World, revived: dict[str, Job], *, downstream: bool) -> None:
    """Add to the revived jobs what comes back to life with them."""
    queue = deque(revived)
    seen = set(revived)
    while queue:
        for child_id in world.children.get(queue.popleft(), ()):
            if child_id in seen:
                continue
            seen.add(child_id)
            job = world.jobs[child_id]
            comes = job.state in TERMINAL if downstream else _fell_with_parent(job)
            if comes and _take_key(world, job):
                _renew(world, job, 0.0, None)
                revived[child_id] = job
                queue.append(child_id)
            elif downstream and job.state in LIVE:
                queue.append(child_id)


def _fell_with_parent(job: Job) -> bool:
    error = job.error
    return (
        job.state is State.CANCELLED
        and error is not None
        and error.code == rules.PARENT_FAILED.code
    )


def _revive(world: World, revived: dict[str, Job]) -> None:
    for job in revived.values():
        for child in world.blocked_children(job):
            child.waiting_for += 1
    for job in revived.values():
        job.waiting_for = sum(
            parent.id in revived or rules.parent_holds(parent.state)
            for parent in world.parents_of(job)
        )
    for job in revived.values():
        state = rules.first_state(waiting_for=job.waiting_for, due_at=job.run_at, now=world.now)
        world.shift(job, _REVIVAL[state])


def _declare_dead(world: World, named: Sequence[str], grace: float, actor: str) -> list[str]:
    known = set(named)
    dead: list[str] = []
    for session_id, session in list(world.sessions.items()):
        if session.living and (session_id in known or world.now - session.expires_at > grace):
            end_session(world, session, SessionState.DEAD)
            dead.append(session_id)
            name = session.spec.name
            world.log(Kind.WORKER_DIED, actor, worker=name, session=session_id)
        elif _forgotten(session, world.now):
            del world.sessions[session_id]
    return dead


def _forgotten(session: Session, now: float) -> bool:
    ended = session.ended_at
    return ended is not None and not session.held and now - ended > rules.SESSION_KEEP


def _of_the_dead(world: World) -> Iterator[Job]:
    for session in list(world.sessions.values()):
        if session.spec.state is SessionState.DEAD:
            yield from list(session.held.values())


def _overdue(world: World, grace: float) -> Iterator[Job]:
    latest = world.now - grace - rules.DEADLINE_GRACE
    for session in world.sessions.values():
        for job in session.held.values():
            if job.deadline_at is not None and job.deadline_at < latest:
                yield job


def _expired(world: World) -> Iterable[Job]:
    found = world.expiring.values()
    return (job for job in found if job.state in WAITING and job.expired(world.now))


def _time_out(world: World, job: Job, actor: str) -> None:
    job.failed += 1
    job.error = rules.TIMED_OUT
    world.log(Kind.JOB_LOST, actor, job=job, code=rules.TIMED_OUT.code)
    retry_in = job.spec.retry.decide(job.failed, _TIMEOUT_NAMES, world.clock.random)
    finish(
        world,
        job,
        Outcome.FAILED,
        actor=actor,
        label="timed_out",
        error=rules.TIMED_OUT,
        retry_in=retry_in,
    )


def _whole_workflow_over(world: World) -> Callable[[Job], bool]:
    known: dict[str, bool] = {}

    def over(job: Job) -> bool:
        flow = job.workflow_id
        if flow is None:
            return True
        if flow not in known:
            states = (world.jobs[member].state for member in world.members[flow])
            known[flow] = all(state in TERMINAL for state in states)
        return known[flow]

    return over
