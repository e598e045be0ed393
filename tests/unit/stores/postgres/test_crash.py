"""A server that is killed, frozen and started again: what was answered is there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import TypeVar

import pytest
import pytest_asyncio

from stoker.core.clock import SystemClock
from stoker.core.errors import OutcomeUnknown, Unavailable
from stoker.core.job import JobSpec, Outcome, SessionSpec, Settled, Settlement
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.stores.postgres import PostgresStore
from stoker.testing import wait_until
from tests.servers.postgres import Postgres

T = TypeVar("T")
pytestmark = pytest.mark.slow
CLOCK = SystemClock()
QUEUES = {"default": 1_000}
LONGEST = 60.0


@pytest.fixture(scope="module")
def victim() -> Iterator[Postgres]:
    """A server that syncs to the disk, to be killed."""
    server = Postgres()
    server.start()
    yield server
    server.close()


@pytest_asyncio.fixture
async def store(victim: Postgres) -> AsyncIterator[PostgresStore]:
    """An empty store on that server, impatient."""
    schema = f"crash_{CLOCK.new_nonce()}"
    async with PostgresStore(victim.url(schema, timeout=3)) as store:
        yield store


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call until it is answered, as a worker does."""
    async with asyncio.timeout(LONGEST):
        while True:
            try:
                return await call()
            except (Unavailable, OutcomeUnknown):
                await asyncio.sleep(0.02)  # between two tries, as every caller makes one


async def more_than(items: list[str], count: int) -> None:
    """Wait until a list has so many items."""
    await wait_until(lambda: len(items) >= count, f"there are {count}")


async def test_what_a_submit_answered_outlives_the_server(
    victim: Postgres, store: PostgresStore
) -> None:
    answered: list[str] = []
    failures: set[type[Exception]] = set()
    stop = asyncio.Event()

    async def submitter() -> None:
        while not stop.is_set():
            specs = [JobSpec(id=CLOCK.new_id(), task="work") for _ in range(5)]
            try:
                answers = await store.submit(specs)
            except (Unavailable, OutcomeUnknown) as error:
                failures.add(type(error))
                await asyncio.sleep(0)
            else:
                answered.extend(answer.id for answer in answers)

    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(submitter())
        for _ in range(3):
            await more_than(answered, len(answered) + 200)
            await asyncio.to_thread(victim.kill)
            await asyncio.to_thread(victim.restart)
        await more_than(answered, len(answered) + 200)
        stop.set()
    assert failures <= {Unavailable, OutcomeUnknown}
    assert failures
    found = [record for record in await store.get(answered) if record is not None]
    assert {record.id for record in found} == set(answered)
    assert {record.state for record in found} == {State.QUEUED}


async def test_exchanges_that_are_repeated_run_each_job_once(
    victim: Postgres, store: PostgresStore
) -> None:
    total = 1_500
    specs = [JobSpec(id=CLOCK.new_id(), task="work") for _ in range(total)]
    await store.submit(specs)
    ran: list[str] = []

    async def worker(session: str) -> None:
        await insist(lambda: store.beat(SessionSpec(id=session, name=session), [], ttl=600.0))
        told: list[Settlement] = []
        while True:
            call = partial(store.exchange, queues=QUEUES, want=10, nonce=CLOCK.new_nonce())
            answer = await insist(partial(call, session, told))
            assert Settled.LEASE_LOST not in answer.settled
            ran.extend(lease.id for lease in answer.leased)
            told = [
                Settlement(lease.id, lease.epoch, lease.nonce, Outcome.COMPLETED)
                for lease in answer.leased
            ]
            if not told:
                return

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(worker(f"w{number}"))
        for share in (0.2, 0.5, 0.8):
            await more_than(ran, int(total * share))
            await asyncio.to_thread(victim.kill)
            await asyncio.to_thread(victim.restart)
    assert sorted(ran) == sorted(spec.id for spec in specs)
    counts = {tally.state: tally.count for tally in (await store.counts()).tallies}
    assert counts == {State.COMPLETED: total}
    assert (await store.counts()).totals["completed"] == total


async def test_a_frozen_server_is_given_up_and_served_again(
    victim: Postgres, store: PostgresStore
) -> None:
    spec = JobSpec(id=CLOCK.new_id(), task="work")
    await store.submit([JobSpec(id=CLOCK.new_id(), task="work")])
    victim.pause()
    try:
        async with asyncio.timeout(LONGEST):
            with pytest.raises(OutcomeUnknown, match="no answer"):
                await store.submit([spec])
            with pytest.raises(Unavailable):
                await store.counts()
            with pytest.raises(Unavailable):
                # The connection that was given up is gone, and a new one does not come about.
                await store.submit([spec])
    finally:
        victim.resume()
    [answer] = await insist(lambda: store.submit([spec]))
    assert answer.state is State.QUEUED
    assert len((await store.find(JobQuery())).jobs) == 2


async def test_a_caller_who_goes_away_leaves_a_usable_store(
    victim: Postgres, store: PostgresStore
) -> None:
    victim.pause()
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await store.counts()
    finally:
        victim.resume()
    assert (await insist(store.counts)).tallies == []


async def test_a_server_that_was_restarted_costs_idle_handles_nothing(
    victim: Postgres, store: PostgresStore
) -> None:
    await store.submit([JobSpec(id=CLOCK.new_id(), task="work")])
    await store.counts()
    await asyncio.to_thread(victim.stop)
    with pytest.raises(Unavailable, match="cannot be reached"):
        await store.submit([JobSpec(id=CLOCK.new_id(), task="work")])
    await asyncio.to_thread(victim.restart)
    # Nothing was under way: the first call after the restart is answered.
    [answer] = await store.submit([JobSpec(id=CLOCK.new_id(), task="work")])
    assert answer.created
    assert [tally.count for tally in (await store.counts()).tallies] == [2]


async def test_closing_a_store_does_not_wait_for_a_server_that_is_gone(
    victim: Postgres,
) -> None:
    store = PostgresStore(victim.url(f"crash_{CLOCK.new_nonce()}", timeout=3))
    async with store:
        await asyncio.to_thread(victim.kill)
        async with asyncio.timeout(LONGEST):
            await store.__aexit__(None, None, None)
    await asyncio.to_thread(victim.restart)


async def test_a_durable_server_is_said_to_lose_nothing(store: PostgresStore) -> None:
    assert store.info.durability == "full"
    assert "no standby is synchronous" in store.info.can_lose
