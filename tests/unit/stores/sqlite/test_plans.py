"""How SQLite finds things: by the indexes that were made for it, on a store with many jobs."""

import re
from collections.abc import AsyncIterator

import apsw
import pytest

from stoker.core.job import JobSpec, Outcome, Priority, SessionSpec, Settlement
from stoker.core.lifecycle import TERMINAL, State
from stoker.core.records import JobQuery
from stoker.core.retry import RetryPolicy
from stoker.stores.sqlite import SQLiteStore
from stoker.testing import FakeClock

JOBS = 20_000


class Watched:
    """A connection that keeps the plan of each statement."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self.plans: dict[str, str] = {}

    def execute(self, statement: str, *arguments: object) -> apsw.Cursor:
        if re.match(r"\s*(WITH|SELECT|UPDATE|DELETE|INSERT)", statement):
            text = f"EXPLAIN QUERY PLAN {statement}"
            plan = self._db.execute(text, *arguments)  # type: ignore[arg-type]
            self.plans[statement] = "\n".join(str(row[3]) for row in plan)
        return self._db.execute(statement, *arguments)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self._db, name)

    def scans(self) -> list[str]:
        """Return the statements that read all jobs, not narrowed by an index."""
        return [f"{statement}: {plan}" for statement, plan in self.plans.items() if _scans(plan)]

    def uses(self, index: str) -> bool:
        """Whether some statement went by an index."""
        return any(index in plan for plan in self.plans.values())


def _scans(plan: str) -> bool:
    lines = plan.splitlines()
    # What a subquery gives is read whole; its name may be that of the jobs inside it.
    given = sum(line in {"CO-ROUTINE j", "MATERIALIZE j"} for line in lines)
    return sum(line in {"SCAN j", "SCAN m", "SCAN jobs"} for line in lines) > given


@pytest.fixture
async def many(path: str, fake_clock: FakeClock) -> AsyncIterator[SQLiteStore]:
    """A store with jobs in every state, most of them queued or completed."""
    async with SQLiteStore(path, durability="fast", clock=fake_clock) as store:
        await store.beat(SessionSpec(id="s", name="w"), [], ttl=600)
        for start in range(0, JOBS, 5_000):
            await store.submit(
                [
                    JobSpec(
                        id=f"j{n}",
                        task="work",
                        queue="default" if n % 2 else "mail",
                        priority=list(Priority)[n % 3],
                        delay=10.0 if n % 50 == 0 else 0.0,
                        expires=5.0 if n % 70 == 0 else None,
                        timeout=20.0 if n % 3 == 0 else None,
                        retry=RetryPolicy(0),
                    )
                    for n in range(start, start + 5_000)
                ]
            )
        await store.submit([JobSpec(id="rare", task="rare", tenant="rare", delay=900.0)])
        for turn in range(3):
            got = await store.exchange(
                "s", [], queues={"default": 2_000, "mail": 2_000}, want=4_000, nonce=f"n{turn}"
            )
            ends = [
                Settlement(
                    x.id,
                    x.epoch,
                    x.nonce,
                    Outcome.FAILED if place % 500 == 0 else Outcome.COMPLETED,
                )
                for place, x in enumerate(got.leased[: 4_000 if turn < 2 else 100])
            ]
            await store.exchange("s", ends, queues={}, want=0, nonce=f"m{turn}")
        yield store


def watch(store: SQLiteStore) -> Watched:
    assert store._handle is not None
    watched = Watched(store._handle.writer._db)
    store._handle.writer._db = watched  # type: ignore[assignment]
    return watched


def watch_reader(store: SQLiteStore) -> Watched:
    assert store._handle is not None
    watched = Watched(store._handle.reader._db)
    store._handle.reader._db = watched  # type: ignore[assignment]
    return watched


async def test_leasing_goes_by_the_index_of_ready_jobs(
    many: SQLiteStore, fake_clock: FakeClock
) -> None:
    watched = watch(many)
    queues = {"default": 5, "mail": 5, "none": 5, "more": 5}
    got = await many.exchange("s", [], queues=queues, want=9, nonce="x", aged=2, ids=["j1", "j7"])
    again = await many.exchange("s", [], queues=queues, want=9, nonce="x")
    assert len(got.leased) == len(again.leased) == 9
    assert watched.scans() == []
    assert watched.uses("jobs_ready (queue=? AND priority=?)")
    assert watched.uses("jobs_leased (session=?)")
    lease = next(s for s in watched.plans if "SET state = 3" in s)
    assert "INTEGER PRIMARY KEY (rowid=?)" in watched.plans[lease]


async def test_leasing_rows_side_by_side_walks_along_them(many: SQLiteStore) -> None:
    await many.submit([JobSpec(id=f"row{n}", task="work", queue="row") for n in range(5)])
    watched = watch(many)
    got = await many.exchange("s", [], queues={"row": 5}, want=5, nonce="x")
    assert len(got.leased) == 5
    assert watched.scans() == []
    lease = next(s for s in watched.plans if "SET state = 3" in s)
    assert "INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in watched.plans[lease]


async def test_settling_goes_by_the_primary_keys(many: SQLiteStore, fake_clock: FakeClock) -> None:
    got = await many.exchange("s", [], queues={"default": 50}, want=50, nonce="x")
    watched = watch(many)
    told = [
        Settlement(x.id, x.epoch, x.nonce, outcome, retry_in=1.0)
        for x, outcome in zip(got.leased, list(Outcome) * 9, strict=False)
    ]
    await many.exchange("s", told, queues={}, want=0, nonce="y")
    assert watched.scans() == []
    assert watched.uses("jobs_id (id=?)")


async def test_promoting_and_reaping_go_by_their_own_indexes(
    many: SQLiteStore, fake_clock: FakeClock
) -> None:
    fake_clock.advance(700)
    watched = watch(many)
    reaped = await many.reap()
    assert reaped.sessions == ("s",)
    reaped = await many.reap(limit=100_000)
    assert reaped.requeued
    assert reaped.buried
    assert reaped.promoted
    assert watched.scans() == []
    for index in (
        "jobs_due (due_at<?)",
        "jobs_leased (session=?)",
        "jobs_leased (session=? AND deadline_at<?)",
        "jobs_expiring (expires_at<?)",
    ):
        assert watched.uses(index)


async def test_purging_goes_by_the_index_of_ended_jobs(
    many: SQLiteStore, fake_clock: FakeClock
) -> None:
    fake_clock.advance(50)
    watched = watch(many)
    query = JobQuery(states=tuple(TERMINAL))
    assert await many.purge(query, older_than=40.0, limit=100) == 100
    assert await many.purge(query, keep=5_000, limit=100) == 100
    assert watched.scans() == []
    assert watched.uses("jobs_ended (finished_at>? AND finished_at<?)")


async def test_cancelling_by_id_or_by_a_rare_state_does_not_read_every_job(
    many: SQLiteStore, fake_clock: FakeClock
) -> None:
    watched = watch(many)
    assert len(await many.cancel(JobQuery(ids=("j1", "j3")))) == 2
    assert len(await many.cancel(JobQuery(states=(State.SCHEDULED,)), limit=50)) == 50
    assert len(await many.requeue(JobQuery(states=(State.DEAD_LETTER,)))) > 5
    assert len(await many.cancel(JobQuery(tasks=("rare",)))) == 1
    assert await many.cancel(JobQuery(tenant="nobody")) == []
    assert watched.scans() == []
    assert watched.uses("jobs_due")
    assert watched.uses("jobs_dead")


async def test_looking_for_rare_jobs_does_not_read_every_job(
    many: SQLiteStore, fake_clock: FakeClock
) -> None:
    watched = watch_reader(many)
    for state in (State.DEAD_LETTER, State.CANCELLED, State.ASSIGNED, State.SCHEDULED):
        page = await many.find(JobQuery(states=(state,), error="" if state == "x" else None))
        assert {job.state for job in page.jobs} <= {state}
    assert watched.scans() == []
    for query, count in (
        (JobQuery(tasks=("rare",)), 1),
        (JobQuery(tasks=("nobody",)), 0),
        (JobQuery(tasks=("rare",), queues=("default",), states=(State.SCHEDULED,)), 1),
        (JobQuery(tenant="rare"), 1),
        (JobQuery(tenant="rare", tasks=("work",), states=(State.COMPLETED,)), 0),
        (JobQuery(schedule="nightly"), 0),
        (JobQuery(queues=("nobody's",)), 0),
        (JobQuery(error="unheard-of"), 0),
    ):
        assert len((await many.find(query)).jobs) == count, query
        assert watched.scans() == [], query
    await many.counts(window=3_600)
    await many.queues()
    await many.get(["j1", "j2"])
    await many.sessions(ended=True)
    assert watched.scans() == []
