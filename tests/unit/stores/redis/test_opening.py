"""Which servers are refused, what the others are said to promise, and what errors mean."""

import sys
from collections.abc import Callable

import pytest
from redis import exceptions
from redis.asyncio import Redis

from stoker.connect import open_store
from stoker.core.errors import (
    BackendError,
    InvalidConfig,
    MissingExtra,
    NotAStore,
    NotOpen,
    OutcomeUnknown,
    ReadOnlyStore,
    SchemaMismatch,
    StoreFull,
    Unavailable,
    Unsupported,
)
from stoker.core.job import JobSpec
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.stores.redis import RedisStore
from stoker.stores.redis.address import parse
from stoker.stores.redis.faults import translate
from stoker.stores.redis.keys import root
from stoker.stores.redis.opening import LAYOUT
from stoker.testing import FakeClock
from stoker.testing.conformance.hand import Hand
from tests.servers.redis import RedisServer

MakeServer = Callable[..., RedisServer]


async def refusal(url: str) -> BackendError:
    store = RedisStore(url)
    with pytest.raises(BackendError) as caught:
        await store.__aenter__()
    with pytest.raises(NotOpen):
        await store.counts()
    return caught.value


async def test_a_server_that_evicts_keys_is_refused(make_server: MakeServer) -> None:
    server = make_server("--maxmemory-policy", "allkeys-lru")
    error = await refusal(server.url)
    assert isinstance(error, Unsupported)
    assert "CONFIG SET maxmemory-policy noeviction" in error.message
    assert "'allkeys-lru'" in error.message


async def test_a_wrong_password_is_not_worth_another_try(make_server: MakeServer) -> None:
    server = make_server(password="right")
    for url in (server.url.replace("right", "wrong"), server.url.replace(":right@", "")):
        error = await refusal(url)
        assert not error.retryable
        assert "password" in error.message
        assert "wrong" not in error.message
    async with RedisStore(server.url) as store:
        assert ":***@" in store.info.url
        assert "right" not in store.info.url


async def test_a_replica_is_refused(make_server: MakeServer) -> None:
    primary, replica = make_server(), make_server()
    assert replica.ask("REPLICAOF", "127.0.0.1", str(primary.port)).startswith("+OK")
    assert isinstance(await refusal(replica.url), ReadOnlyStore)


async def test_a_store_that_becomes_a_replica_says_so(make_server: MakeServer) -> None:
    primary, server = make_server(), make_server("--replica-serve-stale-data", "yes")
    async with RedisStore(server.url) as store:
        await store.submit([JobSpec(id="a", task="work")])
        server.ask("REPLICAOF", "127.0.0.1", str(primary.port))
        with pytest.raises(ReadOnlyStore):
            await store.submit([JobSpec(id="b", task="work")])


@pytest.mark.parametrize(
    ("options", "fsync", "durability"),
    [((), "always", "full"), ((), "everysec", "fast"), (("--appendonly", "no"), "always", "none")],
)
async def test_the_durability_is_what_the_server_is_set_to(
    make_server: MakeServer, options: tuple[str, ...], fsync: str, durability: str
) -> None:
    async with RedisStore(make_server(*options, fsync=fsync).url) as store:
        assert store.info.durability == durability
        assert "failover" in store.info.can_lose
        assert store.info.details["maxmemory_policy"] == "noeviction"


async def test_a_full_server_refuses_jobs_and_lets_old_ones_be_deleted(
    make_server: MakeServer,
) -> None:
    server = make_server("--maxmemory", "20mb")
    payload = b'{"fill": "' + b"x" * 500_000 + b'"}'
    async with RedisStore(server.url) as store:
        made: list[str] = []

        async def fill() -> None:
            for number in range(1_000):
                spec = JobSpec(id=f"job-{number}", task="work", payload=payload)
                made.extend(answer.id for answer in await store.submit([spec]))

        with pytest.raises(StoreFull) as caught:
            await fill()
        assert "nothing was done" in caught.value.message
        assert len(made) > 5
        records = await store.get(made)
        assert all(record is not None for record in records)
        assert await store.purge(JobQuery(states=(State.QUEUED,)), limit=len(made) - 1)
        [answer] = await store.submit([JobSpec(id="last", task="work")])
        assert answer.created


async def test_a_newer_layout_is_refused_and_left_alone(
    url: str, store: RedisStore, hand: Hand, client: Redis
) -> None:
    await hand.put(id="kept")
    key = f"{root(store.info.details['namespace'])}:layout"
    await client.set(key, LAYOUT + 1)
    assert isinstance(await refusal(url), SchemaMismatch)
    with pytest.raises(SchemaMismatch):
        await store.migrate()
    assert await client.get(key) == str(LAYOUT + 1)
    await client.set(key, LAYOUT)


async def test_only_the_known_layout_can_be_migrated_to(store: RedisStore) -> None:
    assert (await store.migrate(to=LAYOUT)).pending == ()
    with pytest.raises(SchemaMismatch):
        await store.migrate(to=LAYOUT + 1)


