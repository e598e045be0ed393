"""What is there after the server was killed, frozen or restarted, and how the store comes back."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from redis.asyncio.connection import Connection

from stoker.core.errors import BackendError, OutcomeUnknown, Unavailable
from stoker.core.job import JobSpec, Outcome, SessionSpec, Settlement
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.stores.redis import RedisStore
from stoker.stores.redis.address import Address
from stoker.stores.redis.bell import Ear
from stoker.testing import wait_until
from tests.servers.redis import RedisServer

MakeServer = Callable[..., RedisServer]


def job(number: int | str) -> JobSpec:
    return JobSpec(id=f"job-{number}", task="work")


async def test_acknowledged_jobs_are_there_after_the_server_was_killed(
    make_server: MakeServer,
) -> None:
    server = make_server(fsync="always")
    acknowledged: list[str] = []
    numbers = iter(range(10**9))

    async def submit_until_it_fails(store: RedisStore) -> None:
        while True:
            try:
                [answer] = await store.submit([job(next(numbers))])
            except (OutcomeUnknown, Unavailable):
                return
            acknowledged.append(answer.id)

    async with RedisStore(server.url) as store:
        assert (store.info.durability, store.info.engine) == ("full", "redis")
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(submit_until_it_fails(store))
            await wait_until(lambda: len(acknowledged) > 500, "500 jobs are acknowledged")
            await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.restart)
        found = await store.get(acknowledged)
        assert [record.id for record in found if record] == acknowledged
        counts = await store.counts()
        everything = await store.find(JobQuery(), limit=1_000)
        assert sum(tally.count for tally in counts.tallies) >= len(acknowledged)
        assert everything.jobs


async def test_a_handle_comes_back_by_itself_after_a_restart(make_server: MakeServer) -> None:
    server = make_server()
    async with RedisStore(server.url) as store:
        await store.submit([job(1)])
        await asyncio.to_thread(server.stop)
        with pytest.raises(Unavailable):
            await store.submit([job(2)])
        await asyncio.to_thread(server.restart)
        [answer] = await store.submit([job(2)])
        assert answer.created
        assert [r.id for r in await store.get(["job-1", "job-2"]) if r] == ["job-1", "job-2"]


async def test_a_restart_while_nobody_asked_goes_unnoticed(make_server: MakeServer) -> None:
    server = make_server()
    async with RedisStore(server.url) as store:
        await store.submit([job(1)])
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.restart)
        [answer] = await store.submit([job(2)])
        assert answer.created


async def test_a_waiter_wakes_for_a_job_that_came_after_a_restart(make_server: MakeServer) -> None:
    server = make_server()
    async with RedisStore(server.url) as store, RedisStore(server.url) as other:
        waiting = store.wait(("default",), timeout=30.0)
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            task = group.create_task(_until_true(waiting, store))
            await wait_until(lambda: _listens(store), "the waiter listens")
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.restart)
            await other.submit([job(1)])
        assert task.result()


class Swallowing:
    """A place whose driver swallows a cancellation while it connects, as redis-py may."""

    def __init__(self) -> None:
        self.connecting = asyncio.Event()

    async def connect(self, *, name: str) -> "Swallowing":
        self.connecting.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return self

    async def send_command(self, *words: object, check_health: bool) -> None:
        pass

    async def read_response(self, *, timeout: float) -> None:
        await asyncio.Event().wait()

    async def disconnect(self, *, nowait: bool) -> None:
        pass


async def test_an_ear_closes_although_its_driver_swallows_a_cancellation() -> None:
    driver = Swallowing()
    address = Address("redis://here", "stoker", 5.0, {}, Connection)
    object.__setattr__(address, "connect", driver.connect)
    ear = Ear(address, lambda channel, names: None, lambda: None)
    await ear.listen("RINGS")
    await driver.connecting.wait()
    async with asyncio.TaskGroup() as group:
        closing = group.create_task(ear.close())
        await wait_until(closing.done, "the ear is closed")


async def test_a_frozen_server_ends_a_call_in_time(make_server: MakeServer) -> None:
    server = make_server()
    async with RedisStore(f"{server.url}?timeout=0.5") as store:
        await store.submit([job(1)])
        server.pause()
        try:
            async with asyncio.timeout(30):
                with pytest.raises(OutcomeUnknown):
                    await store.submit([job(2)])
                with pytest.raises(Unavailable):
                    await store.get(["job-1"])
        finally:
            server.resume()
        again = await store.submit([job(2)])
        assert again[0].id == "job-2"
        assert len((await store.find(JobQuery())).jobs) == 2


async def test_a_settlement_whose_answer_was_lost_is_repeated(make_server: MakeServer) -> None:
    server = make_server()
    async with RedisStore(f"{server.url}?timeout=0.5") as store:
        await store.submit([job(1)])
        await store.beat(SessionSpec(id="w1", name="W1"), [], ttl=60.0)
        queues = {"default": 9}
        [lease] = (await store.exchange("w1", [], queues=queues, want=1, nonce="a" * 32)).leased
        told = Settlement(lease.id, lease.epoch, lease.nonce, Outcome.COMPLETED, b"1")
        server.pause()
        with pytest.raises(OutcomeUnknown):
            await store.exchange("w1", [told], queues=queues, want=1, nonce="b" * 32)
        server.resume()
        answer = await store.exchange("w1", [told], queues=queues, want=1, nonce="b" * 32)
        assert answer.settled[0] in {"ok", "repeated"}
        [record] = await store.get(["job-1"])
        assert record is not None
        assert (record.state, len(record.attempts)) == (State.COMPLETED, 1)


async def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    store = RedisStore("redis://user:secret@127.0.0.1:1/0")
    with pytest.raises(Unavailable) as caught:
        await store.__aenter__()
    assert "secret" not in str(caught.value)
    assert "127.0.0.1:1" in str(caught.value)


async def _until_true(waiting: object, store: RedisStore) -> bool:
    # The wait itself may end with the loss of its own look; whoever waits looks again.
    for _ in range(1_000):
        try:
            if await waiting:  # type: ignore[misc]
                return True
        except BackendError:
            await asyncio.sleep(0.05)
        waiting = store.wait(("default",), timeout=30.0)
    return False


def _listens(store: RedisStore) -> bool:
    return store._bell is not None and store._bell._ear.is_listening()
