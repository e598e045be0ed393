"""What `stoker doctor` finds on real Redis servers with settings that are wrong on purpose."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from stoker.connect import examine_store
from stoker.core.errors import StokerError, Unavailable
from stoker.core.finding import Finding
from stoker.stores.redis import RedisStore
from stoker.stores.redis.address import parse
from stoker.stores.redis.judging import Facts, judge
from stoker.stores.redis.keys import root
from stoker.stores.redis.opening import LAYOUT
from stoker.testing.clock import FakeClock
from tests.servers.redis import RedisServer
from tests.servers.server import free_port

MakeServer = Callable[..., RedisServer]
RIGHTS = (
    "on >secret ~{stoker}* &{stoker}* -@all +@hash +@sortedset +@set +@list +@stream +@string "
    "+exists +del +expire +time +fcall +function|load +function|list +function|delete "
    "+publish +pubsub|numsub +subscribe +info +client|setname"
)


async def look(url: str, *, processes: int = 3) -> dict[str, Finding]:
    return {f.check: f for f in await examine_store(url, processes=processes)}


def verdicts(found: dict[str, Finding], verdict: str) -> set[str]:
    return {check for check, f in found.items() if f.verdict == verdict}


async def test_a_server_with_careless_settings_is_told_each_of_them(
    make_server: MakeServer,
) -> None:
    server = make_server(
        *("--appendonly", "no", "--maxmemory-policy", "allkeys-lru", "--maxclients", "40")
    )
    found = await look(server.url, processes=30)
    assert verdicts(found, "problem") == {"eviction", "durability", "connections"}
    assert "appendonly yes" in found["durability"].fix
    assert "noeviction" in found["eviction"].fix
    assert verdicts(found, "note") >= {"memory", "replicas", "permissions"}
    assert all(f.risk and f.fix for f in found.values() if f.verdict != "ok")


async def test_a_careful_server_is_left_in_peace(make_server: MakeServer) -> None:
    server = make_server("--maxmemory", "200mb", fsync="always")
    found = await look(server.url)
    assert verdicts(found, "problem") | verdicts(found, "warning") == set()
    assert found["durability"].found.startswith("full")
    assert found["memory"].verdict == found["clock"].verdict == found["encryption"].verdict == "ok"


async def test_what_may_be_lost_in_between_is_a_warning(make_server: MakeServer) -> None:
    server = make_server("--no-appendfsync-on-rewrite", "yes")
    found = await look(server.url)
    assert verdicts(found, "warning") == {"durability", "no-appendfsync-on-rewrite"}
    assert "last second" in found["durability"].found
    assert found["durability"].fix == "CONFIG SET appendfsync always"


async def test_memory_that_is_nearly_full_is_a_problem(make_server: MakeServer) -> None:
    server = make_server()
    async with Redis.from_url(server.url) as client:
        await client.eval("redis.call('set', 'ballast', string.rep('x', 10000000))", 0)
        await client.script_flush()
        used = (await client.info("memory"))["used_memory"]
        await client.config_set("maxmemory", int(used * 1.02))
    assert (await look(server.url))["memory"].verdict == "problem"


async def test_a_replica_and_its_primary_are_known(make_server: MakeServer) -> None:
    # By default a primary waits five seconds for more replicas before it sends its first copy.
    primary, replica = make_server("--repl-diskless-sync-delay", "0"), make_server()
    assert replica.ask("REPLICAOF", "127.0.0.1", str(primary.port)).startswith("+OK")
    assert (await look(replica.url))["primary"].verdict == "problem"
    # The primary takes a replica in by itself and says when it is done: the server keeps the
    # deadline here, so the client's own (five seconds, as long as that delay) must not be first.
    async with Redis.from_url(primary.url, socket_timeout=None) as client:
        assert await client.wait(1, 30_000) == 1
    found = (await look(primary.url))["replicas"]
    assert (found.verdict, found.found[:10]) == ("warning", "1 replicas")
    assert "min-replicas-to-write" in found.fix


async def test_the_layout_is_found_missing_new_or_strange(url: str, client: Redis) -> None:
    key = f"{root(parse(url).namespace)}:layout"
    assert (await look(url))["layout"].found.endswith("the first opening makes the layout")
    assert await client.exists(key) == 0
    async with RedisStore(url):
        assert (await look(url))["layout"].verdict == "ok"
    await client.set(key, LAYOUT + 1)
    assert "newer Stoker" in (await look(url))["layout"].found
    await client.set(key, "something")
    assert (await look(url))["layout"].verdict == "problem"
    await client.delete(key)


async def test_a_user_is_told_what_he_lacks(make_server: MakeServer) -> None:
    server = make_server()
    server.ask("ACL", "SETUSER", "worker", *RIGHTS.split())
    server.ask(
        "ACL",
        "SETUSER",
        "guest",
        "on",
        ">secret",
        "~*",
        "&*",
        "+@read",
        "+time",
        "+info",
        "+client|setname",
    )
    enough = await look(server.url.replace("redis://", "redis://worker:secret@"))
    assert (enough["permissions"].verdict, enough["layout"].verdict) == ("ok", "ok")
    # It may not see the configuration, and nothing is promised that nobody can see.
    assert enough["durability"].verdict == "warning"
    guest = await look(server.url.replace("redis://", "redis://guest:secret@"))
    assert guest["permissions"].verdict == "problem"
    for command in ("FCALL", "DEL", "HDEL", "PUBLISH", "FUNCTION"):
        assert command in guest["permissions"].found
    assert "deploy/redis/users.acl" in guest["permissions"].fix


async def test_nothing_is_changed_and_no_password_is_named(make_server: MakeServer) -> None:
    server = make_server(password="right")
    found = await examine_store(server.url)
    assert "right" not in repr(found)
    async with Redis.from_url(server.url) as client:
        assert await client.keys("*") == []
        assert await client.function_list() == []


async def test_a_server_that_is_not_there_or_does_not_let_us_in_is_an_error(
    make_server: MakeServer,
) -> None:
    with pytest.raises(Unavailable):
        await examine_store(f"redis://:secret@127.0.0.1:{free_port()}")
    server = make_server(password="right")
    with pytest.raises(StokerError) as refused:
        await examine_store(server.url.replace("right", "wrong"))
    assert not refused.value.retryable


async def test_a_clock_that_differs_is_told(url: str) -> None:
    found = await examine_store(url, clock=FakeClock(start=1_000_000.0))
    assert [f.verdict for f in found if f.check == "clock"] == ["warning"]


FACTS = Facts(
    info={
        "redis_version": "8.2.2",
        "role": "master",
        "maxmemory_policy": "noeviction",
        "aof_enabled": "1",
    },
    settings={"appendfsync": "always"},
    user="jobs",
    powers=[],
    refused=[],
    layout=b"1",
    encrypted=True,
    checked=True,
    skew=0.0,
)


@pytest.mark.parametrize(
    ("info", "change", "check", "verdict"),
    [
        ({"redis_version": "6.2.7"}, {}, "server", "problem"),
        ({"redis_version": "7.2.10"}, {}, "server", "note"),
        ({"redis_version": "7.2.11"}, {}, "server", "ok"),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.3"}, {}, "server", "note"),
        ({"redis_version": "7.2.4", "valkey_version": "9.0.0"}, {}, "server", "ok"),
        ({"aof_last_write_status": "err"}, {}, "disk", "problem"),
        ({}, {"encrypted": False}, "encryption", "warning"),
        ({}, {"checked": False}, "encryption", "warning"),
        ({}, {}, "encryption", "ok"),
        ({}, {"powers": ["no password", "every key"]}, "permissions", "problem"),
    ],
)
def test_what_no_server_here_shows_is_judged_too(
    info: dict[str, str], change: dict[str, object], check: str, verdict: str
) -> None:
    facts = replace(FACTS, info={**FACTS.info, **info}, **change)  # type: ignore[arg-type]
    found = judge(facts, address=parse("redis://jobs:x@redis.example.com"), processes=3)
    assert [f.verdict for f in found if f.check == check] == [verdict]
