"""Peers that mean harm, or are broken, against a real listener: each is refused with a code."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoker.core.wire.frames import MAX_HELLO, pack
from stoker.server.gateway import listener as listening
from stoker.server.gateway.connection import Limits
from stoker.settings import Bytes, GatewaySettings, Secret
from stoker.stores.memory import MemoryStore
from stoker.testing import FakeClock, FaultyStore, wait_until
from tests.gateway.peer import Peer, peer
from tests.gateway.site import Site, tcp_site
from tests.gateway.test_vectors import load, named

TOKEN = "a token of thirty-two characters"
QUICK = Limits(hello=0.2, frame=0.2, silence=0.2, write=5.0, refusal=0.0)


@pytest.fixture
async def site(fake_clock: FakeClock) -> AsyncIterator[Site]:
    settings = GatewaySettings(token=Secret(TOKEN), frame=Bytes(200_000))
    limits = Limits(refusal=0.0)
    async with (
        MemoryStore(clock=fake_clock) as store,
        tcp_site(store, settings=settings, limits=limits) as site,
    ):
        yield site


@pytest.fixture
async def impatient(fake_clock: FakeClock) -> AsyncIterator[Site]:
    async with MemoryStore(clock=fake_clock) as store, tcp_site(store, limits=QUICK) as site:
        yield site


def connections(site: Site) -> int:
    assert site.gateway is not None
    return site.gateway.connections


async def works(site: Site) -> bool:
    """Whether an honest client is still served."""
    async with peer(site.port) as honest:
        welcome = await honest.hello(token=TOKEN)
        answer = await honest.ask(2, "queues")
        return "ok" in welcome and answer == {"id": 2, "ok": []}


@pytest.mark.parametrize("vector", named(load("refused")))
async def test_what_must_be_refused_is_refused_before_the_hello(
    site: Site, vector: dict[str, Any]
) -> None:
    async with peer(site.port) as hostile:
        await hostile.send(bytes.fromhex(vector["frame_hex"]))
        assert await hostile.last_word() == vector["refused"]
    assert await works(site)


@pytest.mark.parametrize("vector", named(load("refused")))
async def test_what_must_be_refused_is_refused_after_the_hello(
    site: Site, vector: dict[str, Any]
) -> None:
    data = bytes.fromhex(vector["frame_hex"])
    if vector["name"] == "one byte over the limit":
        data = (200_001).to_bytes(4, "big")
    async with peer(site.port) as hostile:
        await hostile.hello(token=TOKEN)
        await hostile.send(data)
        assert await hostile.last_word() == vector["refused"]
    assert await works(site)


@pytest.mark.parametrize("token", [None, "", "guess", TOKEN + " ", TOKEN.upper(), "\ud800"])
async def test_a_wrong_token_is_refused(site: Site, token: str | None) -> None:
    async with peer(site.port) as hostile:
        await hostile.say({"id": 1, "verb": "hello", "params": {"protocol": 1, "token": token}})
        expected = "unauthenticated" if token != "\ud800" else "protocol_error"
        assert await hostile.last_word() == expected


async def test_another_version_is_refused_with_the_one_that_is_spoken(site: Site) -> None:
    async with peer(site.port) as hostile:
        answer = await hostile.hello(token=TOKEN, protocol=2)
        assert answer["error"]["code"] == "unsupported"
        assert answer["error"]["details"] == {"protocols": [1]}
        assert await hostile.is_hung_up()


async def test_a_stranger_does_not_learn_which_versions_there_are(site: Site) -> None:
    async with peer(site.port) as hostile:
        answer = await hostile.hello(token="guess", protocol=2)
        assert answer["error"]["code"] == "unauthenticated"


async def test_a_client_that_takes_too_little_is_refused(site: Site) -> None:
    async with peer(site.port) as hostile:
        await hostile.say(
            {"id": 1, "verb": "hello", "params": {"protocol": 1, "token": TOKEN, "max_frame": 9}}
        )
        assert await hostile.last_word() == "unsupported"


async def test_nobody_asks_before_the_hello(site: Site) -> None:
    async with peer(site.port) as hostile:
        await hostile.say({"id": 1, "verb": "queues"})
        assert await hostile.last_word() == "protocol_error"


async def test_a_second_hello_is_refused(site: Site) -> None:
    async with peer(site.port) as hostile:
        await hostile.hello(token=TOKEN)
        await hostile.say({"id": 2, "verb": "hello", "params": {"protocol": 1, "token": TOKEN}})
        assert await hostile.last_word() == "protocol_error"


async def test_an_id_that_is_under_way_is_refused(site: Site) -> None:
    async with peer(site.port) as hostile:
        await hostile.hello(token=TOKEN)
        for _ in range(2):
            await hostile.say({"id": 5, "verb": "wait", "params": {"timeout": 30.0}})
        assert await hostile.last_word() == "protocol_error"


async def test_the_id_of_the_connection_is_nobodys(site: Site) -> None:
    async with peer(site.port) as hostile:
        await hostile.hello(token=TOKEN)
        await hostile.say({"id": 0, "verb": "queues"})
        assert await hostile.last_word() == "protocol_error"


@pytest.mark.parametrize(
    ("verb", "params", "code"),
    [
        ("drop", {}, "unsupported"),
        ("__class__", {}, "unsupported"),
        ("migrate ", {}, "unsupported"),
        ("queues", {"name": "x"}, "invalid_arguments"),
        ("get", {}, "invalid_arguments"),
        ("get", {"ids": "x"}, "invalid_arguments"),
        ("get", [], "invalid_arguments"),
        ("purge", {"query": {"colour": "red"}}, "invalid_arguments"),
        ("find", {"query": {}, "limit": 0}, "invalid_query"),
        ("find", {"query": {}, "limit": 2**64}, "invalid_arguments"),
        ("lead", {"name": "k", "holder": "h", "ttl": -1}, "invalid_arguments"),
        ("lead", {"name": "k" * 10_001, "holder": "h", "ttl": 1}, "invalid_arguments"),
        ("requeue", {"query": {"ids": ["x"]}, "payload": [1]}, "invalid_payload"),
        ("events", {"query": {"after": 2**63}}, "invalid_arguments"),
    ],
)
async def test_a_wrong_request_is_refused_and_the_connection_goes_on(
    site: Site, verb: str, params: Any, code: str
) -> None:
    async with peer(site.port) as hostile:
        await hostile.hello(token=TOKEN)
        await hostile.say({"id": 7, "verb": verb, "params": params})
        answer = await hostile.hear()
        assert (answer["id"], answer["error"]["code"]) == (7, code), answer
        assert (await hostile.ask(8, "queues"))["ok"] == []


@pytest.mark.parametrize(
    ("job", "code"),
    [
        ({"payload": []}, "invalid_payload"),
        ({"payload": None}, "invalid_payload"),
        ({"payload": {}, "task": "no spaces"}, "invalid_option"),
        ({"payload": {}, "queue": "../x"}, "invalid_option"),
        ({"payload": {}, "retry": {"backoff": "never"}}, "invalid_option"),
        ({"payload": {"n": 2**70}}, "invalid_payload"),
    ],
)
async def test_a_wrong_job_does_not_fail_its_neighbours(
    site: Site, job: dict[str, Any], code: str
) -> None:
    good = {"id": "good", "task": "t", "payload": {}}
    async with peer(site.port) as client:
        await client.hello(token=TOKEN)
        wrong = {"id": "wrong", "task": "t", **job}
        answer = await client.ask(2, "submit", jobs=[wrong, good])
        refused, accepted = answer["ok"]
        assert (refused["id"], refused["created"], refused["error"]["code"]) == (
            "wrong",
            False,
            code,
        )
        assert (accepted["id"], accepted["created"]) == ("good", True)


async def test_a_payload_with_a_key_twice_is_refused(site: Site) -> None:
    async with peer(site.port) as client:
        await client.hello(token=TOKEN)
        await client.send(
            pack(
                b'{"id":2,"verb":"submit","params":{"jobs":'
                b'[{"id":"j","task":"t","payload":{"a":1,"a":2}}]}}'
            )
        )
        [refused] = (await client.hear())["ok"]
        assert refused["error"]["code"] == "invalid_payload"


async def test_of_a_workflow_with_a_wrong_job_nothing_is_submitted(site: Site) -> None:
    async with peer(site.port) as client:
        await client.hello(token=TOKEN)
        jobs = [
            {"id": "a", "task": "t", "payload": {}, "workflow_id": "f"},
            {"id": "b", "task": "t", "payload": [], "workflow_id": "f"},
        ]
        answer = await client.ask(2, "submit", jobs=jobs, workflow={"id": "f", "name": "f"})
        assert [told["error"]["code"] for told in answer["ok"]] == ["invalid_payload"] * 2
        assert (await client.ask(3, "get", ids=["a", "b"]))["ok"] == [None, None]


async def test_a_peer_that_says_nothing_is_sent_away(impatient: Site) -> None:
    async with peer(impatient.port) as hostile:
        assert await hostile.last_word() == "protocol_error"


async def test_a_hello_that_comes_byte_by_byte_is_cut_off(impatient: Site) -> None:
    async with peer(impatient.port) as hostile:
        for byte in pack(b'{"id":1,"verb":"hello","params":{"protocol":1}}')[:-1]:
            await hostile.send(bytes([byte]))
        assert await hostile.last_word() == "protocol_error"


async def test_a_frame_that_never_ends_is_cut_off(impatient: Site) -> None:
    async with peer(impatient.port) as hostile:
        await hostile.hello()
        await hostile.send((100_000).to_bytes(4, "big") + b"{")
        assert await hostile.last_word() == "protocol_error"


async def test_a_client_that_falls_silent_is_given_up(impatient: Site) -> None:
    async with peer(impatient.port) as hostile:
        await hostile.hello()
        assert await hostile.last_word() == "protocol_error"
    await wait_until(lambda: connections(impatient) == 0, "it is forgotten")


async def test_a_client_that_reads_nothing_is_cut_off(fake_clock: FakeClock) -> None:
    limits = Limits(write=0.2)
    async with (
        MemoryStore(clock=fake_clock) as store,
        tcp_site(store, limits=limits) as site,
        peer(site.port, limit=1) as hostile,
    ):
        await hostile.hello()
        for number in range(20):
            job = {"id": f"j{number}", "task": "t", "payload": {"text": "x" * 500_000}}
            await hostile.ask(number + 2, "submit", jobs=[job])
        hostile.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for number in range(100, 140):
            await hostile.say({"id": number, "verb": "find", "params": {"query": {}}})
        await wait_until(lambda: connections(site) == 0, "it is cut off")


async def test_a_huge_length_allocates_nothing(site: Site) -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        async with peer(site.port) as hostile:
            await hostile.send(b"\xff\xff\xff\xffGET / ")
            assert await hostile.last_word() == "frame_too_large"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 2_000_000


async def test_an_announced_frame_allocates_only_what_came(site: Site) -> None:
    async with peer(site.port) as hostile:
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            await hostile.send((MAX_HELLO).to_bytes(4, "big") + b"x" * 10)
            assert await works(site)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak - before < 2_000_000


async def test_too_many_strangers_from_one_address_are_turned_away(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "UNKNOWN_EACH", 2)
    async with peer(site.port), peer(site.port):
        await wait_until(lambda: connections(site) == 2, "both are in")
        async with peer(site.port) as third:
            assert await third.last_word() == "unavailable"
    await wait_until(lambda: connections(site) == 0, "both are gone")
    assert await works(site)


async def test_those_who_are_known_do_not_count_as_strangers(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "UNKNOWN_EACH", 1)
    async with peer(site.port) as first:
        await first.hello(token=TOKEN)
        async with peer(site.port) as second:
            assert "ok" in await second.hello(token=TOKEN)


async def test_the_number_of_connections_is_bounded(fake_clock: FakeClock) -> None:
    settings = GatewaySettings(connections=2)
    async with (
        MemoryStore(clock=fake_clock) as store,
        tcp_site(store, settings=settings) as site,
        peer(site.port) as first,
        peer(site.port) as second,
    ):
        assert "ok" in await first.hello()
        assert "ok" in await second.hello()
        async with peer(site.port) as third:
            assert await third.last_word() == "unavailable"


async def test_more_requests_than_allowed_wait_outside(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.server.gateway.connection.MAX_IN_FLIGHT", 2)
    async with peer(site.port) as greedy:
        await greedy.hello(token=TOKEN)
        for number in (2, 3):
            await greedy.say({"id": number, "verb": "wait", "params": {"timeout": 0.1}})
        await greedy.say({"id": 4, "verb": "queues"})
        answers = [(await greedy.hear())["id"] for _ in range(3)]
        assert answers[-1] == 4


async def test_big_requests_under_way_are_bounded_together(fake_clock: FakeClock) -> None:
    settings = GatewaySettings(frame=Bytes(100_000))
    async with MemoryStore(clock=fake_clock) as store:
        faulty = FaultyStore(store)
        held = [faulty.hold("get") for _ in range(8)]
        async with tcp_site(faulty, settings=settings) as site, peer(site.port) as greedy:
            await greedy.hello()
            for number in range(2, 10):
                await greedy.say(
                    {"id": number, "verb": "get", "params": {"ids": ["x" * 9_000] * 10}}
                )
            # The fifth crosses the bound, and so the sixth is not even begun.
            await held[4].reached.wait()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await held[5].reached.wait()
            for hold in held:
                hold.release()
            assert {(await greedy.hear())["id"] for _ in range(8)} == set(range(2, 10))


async def test_a_wrong_proof_takes_its_time(fake_clock: FakeClock) -> None:
    settings = GatewaySettings(token=Secret(TOKEN))
    limits = Limits(refusal=0.1)
    async with (
        MemoryStore(clock=fake_clock) as store,
        tcp_site(store, settings=settings, limits=limits) as site,
        peer(site.port) as hostile,
    ):
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert (await hostile.hello(token="guess"))["error"]["code"] == "unauthenticated"
        assert loop.time() - began >= 0.1


GARBAGE = st.one_of(
    st.binary(max_size=200),
    st.builds(pack, st.binary(max_size=200)),
    st.builds(
        lambda depth, bracket: pack(b'{"id":1,"verb":"hello","params":' + bracket * depth),
        st.integers(1, 5_000),
        st.sampled_from([b"[", b'{"a":']),
    ),
    st.builds(
        lambda number, verb: pack(b'{"id":%d,"verb":"%s"}' % (number, verb)),
        st.integers(-(2**70), 2**70),
        st.sampled_from([b"hello", b"ping", b"exchange", b"\xff", b'"']),
    ),
    st.builds(
        lambda size, rest: size.to_bytes(4, "big") + rest,
        st.integers(0, 2**32 - 1),
        st.binary(max_size=50),
    ),
)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(garbage=st.lists(GARBAGE, min_size=1, max_size=4), greets=st.booleans())
def test_no_garbage_brings_the_gateway_down(garbage: list[bytes], *, greets: bool) -> None:
    asyncio.run(_send_garbage(garbage, greets=greets))


async def _send_garbage(garbage: list[bytes], *, greets: bool) -> None:
    settings = GatewaySettings(token=Secret(TOKEN), frame=Bytes(200_000))
    async with (
        MemoryStore(clock=FakeClock()) as store,
        tcp_site(store, settings=settings, limits=QUICK) as site,
    ):
        async with peer(site.port) as hostile:
            if greets:
                assert "ok" in await hostile.hello(token=TOKEN)
            for data in garbage:
                await hostile.send(data)
            hostile.writer.write_eof()
            assert await _only_errors(hostile, after_hello=greets)
        assert await works(site)


async def _only_errors(hostile: Peer, *, after_hello: bool) -> bool:
    """Whether nothing but refusals came back, and then the end."""
    while True:
        try:
            message = await hostile.hear()
        except (asyncio.IncompleteReadError, ConnectionError):
            return True
        if "error" not in message and not (after_hello and message["ok"] is None):
            return False
