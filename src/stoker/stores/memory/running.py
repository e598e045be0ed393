"""The hot path: sessions beat, settle what they did, and lease what comes next."""

from collections.abc import Mapping, Sequence

import msgspec

from stoker.core import rules
from stoker.core.errors import LeaseLost
from stoker.core.events import Kind
from stoker.core.job import (
    BeatReply,
    ErrorInfo,
    HeldJob,
    Leased,
    Outcome,
    SessionSpec,
    SessionState,
    Settled,
    Settlement,
)
from stoker.core.lifecycle import Event, State
from stoker.stores.memory.world import Job, Line, Session, Try, World, age


def living(world: World, session_id: str) -> Session:
    """Return a session that may work.

    Raises:
        LeaseLost: It is unknown, left or dead.
    """
    session = world.sessions.get(session_id)
    if session is None or not session.living:
        found = "unknown" if session is None else session.spec.state.value
        raise LeaseLost(
            f"session {session_id} is {found}; drop its jobs and beat with a new id",
            session=session_id,
        )
    return session


def promote(world: World, limit: int | None = None) -> int:
    """Make the jobs whose moment has come leasable; return how many."""
    count = 0
    for line in world.lines.values():
        while limit is None or count < limit:
            job = line.next_due(world.jobs)
            if job is None or job.run_at > world.now:
                break
            world.shift(job, Event.DUE)
            count += 1
    return count


def settle(world: World, session: Session, told: Settlement) -> Settled:
    """Obey one settlement, if its fence is that of the job's live lease."""
    job = world.jobs.get(told.id)
    if job is None or not job.owns(told.epoch, told.nonce):
        return Settled.REPEATED if job and _obeyed(job, told) else Settled.LEASE_LOST
    job.failed += told.outcome is Outcome.FAILED
    job.lost += told.outcome is Outcome.CRASHED
    job.attempt -= told.outcome in rules.UNCOUNTED
    if told.outcome is Outcome.COMPLETED:
        job.result = told.result
    elif told.outcome in {Outcome.FAILED, Outcome.CRASHED}:
        job.error = told.error
    world.report(job, told.progress, told.note, told.logs)
    finish(
        world,
        job,
        told.outcome,
        actor=f"worker:{session.spec.name}",
        error=told.error,
        retry_in=told.retry_in,
        ran_for=told.ran_for,
    )
    return Settled.OK


def finish(
    world: World,
    job: Job,
    outcome: Outcome,
    *,
    actor: str,
    label: str = "",
    error: ErrorInfo | None = None,
    retry_in: float | None = None,
    ran_for: float | None = None,
) -> None:
    """Close the attempt and move the job to where this end leads.

    Args:
        world: Where the job is.
        job: Leased, its counters raised already.
        outcome: What decides.
        actor: Whose deed it is.
        label: What the attempt is said to have ended with, if not with its outcome.
        error: Of the attempt.
        retry_in: See `Settlement.retry_in`.
        ran_for: See `Settlement.ran_for`.
    """
    event = rules.ending(
        outcome,
        failed=job.failed,
        lost=job.lost,
        max_retries=job.spec.retry.max_retries,
        max_lost=job.spec.max_lost,
        retry_in=retry_in,
        cancel_requested=job.cancel_requested,
    )
    world.end_try(job, label or outcome.value, error, ran_for)
    if event in {Event.RETRY, Event.SNOOZE}:
        job.run_at = world.now + max(0.0, retry_in or 0.0)
    conclude(world, job, event, actor=actor)


def conclude(world: World, job: Job, event: Event, *, actor: str) -> None:
    """Move a job whose attempt is closed, and tell its children if it ended."""
    if event is Event.BURY:
        world.bury(job, event, actor)
    else:
        world.shift(job, event)
    world.cascade([job])


def lose(world: World, job: Job, *, actor: str) -> None:
    """Take a job back from a session that is gone."""
    job.lost += 1
    job.error = rules.WORKER_LOST
    event = rules.losing(
        lost=job.lost, max_lost=job.spec.max_lost, cancel_requested=job.cancel_requested
    )
    world.end_try(job, "lost", rules.WORKER_LOST)
    world.log(Kind.JOB_LOST, actor, job=job, code=rules.WORKER_LOST.code)
    conclude(world, job, event, actor=actor)


def lease(
    world: World,
    session: Session,
    *,
    queues: Mapping[str, int],
    want: int,
    nonce: str,
    aged: int,
    ids: Sequence[str],
) -> list[Leased]:
    """Lease up to ``want`` jobs; the same ones when the nonce was used before."""
    if want > 0 and session.nonce != nonce:
        session.nonce = nonce
        lines = {name: world.lines[name] for name in queues if name in world.lines}
        room = {name: line.room(queues[name]) for name, line in lines.items()}
        taker = _Taker(world, session, nonce, lines, room)
        taker.take_ids(ids, want)
        by_age, _ = rules.aged_first(want - taker.count, aged)
        taker.take_oldest(by_age)
        taker.take_best(want)
        for line in lines.values():
            line.restore()
    held = session.held.values()
    return [_leased(world, job) for job in held if job.tries[-1].nonce == nonce]


