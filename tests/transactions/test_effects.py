"""The task's own rows and its job's completion commit together, or neither does."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from stoker.connect import open_store
from stoker.core.clock import SystemClock
from stoker.core.job import JobRecord, JobSpec, Outcome, Settled, WorkflowSpec
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.core.store import Store
from stoker.settings import LimitSettings
from stoker.stores.memory import MemoryStore
from stoker.testing.conformance.hygiene import check_hygiene
from stoker.worker import wire
from stoker.worker.processes import ChildSpec
from stoker.worker.source import TaskSource
from stoker.worker.worker import Worker
from tests.transactions import ledger, mortal
from tests.transactions.conftest import Shop
from tests.unit.worker.kit import Bench, settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["open_postgres", "open_file"])
def shop(request: pytest.FixtureRequest) -> Shop:
    found: Shop = request.getfixturevalue(request.param)
    found.make_orders()
    return found


@contextlib.asynccontextmanager
async def working(store: Store) -> AsyncIterator[Bench]:
    """A real worker with the tasks of `ledger`."""
    clock = SystemClock()
    async with store as opened:
        worker = Worker(
            opened,
            ledger.registry(),
            settings=settings(),
            limits=LimitSettings(),
            clock=clock,
            source=TaskSource(),
            name="tester",
            child_module="tests.transactions.ledger_child",
        )
        bench = Bench(opened, worker, clock)
        bench.start()
        yield bench
        await bench.finish()


@pytest.mark.parametrize("task", ["book", "abook", "book_apart", "abook_apart"])
async def test_rows_and_completion_come_together(
    shop: Shop, task: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(open_store(shop.url)) as bench:
        first = await bench.submit(task, {"order": "one"}, timeout=60.0)
        second = await bench.submit(task, {"order": "two"}, timeout=60.0)
        records = [await bench.ended(job_id) for job_id in (first, second)]
        assert [_result(record) for record in records] == ["booked one", "booked two"]
        assert shop.orders() == ["one", "two"]
        await bench.finish()
        records = [await bench.get(job_id) for job_id in (first, second)]
        assert [[a.outcome for a in record.attempts] for record in records] == [["completed"]] * 2
        assert all(record.started_at is not None for record in records)
        await check_hygiene(bench.store)
    # The worker is told "repeated", not that it lost the lease.
    assert [r.getMessage() for r in caplog.records if "lease" in r.getMessage()] == []


async def test_children_become_ready_with_the_same_commit(shop: Shop) -> None:
    async with working(open_store(shop.url)) as bench:
        jobs = [
            JobSpec(id="a", task="book", payload=b'{"order": "parent"}'),
            JobSpec(id="b", task="abook", payload=b'{"order": "child"}', parents=("a",)),
        ]
        await bench.store.submit(jobs, workflow=WorkflowSpec(id="f", name="f"))
        assert _result(await bench.ended("b")) == "booked child"
        assert shop.orders() == ["child", "parent"]


@pytest.mark.parametrize(
    ("task", "code", "says"),
    [
        ("inside_and_out", "task_error", "after the block"),
        ("nested", "usage", "begun the transaction of its job already"),
        ("commits", "usage", "committed or rolled back the transaction"),
        ("plain_with", "usage", "write: async with"),
        ("unwritable", "invalid_payload", ""),
    ],
)
async def test_a_task_that_fails_leaves_no_rows(
    shop: Shop, task: str, code: str, says: str
) -> None:
    async with working(open_store(shop.url)) as bench:
        record = await bench.ended(await bench.submit(task, {"order": "one"}, timeout=60.0))
        assert record.state is State.DEAD_LETTER
        assert record.error is not None
        assert (record.error.code, says in record.error.message) == (code, True), record.error
        # Whoever commits by himself has his rows, and no completed job.
        assert shop.orders() == (["one"] if task == "commits" else [])


async def test_a_block_that_failed_may_be_followed_by_another(shop: Shop) -> None:
    async with working(open_store(shop.url)) as bench:
        record = await bench.ended(await bench.submit("two", {"order": "one"}))
        assert (record.state, shop.orders()) == (State.COMPLETED, ["one"])


@pytest.mark.parametrize("task", ["book", "abook", "book_apart"])
async def test_a_store_without_transactions_says_so(task: str) -> None:
    async with working(MemoryStore(clock=SystemClock())) as bench:
        record = await bench.ended(await bench.submit(task, {"order": "one"}, timeout=60.0))
        assert record.error is not None
        assert record.error.code == "unsupported"


@pytest.mark.parametrize("task", ["book", "abook"])
@pytest.mark.parametrize("when", ["before", "inside", "after"])
async def test_a_lost_lease_commits_nothing(
    shop: Shop, task: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is taken back before the block, inside it, or after it."""
    async with open_store(shop.url) as store:
        spec = JobSpec(id="j", task=task, payload=b'{"order": "late"}')
        await store.submit([spec])
        leased = await mortal.lease(store, "s", "j")
        if when == "before":
            await store.reap(sessions=["s"])
        elif shop.is_postgres:
            _steal(shop, when, monkeypatch)
        else:
            # Nobody can take it back while the file is locked: what is to be shown is the fence.
            leased = msgspec.structs.replace(leased, epoch=leased.epoch + 1)
        settlement = await mortal.run(store, leased, None)
        assert settlement.outcome is Outcome.FAILED
        assert settlement.error is not None
        assert settlement.error.code == "lease_lost"
        assert shop.orders() == []
        [record] = await store.get(["j"])
        assert record is not None
        assert record.state in {State.QUEUED, State.ASSIGNED}


