"""The roles that the guide recommends: each can do its work, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from stoker import Stoker
from stoker.core.errors import ReadOnlyStore, StokerError
from stoker.core.job import JobSpec, Outcome, SessionSpec, Settlement
from stoker.core.records import JobQuery, ScheduleSpec
from stoker.settings import Settings
from stoker.stores.postgres import PostgresStore
from tests.servers.postgres import PASSWORD, Postgres

GUIDE = Path(__file__).parents[4] / "docs" / "guides" / "postgresql.md"
ROLES = ("stoker_migrate", "stoker_work", "shop")


@pytest.fixture
def pages() -> list[str]:
    """The statements of the guide, block by block."""
    blocks = re.findall(r"^```sql\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    return blocks


@pytest.fixture
def database(server: Postgres, pages: list[str]) -> Iterator[str]:
    """A database in which somebody followed the guide so far; its URL for the role USER."""
    db = server.connect()
    _clean(db)
    db.execute("CREATE DATABASE roles")
    place = f"postgresql://USER:{PASSWORD}@127.0.0.1:{server.port}/roles".replace(" ", "%20")
    with psycopg.connect(place.replace("USER", "stoker"), autocommit=True) as fresh:
        fresh.execute("CREATE ROLE shop LOGIN")
        fresh.execute(pages[0].encode())
        for role in ROLES:
            fresh.execute(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'".encode())
    yield place
    _clean(db)
    db.close()


async def test_one_role_migrates_and_the_other_works(database: str) -> None:
    work = database.replace("USER", "stoker_work")
    with pytest.raises(StokerError, match=r"permit|layout"):
        async with PostgresStore(work):
            pass
    owner = PostgresStore(database.replace("USER", "stoker_migrate"))
    assert (await owner.migrate()).pending == ()
    async with PostgresStore(work) as store:
        await _work(store)
    with pytest.raises(ReadOnlyStore, match="not permit"):
        await PostgresStore(work).migrate(to=0)


async def test_an_application_may_submit_and_nothing_else(database: str, pages: list[str]) -> None:
    await PostgresStore(database.replace("USER", "stoker_migrate")).migrate()
    with psycopg.connect(database.replace("USER", "stoker_migrate")) as owner:
        owner.execute(pages[1].encode())
    app = Stoker(settings=Settings(store=database.replace("USER", "stoker_work")))
    task = app.task("ship")(str.upper)
    with psycopg.connect(database.replace("USER", "shop")) as db:
        first = task.options(connection=db, unique_key="k").submit("one")
        again = task.options(connection=db, unique_key="k").submit("two")
        db.commit()
        assert (again.id, again.created) == (first.id, False)
        for forbidden in ("DELETE FROM stoker.live", "SELECT * FROM stoker.keys"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute(forbidden.encode())
            db.rollback()
    app.close()
    assert first.record().id == first.id
    app.close()


async def _work(store: PostgresStore) -> None:
    """Do some of everything."""
    await store.submit([JobSpec(id="a", task="t"), JobSpec(id="b", task="t", parents=("a",))])
    await store.beat(SessionSpec(id="s", name="s"), (), ttl=30)
    given = await store.exchange("s", (), queues={"default": 9}, want=9, nonce="n")
    done = [
        Settlement(id=job.id, epoch=job.epoch, nonce=job.nonce, outcome=Outcome.COMPLETED)
        for job in given.leased
    ]
    await store.exchange("s", done, queues={"default": 9}, want=0, nonce="m")
    await store.cancel(JobQuery(ids=("b",)))
    await store.requeue(JobQuery(ids=("b",)))
    await store.put_schedules(
        [ScheduleSpec(name="x", cron="* * * * *", job=JobSpec(id="", task="t"))]
    )
    await store.set_queue("default", limit=3)
    assert await store.lead("keeper", "me", ttl=10) is not None
    await store.reap()
    await store.cancel(JobQuery())
    assert await store.purge(JobQuery()) == 2
    await store.counts(window=60)


def _clean(db: "psycopg.Connection[tuple[object, ...]]") -> None:
    db.execute("DROP DATABASE IF EXISTS roles WITH (FORCE)")
    for role in ROLES:
        db.execute(f"DROP ROLE IF EXISTS {role}".encode())
