"""Where the gateway listens, and how it ends."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stoker.core.errors import InvalidConfig, InvalidOption, OutcomeUnknown, PortInUse, Unavailable
from stoker.core.job import JobSpec
from stoker.server.gateway import listener as listening
from stoker.server.gateway.listener import check_exposed, server_tls
from stoker.server.run import listen_gateway
from stoker.settings import GatewaySettings, Secret
from stoker.stores.memory import MemoryStore
from stoker.stores.remote import RemoteStore
from stoker.testing import FakeClock, FaultyStore, wait_until
from tests.gateway.certificates import Office
from tests.gateway.peer import peer
from tests.gateway.site import Site, tcp_site

TOKEN = Secret("a token of thirty-two characters")
ANYWHERE = ["192.0.2.7"]


@pytest.fixture
async def faulty(fake_clock: FakeClock) -> AsyncIterator[FaultyStore]:
    async with MemoryStore(clock=fake_clock) as store:
        yield FaultyStore(store)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (GatewaySettings(), "without TLS .* and without a token"),
        (GatewaySettings(token=TOKEN), r"without TLS \(gateway.certificate\)\."),
        (GatewaySettings(certificate="x.pem"), "without a token"),
    ],
)
def test_a_gateway_open_to_others_is_refused(settings: GatewaySettings, words: str) -> None:
    with pytest.raises(InvalidOption, match=words):
        check_exposed(settings, ANYWHERE)
    with pytest.raises(InvalidOption, match=words):
        check_exposed(settings, ["127.0.0.1", "192.0.2.1"])
    check_exposed(settings, ["127.0.0.1", "::1"])
    check_exposed(settings, ANYWHERE, insecure=True)


def test_a_gateway_with_tls_and_a_token_may_be_reached() -> None:
    check_exposed(GatewaySettings(certificate="x.pem", token=TOKEN), ANYWHERE)


def test_clients_that_make_no_sense_are_refused_before_anything_listens() -> None:
    with pytest.raises(InvalidConfig):
        listen_gateway(GatewaySettings(port=0, token=Secret("short")))


def test_a_gateway_without_a_port_does_not_listen() -> None:
    assert listen_gateway(GatewaySettings()) is None


def test_a_port_in_use_is_told_with_its_option() -> None:
    first = listen_gateway(GatewaySettings(port=0))
    assert first is not None
    try:
        assert first.url == f"tcp://127.0.0.1:{first.port}"
        with pytest.raises(PortInUse, match="--gateway-port"):
            listen_gateway(GatewaySettings(port=first.port))
    finally:
        first.close()


def test_a_gateway_with_a_certificate_speaks_tls(tmp_path: Path) -> None:
    pair = Office(tmp_path).vouch("server")
    settings = GatewaySettings(port=0, certificate=str(pair.certificate), key=str(pair.key))
    bound = listen_gateway(settings)
    assert bound is not None
    bound.close()
    assert bound.url.startswith("tls://")


def test_a_key_without_a_certificate_is_refused() -> None:
    with pytest.raises(InvalidConfig, match=r"need gateway\.certificate"):
        server_tls(GatewaySettings(key="x.key"))


async def test_a_stopping_gateway_answers_what_is_under_way(
    faulty: FaultyStore, fake_clock: FakeClock
) -> None:
    hold = faulty.hold("submit")
    async with asyncio.TaskGroup() as group, tcp_site(faulty) as site:
        store = await RemoteStore(site.url, clock=fake_clock).__aenter__()
        call = group.create_task(store.submit([JobSpec(id="j", task="t")]))
        wait = group.create_task(_failed(store))
        await hold.reached.wait()
        await wait_until(lambda: faulty.calls["wait"] == 1, "it waits")
        group.create_task(_release(hold.release))
    assert (await call)[0].created
    assert isinstance(await wait, Unavailable)
    await store.__aexit__(None, None, None)


async def test_a_stopping_gateway_says_goodbye(faulty: FaultyStore) -> None:
    async with tcp_site(faulty) as site, peer(site.port) as client:
        await client.hello()
        stopping = asyncio.get_running_loop().create_task(_stop(site.gateway))
        assert await client.last_word() == "unavailable"
        await stopping


async def test_a_call_that_takes_too_long_does_not_keep_a_gateway(
    faulty: FaultyStore, fake_clock: FakeClock
) -> None:
    hold = faulty.hold("submit")
    async with asyncio.TaskGroup() as group, tcp_site(faulty, grace=0.05) as site:
        store = await RemoteStore(site.url, clock=fake_clock).__aenter__()
        call = group.create_task(_unknown(store))
        await hold.reached.wait()
    assert isinstance(await call, OutcomeUnknown)
    await store.__aexit__(None, None, None)


async def test_a_request_is_carried_out_although_its_client_hung_up(faulty: FaultyStore) -> None:
    hold = faulty.hold("submit")
    async with tcp_site(faulty) as site:
        async with peer(site.port) as client:
            await client.hello()
            job = {"id": "j", "task": "t", "payload": {}}
            await client.say({"id": 2, "verb": "submit", "params": {"jobs": [job]}})
            await hold.reached.wait()
        hold.release()

        async def stored() -> bool:
            return (await faulty.get(["j"]))[0] is not None

        await wait_until(stored, "the job is there")


async def test_a_wait_does_not_outlive_its_client(faulty: FaultyStore) -> None:
    async with tcp_site(faulty) as site:
        before = asyncio.all_tasks()
        async with peer(site.port) as client:
            await client.hello()
            await client.say({"id": 2, "verb": "wait", "params": {"queues": ["q"], "timeout": 60}})
            await wait_until(lambda: faulty.calls["wait"] == 1, "it waits")
        await wait_until(lambda: asyncio.all_tasks() <= before, "nobody waits any more")


async def test_a_forgotten_wait_ends_and_is_not_answered(faulty: FaultyStore) -> None:
    async with tcp_site(faulty) as site, peer(site.port) as client:
        await client.hello()
        await client.say({"id": 2, "verb": "wait", "params": {"queues": ["q"], "timeout": 60}})
        await wait_until(lambda: faulty.calls["wait"] == 1, "it waits")
        assert await client.ask(3, "forget", id=2) == {"id": 3, "ok": None}
        assert await client.ask(2, "queues") == {"id": 2, "ok": []}


async def test_a_wrong_forget_is_refused_and_the_connection_ends(faulty: FaultyStore) -> None:
    async with tcp_site(faulty) as site, peer(site.port) as client:
        await client.hello()
        await client.say({"id": 2, "verb": "forget", "params": {"id": "x"}})
        assert await client.last_word() == "invalid_arguments"


async def test_a_handshake_that_never_ends_takes_a_place_and_keeps_nobody(
    faulty: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "UNKNOWN_EACH", 2)
    pair = Office(tmp_path).vouch("server")
    settings = GatewaySettings(certificate=str(pair.certificate), key=str(pair.key))
    async with tcp_site(faulty, settings=settings) as site, peer(site.port), peer(site.port):
        assert site.gateway is not None
        await wait_until(lambda: connections(site) == 2, "both are in")
        async with peer(site.port) as third:
            assert await third.is_hung_up()
        stopping = asyncio.get_running_loop().create_task(_stop(site.gateway))
        async with asyncio.timeout(5.0):
            await stopping
        assert connections(site) == 0


async def test_what_is_no_tls_is_hung_up_on(
    faulty: FaultyStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    pair = Office(tmp_path).vouch("server")
    settings = GatewaySettings(certificate=str(pair.certificate), key=str(pair.key))
    async with tcp_site(faulty, settings=settings) as site:
        async with peer(site.port) as client:
            await client.send(b"GET / HTTP/1.1\r\n\r\n")
            assert await client.is_hung_up()
        await wait_until(lambda: connections(site) == 0, "it is forgotten")
    assert "no TLS" in caplog.text


async def test_a_machine_without_descriptors_keeps_who_is_there(
    faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listening, "ACCEPT_PAUSE", 0.01)
    loop = asyncio.get_running_loop()
    accept = loop.sock_accept
    left = [OSError(errno.EMFILE, "too many open files")] * 3

    async def failing(sock: socket.socket) -> Any:
        if left:
            raise left.pop()
        return await accept(sock)

    async with tcp_site(faulty) as site, peer(site.port) as first:
        await first.hello()
        monkeypatch.setattr(loop, "sock_accept", failing)
        async with peer(site.port) as second, peer(site.port) as third:
            assert "ok" in await second.hello()
            assert "ok" in await third.hello()
            assert (await first.ask(2, "queues"))["ok"] == []
    assert "cannot take a connection" in caplog.text


def connections(site: Site) -> int:
    assert site.gateway is not None
    return site.gateway.connections


async def _stop(gateway: object) -> None:
    await gateway.__aexit__(None, None, None)  # type: ignore[attr-defined]


async def _release(release: object) -> None:
    release()  # type: ignore[operator]


async def _failed(store: RemoteStore) -> Exception | None:
    try:
        await store.wait(["q"], timeout=60.0)
    except Unavailable as error:
        return error
    return None


async def _unknown(store: RemoteStore) -> Exception | None:
    try:
        await store.submit([JobSpec(id="j", task="t")])
    except OutcomeUnknown as error:
        return error
    return None
