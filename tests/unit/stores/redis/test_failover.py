"""What a failover to a replica that lags behind takes away, and what it cannot.

Replication is asynchronous: what the primary answered after the replica was cut off is gone when
the replica is promoted. A lost submit is missing, a lost lease is given again, a lost outcome is
made again. The fences hold all the same (I2, I3): the nonce of a lease that the new primary never
saw fits nothing there, though its epoch does.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio

from stoker.core.clock import SystemClock
from stoker.core.errors import ReadOnlyStore
from stoker.core.job import JobSpec, Leased, Outcome, SessionSpec, Settled, Settlement
from stoker.core.lifecycle import State
from stoker.core.store import Store
from stoker.stores.redis import RedisStore
from stoker.testing import wait_until
from tests.servers.redis import RedisServer

MakeServer = Callable[..., RedisServer]
QUEUES = {"default": 100}
CLOCK = SystemClock()


@dataclass
class Pair:
    """A primary, its replica, and what the primary answered.

    Attributes:
        leased: Leases that the replica knows of, of the session ``old``.
        unseen: Leases of ``old`` that were given after the replica was cut off.
        gone: Jobs that were accepted after it was cut off.
    """

    primary: RedisServer
    replica: RedisServer
    leased: list[Leased]
    unseen: list[Leased]
    gone: list[str]


@pytest_asyncio.fixture
async def pair(make_server: MakeServer) -> AsyncIterator[Pair]:
    """A replica that was promoted after its primary went on without it."""
    primary = make_server(fsync="always")
    replica = make_server("--replicaof", "127.0.0.1", str(primary.port), fsync="always")
    async with RedisStore(primary.url) as store:
        await beat(store, "old")
        await store.submit([JobSpec(id=f"job-{i}", task="work") for i in range(20)])
        leased = await lease(store, "old", 10)
        await wait_until(lambda: in_step(primary, replica), "the replica has everything")
        # Cut off, not frozen: a frozen one would still find the last words in its socket.
        assert replica.ask("REPLICAOF", "127.0.0.1", "1").startswith("+OK")
        told = [settlement(one) for one in leased[:5]]
        answer = await store.exchange("old", told, queues=QUEUES, want=5, nonce=CLOCK.new_nonce())
        assert set(answer.settled) == {Settled.OK}
        gone = [f"late-{i}" for i in range(5)]
        await store.submit([JobSpec(id=job, task="work") for job in gone])
    primary.kill()
    assert replica.ask("REPLICAOF", "NO", "ONE").startswith("+OK")
    yield Pair(primary, replica, leased, answer.leased, gone)


async def test_what_the_replica_had_not_seen_is_missing_and_can_be_submitted_again(
    pair: Pair,
) -> None:
    async with RedisStore(pair.replica.url) as store:
        assert await store.get(pair.gone) == [None] * 5
        kept = [record for record in await store.get([f"job-{i}" for i in range(20)]) if record]
        assert len(kept) == 20
        again = await store.submit([JobSpec(id=job, task="work") for job in pair.gone])
        assert all(answer.created for answer in again)


async def test_a_lease_that_the_replica_had_not_seen_settles_nothing(pair: Pair) -> None:
    async with RedisStore(pair.replica.url) as store:
        await beat(store, "new")
        # The same jobs, and by their counters the same epochs: only the nonce tells them apart.
        taken = {one.id: one for one in await lease(store, "new", 20)}
        assert pair.unseen
        assert all(taken[one.id].epoch == one.epoch for one in pair.unseen)
        stale = await settle(store, "old", pair.unseen)
        assert set(stale) == {Settled.LEASE_LOST}
        fresh = await settle(store, "new", [taken[one.id] for one in pair.unseen])
        assert set(fresh) == {Settled.OK}
        for record in await store.get([one.id for one in pair.unseen]):
            assert record is not None
            outcomes = [(a.worker, a.outcome) for a in record.attempts]
            assert (record.state, outcomes) == (State.COMPLETED, [("new", "completed")])


async def test_an_outcome_that_the_replica_had_not_seen_is_taken_once_more(pair: Pair) -> None:
    async with RedisStore(pair.replica.url) as store:
        forgotten = pair.leased[:5]
        before = [record for record in await store.get([one.id for one in forgotten]) if record]
        assert {record.state for record in before} == {State.ASSIGNED}
        # Whoever kept the outcome may hand it in again; whoever did not is taken for dead.
        assert set(await settle(store, "old", forgotten[:2])) == {Settled.OK}
        reaped = await store.reap(sessions=["old"])
        assert set(reaped.requeued) == {one.id for one in pair.leased[2:]}
        assert set(await settle_dead(store, forgotten[2:])) == {"lease_lost"}


async def test_a_replica_that_was_not_promoted_is_refused_as_a_store(
    make_server: MakeServer,
) -> None:
    primary = make_server()
    replica = make_server("--replicaof", "127.0.0.1", str(primary.port))
    async with RedisStore(primary.url):
        await wait_until(lambda: in_step(primary, replica), "the replica has everything")
        with pytest.raises(ReadOnlyStore):
            await RedisStore(replica.url).__aenter__()


async def beat(store: Store, session: str) -> None:
    await store.beat(SessionSpec(id=session, name=session), [], ttl=60.0)


async def lease(store: Store, session: str, want: int) -> list[Leased]:
    answer = await store.exchange(session, [], queues=QUEUES, want=want, nonce=CLOCK.new_nonce())
    return answer.leased


async def settle(store: Store, session: str, leases: list[Leased]) -> list[Settled]:
    told = [settlement(one) for one in leases]
    answer = await store.exchange(session, told, queues={}, want=0, nonce=CLOCK.new_nonce())
    return answer.settled


async def settle_dead(store: Store, leases: list[Leased]) -> list[str]:
    await beat(store, "again")
    return [str(answer) for answer in await settle(store, "again", leases)]


def settlement(one: Leased) -> Settlement:
    return Settlement(one.id, one.epoch, one.nonce, Outcome.COMPLETED, result=b"1")


def in_step(primary: RedisServer, replica: RedisServer) -> bool:
    """Whether the replica has all that the primary wrote."""
    if "master_link_status:up" not in replica.ask("INFO", "replication"):
        return False
    return offset(primary, "master_repl_offset") == offset(replica, "slave_repl_offset")


def offset(server: RedisServer, name: str) -> str:
    lines = server.ask("INFO", "replication").splitlines()
    return next(line.partition(":")[2] for line in lines if line.startswith(f"{name}:"))