class _Taker:
    def __init__(
        self,
        world: World,
        session: Session,
        nonce: str,
        lines: Mapping[str, Line],
        room: dict[str, int],
    ) -> None:
        self._world = world
        self._session = session
        self._nonce = nonce
        self._lines = lines
        self._room = room
        self.count = 0

    def take_ids(self, ids: Sequence[str], want: int) -> None:
        for job_id in ids:
            job = self._world.jobs.get(job_id)
            if job is None or job.state is not State.QUEUED or job.expired(self._world.now):
                continue
            if self.count < want and self._room.get(job.line.name, 0) > 0:
                self._take(job)

    def take_oldest(self, want: int) -> None:
        for _ in range(want):
            lines = (line for name, line in self._lines.items() if self._room[name] > 0)
            heads = (line.oldest(self._world.jobs, self._world.now) for line in lines)
            job = min((job for job in heads if job is not None), key=age, default=None)
            if job is None:
                return
            self._take(job)

    def take_best(self, want: int) -> None:
        for name, line in self._lines.items():
            while self.count < want and self._room[name] > 0:
                job = line.best(self._world.jobs, self._world.now)
                if job is None:
                    break
                self._take(job)

    def _take(self, job: Job) -> None:
        now = self._world.now
        job.attempt += 1
        job.epoch += 1
        job.session = self._session
        job.deadline_at = None if job.spec.timeout is None else now + job.spec.timeout
        job.tries.append(
            Try(job.attempt, job.epoch, self._nonce, self._session.spec.name, job.run_at, now)
        )
        self._session.held[job.id] = job
        self._world.shift(job, Event.LEASE)
        self._room[job.line.name] -= 1
        self.count += 1


def beat(world: World, spec: SessionSpec, held: Sequence[HeldJob], ttl: float) -> BeatReply:
    """See `Store.beat`."""
    session = world.sessions.get(spec.id)
    if session is None:
        session = _join(world, spec, ttl)
    elif not session.living:
        mine = spec.state is SessionState.LEFT and session.spec.state is SessionState.LEFT
        return BeatReply(alive=mine, lost=tuple(job.id for job in held))
    actor = f"worker:{spec.name}"
    kept = dict.fromkeys(told.id for told in held if _report(world, session, told))
    named = {told.id for told in held}
    before = min(session.seen_at, world.now - ttl * rules.CONFIRM_SHARE)
    for job in [job for job in session.held.values() if job.id not in named]:
        if job.tries[-1].leased_at < before:
            # The answer to its lease never arrived: nobody ever held it.
            job.attempt -= 1
            finish(world, job, Outcome.RELEASED, actor=actor)
    cancel = tuple(job_id for job_id in kept if session.held[job_id].cancel_requested)
    lost = tuple(told.id for told in held if told.id not in kept)
    _renew(world, session, spec, ttl, actor)
    return BeatReply(alive=True, cancel=cancel, lost=lost, command=session.command)


def end_session(world: World, session: Session, state: SessionState) -> None:
    """Mark a session as ended; its jobs are taken back by whoever calls."""
    session.spec = _with_state(session.spec, state)
    session.ended_at = world.now


def _join(world: World, spec: SessionSpec, ttl: float) -> Session:
    now = world.now
    alive = _with_state(spec, SessionState.ALIVE)
    session = Session(world.next_seq(), alive, now, now, now + ttl)
    world.sessions[spec.id] = session
    world.log(
        Kind.WORKER_JOINED,
        f"worker:{spec.name}",
        worker=spec.name,
        session=spec.id,
        host=spec.host,
        pid=spec.pid,
    )
    return session


def _renew(world: World, session: Session, spec: SessionSpec, ttl: float, actor: str) -> None:
    before = session.spec.state
    session.spec = spec
    session.seen_at = world.now
    session.expires_at = world.now + ttl
    if spec.state is SessionState.DRAINING and before is not SessionState.DRAINING:
        world.log(Kind.WORKER_DRAINING, actor, worker=spec.name, session=spec.id)
    if spec.state is SessionState.LEFT:
        end_session(world, session, SessionState.LEFT)
        for job in list(session.held.values()):
            lose(world, job, actor=actor)
        world.log(Kind.WORKER_LEFT, actor, worker=spec.name, session=spec.id)


def _report(world: World, session: Session, told: HeldJob) -> bool:
    job = session.held.get(told.id)
    if job is None or not job.owns(told.epoch, told.nonce):
        return False
    if told.ran_for is not None:
        attempt = job.tries[-1]
        if attempt.started_at is None:
            attempt.started_at = world.now - told.ran_for
        if job.state is State.ASSIGNED:
            world.shift(job, Event.START)
    world.report(job, told.progress, told.note, told.logs)
    return True


def _obeyed(job: Job, told: Settlement) -> bool:
    # Every lease adds one attempt and one epoch, so the epoch is the attempt's place.
    if not 0 < told.epoch <= len(job.tries):
        return False
    attempt = job.tries[told.epoch - 1]
    return attempt.fits(told.epoch, told.nonce) and attempt.outcome == told.outcome.value


def _leased(world: World, job: Job) -> Leased:
    spec = job.spec
    attempt = job.tries[-1]
    results, names = _parents(world, job) if spec.parents else (None, None)
    return Leased(
        id=spec.id,
        task=spec.task,
        payload=job.payload,
        queue=spec.queue,
        attempt=job.attempt,
        epoch=job.epoch,
        nonce=attempt.nonce,
        timeout=spec.timeout,
        soft_timeout=spec.soft_timeout,
        failed=job.failed,
        lost=job.lost,
        retry=spec.retry.to_json(),
        parents=results,
        parent_names=names,
        tenant=spec.tenant,
        workflow_id=job.workflow_id,
        headers=spec.headers or None,
        cancel_requested=job.cancel_requested,
    )


def _parents(world: World, job: Job) -> tuple[dict[str, bytes], dict[str, str] | None]:
    found = world.parents_of(job)
    results = {p.id: p.result or b"null" for p in found if p.state is State.COMPLETED}
    if job.workflow_id is None:
        return results, None
    return results, {p.id: p.spec.node for p in found if p.spec.node is not None}


def _with_state(spec: SessionSpec, state: SessionState) -> SessionSpec:
    return msgspec.structs.replace(spec, state=state)
