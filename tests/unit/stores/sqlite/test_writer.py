"""Group commits: who shares one, who is harmed by whom, and what is said when one breaks."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import apsw
import pytest

from stoker.core.errors import (
    InvalidQuery,
    LeaseLost,
    NotOpen,
    OutcomeUnknown,
    StoreFull,
    Unavailable,
)
from stoker.core.job import JobSpec, SessionSpec
from stoker.core.records import EventQuery, JobQuery
from stoker.stores.sqlite import SQLiteStore, writer
from stoker.stores.sqlite.lock import WriteLock
from stoker.stores.sqlite.transaction import Transaction
from stoker.testing import wait_until
from stoker.testing.clock import FakeClock
from tests.unit.stores.sqlite.conftest import Child, Rows, line


def job(name: str, **changes: Any) -> JobSpec:
    return JobSpec(id=name, task="work", **changes)


class Faulty:
    """A connection whose statements can be made to fail."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self.faults: dict[str, Exception] = {}

    def execute(self, statement: str, *arguments: Any) -> Any:
        fault = self.faults.pop(statement, None)
        if fault is not None:
            raise fault
        return self._db.execute(statement, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


def make_faulty(store: SQLiteStore) -> Faulty:
    assert store._handle is not None
    faulty = Faulty(store._handle.writer._db)
    store._handle.writer._db = faulty  # type: ignore[assignment]
    return faulty


def hold_up(store: SQLiteStore) -> Callable[[], None]:
    """Keep the writer's thread busy until the returned function is called."""
    assert store._handle is not None
    gate, busy = threading.Event(), threading.Event()

    def work(tx: Transaction) -> None:
        busy.set()
        gate.wait(30)

    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    store._handle.writer._inbox.put(writer.Command(work, future, alone=True))
    assert busy.wait(30)
    return gate.set


async def test_commands_that_queued_meanwhile_share_one_commit(store: SQLiteStore) -> None:
    commits: list[int] = []

    def note() -> bool:
        commits.append(1)
        return False

    assert store._handle is not None
    store._handle.writer._db.set_commit_hook(note)
    go = hold_up(store)
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(store.submit([job(f"j{number}")]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        go()
    assert commits == [1]
    assert (await store.counts()).totals == {"submitted": 20}


async def test_commands_that_work_longer_than_a_commit_takes_share_none(
    store: SQLiteStore, fake_clock: FakeClock
) -> None:
    commits: list[int] = []
    worked: list[int] = []

    def work(tx: Transaction) -> None:
        tx.run("INSERT INTO queues (name) VALUES (?)", f"queue-{len(worked)}")
        fake_clock.advance(0.02)
        worked.append(1)

    def note() -> bool:
        commits.append(len(worked))
        fake_clock.advance(0.03 if len(worked) < 4 else 0.01)
        return False

    assert store._handle is not None
    store._handle.writer._db.set_commit_hook(note)
    go = hold_up(store)
    async with asyncio.TaskGroup() as group:
        for _ in range(9):
            group.create_task(store._handle.writer.run(work))
        await asyncio.sleep(0)
        go()
    # What a commit takes is known from the one before it: nothing yet, then 0.03, of which three
    # commands make the longest group, then 0.01.
    assert commits == [1, 4, 5, 6, 7, 8, 9]


async def test_a_command_that_fails_leaves_no_trace_and_harms_nobody(
    store: SQLiteStore, rows: Rows
) -> None:
    def break_halfway(tx: Transaction) -> None:
        tx.run("UPDATE jobs SET task = 'spoiled'")
        tx.count("default", "work", "submitted", n=99)
        tx.books.changed.append("j0")
        raise ZeroDivisionError

    def break_in_sql(tx: Transaction) -> None:
        tx.run("UPDATE jobs SET task = 'spoiled'")
        tx.run("INSERT INTO queues (name) VALUES (NULL)")

    assert store._handle is not None
    run = store._handle.writer.run
    go = hold_up(store)
    calls = [
        store.submit([job("a")]),
        run(break_halfway),
        store.exchange("nobody", [], queues={}, want=1, nonce="n"),
        run(break_in_sql),
        store.requeue(JobQuery(), payload=b"{}"),
        store.submit([job("b")]),
    ]
    tasks = [asyncio.ensure_future(call) for call in calls]  # noqa: TID251
    await asyncio.sleep(0)
    go()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found] == [
        list,
        ZeroDivisionError,
        LeaseLost,
        Unavailable,
        InvalidQuery,
        list,
    ]
    assert rows("SELECT id, task FROM jobs ORDER BY id") == [("a", "work"), ("b", "work")]
    assert (await store.counts()).totals == {"submitted": 2}


async def test_a_full_disk_refuses_everything_and_heals_by_itself(
    store: SQLiteStore, rows: Rows
) -> None:
    await store.submit([job("before")])
    assert store._handle is not None
    run = store._handle.writer.run_alone
    pages = await run(lambda db: db.execute("PRAGMA page_count").get)
    await run(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 1}").get)
    big = b'{"x": "' + b"x" * 500_000 + b'"}'
    with pytest.raises(StoreFull, match="nothing was written"):
        await store.submit([job("small"), job("big", payload=big)])
    assert rows("SELECT id FROM jobs") == [("before",)]
    assert rows("SELECT sum(n) FROM tallies") == [(1,)]
    await run(lambda db: db.execute("PRAGMA max_page_count = 1000000").get)
    await store.submit([job("small"), job("big", payload=big)])
    [found] = await store.get(["big"])
    assert found is not None
    assert bytes(found.payload) == big


@pytest.mark.parametrize("fault", [apsw.FullError("full"), apsw.BusyError("busy")])
async def test_a_transaction_that_cannot_begin_did_nothing(
    store: SQLiteStore, fault: Exception
) -> None:
    make_faulty(store).faults["BEGIN IMMEDIATE"] = fault
    with pytest.raises(Unavailable, match="nothing was written"):
        await store.submit([job("a")])
    assert await store.get(["a"]) == [None]
    await store.submit([job("a")])


async def test_a_commit_that_breaks_leaves_the_outcome_open(store: SQLiteStore) -> None:
    faulty = make_faulty(store)
    go = hold_up(store)
    faulty.faults["COMMIT"] = apsw.IOError("disk I/O error")
    tasks = [asyncio.ensure_future(store.submit([job(name)])) for name in "ab"]  # noqa: TID251
    await asyncio.sleep(0)
    go()
    for task in tasks:
        with pytest.raises(OutcomeUnknown, match="may or may not"):
            await task
    answers = await store.submit([job("a"), job("b")])
    assert all(answer.error is None for answer in answers)


async def test_an_input_output_error_before_the_commit_did_nothing(store: SQLiteStore) -> None:
    faulty = make_faulty(store)
    go = hold_up(store)
    # Before the second command of the group.
    faulty.faults["SAVEPOINT command"] = apsw.IOError("disk I/O error")
    tasks = [asyncio.ensure_future(store.submit([job(name)])) for name in "ab"]  # noqa: TID251
    await asyncio.sleep(0)
    go()
    for task in tasks:
        with pytest.raises(Unavailable):
            await task
    assert faulty.faults == {}
    assert await store.get(["a", "b"]) == [None, None]


async def test_a_first_command_that_fails_is_undone_and_its_neighbours_are_kept(
    store: SQLiteStore,
) -> None:
    faulty = make_faulty(store)
    go = hold_up(store)
    faulty.faults["SELECT coalesce(max(seq), 0) FROM jobs"] = ZeroDivisionError("a defect")
    tasks = [asyncio.ensure_future(store.submit([job(name)])) for name in "abc"]  # noqa: TID251
    await asyncio.sleep(0)
    go()
    with pytest.raises(ZeroDivisionError):
        await tasks[0]
    assert [answer.created for task in tasks[1:] for answer in await task] == [True, True]
    found = await store.get(["a", "b", "c"])
    assert [job and job.id for job in found] == [None, "b", "c"]


async def test_a_transaction_that_cannot_be_begun_again_did_nothing(store: SQLiteStore) -> None:
    faulty = make_faulty(store)
    go = hold_up(store)
    faulty.faults["SELECT coalesce(max(seq), 0) FROM jobs"] = ZeroDivisionError("a defect")
    faulty.faults["ROLLBACK; BEGIN IMMEDIATE"] = apsw.BusyError("busy")
    tasks = [asyncio.ensure_future(store.submit([job(name)])) for name in "ab"]  # noqa: TID251
    await asyncio.sleep(0)
    go()
    for place, task in enumerate(tasks):
        if place:
            await task
        else:
            with pytest.raises(Unavailable, match="nothing was written"):
                await task
    assert faulty.faults == {}
    found = await store.get(["a", "b"])
    assert [job and job.id for job in found] == [None, "b"]


async def test_a_defect_in_the_books_fails_its_commit_and_not_the_next(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Transaction, "write_books", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await store.submit([job("a")])
    monkeypatch.undo()
    assert (await store.submit([job("a")]))[0].created


async def test_a_lock_that_fails_is_told_and_the_writer_goes_on(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(WriteLock, "acquire", refuse)
    with pytest.raises(Unavailable, match="No locks available"):
        await store.submit([job("a")])
    monkeypatch.undo()
    assert (await store.submit([job("a")]))[0].created


async def test_who_waits_too_long_for_the_lock_is_told_that_nothing_was_done(
    store: SQLiteStore, path: str, child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PATIENCE", 0.05)
    async with child("hold", path) as process:
        assert await line(process) == "held"
        with pytest.raises(Unavailable, match="Another process holds it"):
            await store.submit([job("late")])
    monkeypatch.undo()
    await store.submit([job("after")])
    assert await store.get(["late"]) == [None]


async def test_reading_goes_on_while_somebody_else_writes(
    store: SQLiteStore, path: str, child: Child
) -> None:
    await store.submit([job("a")])
    async with child("hold", path) as process:
        assert await line(process) == "held"
        assert (await store.find(JobQuery())).jobs[0].id == "a"


async def test_a_command_whose_caller_gave_up_is_not_run(store: SQLiteStore) -> None:
    go = hold_up(store)
    task = asyncio.ensure_future(store.submit([job("a")]))  # noqa: TID251
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go()
    await store.submit([job("b")])
    assert await store.get(["a"]) == [None]


async def test_closing_finishes_what_was_asked_before(path: str, store: SQLiteStore) -> None:
    handle = store._handle
    assert handle is not None
    go = hold_up(store)
    task = asyncio.ensure_future(store.submit([job("a")]))  # noqa: TID251
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(handle.close())  # noqa: TID251
    await wait_until(lambda: handle.writer._closing, "the writer was told to close")
    with pytest.raises(NotOpen):
        await handle.writer.run(lambda tx: None)
    go()
    await closing
    assert (await task)[0].created


async def test_the_event_loop_goes_on_while_a_commit_is_away(store: SQLiteStore) -> None:
    go = hold_up(store)
    task = asyncio.ensure_future(store.submit([job("a")]))  # noqa: TID251
    for _ in range(100):
        await asyncio.sleep(0)
    assert not task.done()
    go()
    await task


async def test_a_text_that_no_utf8_can_hold_refuses_its_own_job_only(store: SQLiteStore) -> None:
    good, bad, worse = await store.submit(
        [job("a"), job("b", tenant="\ud800"), job("c", payload=b'"\xff"')]
    )
    assert good.created
    assert bad.error is not None
    assert bad.error.code == "invalid_option"
    assert worse.error is not None
    assert worse.error.code == "invalid_payload"


async def test_a_moment_beyond_the_calendar_refuses_its_own_job_only(store: SQLiteStore) -> None:
    specs = [job("a"), job("b", delay=1e300), job("c", run_at=float("nan")), job("d", expires=1e12)]
    good, *bad = await store.submit(specs)
    assert good.created
    assert [answer.error.code for answer in bad if answer.error] == ["invalid_option"] * 3
    assert len((await store.find(JobQuery())).jobs) == 1


async def test_an_error_text_that_no_utf8_can_hold_is_kept_as_well_as_can_be(
    store: SQLiteStore,
) -> None:
    await store.beat(SessionSpec(id="s", name="w"), [], ttl=60)
    await store.submit([job("a")])
    await store.cancel(JobQuery(ids=("a",)), reason="file \udcff is gone")
    [event] = [e for e in await store.events(EventQuery()) if e.kind == "job_cancelled"]
    assert event.details["reason"] == "file ? is gone"