async def test_the_settlement_after_the_commit_is_a_repetition(shop: Shop) -> None:
    async with open_store(shop.url) as store:
        await store.submit([JobSpec(id="j", task="book", payload=b'{"order": "one"}')])
        leased = await mortal.lease(store, "s", "j")
        told = await mortal.run(store, leased, None)
        [before] = await store.get(["j"])
        answer = await store.exchange("s", [told], queues={}, want=0, nonce="n")
        assert answer.settled == [Settled.REPEATED]
        # Whatever else its worker says, because a limit passed in that moment, changes nothing.
        late = msgspec.structs.replace(told, outcome=Outcome.FAILED, retry_in=0.0)
        answer = await store.exchange("s", [late], queues={}, want=0, nonce="m")
        assert answer.settled == [Settled.LEASE_LOST]
        [after] = await store.get(["j"])
        assert before is not None
        assert after is not None
        assert before.to_dict() == after.to_dict()
        assert (after.state, _result(after)) == (State.COMPLETED, "booked one")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("task", ["book", "abook"])
async def test_a_death_at_any_line_leaves_both_or_neither(shop: Shop, task: str) -> None:
    program = [sys.executable, "-m", "tests.transactions.mortal", shop.url, task]
    done = await asyncio.to_thread(
        subprocess.run, program, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    ends = msgspec.json.decode(done.stdout, type=list[int])
    # Enough lines to be sure that it watched the right ones, and the last process lived.
    assert len(ends) > 50
    assert ends == [-9] * (len(ends) - 1) + [0]
    async with open_store(shop.url) as store:
        names = [f"o{n}" for n in range(1, len(ends) + 1)]
        records = await _all(store, names)
        whole = {name for name, r in records.items() if r.state is State.COMPLETED}
        assert set(shop.orders()) == whole
        assert 0 < len(whole) < len(names)
        for name in set(names) - whole:
            # As the keeper takes them back, and another worker runs them.
            number = name.removeprefix("o")
            await store.reap(sessions=[f"s{number}"])
            leased = await mortal.lease(store, f"t{number}", f"j{number}")
            told = await mortal.run(store, leased, None)
            answer = await store.exchange(f"t{number}", [told], queues={}, want=0, nonce="e")
            assert answer.settled == [Settled.REPEATED]
        records = await _all(store, names)
        assert {_result(r) for r in records.values()} == {f"booked {name}" for name in names}
        assert sorted(shop.orders()) == sorted(names)


def test_a_child_learns_the_store_only_when_it_asks() -> None:
    secret = "postgresql://u:secret@h/d"
    spec = ChildSpec(source=TaskSource(), worker="w", result_limit=1, address=lambda: secret)
    assert b"secret" not in wire.pack(spec.hello(0))
    asked = wire.pack(wire.StoreAsked())
    assert isinstance(wire.read_from_child(asked[wire.HEAD :]), wire.StoreAsked)
    told = wire.pack(wire.StoreTold(spec.address()))
    assert wire.read_to_child(told[wire.HEAD :]) == wire.StoreTold(secret)


def _steal(shop: Shop, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the job taken back while its task is inside the block, or has just left it."""
    write, awrite, book, abook = ledger.write, ledger.awrite, ledger.book, ledger.abook

    def reap() -> None:
        shop.app.run(shop.app.arun(lambda store: store.reap(sessions=["s"])))

    def inside(db: object, order: str) -> None:
        write(db, order)
        reap()

    async def inside_async(db: object, order: str) -> None:
        await awrite(db, order)
        reap()

    def after(order: str) -> str:
        done = book(order)
        reap()
        return done

    async def after_async(order: str) -> str:
        done = await abook(order)
        reap()
        return done

    if when == "inside":
        monkeypatch.setattr(ledger, "write", inside)
        monkeypatch.setattr(ledger, "awrite", inside_async)
    else:
        after_async.__name__, after.__name__ = "abook", "book"
        monkeypatch.setattr(ledger, "book", after)
        monkeypatch.setattr(ledger, "abook", after_async)


async def _all(store: Store, names: list[str]) -> dict[str, JobRecord]:
    page = await store.find(JobQuery(), limit=1000)
    records = {f"o{record.id.removeprefix('j')}": record for record in page.jobs}
    assert sorted(records) == sorted(names)
    return records


def _result(record: JobRecord) -> object:
    return None if record.result is None else msgspec.json.decode(record.result)
