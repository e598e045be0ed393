from collections.abc import AsyncIterator

import pytest

from stoker.app.stoker import Stoker
from stoker.core.errors import InvalidOption
from stoker.core.store import Store
from stoker.server.http import make_server_app
from stoker.settings import Settings
from stoker.testing import FakeClock
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import Asking


@pytest.fixture
async def app(fake_clock: FakeClock) -> AsyncIterator[Stoker]:
    made = Stoker(settings=Settings(store="memory://"), clock=fake_clock)

    @made.task
    def shout(text: str) -> str:
        """Say it louder."""
        return text.upper()

    @made.task("add", queue="sums", max_retries=1)
    def add(a: int, b: int = 0) -> int:
        return a + b

    @made.task("total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    async with made:
        yield made


@pytest.fixture
async def ask(app: Stoker) -> AsyncIterator[Asking]:
    asking = Asking(make_server_app(app))
    async with asking.http:
        yield asking


@pytest.fixture
async def hand(app: Stoker, fake_clock: FakeClock) -> Hand:
    async def same(store: Store) -> Store:
        return store

    if not app.is_open:
        raise InvalidOption("the app of these tests is open")
    return Hand(await app.arun(same), fake_clock)