async def test_a_user_with_few_rights_is_enough(make_server: MakeServer) -> None:
    server = make_server()
    rights = (
        "on >secret ~{stoker}* &{stoker}* -@all +@hash +@sortedset +@set +@list +@stream +@string "
        "+exists +del +expire +time +fcall +function|load +function|list +function|delete "
        "+publish +pubsub|numsub +subscribe +info +client|setname"
    )
    assert server.ask("ACL", "SETUSER", "worker", *rights.split()).startswith("+OK")
    url = server.url.replace("redis://", "redis://worker:secret@")
    clock = FakeClock()
    async with RedisStore(url, clock=clock) as store:
        # It may not read the configuration, so nothing is promised that nobody can see.
        assert (store.info.durability, store.info.details["appendfsync"]) == ("fast", "unknown")
        hand = Hand(store, clock)
        await hand.finish(await hand.put(), result=b"1")
        assert await store.wait(("default",), timeout=0.01) is False
        await store.purge(JobQuery())
    with pytest.raises(BackendError) as caught:
        async with RedisStore(f"{url}?namespace=other"):
            pass
    assert "forbids" in caught.value.message


async def test_a_missing_driver_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stoker.stores.redis", None)
    with pytest.raises(MissingExtra) as caught:
        open_store("redis://:secret@mars")
    assert "pip install 'stoker[redis]'" in caught.value.message
    assert "secret" not in caught.value.message


async def test_keys_of_somebody_else_are_not_taken_for_a_store(url: str, client: Redis) -> None:
    await client.set(f"{root(parse(url).namespace)}:jobs", "not a hash")
    async with RedisStore(url) as store:
        with pytest.raises(NotAStore):
            await store.submit([JobSpec(id="a", task="work")])


async def test_namespaces_on_one_server_do_not_meet(server: RedisServer) -> None:
    first = RedisStore(f"{server.url}?namespace=left")
    second = RedisStore(f"{server.url}?namespace=right")
    async with first, second:
        await first.submit([JobSpec(id="a", task="work")])
        assert await second.get(["a"]) == [None]
        assert (await second.counts()).tallies == []


@pytest.mark.parametrize(
    ("url", "host", "namespace", "timeout"),
    [
        ("redis://mars", "mars", "stoker", 10.0),
        ("redis://mars:7000/2?namespace=blue&timeout=3", "mars", "blue", 3.0),
        ("valkey://:secret@mars", "mars", "stoker", 10.0),
        ("rediss://mars?ssl_ca_certs=/ca.pem", "mars", "stoker", 10.0),
    ],
)
def test_urls_are_understood(url: str, host: str, namespace: str, timeout: float) -> None:
    address = parse(url)
    assert (address.arguments["host"], address.namespace) == (host, namespace)
    assert address.timeout == timeout
    assert "secret" not in address.url
    assert isinstance(open_store(url), RedisStore)


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://mars/zero",
        "redis://mars?namespace=",
        "redis://mars?namespace=a}b",
        "redis://mars?namespace=a%20b",
        "redis://mars?timeout=0",
        "redis://mars?timeout=soon",
        "redis://mars?colour=blue",
        "redis://mars:port",
        "memcached://mars",
    ],
)
def test_urls_that_mean_nothing_are_refused(url: str) -> None:
    with pytest.raises(InvalidConfig):
        RedisStore(url)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (exceptions.ResponseError("MISCONF Errors writing to the AOF file"), StoreFull),
        (exceptions.OutOfMemoryError("command not allowed"), StoreFull),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), Unavailable),
        (exceptions.ResponseError("BUSY Redis is busy running a script"), Unavailable),
        (exceptions.ClusterDownError("The cluster is down"), Unavailable),
        (exceptions.MovedError("1234 10.0.0.1:7000"), Unsupported),
        (exceptions.ResponseError("unknown command 'FCALL', with args"), Unsupported),
        (exceptions.NoPermissionError("this user has no permissions"), BackendError),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), ReadOnlyStore),
        (exceptions.ResponseError("something new"), BackendError),
        (exceptions.ConnectionError("Connection closed by server."), OutcomeUnknown),
        (exceptions.TimeoutError("Timeout reading"), OutcomeUnknown),
        (OSError("broken pipe"), OutcomeUnknown),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value),
)
def test_what_the_server_refused_was_not_done(
    error: Exception, expected: type[BackendError]
) -> None:
    assert type(translate(error, "redis://mars", sent=True, writes=True)) is expected


@pytest.mark.parametrize(("sent", "writes"), [(False, True), (True, False), (False, False)])
def test_a_lost_connection_is_harmless_for_what_was_not_sent_or_only_reads(
    *, sent: bool, writes: bool
) -> None:
    error = exceptions.ConnectionError("Connection closed by server.")
    fault = translate(error, "redis://mars", sent=sent, writes=writes)
    assert type(fault) is Unavailable
