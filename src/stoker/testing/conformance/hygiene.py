"""What must be true of any store at any time, looked at after every test.

The store counts, links and limits things in many places at once; here each of them is counted
anew from the jobs themselves.
"""

from collections import Counter

from stoker.core.job import JobRecord
from stoker.core.lifecycle import LEASED, LIVE, TERMINAL, State
from stoker.core.records import MAX_PAGE, JobQuery
from stoker.core.store import Store


async def check_hygiene(store: Store) -> None:
    """Check that a store agrees with itself.

    Raises:
        AssertionError: It does not; the message says where.
    """
    jobs = await _all_jobs(store)
    await _tallies_are_a_recount(store, jobs)
    await _every_lease_has_a_living_session(store, jobs)
    _every_child_waits_for_its_live_parents(jobs)
    _attempts_tell_the_state(jobs)
    _keys_are_unique(jobs)
    await _workflows_are_a_recount(store, jobs)


async def _all_jobs(store: Store) -> dict[str, JobRecord]:
    jobs: dict[str, JobRecord] = {}
    cursor: str | None = None
    while True:
        page = await store.find(JobQuery(), cursor=cursor, limit=MAX_PAGE)
        jobs |= {job.id: job for job in page.jobs}
        if page.next_cursor is None:
            return jobs
        assert page.next_cursor != cursor, "the cursor of a page leads to the same page"
        cursor = page.next_cursor


async def _tallies_are_a_recount(store: Store, jobs: dict[str, JobRecord]) -> None:
    counts = await store.counts()
    recount = Counter((job.queue, job.priority, job.state) for job in jobs.values())
    tallies = {(t.queue, t.priority, t.state): t.count for t in counts.tallies if t.count}
    assert tallies == recount, "the tallies of counts() differ from a recount of find()"
    for queue in await store.queues():
        own = Counter(job.state for job in jobs.values() if job.queue == queue.name)
        shown = {state: count for state, count in queue.counts.items() if count}
        assert shown == own, f"queues() counts {queue.name!r} otherwise than find() does"
        queued = [j for j in jobs.values() if (j.queue, j.state) == (queue.name, State.QUEUED)]
        oldest = min((job.run_at for job in queued), default=None)
        assert queue.oldest_at == oldest, f"queues() names another oldest job of {queue.name!r}"
        assert counts.oldest.get(queue.name) == oldest, f"counts() of {queue.name!r}: its oldest"


async def _every_lease_has_a_living_session(store: Store, jobs: dict[str, JobRecord]) -> None:
    held = Counter(job.worker for job in jobs.values() if job.state in LEASED)
    busy: Counter[str | None] = Counter()
    for session in await store.sessions():
        busy[session.name] += session.busy
    assert +busy == +held, "I10: leased jobs by worker differ from what living sessions hold"


def _every_child_waits_for_its_live_parents(jobs: dict[str, JobRecord]) -> None:
    for job in jobs.values():
        live = {p for p in job.parents if p in jobs and jobs[p].state in LIVE}
        if job.state is State.BLOCKED:
            assert job.waiting_for == len(live), f"{job.id} is blocked on {live}"
            assert live, f"{job.id} is blocked, and none of its parents is live"


def _attempts_tell_the_state(jobs: dict[str, JobRecord]) -> None:
    for job in jobs.values():
        epochs = [attempt.epoch for attempt in job.attempts]
        assert epochs == list(range(1, len(epochs) + 1)), f"{job.id}: epochs {epochs}"
        open_ends = [a.epoch for a in job.attempts if a.outcome is None]
        expected = epochs[-1:] if job.state in LEASED else []
        assert open_ends == expected, f"I2: {job.id} is {job.state}; open attempts: {open_ends}"
        ended = job.state in TERMINAL
        assert (job.finished_at is not None) == ended, f"{job.id} is {job.state}: finished_at"


def _keys_are_unique(jobs: dict[str, JobRecord]) -> None:
    live = [job for job in jobs.values() if job.unique_key is not None and job.state in LIVE]
    holders = Counter((job.tenant, job.task, job.unique_key) for job in live)
    shared = [key for key, count in holders.items() if count > 1]
    assert not shared, f"several live jobs hold one unique key: {shared}"


async def _workflows_are_a_recount(store: Store, jobs: dict[str, JobRecord]) -> None:
    infos, _ = await store.workflows(limit=MAX_PAGE)
    for info in infos:
        own = Counter(job.state for job in jobs.values() if job.workflow_id == info.id)
        shown = {state: count for state, count in info.counts.items() if count}
        assert shown == own, f"workflow {info.id} counts otherwise than find() does"
        assert info.total == own.total(), f"workflow {info.id}: total"
