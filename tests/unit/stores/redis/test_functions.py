"""The library of functions: built from the core's rules, loaded when missing, upgraded."""

import re
from collections.abc import Callable
from importlib.resources import files

import pytest
from redis.asyncio import Redis

from stoker.core.lifecycle import TABLE, Event, State
from stoker.stores.redis import RedisStore, functions
from stoker.stores.redis.functions import CODES, library, version_of
from stoker.testing.conformance.hand import Hand
from tests.servers.redis import RedisServer

MakeServer = Callable[..., RedisServer]
LUA = files("stoker.stores.redis") / "lua"
SOURCES = sorted(file.name for file in LUA.iterdir() if file.name.endswith(".lua"))


async def names(client: Redis) -> set[str]:
    found = await client.function_list(library="stoker_*")
    return {row[row.index("library_name") + 1] for row in found}


def test_the_moves_in_the_library_are_those_of_the_table() -> None:
    events = {event: number for number, event in enumerate(Event, 1)}
    table = library()[1].partition("local T = {")[2].partition("}")[0]
    found = {int(a): int(b) for a, b in re.findall(r"\[(\d+)\] = (\d+)", table)}
    assert found == {CODES[s] * 64 + events[e]: CODES[to] for (s, e), to in TABLE.items()}
    assert sorted(CODES.values()) == list(range(1, len(State) + 1))


@pytest.mark.parametrize("name", SOURCES)
def test_every_file_says_what_it_reads_and_which_moves_it_makes(name: str) -> None:
    head = (LUA / name).read_text("utf-8").partition("\nlocal ")[0]
    assert all(f"\n-- {word}" in head for word in ("KEYS", "ARGV", "Moves")), name


@pytest.mark.parametrize("name", SOURCES)
def test_no_file_asks_for_chance_or_runs_text(name: str) -> None:
    source = (LUA / name).read_text("utf-8")
    for banned in ("math.random", "loadstring", "'EVAL", "os.time", "cjson"):
        assert banned not in source, f"{name}: {banned}"


def test_an_unknown_constant_stops_the_build() -> None:
    with pytest.raises(KeyError):
        functions._SYMBOL.sub(functions._symbol, "S.NO_SUCH_STATE")


async def test_functions_that_went_missing_are_loaded_again(
    make_server: MakeServer,
) -> None:
    server = make_server()
    async with RedisStore(server.url) as store:
        assert server.ask("FUNCTION", "FLUSH").startswith("+OK")
        assert (await store.counts()).tallies == []
        assert library()[0] in server.ask("FUNCTION", "LIST")


async def test_an_older_library_is_removed_and_a_newer_one_left_alone(
    make_server: MakeServer,
) -> None:
    server = make_server()
    older, newer = "stoker_0_0123456789ab", "stoker_999_0123456789ab"
    twin = f"stoker_{functions.VERSION}_0123456789ab"
    strange = "stoker_of_somebody_else"
    async with Redis.from_url(server.url, decode_responses=True) as client:
        for name in (older, twin, newer, strange):
            code = f"#!lua name={name}\nredis.register_function('{name}_f', function() end)"
            await client.function_load(code)
        async with RedisStore(server.url):
            pass
        assert await names(client) == {newer, strange, library()[0]}


def test_only_our_own_names_have_a_version() -> None:
    assert version_of(library()[0]) == functions.VERSION
    assert version_of("stoker_12_0123456789ab") == 12
    assert version_of("stoker_of_somebody_else") is None


async def test_no_function_asks_for_more_than_the_server_allows_by_name(hand: Hand) -> None:
    """A parent with many children ends in one commit, however many they are."""
    parent = await hand.put(queue="parents")
    for _ in range(3):
        await hand.put_many(4_000, parents=(parent,))
    await hand.finish(parent)
    counts = await hand.store.counts()
    queued = {(t.queue, t.state): t.count for t in counts.tallies}
    assert queued == {
        ("parents", State.COMPLETED): 1,
        ("default", State.QUEUED): 12_000,
    }
