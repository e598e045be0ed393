"""RabbitMQ when it is not as it should be: queues that vanish, alarms, refusals, restarts."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from aiormq import Connection
from aiormq.exceptions import ChannelNotFoundEntity

from stoker.brokers.rabbitmq import RabbitBroker
from stoker.brokers.rabbitmq.address import parse
from stoker.brokers.rabbitmq.line import Line
from stoker.connect import examine_broker, open_broker
from stoker.core.clock import SystemClock
from stoker.core.job import Priority
from stoker.testing import wait_until
from stoker.testing.conformance.brokers import (
    connected,
    heard,
    only_once,
    ring,
    rings_until_heard,
    subscribed,
)
from tests.rabbitmq.conftest import length, raw
from tests.servers.rabbitmq import PASSWORD, USER, RabbitMQ

SOON = 60.0
RESTARTS = 4

Make = Callable[[], RabbitBroker]


async def refusal(broker: RabbitBroker) -> str:
    """Return why there is no connection."""
    await wait_until(lambda: broker.status().error, "it says why", timeout=SOON)
    status = broker.status()
    assert not status.connected
    assert PASSWORD not in repr(status)
    return status.error


class TestQueues:
    async def test_a_deleted_queue_is_made_again(
        self, server: RabbitMQ, make: Make, namespace: str
    ) -> None:
        async with make() as broker, raw(server) as channel:
            await subscribed(broker, "default")
            for priority in Priority:
                await channel.queue_delete(f"{namespace}.default.{priority.value}")
            await rings_until_heard(broker)
            assert broker.status().connected

    async def test_a_queue_that_only_rings_knows_is_made_again(
        self, server: RabbitMQ, make: Make, namespace: str
    ) -> None:
        name = f"{namespace}.default.medium"
        async with make() as broker, raw(server) as channel:
            await connected(broker)
            for _ in range(2):
                broker.ring([ring(ids=("a",))])
                await wait_until(lambda: _has(server, name, 1), "it is there", timeout=SOON)
                await channel.queue_delete(name)
            assert broker.status().dropped == 0

    async def test_a_purged_queue_costs_its_rings_only(
        self, server: RabbitMQ, make: Make, namespace: str
    ) -> None:
        async with make() as broker, raw(server) as channel:
            await connected(broker)
            broker.ring([ring(ids=(f"{n}",)) for n in range(50)])
            name = f"{namespace}.default.medium"
            await wait_until(lambda: _has(server, name, 50), "all are there", timeout=SOON)
            await channel.queue_purge(name)
            await rings_until_heard(broker)

    async def test_a_queue_with_other_settings_is_used_as_it_is(
        self, server: RabbitMQ, make: Make, namespace: str
    ) -> None:
        async with raw(server) as channel:
            for priority in Priority:
                await channel.queue_declare(f"{namespace}.default.{priority.value}", durable=True)
            async with make() as broker:
                await rings_until_heard(broker)

    async def test_what_is_no_ring_is_thrown_away(
        self, server: RabbitMQ, make: Make, namespace: str
    ) -> None:
        name = f"{namespace}.default.medium"
        async with make() as broker, raw(server) as channel:
            await subscribed(broker, "default")
            for body in (b"", b"\xff\xfe", b"{}", b'{"store":1}', b"[" * 10_000):
                await channel.basic_publish(body, routing_key=name)
            broker.ring([ring(ids=("a",))])
            await heard(broker, "default", only_once([ring(ids=("a",))]))
        async with raw(server) as channel:
            assert await length(channel, name) == 0

    async def test_two_namespaces_and_two_virtual_hosts_hear_nothing_of_each_other(
        self, server: RabbitMQ, make: Make
    ) -> None:
        server.ctl("add_vhost", "team/b")
        server.ctl("set_permissions", "-p", "team/b", USER, ".*", ".*", ".*")
        elsewhere = server.url_of(vhost="team/b")
        clock = SystemClock()
        async with (
            make() as broker,
            RabbitBroker(server.url_of(options="namespace=other"), clock=clock) as other,
            RabbitBroker(elsewhere, clock=clock) as far,
        ):
            for handle in (broker, other, far):
                await connected(handle)
                await subscribed(handle, "default")
            other.ring([ring(ids=("other",))])
            far.ring([ring(ids=("far",))])
            broker.ring([ring(ids=("mine",))])
            deliveries = await heard(broker, "default", only_once([ring(ids=("mine",))]))
            assert {delivery.ring.ids for delivery in deliveries} == {("mine",)}


async def _has(server: RabbitMQ, name: str, count: int) -> bool:
    # Asking for a queue that is not there yet closes the channel.
    async with raw(server) as channel:
        try:
            return await length(channel, name) >= count
        except ChannelNotFoundEntity:
            return False


async def _never(_: object) -> None:
    pytest.fail("somebody with a wrong password got a channel")


class TestRefusals:
    async def test_a_wrong_password_is_told_once_and_never_shown(
        self, server: RabbitMQ, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        url = server.url_of(password="wrong guess")
        async with RabbitBroker(url, clock=SystemClock()) as broker:
            told = await refusal(broker)
            assert f"refused the user {USER!r}" in told
            assert "wrong" not in told
            # Tried again, and not said again.
            await broker.listen(("default",), most=1, timeout=1.0)
            broker.ring([ring()])
            assert broker.status().dropped == 1
        said = [record.message for record in caplog.records]
        assert len([message for message in said if "refused the user" in message]) == 1
        assert not [
            message for message in said if "wrong guess" in message or "wrong%20" in message
        ]

    async def test_it_ends_when_it_is_closed_in_the_moment_of_a_refusal(
        self, server: RabbitMQ, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        address = parse(server.url_of(password="wrong guess"))
        line = Line(address, clock=SystemClock(), name="test", use=_never, changed=lambda: None)
        keeping = asyncio.get_running_loop().create_task(line.run())
        give_up = Connection.close

        async def cancelled(connection: Connection, reason: BaseException) -> None:
            keeping.cancel()
            await give_up(connection, reason)

        monkeypatch.setattr(Connection, "close", cancelled)
        done, _ = await asyncio.wait([keeping], timeout=SOON)
        keeping.cancel()
        assert done

    async def test_a_virtual_host_that_is_not_there_is_named(self, server: RabbitMQ) -> None:
        url = server.url_of(vhost="nowhere")
        async with RabbitBroker(url, clock=SystemClock()) as broker:
            assert "rabbitmqctl add_vhost nowhere" in await refusal(broker)

    async def test_a_user_without_rights_is_told_which_he_needs(self, server: RabbitMQ) -> None:
        server.ctl("add_vhost", "closed")
        server.ctl("set_permissions", "-p", "closed", USER, "^none$", ".*", ".*")
        url = server.url_of(vhost="closed", options="namespace=blue")
        async with RabbitBroker(url, clock=SystemClock()) as broker:
            broker.ring([ring()])
            assert "set_permissions -p closed" in await refusal(broker)
            server.ctl("set_permissions", "-p", "closed", USER, ".*", ".*", ".*")
            await rings_until_heard(broker)

    async def test_the_doctor_says_what_is_wrong(self, server: RabbitMQ) -> None:
        fine, way, rung = await examine_broker(server.url)
        assert (way.check, way.verdict) == ("broker encryption", "ok")
        assert (rung.check, rung.verdict) == ("broker rings", "ok")
        assert (fine.verdict, "RabbitMQ" in fine.found) == ("ok", True)
        [found] = await examine_broker(server.url_of(password="wrong guess"))
        assert (found.verdict, "refused the user" in found.found) == ("warning", True)

    async def test_the_doctor_finds_a_right_that_is_missing(self, server: RabbitMQ) -> None:
        server.ctl("add_vhost", "halfway")
        # He may make queues and read from them; to publish, nobody thought of.
        server.ctl("set_permissions", "-p", "halfway", USER, "^stoker.*", "^none$", "^stoker.*")
        _, _, rung = await examine_broker(server.url_of(vhost="halfway"))
        assert (rung.check, rung.verdict) == ("broker rings", "warning")
        assert "set_permissions -p halfway" in rung.found


class TestTls:
    async def test_a_server_whose_name_is_vouched_for_is_believed(
        self, server: RabbitMQ, authority: Path
    ) -> None:
        async with open_broker(_secure(server, f"ca={authority}")) as broker:
            await rings_until_heard(broker)

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    async def test_another_name_or_an_unknown_authority_is_refused(
        self, server: RabbitMQ, authority: Path, host: str
    ) -> None:
        # The certificate is for the number, and the second URL names nobody who vouches for it.
        options = f"ca={authority}" if host == "localhost" else ""
        url = _secure(server, options).replace("@127.0.0.1", f"@{host}")
        broker = open_broker(url)
        assert isinstance(broker, RabbitBroker)
        async with broker:
            assert "do not agree on TLS" in await refusal(broker)


def _secure(server: RabbitMQ, options: str) -> str:
    url = server.url_of(options=options).replace("amqp://", "amqps://")
    return url.replace(f":{server.port}/", f":{server.tls_port}/")


class TestOutages:
    async def test_a_server_short_of_memory_stops_no_submit(
        self, server: RabbitMQ, make: Make
    ) -> None:
        async with make() as broker:
            await subscribed(broker, "default")
            server.ctl("set_vm_memory_high_watermark", "0.00001")
            try:
                async with asyncio.timeout(SOON):
                    while not broker.status().dropped:
                        broker.ring([ring(ids=(f"{n}",)) for n in range(50)])
                        await broker.listen(("default",), most=1_000, timeout=0.01)
                assert "short of memory" in broker.status().error
            finally:
                server.ctl("set_vm_memory_high_watermark", "0.4")
            await rings_until_heard(broker)
            assert broker.status().error == ""

    async def test_consumers_come_back_after_each_of_many_restarts(
        self, server: RabbitMQ, make: Make
    ) -> None:
        async with make() as broker, make() as other:
            await subscribed(broker, "default", "more")
            for number in range(RESTARTS):
                await asyncio.to_thread(server.kill if number % 2 else server.stop)
                await wait_until(lambda: not broker.status().connected, "missed", timeout=SOON)
                await asyncio.to_thread(server.start)
                await connected(other)
                await rings_until_heard(broker)
