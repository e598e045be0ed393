"""What is different behind a pooler, and what is said when the URL does not tell of it."""

import asyncio

import psycopg
import pytest

from stoker.core.clock import SystemClock
from stoker.core.errors import Unsupported
from stoker.core.job import JobSpec
from stoker.core.lifecycle import State
from stoker.stores.postgres import PostgresStore, bell, ear
from stoker.stores.postgres.lines import Connection
from stoker.testing import wait_until
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


async def test_that_nothing_is_heard_is_noticed(
    pooled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ear, "PROBE_WITHIN", 0.3)
    monkeypatch.setattr(bell, "POLL", 1e6)
    probes: list[str] = []
    async with PostgresStore(pooled) as store:
        handle = store._handle
        assert handle is not None
        listening = handle.bell._ear
        let_go = ear._let_go

        async def note(line: Connection) -> None:
            probes.append("given up")
            await let_go(line)

        monkeypatch.setattr(ear, "_let_go", note)
        await wait_until(lambda: probes, "a message to itself did not arrive")
        assert not listening.hears
        # Whoever waits looks often then, and finds what another handle submits.
        async with PostgresStore(pooled) as other, asyncio.TaskGroup() as group:
            waiting = group.create_task(store.wait(("default",), timeout=30))
            await other.submit([job()])
        assert waiting.result()


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


async def test_a_url_that_does_not_tell_of_the_pooler_gets_advice(url: str) -> None:
    """What one client prepared on the only connection, the other one prepares again."""
    pooler = PgBouncer(shared_server(), pool_mode="transaction", connections=1)
    pooler.start()
    try:
        careless = pooler.url(url.rpartition("schema=")[2]).replace("prepare=off", "prepare=on")
        with pytest.raises(Unsupported, match="add prepare=off"):
            await _use_twice(careless)
    finally:
        pooler.close()


async def _use_twice(url: str) -> None:
    async with PostgresStore(url) as one, PostgresStore(url) as two:
        await one.submit([job()])
        await two.submit([job()])
