"""One hand on a store: short words for what a caller and a worker do with it."""

from collections.abc import Mapping, Sequence
from typing import Any

from stoker.core.job import (
    BeatReply,
    ErrorInfo,
    Exchanged,
    HeldJob,
    JobRecord,
    JobSpec,
    Leased,
    Outcome,
    SessionSpec,
    SessionState,
    Settled,
    Settlement,
)
from stoker.core.lifecycle import State
from stoker.core.records import EventQuery, JobQuery
from stoker.core.retry import RetryPolicy
from stoker.core.store import Store
from stoker.testing.clock import FakeClock

TTL = 30.0
"""Seconds that a session of these tests lives without a beat."""
QUEUES: Mapping[str, int] = {"default": 1_000}
BOOM = ErrorInfo(code="task_error", message="boom", type="ValueError", traceback="Traceback ...")
NO_JITTER = RetryPolicy(3, backoff="fixed", base=10, jitter=False)


class Hand:
    """A store and a clock, with the words in which the suite speaks."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        """Take a store, open."""
        self.store = store
        self.clock = clock
        self._known: set[str] = set()

    def spec(self, **changes: Any) -> JobSpec:
        """Return a job of task ``work`` in queue ``default``."""
        given: dict[str, Any] = {"id": self.clock.new_id(), "task": "work", "retry": NO_JITTER}
        return JobSpec(**(given | changes))

    async def put(self, **changes: Any) -> str:
        """Submit one job, which must be accepted, and return its id."""
        [answer] = await self.store.submit([self.spec(**changes)])
        assert answer.created, f"the job was not accepted: {answer}"
        return answer.id

    async def put_many(self, count: int, **changes: Any) -> list[str]:
        """Submit several equal jobs in one call and return their ids."""
        answers = await self.store.submit([self.spec(**changes) for _ in range(count)])
        assert all(answer.created for answer in answers), f"not all were accepted: {answers}"
        return [answer.id for answer in answers]

    async def beat(
        self,
        session: str = "w1",
        held: Sequence[Leased] = (),
        *,
        started: Sequence[Leased] = (),
        ttl: float = TTL,
        **changes: Any,
    ) -> BeatReply:
        """Beat as a session; ``started`` are those held jobs that run since a second."""
        self._known.add(session)
        running = {lease.id for lease in started}
        told = {lease.id: lease for lease in (*held, *started)}
        return await self.store.beat(
            session_spec(session, **changes),
            [
                held_job(lease, ran_for=1.0 if key in running else None)
                for key, lease in told.items()
            ],
            ttl=ttl,
        )

    async def exchange(
        self,
        *settlements: Settlement,
        session: str = "w1",
        want: int = 0,
        queues: Mapping[str, int] = QUEUES,
        nonce: str | None = None,
        aged: int = 0,
        ids: Sequence[str] = (),
    ) -> Exchanged:
        """Settle and lease; a session that this hand never used beats first."""
        if session not in self._known:
            await self.beat(session)
        return await self.store.exchange(
            session,
            settlements,
            queues=queues,
            want=want,
            nonce=nonce or self.clock.new_nonce(),
            aged=aged,
            ids=ids,
        )

    async def lease(self, want: int = 1, **changes: Any) -> list[Leased]:
        """Lease up to ``want`` jobs."""
        return (await self.exchange(want=want, **changes)).leased

    async def take(self, job_id: str, session: str = "w1", **changes: Any) -> Leased:
        """Lease exactly this job, whichever queue it is in."""
        queues = {(await self.job(job_id)).queue: 1_000}
        leased = await self.lease(1, session=session, ids=[job_id], queues=queues, **changes)
        assert [lease.id for lease in leased] == [job_id], f"{job_id} was not leased: {leased}"
        return leased[0]

    async def settle(
        self,
        lease: Leased,
        outcome: Outcome = Outcome.COMPLETED,
        *,
        session: str = "w1",
        **changes: Any,
    ) -> Settled:
        """Settle one job and return the answer."""
        told = settlement(lease, outcome, **changes)
        return (await self.exchange(told, session=session)).settled[0]

    async def finish(
        self,
        job_id: str,
        outcome: Outcome = Outcome.COMPLETED,
        *,
        session: str = "w1",
        **changes: Any,
    ) -> None:
        """Lease a queued job and settle it, which must be obeyed."""
        lease = await self.take(job_id, session)
        answer = await self.settle(lease, outcome, session=session, **changes)
        assert answer is Settled.OK, f"{job_id} was not settled: {answer}"

    async def reach(self, job_id: str, state: State) -> None:
        """Bring a queued job to one of the states that an attempt leads to."""
        if state is State.QUEUED:
            return
        if state is State.CANCELLED:
            await self.store.cancel(JobQuery(ids=(job_id,)))
            return
        lease = await self.take(job_id)
        if state is State.RUNNING:
            await self.beat(started=[lease], ttl=1e6)
        elif state is not State.ASSIGNED:
            outcome, changes = _ENDS[state]
            await self.settle(lease, outcome, **changes)

    async def job(self, job_id: str) -> JobRecord:
        """Return a job that must exist."""
        [record] = await self.store.get([job_id])
        assert record is not None, f"the store knows no job {job_id}"
        return record

    async def state(self, job_id: str) -> State:
        """Return the state of a job that must exist."""
        return (await self.job(job_id)).state

    async def states(self, ids: Sequence[str]) -> list[State]:
        """Return the states of jobs that must exist."""
        return [await self.state(job_id) for job_id in ids]

    async def events(self, *kinds: Any, **query: Any) -> list[Any]:
        """Return the events of these kinds, oldest first."""
        found = await self.store.events(EventQuery(after=0, kinds=kinds, **query), limit=1_000)
        return list(found)

    async def all_jobs(self, **query: Any) -> list[JobRecord]:
        """Return every job that matches, following the cursors."""
        jobs: list[JobRecord] = []
        cursor: str | None = None
        while True:
            page = await self.store.find(JobQuery(**query), cursor=cursor, limit=1_000)
            jobs += page.jobs
            if page.next_cursor is None:
                return jobs
            assert page.next_cursor != cursor, "the cursor of a page leads to the same page"
            cursor = page.next_cursor


def session_spec(session: str, **changes: Any) -> SessionSpec:
    """Return a session that is named like its id, in capitals."""
    given: dict[str, Any] = {"name": session.upper(), "state": SessionState.ALIVE}
    return SessionSpec(id=session, **(given | changes))


def settlement(lease: Leased, outcome: Outcome, **changes: Any) -> Settlement:
    """Return a settlement with the fence of a lease; a failure brings an error along."""
    given: dict[str, Any] = {"epoch": lease.epoch, "nonce": lease.nonce}
    if outcome in {Outcome.FAILED, Outcome.CRASHED}:
        given["error"] = BOOM
    return Settlement(id=lease.id, outcome=outcome, **(given | changes))


def held_job(lease: Leased, **changes: Any) -> HeldJob:
    """Return what a beat says about a lease."""
    given: dict[str, Any] = {"epoch": lease.epoch, "nonce": lease.nonce}
    return HeldJob(id=lease.id, **(given | changes))


_ENDS: dict[State, tuple[Outcome, dict[str, Any]]] = {
    State.SCHEDULED: (Outcome.SNOOZED, {"retry_in": 3_600.0}),
    State.RETRY_QUEUED: (Outcome.FAILED, {"retry_in": 3_600.0}),
    State.COMPLETED: (Outcome.COMPLETED, {"result": b'"done"'}),
    State.DEAD_LETTER: (Outcome.FAILED, {"retry_in": None}),
}
