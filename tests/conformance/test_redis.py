"""The Redis store, against every promise, on a real server."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from redis.asyncio import Redis

from stoker.connect import examine_store
from stoker.core.clock import Clock
from stoker.core.store import Store
from stoker.stores.redis import RedisStore
from stoker.stores.redis.keys import CHANNELS, KEYS, kind_of, root
from stoker.testing.conformance import StoreConformance
from tests.servers.redis import RedisServer, ValkeyServer

_numbers = itertools.count()


async def check_keys(url: str, namespace: str) -> None:
    """Check that each key is in the table, has its type, its owner or its expiry."""
    # The driver knows its own scheme only; the server speaks the same language.
    plain = url.replace("valkey://", "redis://")
    async with Redis.from_url(plain, decode_responses=True) as client:
        keys = [str(key) async for key in client.scan_iter(count=1_000)]
        own = [key for key in keys if key.startswith(root(namespace))]
        jobs = await _fields(client, namespace, "JOBS")
        for key in own:
            row = kind_of(key, namespace)
            assert row is not None, f"{key} is not in the table of keys"
            assert await client.type(key) == row.type, f"{key} has another type"
            assert (await client.ttl(key) > 0) == row.expires, f"{key}: its expiry"
            if row.owner == "the job it names":
                assert key.rpartition(":")[2] in jobs, f"{key} outlived its job"
        for table in ("SPECS", "RESULTS", "PARENTS", "TRIES"):
            owners = {field[:15] for field in await _fields(client, namespace, table)}
            assert owners <= jobs, f"{table} holds fields of jobs that are gone"
        if own:
            await client.delete(*own)


async def _fields(client: Any, namespace: str, table: str) -> set[str]:
    return set(await client.hkeys(f"{root(namespace)}:{KEYS[table].name}"))


class RedisConformance(StoreConformance):
    """A namespace of its own for each store, on one server for all. The second hand is another
    connection.

    The user is the one of a deployment, who may call what Stoker needs and nothing else: that this
    is enough for every promise is proved here.
    """

    program: ClassVar[type[RedisServer]] = RedisServer
    server: ClassVar[RedisServer]
    url: ClassVar[str]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _server(cls) -> Iterator[None]:
        cls.server = cls.program()
        cls.server.start()
        cls.url = cls.server.grant_least("test-*")
        try:
            yield
        finally:
            cls.server.close()

    @asynccontextmanager
    async def open_store(self, clock: Clock) -> AsyncIterator[Store]:
        namespace = f"test-{next(_numbers)}"
        async with RedisStore(f"{self.url}?namespace={namespace}", clock=clock) as store:
            yield store
        await check_keys(self.server.url, namespace)

    @asynccontextmanager
    async def open_second(self, store: Store, clock: Clock) -> AsyncIterator[Store]:
        namespace = store.info.details["namespace"]
        async with RedisStore(f"{self.url}?namespace={namespace}", clock=clock) as second:
            yield second

    def test_names_of_keys_and_channels_differ(self) -> None:
        names = [row.name for row in KEYS.values()]
        assert len({*names, *CHANNELS.values()}) == len(names) + len(CHANNELS)


@pytest.mark.engine("redis")
class TestRedis(RedisConformance):
    """Redis itself."""


@pytest.mark.engine("valkey")
class TestValkey(RedisConformance):
    """The same on Valkey, which is a Redis of other people by now."""

    program: ClassVar[type[RedisServer]] = ValkeyServer

    async def test_it_says_that_it_is_valkey(self) -> None:
        found = await examine_store(self.server.url)
        assert any(finding.found.startswith("valkey 9") for finding in found)
