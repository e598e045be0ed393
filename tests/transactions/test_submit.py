"""Jobs that are submitted inside a transaction of the user's, by each library that one may use."""

from typing import Any

import pytest

from stoker.core.errors import JobNotFound, UsageError
from stoker.core.job import JobRecord
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.testing.conformance.hygiene import check_hygiene
from tests.transactions.conftest import Shop
from tests.transactions.libraries import Asynchronous, Library

ORDER = "INSERT INTO shop_orders (name) VALUES ('one')"


async def test_a_job_appears_with_the_commit(shop: Shop, library: Library) -> None:
    await library.begin()
    await library.execute(ORDER)
    job = await library.submit(shop.task(), "one")
    assert job.created
    with pytest.raises(JobNotFound):
        await job.arecord()
    assert (await shop.app.arun(lambda store: store.counts())).tallies == []
    await library.commit()
    assert (await job.arecord()).state is State.QUEUED
    assert shop.orders() == ["one"]
    await shop.app.arun(check_hygiene)


async def test_a_job_vanishes_with_the_rollback(shop: Shop, library: Library) -> None:
    await library.begin()
    await library.execute(ORDER)
    job = await library.submit(shop.task(), "one")
    await library.rollback()
    with pytest.raises(JobNotFound):
        await job.arecord()
    assert shop.orders() == []
    assert (await shop.app.arun(lambda store: store.counts())).tallies == []
    assert await shop.app.arun(lambda store: store.queues()) == []
    await shop.app.arun(check_hygiene)


async def test_a_job_vanishes_with_its_savepoint(shop: Shop, library: Library) -> None:
    task = shop.task()
    await library.begin()
    await library.execute(ORDER)
    kept = await library.submit(task, "kept")
    await library.execute("SAVEPOINT inner_part")
    gone = await library.submit(task, "gone")
    await library.execute("ROLLBACK TO SAVEPOINT inner_part")
    await library.commit()
    assert (await kept.arecord()).state is State.QUEUED
    with pytest.raises(JobNotFound):
        await gone.arecord()
    assert shop.orders() == ["one"]
    await shop.app.arun(check_hygiene)


async def test_a_job_is_the_same_as_one_that_was_submitted_alone(
    shop: Shop, library: Library
) -> None:
    task = shop.task()
    options: dict[str, Any] = {
        "priority": "high",
        "delay": "10m",
        "tenant": "acme € \\u0000 \\ ' % $1 ?",
        "headers": {"traceparent": 'a "quoted" value'},
        "max_retries": 7,
        "timeout": 5,
        "expires": "1d",
        "unique_key": "k1",
    }
    text = "naïve \x00 \\ \" ' % %s $1 ? :name 日本"
    await library.begin()
    joined = await library.submit(task, text, **options)
    await library.commit()
    alone = await task.options(**{**options, "unique_key": "k2"}).asubmit(text)
    assert _shown(await joined.arecord()) == _shown(await alone.arecord())
    await shop.app.arun(check_hygiene)


async def test_a_unique_key_gives_the_live_job(shop: Shop, library: Library) -> None:
    task = shop.task()
    first = await task.options(unique_key="k").asubmit("a")
    await library.begin()
    second = await library.submit(task, "b", unique_key="k")
    third = await library.submit(task, "c", unique_key="other")
    fourth = await library.submit(task, "d", unique_key="other")
    await library.commit()
    assert (second.id, second.created) == (first.id, False)
    assert (fourth.id, fourth.created) == (third.id, False)
    await shop.app.arun(check_hygiene)


async def test_a_batch_goes_in_together(shop: Shop, library: Library) -> None:
    await library.begin()
    jobs = await library.submit_many(shop.app, shop.task(), 300)
    assert [job.created for job in jobs] == [True] * 300
    await library.commit()
    found = await shop.app.afind(JobQuery(queues=("parcels",)), limit=1000)
    assert [record.id for record in reversed(found)] == [job.id for job in jobs]
    await shop.app.arun(check_hygiene)


async def test_blocking_code_is_told_of_the_async_twin(shop: Shop, library: Library) -> None:
    if not isinstance(library, Asynchronous):
        return
    await library.begin()
    with pytest.raises(UsageError, match="asubmit"):
        shop.task().options(connection=library.connection).submit("one")
    await library.rollback()


async def test_a_waiting_worker_finds_the_job_after_the_commit(
    shop: Shop, library: Library
) -> None:
    await library.begin()
    await library.submit(shop.task(), "one")
    waits = await shop.app.arun(lambda store: store.wait(["parcels"], timeout=0.3))
    assert not waits
    await library.commit()
    assert await shop.app.arun(lambda store: store.wait(["parcels"], timeout=60))
    queues = await shop.app.arun(lambda store: store.queues())
    assert [queue.name for queue in queues] == ["parcels"]


def _shown(record: JobRecord) -> dict[str, object]:
    told = record.to_dict()
    for name in ("id", "submitted_at", "run_at", "expires_at", "unique_key"):
        told.pop(name)
    return told
