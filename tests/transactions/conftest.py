"""A store, and beside it a table of the user's in the same database."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import psycopg
import pytest

from stoker import Stoker
from stoker.app.task import AppTask
from stoker.settings import Settings
from tests.servers.postgres import shared_schemas
from tests.transactions.libraries import POSTGRES, SQLITE, Library


@dataclass
class Shop:
    """A user's application: its database, its queue in the same one."""

    url: str
    place: str
    app: Stoker = field(init=False)

    def __post_init__(self) -> None:
        self.app = Stoker(settings=Settings(store=self.url))

    @property
    def is_postgres(self) -> bool:
        return self.url.startswith("postgresql")

    def orders(self) -> list[str]:
        """What is committed in the user's table."""
        query = "SELECT name FROM shop_orders ORDER BY name"
        if self.is_postgres:
            with psycopg.connect(self.place) as db:
                return [str(name) for (name,) in db.execute(query)]
        file = apsw.Connection(self.place)
        try:
            return [str(name) for (name,) in file.execute(query)]
        finally:
            file.close()

    def make_orders(self) -> None:
        """Make the user's table in the store's file; on PostgreSQL it is there."""
        if not self.is_postgres:
            db = apsw.Connection(self.place)
            db.execute(_TABLE)
            db.close()

    def task(self) -> AppTask[[str], str]:
        return self.app.task("ship", queue="parcels")(_ship)


def _ship(order: str) -> str:
    return order


_TABLE = "CREATE TABLE shop_orders (name TEXT NOT NULL)"


@pytest.fixture
def postgres_shop() -> Iterator[Shop]:
    with shared_schemas().borrow() as url:
        place = url.partition("?")[0]
        with psycopg.connect(place, autocommit=True) as db:
            db.execute("DROP TABLE IF EXISTS shop_orders")
            db.execute(_TABLE)
        yield Shop(url, place)


@pytest.fixture
def sqlite_shop(tmp_path: Path) -> Shop:
    file = tmp_path / "shop.db"
    return Shop(f"sqlite:///{file}", str(file))


@pytest.fixture
def open_postgres(postgres_shop: Shop) -> Iterator[Shop]:
    postgres_shop.app.counts()
    yield postgres_shop
    postgres_shop.app.close()


@pytest.fixture
def open_file(sqlite_shop: Shop) -> Iterator[Shop]:
    sqlite_shop.app.counts()
    yield sqlite_shop
    sqlite_shop.app.close()


@pytest.fixture(params=[*POSTGRES, *SQLITE], ids=lambda library: library.__name__)
def kind(request: pytest.FixtureRequest) -> type[Library]:
    chosen: type[Library] = request.param
    return chosen


@pytest.fixture
async def shop(kind: type[Library], request: pytest.FixtureRequest) -> AsyncIterator[Shop]:
    wanted = "postgres_shop" if kind in POSTGRES else "sqlite_shop"
    shop: Shop = request.getfixturevalue(wanted)
    # Blocking code opens the store; asynchronous code may use it all the same.
    shop.app.counts()
    shop.make_orders()
    yield shop
    shop.app.close()


@pytest.fixture
async def library(kind: type[Library], shop: Shop) -> AsyncIterator[Library]:
    library = kind(shop.place)
    await library.open()
    yield library
    await library.close()
