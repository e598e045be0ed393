"""Transactions of users beside the store's own commands: nobody waits for nobody's commit."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import apsw
import psycopg
import pytest

from stoker import Job
from stoker.core.job import SessionSpec
from stoker.core.records import EventQuery, JobQuery
from stoker.stores.postgres import bell
from stoker.testing.conformance.hygiene import check_hygiene
from tests.transactions.conftest import Shop
from tests.transactions.libraries import Django

ROUNDS = 25


def test_commits_and_rollbacks_beside_plain_submits_on_postgres(open_postgres: Shop) -> None:
    shop, task = open_postgres, open_postgres.task()

    def work(seed: int) -> tuple[set[str], set[str]]:
        kept, gone = set(), set()
        with psycopg.connect(shop.place) as db:
            for n in range(ROUNDS):
                name = f"{seed}-{n}"
                db.execute("INSERT INTO shop_orders (name) VALUES (%s)", (name,))
                task.options(connection=db).submit(name)
                # Another one of the same key is there or comes up at the same time.
                task.options(connection=db, unique_key=f"k{n % 3}").submit("keyed")
                if (seed + n) % 2:
                    db.commit()
                    kept.add(name)
                else:
                    db.rollback()
                    gone.add(name)
        return kept, gone

    with ThreadPoolExecutor(4) as pool:
        plain = pool.submit(lambda: [task.submit(f"plain-{n}").id for n in range(ROUNDS)])
        told = list(pool.map(work, range(3)))
        assert len(plain.result()) == ROUNDS
    kept = set().union(*(each[0] for each in told))
    found = shop.app.find(JobQuery(), limit=1000)
    keyed = [record for record in found if record.unique_key is not None]
    texts = {record.to_dict()["payload"]["order"] for record in found if record not in keyed}
    assert {text for text in texts if not text.startswith("plain")} == kept == set(shop.orders())
    assert len({record.unique_key for record in keyed}) == len(keyed) <= 3
    shop.app.run(shop.app.arun(check_hygiene))


def test_commits_and_rollbacks_beside_plain_submits_on_sqlite(open_file: Shop) -> None:
    shop, task = open_file, open_file.task()

    def work(seed: int) -> set[str]:
        kept = set()
        db = apsw.Connection(shop.place)
        db.set_busy_timeout(30_000)
        for n in range(ROUNDS):
            db.execute("BEGIN IMMEDIATE")
            job = task.options(connection=db).submit(f"{seed}-{n}")
            if (seed + n) % 2:
                db.execute("COMMIT")
                kept.add(job.id)
            else:
                db.execute("ROLLBACK")
        db.close()
        return kept

    with ThreadPoolExecutor(4) as pool:
        plain = pool.submit(lambda: {task.submit(f"plain-{n}").id for n in range(ROUNDS)})
        kept = set().union(*pool.map(work, range(3)))
        expected = kept | plain.result()
    assert {record.id for record in shop.app.find(JobQuery(), limit=1000)} == expected
    shop.app.run(shop.app.arun(check_hygiene))


async def test_an_open_transaction_holds_nobody_up(open_postgres: Shop) -> None:
    """Not even in a queue that it is the first to use; its key alone is waited for."""
    shop, task = open_postgres, open_postgres.task()
    with psycopg.connect(shop.place) as db:
        joined = task.options(connection=db, unique_key="k").submit("open")
        spec = SessionSpec(id="s1", name="w1")
        await shop.app.arun(lambda store: store.beat(spec, (), ttl=30))
        alone = await task.asubmit("alone")
        given = await shop.app.arun(
            lambda s: s.exchange("s1", (), queues={"parcels": 9}, want=9, nonce="n")
        )
        assert [job.id for job in given.leased] == [alone.id]
        await shop.app.arun(lambda store: store.reap())
        await shop.app.arun(lambda store: store.counts(window=60))
        await shop.app.arun(lambda store: store.events(EventQuery(after=0)))
        assert [q.name for q in await shop.app.arun(lambda s: s.queues())] == ["parcels"]
        await shop.app.arun(lambda store: store.set_queue("parcels", limit=5))
        db.commit()
    assert (await joined.arecord()).unique_key == "k"


def test_a_key_is_waited_for_until_its_transaction_ends(open_postgres: Shop) -> None:
    shop, task = open_postgres, open_postgres.task()
    answers: list[Job[str]] = []
    with psycopg.connect(shop.place) as db:
        joined = task.options(connection=db, unique_key="k").submit("first")
        waiting = threading.Thread(
            target=lambda: answers.append(task.options(unique_key="k").submit("second"))
        )
        waiting.start()
        with psycopg.connect(shop.place, autocommit=True) as other:
            _wait_for_a_waiter(other)
        db.rollback()
    waiting.join()
    assert answers[0].created
    assert answers[0].id != joined.id


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_stricter_transactions_work_too(open_postgres: Shop, isolation: str) -> None:
    shop, task = open_postgres, open_postgres.task()
    with psycopg.connect(shop.place) as db:
        db.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
        db.execute("SELECT count(*) FROM shop_orders")
        holder = task.options(unique_key="k").submit("meanwhile")
        # Its moment is over: who asks for this key now must begin anew, and is told so.
        with pytest.raises(psycopg.errors.SerializationFailure):
            task.options(connection=db, unique_key="k").submit("x")
        db.rollback()
        db.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
        job = task.options(connection=db, unique_key="k").submit("x")
        plain = task.options(connection=db).submit("y")
        db.commit()
    assert (job.id, job.created) == (holder.id, False)
    assert plain.record().id == plain.id


async def test_a_library_that_tells_of_its_commit_has_the_bell_rung(
    open_postgres: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever waits does not look by himself: only a bell can wake him in time.
    for name in ("POLL", "DEAF_POLL"):
        monkeypatch.setattr(bell, name, 3600.0)
    shop = open_postgres
    django = Django(shop.place)
    await django.open()
    await django.begin()
    await django.submit(shop.task(), "one")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(
            shop.app.arun(lambda store: store.wait(["parcels"], timeout=100))
        )
        # Long enough for the first look of the other one; it does not see the job either.
        assert not await shop.app.arun(lambda store: store.wait(["parcels"], timeout=0.5))
        await django.commit()
        assert await waiting
    await django.close()


def _wait_for_a_waiter(db: "psycopg.Connection[tuple[object, ...]]") -> None:
    query = """SELECT count(*), pg_sleep(0.01) FROM pg_locks
        WHERE NOT granted AND locktype = 'transactionid'"""
    assert any(db.execute(query).fetchone() != (0, "") for _ in range(3_000))
