"""How waiters are woken between handles, with and without notifications."""

import asyncio

import psycopg
import pytest

from stoker.core.clock import SystemClock
from stoker.core.job import JobSpec
from stoker.stores.postgres import PostgresStore, bell, ear
from stoker.stores.postgres.address import Address, parse
from stoker.testing import wait_until
from tests.servers.postgres import Postgres

SOON = 20.0


def job() -> JobSpec:
    """Return a job that is due now."""
    return JobSpec(id=SystemClock().new_id(), task="work")


def hears(store: PostgresStore) -> bool:
    """Whether notifications reach this handle."""
    handle = store._handle
    return handle is not None and handle.bell._ear.hears


async def test_a_handle_hears_what_another_one_does(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody looks by himself here.
    monkeypatch.setattr(bell, "POLL", 1e6)
    async with PostgresStore(url) as one, PostgresStore(url) as two:
        await wait_until(lambda: hears(two), "the second handle hears")
        async with asyncio.timeout(SOON), asyncio.TaskGroup() as group:
            waiting = group.create_task(two.wait(("default",), timeout=SOON))
            await one.submit([job()])
        assert waiting.result()


async def test_where_nothing_is_heard_waiters_look_by_themselves(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pooler that gives each transaction another connection."""
    monkeypatch.setattr(ear, "PROBE_WITHIN", 0.05)

    async def lost(self: bell.Bell, message: str) -> None:
        """Send it nowhere."""

    monkeypatch.setattr(bell.Bell, "_say", lost)
    async with PostgresStore(url) as one, PostgresStore(url) as two:
        async with asyncio.timeout(SOON), asyncio.TaskGroup() as group:
            waiting = group.create_task(two.wait(("default",), timeout=SOON))
            await one.submit([job()])
        assert waiting.result()
        assert not hears(two)


async def test_an_ear_that_was_cut_off_hears_again(server: Postgres, url: str) -> None:
    async with PostgresStore(url) as store:
        await wait_until(lambda: hears(store), "the handle hears")
        with server.connect() as db:
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
            )
        await wait_until(lambda: not hears(store), "the handle noticed")
        await wait_until(lambda: hears(store), "the handle hears again")


async def test_a_burst_of_commands_is_told_in_few_notifications(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    say = bell.Bell._say

    async def counted(self: bell.Bell, message: str) -> None:
        said.append(message)
        await say(self, message)

    monkeypatch.setattr(bell.Bell, "_say", counted)
    monkeypatch.setattr(bell, "PACE", 0.2)
    async with PostgresStore(url) as store:
        for _ in range(20):
            await asyncio.gather(*(store.submit([job()]) for _ in range(10)))
    told = [message for message in said if not message.startswith("probe")]
    assert 1 <= len(told) <= 10


async def test_jobs_that_are_too_many_to_name_wake_everybody() -> None:
    message = bell._message({"q"}, set(range(10_000)))
    assert bell._heard(message) == (["q"], None)
    assert len(message) < 8_000
    many = {f"queue number {n}" for n in range(1_000)}
    assert bell._heard(bell._message(many, {1, 2})) == (None, [1, 2])
    assert bell._heard("what a mess") == (None, None)


async def test_an_ear_ends_though_the_driver_made_an_error_of_its_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connecting = asyncio.Event()

    async def connect(_: Address) -> None:
        connecting.set()
        try:
            await asyncio.sleep(SOON)
        except asyncio.CancelledError:
            raise psycopg.OperationalError("the server is gone") from None

    async def say(_: str) -> None:
        pytest.fail("nothing can be said without a connection")

    monkeypatch.setattr(ear, "connect", connect)
    listening = ear.Ear(
        parse("postgresql://db.example/jobs"), say=say, heard=print, changed=lambda: None
    )
    listening.start()
    async with asyncio.timeout(SOON):
        await connecting.wait()
        await listening.close()
