"""The handle's memory of leases is a memory and no authority."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import apsw
import pytest

from stoker.core.job import (
    ErrorInfo,
    Exchanged,
    HeldJob,
    JobSpec,
    Leased,
    Outcome,
    Priority,
    SessionSpec,
    Settled,
    Settlement,
    WorkflowSpec,
)
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.stores.sqlite import SQLiteStore, bell, completing, handle, transaction
from stoker.testing import FakeClock, wait_until
from tests.unit.stores.sqlite.books import recount
from tests.unit.stores.sqlite.conftest import Rows


async def lease(store: SQLiteStore, *ids: str, nonce: str = "n") -> list[Leased]:
    await store.beat(SessionSpec(id="s", name="w"), [], ttl=600)
    await store.submit([JobSpec(id=each, task="work") for each in ids])
    got = await store.exchange("s", [], queues={"default": 99}, want=99, nonce=nonce)
    return got.leased


def done(lease: Leased, outcome: Outcome = Outcome.COMPLETED) -> Settlement:
    return Settlement(lease.id, lease.epoch, lease.nonce, outcome, result=b"1", ran_for=2.0)


async def settle(store: SQLiteStore, *told: Settlement) -> list[Settled]:
    got: Exchanged = await store.exchange("s", told, queues={}, want=0, nonce="settle")
    return got.settled


async def test_a_child_that_came_after_the_lease_is_released(
    store: SQLiteStore, rows: Rows
) -> None:
    first, second = await lease(store, "a", "b")
    await store.submit([JobSpec(id="child", task="work", parents=("a",))])
    assert await settle(store, done(first), done(second)) == [Settled.OK, Settled.OK]
    [child] = await store.get(["child"])
    assert child is not None
    assert child.state is State.QUEUED
    assert recount(rows) == []


async def test_one_lost_lease_does_not_harm_the_others(
    store: SQLiteStore, fake_clock: FakeClock, rows: Rows
) -> None:
    leases = await lease(store, "a", "b", "c")
    fake_clock.advance(1)
    await store.beat(SessionSpec(id="s", name="w"), [held(x) for x in leases], ttl=600)
    fake_clock.advance(400)
    await store.beat(SessionSpec(id="s", name="w"), [held(x) for x in leases[1:]], ttl=600)
    assert await settle(store, *map(done, leases)) == [
        Settled.LEASE_LOST,
        Settled.OK,
        Settled.OK,
    ]
    assert recount(rows) == []


async def test_a_handle_that_did_not_give_the_lease_settles_it(
    store: SQLiteStore, path: str, fake_clock: FakeClock, rows: Rows
) -> None:
    first, second = await lease(store, "a", "b")
    async with SQLiteStore(path, clock=fake_clock) as other:
        assert await settle(other, done(first)) == [Settled.OK]
    assert await settle(store, done(first), done(second)) == [Settled.REPEATED, Settled.OK]
    assert recount(rows) == []


async def test_settling_twice_in_one_batch_is_told_as_a_repetition(
    store: SQLiteStore, rows: Rows
) -> None:
    first, second = await lease(store, "a", "b")
    told = [done(first), done(first), done(second, Outcome.RELEASED), done(second)]
    assert await settle(store, *told) == [
        Settled.OK,
        Settled.REPEATED,
        Settled.OK,
        Settled.LEASE_LOST,
    ]
    assert recount(rows) == []


async def test_a_settlement_of_an_older_attempt_is_recognised(
    store: SQLiteStore, fake_clock: FakeClock
) -> None:
    [first] = await lease(store, "a")
    failed = Settlement(
        first.id, first.epoch, first.nonce, Outcome.FAILED, error=ErrorInfo("x", "y"), retry_in=0.0
    )
    assert await settle(store, failed) == [Settled.OK]
    await lease(store, nonce="n2")
    assert await settle(store, failed) == [Settled.REPEATED]
    assert await settle(store, done(first)) == [Settled.LEASE_LOST]


async def test_time_that_a_beat_told_counts_more_than_the_settlement(
    store: SQLiteStore, fake_clock: FakeClock
) -> None:
    [first] = await lease(store, "a")
    await store.beat(SessionSpec(id="s", name="w"), [held(first, ran_for=1.0)], ttl=600)
    fake_clock.advance(10)
    await settle(store, done(first))
    [activity] = [a for a in (await store.counts(window=60)).activity if a.outcome == "completed"]
    assert activity.ran == pytest.approx(11.0)


async def test_the_memory_of_leases_is_bounded(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, rows: Rows
) -> None:
    monkeypatch.setattr(handle, "_REMEMBERED", 3)
    leases = await lease(store, "a", "b", "c", nonce="n1")
    leases += await lease(store, "d", nonce="n2")
    assert store._handle is not None
    assert set(store._handle.given) == {"d"}
    assert await settle(store, *map(done, leases)) == [Settled.OK] * 4
    assert store._handle.given == {}
    assert recount(rows) == []


async def test_a_big_payload_stands_apart_and_comes_back_whole(
    store: SQLiteStore, rows: Rows
) -> None:
    await store.beat(SessionSpec(id="s", name="w"), [], ttl=600)
    payload = b'{"x": "' + "ä ".encode() * 5_000 + b'"}'
    await store.submit([JobSpec(id="a", task="work", payload=payload)])
    assert rows("SELECT payload FROM jobs") == [(None,)]
    got = await store.exchange("s", [], queues={"default": 9}, want=9, nonce="n")
    assert got.leased[0].payload == payload
    [record] = await store.get(["a"])
    assert record is not None
    assert bytes(record.payload) == payload


async def test_what_is_too_long_for_one_statement_goes_in_parts(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, rows: Rows
) -> None:
    statements: list[str] = []
    run = transaction.Transaction.run

    def spy(tx: transaction.Transaction, statement: str, *arguments: Any) -> int:
        statements.append(statement)
        return run(tx, statement, *arguments)

    monkeypatch.setattr(transaction.Transaction, "run", spy)
    for module in (transaction, completing):
        monkeypatch.setattr(module, "LONGEST_TEXT", 60)
    leases = await lease(store, *"abcdefgh")
    told = [done(each) for each in leases[:5]]
    told += [done(each, Outcome.RELEASED) for each in leases[5:]]
    assert await settle(store, *told) == [Settled.OK] * 8
    assert recount(rows) == []
    assert statements.count(completing._COMPLETE) > 1


@pytest.mark.parametrize("where", ["side by side", "with gaps", "of two priorities", "of a flow"])
async def test_whatever_stands_side_by_side_is_leased_as_well_as_what_does_not(
    store: SQLiteStore, rows: Rows, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """What is side by side is read only after the commit; nobody may see a difference."""
    monkeypatch.setattr(bell, "TICK", 1e6)
    await store.beat(SessionSpec(id="s", name="w"), [], ttl=600)
    specs = [JobSpec(id=each, task="work") for each in "abcde"]
    if where == "of two priorities":
        specs[2] = JobSpec(id="c", task="work", priority=Priority.HIGH)
    flow = WorkflowSpec(id="f", name="flow") if where == "of a flow" else None
    if flow is not None:
        specs = [JobSpec(id=each, task="work", workflow_id="f", node=each) for each in "abcde"]
    await store.submit(specs, workflow=flow)
    if where == "with gaps":
        await store.cancel(JobQuery(ids=("b",)))
    async with told_of(store, "d"):
        got = await store.exchange("s", [], queues={"default": 9}, want=4, nonce="n")
    order = {"of two priorities": "cabd", "with gaps": "acde"}.get(where, "abcd")
    assert "".join(each.id for each in got.leased) == order
    assert {(e.attempt, e.epoch, e.nonce) for e in got.leased} == {(1, 1, "n")}
    assert recount(rows) == []
    async with told_of(store, "d"):
        assert await settle(store, *map(done, got.leased)) == [Settled.OK] * 4
    assert recount(rows) == []


@asynccontextmanager
async def told_of(store: SQLiteStore, job_id: str) -> AsyncIterator[None]:
    """Check that who waits for a job hears of what happens to it here."""
    assert store._handle is not None
    known = store._handle.bell
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        waiting = group.create_task(store.wait((), ids=(job_id,), timeout=60))
        await wait_until(lambda: any(w.marks for w in known._waiters), "somebody waits")
        yield
        assert await waiting


async def test_what_is_too_long_for_one_answer_comes_in_parts(
    store: SQLiteStore,
) -> None:
    assert store._handle is not None
    payload = b'"' + b"x" * 30_000 + b'"'
    await store.beat(SessionSpec(id="s", name="w"), [], ttl=600)
    await store.submit([JobSpec(id=each, task="work", payload=payload) for each in "abcde"])
    await store.submit([JobSpec(id="child", task="work", parents=tuple("abcde"))])
    for thread in (store._handle.reader, store._handle.writer):
        thread._db.limit(apsw.SQLITE_LIMIT_LENGTH, 100_000)
    got = await store.exchange("s", [], queues={"default": 9}, want=9, nonce="n")
    assert [x.payload for x in got.leased] == [payload] * 5
    assert len((await store.find(JobQuery())).jobs) == 6
    told = [
        Settlement(x.id, x.epoch, x.nonce, Outcome.COMPLETED, result=payload) for x in got.leased
    ]
    assert [await settle(store, each) for each in told] == [[Settled.OK]] * 5
    got = await store.exchange("s", [], queues={"default": 9}, want=9, nonce="n2")
    assert got.leased[0].parents == dict.fromkeys("abcde", payload)


def held(lease: Leased, ran_for: float | None = None) -> HeldJob:
    return HeldJob(lease.id, lease.epoch, lease.nonce, ran_for=ran_for)
