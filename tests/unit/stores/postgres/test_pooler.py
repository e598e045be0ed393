"""What is different behind a pooler, and what is said when the URL does not tell of it."""

import asyncio

import psycopg
import pytest

from stoker.core.clock import SystemClock
from stoker.core.errors import Unsupported
from stoker.core.job import JobSpec
from stoker.core.lifecycle import State
from stoker.stores.postgres import PostgresStore, bell, pooling
from stoker.stores.postgres.address import parse
from stoker.stores.postgres.faults import translate
from tests.servers.pgbouncer import PgBouncer, shared_pooler
from tests.servers.postgres import shared_server
from tests.transactions import mortal


@pytest.fixture
def pooled(url: str) -> str:
    """The URL of an empty store through the pooler."""
    return shared_pooler().url(url.rpartition("schema=")[2])


def job() -> JobSpec:
    """Return a job that is due now."""
    return JobSpec(id=SystemClock().new_id(), task="work")


async def test_who_hears_nothing_looks_often(pooled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell, "POLL", 1e6)
    async with PostgresStore(pooled) as store, PostgresStore(pooled) as other:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(store.wait(("default",), timeout=30))
            await other.submit([job()])
        assert waiting.result()


async def test_nothing_is_left_on_a_connection_that_others_get(url: str) -> None:
    """A message that reaches such a connection makes PgBouncer mix up whose answer is whose."""
    pooler = PgBouncer(shared_server(), pool_mode="transaction", connections=1)
    pooler.start()
    try:
        pooled = pooler.url(url.rpartition("schema=")[2])
        untold = pooler.left_behind()
        async with PostgresStore(pooled) as store, PostgresStore(pooled) as other:
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(store.wait(("default",), timeout=30))
                await other.submit([job()])
            assert waiting.result()
            assert pooler.left_behind() == untold
        with pytest.raises(Unsupported):
            await PostgresStore(pooled.replace("prepare=off", "prepare=on")).__aenter__()
        assert pooler.left_behind() == untold
    finally:
        pooler.close()


async def test_the_transaction_of_a_job_goes_through_the_pooler(pooled: str) -> None:
    async with PostgresStore(pooled) as store:
        with psycopg.connect(pooled.partition("?")[0], autocommit=True) as db:
            db.execute("DROP TABLE IF EXISTS shop_orders")
            db.execute("CREATE TABLE shop_orders (name TEXT NOT NULL)")
        await store.submit([JobSpec(id="j", task="book", payload=b'{"order": "one"}')])
        await mortal.run(store, await mortal.lease(store, "s", "j"), None)
        [record] = await store.get(["j"])
        assert record is not None
        assert record.state is State.COMPLETED


@pytest.mark.parametrize("connections", [1, 10])
async def test_a_url_that_does_not_tell_of_the_pooler_gets_advice(
    url: str, connections: int
) -> None:
    pooler = PgBouncer(shared_server(), pool_mode="transaction", connections=connections)
    pooler.start()
    try:
        careless = pooler.url(url.rpartition("schema=")[2]).replace("prepare=off", "prepare=on")
        for _ in range(5):
            with pytest.raises(Unsupported, match="add prepare=off"):
                await PostgresStore(careless).__aenter__()
    finally:
        pooler.close()


@pytest.mark.parametrize("connections", [1, 10])
async def test_a_pooler_of_sessions_gives_nobody_a_connection_of_anothers(
    url: str, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooling, "_WITHIN", 0.5)
    pooler = PgBouncer(shared_server(), pool_mode="session", connections=connections)
    pooler.start()
    try:
        address = parse(pooler.url(url.rpartition("schema=")[2]))
        async with await pooling.dial(address) as line:
            assert not await pooling.is_shared(line, address)
    finally:
        pooler.close()


async def test_where_no_pooler_is_nobody_asks_twice(url: str) -> None:
    address = parse(url)
    async with await pooling.dial(address) as line:
        assert not await pooling.is_shared(line, parse("postgresql://nobody@nowhere.invalid/none"))


async def test_what_was_prepared_and_is_gone_is_the_poolers_doing() -> None:
    address = parse("postgresql://me:secret@pooler:6432/jobs")
    error = psycopg.errors.InvalidSqlStatementName('prepared statement "_pg3_0" does not exist')
    meant = translate(error, address, reading=False, broken=False)
    assert isinstance(meant, Unsupported)
    assert "add prepare=off" in meant.message
    assert "secret" not in meant.message
