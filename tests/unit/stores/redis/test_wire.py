"""One connection for many callers: each gets its own answer, whatever becomes of the others."""

import asyncio
from collections import Counter

import pytest
from redis.asyncio import Redis

from stoker.core.errors import NotOpen, OutcomeUnknown
from stoker.core.job import JobSpec, Leased
from stoker.core.records import JobQuery
from stoker.stores.redis import RedisStore
from stoker.stores.redis.keys import root
from stoker.stores.redis.wire import Wire
from stoker.testing import FakeClock, wait_until
from stoker.testing.conformance.hand import Hand
from tests.servers.redis import RedisServer


def job(number: int) -> JobSpec:
    return JobSpec(id=f"job-{number}", task="work")


async def test_every_caller_gets_his_own_answer(store: RedisStore) -> None:
    async def one(number: int) -> tuple[str, str]:
        [answer] = await store.submit([job(number)])
        [record] = await store.get([answer.id])
        assert record is not None
        return answer.id, record.id

    pairs = await asyncio.gather(*(one(number) for number in range(300)))
    assert pairs == [(f"job-{n}", f"job-{n}") for n in range(300)]


async def test_a_cancelled_caller_leaves_the_others_in_step(store: RedisStore) -> None:
    tasks = [asyncio.create_task(store.submit([job(n)])) for n in range(50)]  # noqa: TID251
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    kept = [answer[0].id for answer in answers if not isinstance(answer, BaseException)]
    assert kept == [f"job-{n}" for n in range(1, 50, 2)]
    [record] = await store.get(["job-1"])
    assert record is not None
    assert record.id == "job-1"


async def test_callers_of_a_flush_that_nobody_foresaw_get_an_error(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    async with asyncio.timeout(30):
        with monkeypatch.context() as patch:
            patch.setattr(Wire, "_together", fails)
            with pytest.raises(OutcomeUnknown):
                await store.submit([job(1)])
        [answer] = await store.submit([job(1)])
    assert answer.created


async def test_a_message_of_somebody_else_wakes_and_harms_nobody(
    store: RedisStore, client: Redis
) -> None:
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        task = group.create_task(store.wait(("default",), timeout=20.0))
        await wait_until(lambda: store._bell and store._bell._ear.is_listening(), "it listens")
        channel = f"{root(store.info.details['namespace'])}:rings"
        assert await client.publish(channel, b"\xc1 no message of ours") == 1
        await store.submit([job(1)])
    assert task.result()


async def test_calls_under_way_are_finished_when_a_handle_closes(url: str) -> None:
    store = RedisStore(url)
    async with store:
        tasks = [asyncio.create_task(store.submit([job(n)])) for n in range(20)]  # noqa: TID251
        await asyncio.sleep(0)
    answers = await asyncio.gather(*tasks)
    assert all(answer.created for [answer] in answers)
    with pytest.raises(NotOpen):
        await store.submit([job(99)])
    with pytest.raises(NotOpen):
        await store.wait(("default",), timeout=1.0)
    async with store:
        assert len((await store.find(JobQuery())).jobs) == 20


async def test_a_waiter_goes_home_when_the_handle_closes(url: str) -> None:
    async with asyncio.timeout(30), asyncio.TaskGroup() as group, RedisStore(url) as store:
        task = group.create_task(store.wait(("default",), ids=("x",), timeout=60.0))
        await wait_until(lambda: store._bell and store._bell._ear.is_listening(), "it listens")
    assert task.result() is False


async def test_eight_handles_lease_no_job_twice(server: RedisServer, url: str) -> None:
    clock = FakeClock()
    async with RedisStore(url, clock=clock) as first:
        jobs = await Hand(first, clock).put_many(2_000)

        async def drain(name: str) -> list[Leased]:
            async with RedisStore(url, clock=clock) as store:
                hand = Hand(store, clock)
                await hand.beat(name)
                leased: list[Leased] = []
                while got := await hand.lease(17, session=name, aged=2):
                    leased += got
                return leased

        drained = await asyncio.gather(*(drain(f"w{number}") for number in range(8)))
        times = Counter(lease.id for part in drained for lease in part)
        assert set(times.values()) == {1}
        assert times.keys() == set(jobs)
        busy = {session.id: session.busy for session in await first.sessions()}
        assert busy == {f"w{n}": len(part) for n, part in enumerate(drained)}


async def test_the_time_is_the_servers_whatever_the_callers_clock_says(url: str) -> None:
    async with RedisStore(url) as store:
        counts = await store.counts()
        await store.submit([job(1)])
        [record] = await store.get(["job-1"])
        assert record is not None
        late = record.submitted_at - counts.now
        assert 0 <= late.total_seconds() < 60


async def test_a_due_job_wakes_a_waiter_by_the_servers_time(url: str) -> None:
    async with RedisStore(url) as store, asyncio.timeout(30):
        await store.submit([JobSpec(id="later", task="work", delay=0.3)])
        assert await store.wait(("default",), timeout=20.0)
        [record] = await store.get(["later"])
        assert record is not None
        assert record.state == "queued"
